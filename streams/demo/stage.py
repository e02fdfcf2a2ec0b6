"""What a demo runs on: a broker of its own or one that is there, its topics, and one worker process.

It knows processes, settings and HTTP; nothing of markets or accounts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas.topics import TOPICS
from streams.demo.feed import Cluster
from streams.kafka.broker import LocalBroker, free_port
from streams.kafka.topics import TopicNeed, ensure_topics
from streams.settings import ENVIRONMENT, ROLES, Settings, load

STOP_SECONDS_MAX = 20.0
HTTP_SECONDS_MAX = 10.0
LOG_LINES = 12
#: Partitions of the topics that the demo, as their user, creates itself; the others are the worker's to create.
USER_PARTITIONS = {
    "oracle-prices": 1,
    "volatilities": 1,
    "fills": 2,
    "collateral": 1,
    "funding-rates": 1,
    "accounts": 1,
}
#: The worker ends with the demo, however that ends: then nobody holds the other end of its standard input.
WORKER = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from streams.cli import main
main()
"""


class WorkerDied(Exception):
    """The worker ended by itself; the message has its exit code and the end of its log."""


class Stage:
    """Broker, topics and worker of one demo; a context manager that stops what it started.

    Parameters
    ----------
    broker : host:port of a cluster to join; empty: the one that CROSSMARGIN_BROKER names, else one of our own
    worker_settings : further settings of the worker, by field name, where the environment does not give them
    keep : leave the data and logs on disk
    """

    def __init__(self, broker: str, worker_settings: Mapping[str, str], *, keep: bool) -> None:
        self.keep = keep
        Path(".kafka").mkdir(exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="demo-", dir=".kafka")).absolute()
        self.log_path = self.folder / "worker.log"
        self.web_url = f"http://127.0.0.1:{(port := free_port())}"
        joined = broker or os.environ.get("CROSSMARGIN_BROKER", "")
        self.broker = None if joined else LocalBroker(self.folder / "broker")
        pace = {
            name: text for name, text in worker_settings.items() if f"{ENVIRONMENT}{name.upper()}" not in os.environ
        }
        self._given = {**pace, "clock": "event", "web_host": "127.0.0.1", "web_port": str(port)}
        if self.broker is None:  # topics and groups of its own on a cluster that others use
            name = f"demo-{uuid.uuid4().hex[:8]}"
            self._given |= {"broker": joined, "prefix": name, "topic_prefix": f"{name}."}
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self.broker is not None:
            self.broker.start()
            self._given["broker"] = self.broker.bootstrap
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        impatient = (signal.SIGINT, signal.SIGTERM)  # a second Ctrl-C must not leave processes behind
        before = [signal.signal(number, signal.SIG_IGN) for number in impatient]
        self.stop_worker()
        if self.broker is not None:
            self.broker.stop()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in zip(impatient, before, strict=True):
            signal.signal(number, handler)

    @property
    def settings(self) -> Settings:
        """The worker's settings."""
        return load(self._given)

    def cluster(self) -> Cluster:
        """How the demo reaches what the worker reads and writes."""
        settings = self.settings
        return Cluster(
            options=settings.client(),
            topics={logical: settings.topic(logical) for logical in TOPICS},
            groups={role: f"{settings.prefix}-{role}" for role in ROLES},
        )

    async def create_user_topics(self) -> None:
        """Create the topics that carry the demo's own messages, where they are missing."""
        settings = self.settings
        needs = [
            TopicNeed(name=settings.topic(name), partitions=count, config=TOPICS[name].config())
            for name, count in USER_PARTITIONS.items()
        ]
        await ensure_topics(settings.client(), needs, create=settings.create_topics, replication=settings.replication)

    def start_worker(self) -> None:
        """Start `crossmargin worker` as a process of its own; its log goes to `log_path`."""
        environment = {f"{ENVIRONMENT}{name.upper()}": text for name, text in self._given.items()}
        with self.log_path.open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, "worker"],
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the demo only, which then stops the worker
            )

    def stop_worker(self) -> None:
        """SIGTERM, then SIGKILL after STOP_SECONDS_MAX."""
        worker, self._worker = self._worker, None
        if worker is not None and worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def alive(self) -> None:
        """Raise WorkerDied where the worker has ended."""
        code = None if self._worker is None else self._worker.poll()
        if code is not None:
            raise WorkerDied(f"the worker must stay up, it ended with code {code}; its log ends:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines of the worker's log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").rstrip().splitlines()[-LOG_LINES:])

    def shard(self, partition: int) -> dict[str, Any]:
        """The books of one shard, from the worker's web server; asks again until it answers."""
        until = time.monotonic() + HTTP_SECONDS_MAX
        while True:
            try:
                with urllib.request.urlopen(f"{self.web_url}/shards/{partition}", timeout=HTTP_SECONDS_MAX) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except OSError:
                self.alive()
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
