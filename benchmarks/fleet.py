"""Several worker processes on the topics of one bench, to be started, killed and frozen one by one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from streams.bench.worker import Bench
from streams.kafka.broker import free_port
from streams.settings import ENVIRONMENT, Settings

WAIT_SECONDS_MAX = 300.0
STOP_SECONDS_MAX = 60.0
COMMAND = (sys.executable, "-m", "streams.cli", "worker")


class Member:
    """One worker; its log is `<folder>/<name>.log`.

    Parameters
    ----------
    bench : whose topics and settings it has
    command : in place of `crossmargin worker`
    environment : further variables
    settings : that differ from the bench's
    """

    def __init__(
        self,
        bench: Bench,
        folder: Path,
        name: str,
        *,
        command: Sequence[str] = COMMAND,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.partitions = bench.settings.partitions
        self._journal, self._fills = f"{bench.prefix}.journal", f"{bench.prefix}.fills"
        self._log_path = folder / f"{bench.prefix}-{name}.log"
        self._settings = replace(bench.settings, web_port=free_port(), **settings)
        self._environment = os.environ | _environment(self._settings) | (environment or {})
        self._command = list(command)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; `ready` says when it holds what it shall."""
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )  # of a session of its own: else the end of the shell that began all this wakes it where it is stopped

    @property
    def pid(self) -> int:
        """Process id; it must have been started."""
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def wait(self) -> None:
        """Wait until it ends by itself."""
        assert self.process is not None
        self.process.wait(WAIT_SECONDS_MAX)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM; `end` waits."""
        assert self.process is not None
        self.process.terminate()

    async def end(self) -> None:
        """Stop it if it runs."""
        if self.process is not None and self.alive:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, STOP_SECONDS_MAX)

    def held(self) -> dict[str, list[int]]:
        """Topic -> partitions that it holds; none while it does not answer."""
        with contextlib.suppress(OSError):
            return {topic: [int(partition) for partition in found] for topic, found in self._get("/progress").items()}
        return {}

    def shards(self) -> list[int]:
        """Journal partitions that it holds."""
        return self.held().get(self._journal, [])

    def fills(self) -> list[int]:
        """Partitions of `fills` that it holds."""
        return self.held().get(self._fills, [])

    @property
    def ready(self) -> bool:
        """Whether it answers, and all that it holds is open."""
        with contextlib.suppress(OSError):
            return bool(self._get("/health")["ready"])
        return False

    def log(self) -> str:
        """The end of its log."""
        return self._log_path.read_text(errors="replace")[-3000:]

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._settings.web_port}{path}", timeout=10) as answer:
            return json.loads(answer.read())


def _environment(settings: Settings) -> dict[str, str]:
    standard = asdict(Settings())
    changed = {name: value for name, value in asdict(settings).items() if value != standard[name]}
    texts = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in changed.items()}
    return {f"{ENVIRONMENT}{name.upper()}": text for name, text in texts.items()}


async def held_by(members: Sequence[Member]) -> None:
    """Until these hold all shards between them, each of them some."""

    def holds() -> bool:
        found = [member.shards() for member in members]
        return all(found) and all(member.ready for member in members) and sum(map(len, found)) == members[0].partitions

    await until(holds, f"all shards held by {', '.join(member.name for member in members)}", members)


async def until(holds: Callable[[], bool], what: str, members: Sequence[Member]) -> None:
    """Until `holds()` is true."""
    end = time.monotonic() + WAIT_SECONDS_MAX
    while not await asyncio.to_thread(holds):
        if time.monotonic() > end:
            logs = "\n".join(member.log() for member in members)
            raise TimeoutError(f"{what} must be within {WAIT_SECONDS_MAX:g} s\n{logs}")
        await asyncio.sleep(0.05)
