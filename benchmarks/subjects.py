"""What is measured: our worker and its peers, each a process on topics of its own, given the same messages.

Knows processes and topics, and how each says that an account breached; knows nothing of what is sent or timed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import orjson

from benchmarks.job import CASH, PARTITIONS, Breach, price_row
from benchmarks.peers.commands import PEERS, command_of
from schemas.sharding import shard_of
from streams.bench.records import deposit, terms
from streams.bench.worker import Bench
from streams.kafka.broker import LocalBroker
from streams.kafka.topics import TopicNeed, ensure_topics

OURS = "crossmargin"
SUBJECTS = (OURS, *PEERS)
ROOT = Path(__file__).parent.parent
#: The Python of the peers, and those of them that need no other than ours.
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
AT_HOME = ("textbook_faust", "plain_aiokafka")
STOP_SECONDS_MAX = 30.0
#: Longer than our worker is ever frozen.
SESSION_SECONDS = 60


class Peer:
    """A peer's process and its topics; an async context manager that makes the topics, and at the end stops it.

    Attributes
    ----------
    fills, breaches : names of topics with PARTITIONS partitions
    """

    def __init__(self, name: str, broker: LocalBroker, folder: Path) -> None:
        self.name = name
        self.prefix = name.replace("_", "-")
        self.fills, self.breaches = f"{self.prefix}.fills", f"{self.prefix}.breaches"
        self.log_path = folder / f"{name}.log"
        self._broker, self._folder = broker, folder
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Peer:
        names = (self.fills, f"{self.prefix}.prices", self.breaches)
        needs = [TopicNeed(name=name, partitions=PARTITIONS) for name in names]
        await ensure_topics({"bootstrap_servers": self._broker.bootstrap}, needs, create=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def start(self) -> None:
        """Start it; it may take its time until it reads."""
        python = command_of(self.name) if self.name in AT_HOME else command_of(self.name, str(PEERS_PYTHON))
        arguments = ["--broker", self._broker.bootstrap, "--prefix", self.prefix, "--partitions", str(PARTITIONS)]
        temporary = {"TMPDIR": str(self._folder), "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={self._folder}"}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                [*python, *arguments],
                cwd=ROOT,
                env=os.environ | temporary,
                stdout=log,
                stderr=log,
                start_new_session=True,  # else the end of the shell that began all this wakes it where it is stopped
            )

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError where it does not run."""
        if self._process is None or self._process.poll() is not None:
            last = self.log_path.read_text(errors="replace").rstrip().rpartition("\n")[2]
            raise RuntimeError(f"{self.name} must run until it is stopped, its log ends: {last}")
        return self._process.pid

    def prices(self, symbol: str, price: int) -> Iterable[tuple[str, int, bytes | None, bytes]]:
        """Topic, partition, key and value of the records that tell it a price."""
        value = price_row(symbol, price)
        return [(f"{self.prefix}.prices", partition, None, value) for partition in range(PARTITIONS)]

    def breach(self, value: bytes) -> tuple[str, Breach] | None:
        """Account and numbers of a record of `breaches`."""
        record = orjson.loads(value)
        return record["account"], Breach(record["equity"], record["maintenance_margin"])


class Ours(Peer):
    """Our worker; what its accounts own and what is traded must be sent to it too."""

    def __init__(self, broker: LocalBroker, folder: Path, accounts: Iterable[str]) -> None:
        super().__init__(OURS, broker, folder)
        settings = {"session_seconds": SESSION_SECONDS, "quote_age_ms_max": 3_600_000, "partitions": PARTITIONS}
        self.breaches = f"{self.prefix}.liquidations"
        self._bench = Bench(broker, folder, self.prefix, **settings)
        self._accounts = accounts

    async def __aenter__(self) -> Ours:
        await self._bench.__aenter__()
        await self._bench.send("instruments", terms())
        await self._bench.send("collateral", (deposit(account, CASH) for account in self._accounts))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._bench.__aexit__(*error)

    async def start(self) -> None:
        await self._bench.start()

    @property
    def pid(self) -> int:
        return self._bench.pid

    def prices(self, symbol: str, price: int) -> Iterable[tuple[str, int, bytes | None, bytes]]:
        topic = f"{self.prefix}.oracle-prices"
        return [(topic, shard_of(name, PARTITIONS), name.encode(), price_row(name, each))
                for name, each in ((symbol, price), ("USDC", 1))]  # fmt: skip

    def breach(self, value: bytes) -> tuple[str, Breach] | None:
        record = orjson.loads(value)
        if record["kind"] != "liquidation":
            return None
        report = record["report"]
        return record["account"], Breach(float(report["equity"]), float(report["maintenance_margin"]))


def subject(name: str, broker: LocalBroker, folder: Path, accounts: Iterable[str]) -> Peer:
    """A peer by name, or our worker with these accounts."""
    return Ours(broker, folder, accounts) if name == OURS else Peer(name, broker, folder)
