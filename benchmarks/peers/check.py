"""Check peers: the accounts they say are breached, and the positions that this shows, against exact arithmetic.

``python -m benchmarks.peers.check [PEER ...] [--kills N] [--fills N] [--python PATH]``. Prices and fills are sent, then
prices so far off that every account must breach: the numbers of those breaches tell cash and position of each
account. With --kills the fills come at a steady rate, and N times the peer is killed with -9 at a random moment and
started again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.peers import records
from benchmarks.peers.commands import PEERS, command_of
from benchmarks.subjects import AT_HOME, PEERS_PYTHON
from streams.kafka.broker import LocalBroker

DONE_SECONDS_MAX = 240.0
QUIET_SECONDS = 3.0  # how long nothing more may come before the answer counts as whole
TOLERANCE = 1e-6  # USDC an account, for peers that add in floats
FILLS_PER_S = 2_000  # with --kills
OPTIONS = argparse.ArgumentParser(description="Check that peers do the common job.")
OPTIONS.add_argument("peers", nargs="*", default=list(PEERS), metavar="PEER", help=", ".join(PEERS))
OPTIONS.add_argument("--kills", type=int, default=0, help="kill -9 the peer and start it again, so many times")
OPTIONS.add_argument("--seed", type=int, default=7, help="of the fills and of the moments of the kills")
OPTIONS.add_argument("--fills", type=int, default=20_000)
OPTIONS.add_argument("--accounts", type=int, default=500)
OPTIONS.add_argument("--partitions", type=int, default=4)
OPTIONS.add_argument("--python", help="the Python that has the peers' packages; default: that of the benchmarks")
OPTIONS.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()), help="where peers' logs go")


class Peer:
    """One run of one peer: its process, its topics, what it emitted."""

    def __init__(self, name: str, broker: str, options: argparse.Namespace, scratch: Path) -> None:
        self.name, self.broker, self.options = name, broker, options
        self.prefix = f"check-{name.replace('_', '-')}"
        self.log = options.logs / f"{self.prefix}.log"
        self.log.write_bytes(b"")
        arguments = ["--broker", broker, "--prefix", self.prefix, "--partitions", str(options.partitions)]
        python = options.python or (sys.executable if name in AT_HOME else str(PEERS_PYTHON))
        self.command = [*command_of(name, python), *arguments]
        self.environment = os.environ | {"TMPDIR": str(scratch), "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={scratch}"}
        self.process: subprocess.Popen[bytes] | None = None
        self.breaches: dict[str, list[dict[str, Any]]] = {}
        self.expected = records.Expected()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)

    def end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
            print(f"{self.name}: ended with code {self.process.wait()} by {number.name}", flush=True)

    def cpu_seconds(self) -> float:
        """Return what the process itself used so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def check(self) -> bool:
        topics = [f"{self.prefix}.{name}" for name in ("fills", "prices", "breaches")]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker)
        await admin.start()
        await admin.create_topics([NewTopic(topic, self.options.partitions, 1) for topic in topics])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=self.broker, linger_ms=5)
        consumer = AIOKafkaConsumer(
            topics[2], bootstrap_servers=self.broker, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await producer.start()
        await consumer.start()
        try:
            return await self._check(producer, consumer)
        finally:
            self.end(signal.SIGTERM)
            await consumer.stop()
            await producer.stop()

    async def _check(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> bool:
        await self.send_price(producer, records.START)
        fills = list(records.fills_of(self.options.accounts, self.options.fills, self.options.seed))
        in_time = await self.play_with_kills(producer, consumer, fills)
        await self.send_fills(producer, fills)
        last = await self.send_done(producer, "last")
        began = time.monotonic()
        if self.process is None:
            self.start()
        in_time = await self.collect(consumer, last, DONE_SECONDS_MAX) and in_time
        seconds, cpu = time.monotonic() - began, self.cpu_seconds()
        print(f"{self.name}: {len(fills):,} fills in {seconds:.1f} s from here, {cpu:.1f} CPU-s", flush=True)
        self.expected.later()
        for phase, price in enumerate(records.LATER, start=1):
            await self.send_price(producer, price)
            due = {name for name, book in self.expected.books.items() if book.breach and book.breach.phase <= phase}
            in_time = await self.collect(consumer, due, 30.0) and in_time
        await self.collect(consumer, {"nobody"}, QUIET_SECONDS)
        return self.verdict() and in_time

    async def play_with_kills(
        self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, fills: list[dict[str, Any]]
    ) -> bool:
        """Send parts of the fills, with a kill in each, and take them off the list; say whether all came through."""
        chance, part = random.Random(self.options.seed), len(fills) // (self.options.kills + 1)
        if self.options.kills:
            self.start()
        for number in range(self.options.kills):
            until = chance.randrange(part // 4, part)
            await self.send_fills(producer, fills[:until], per_s=FILLS_PER_S)
            self.end(signal.SIGKILL)
            began = time.monotonic()
            self.start()
            await self.send_fills(producer, fills[until:part], per_s=FILLS_PER_S)
            del fills[:part]
            if not await self.collect(consumer, await self.send_done(producer, str(number)), DONE_SECONDS_MAX):
                return False
            print(f"{self.name}: killed, up to date again in {time.monotonic() - began:.1f} s", flush=True)
        return True

    async def send_done(self, producer: AIOKafkaProducer, run: str) -> set[str]:
        """Send the last fill of each partition; return the accounts that must breach once it is booked."""
        done = list(records.done_fills(run, self.options.partitions))
        await self.send_fills(producer, done, done=True)
        return {str(each["account"]) for each in done}

    async def send_price(self, producer: AIOKafkaProducer, price: Any) -> None:
        value = orjson.dumps(records.price(price))
        for partition in range(self.options.partitions):
            await producer.send_and_wait(f"{self.prefix}.prices", value, partition=partition)

    async def send_fills(
        self, producer: AIOKafkaProducer, fills: Iterable[dict[str, Any]], *, done: bool = False, per_s: int = 0
    ) -> None:
        began = time.monotonic()
        for number, fill in enumerate(fills):
            self.expected.add(fill)
            partition = {"partition": number} if done else {}
            await producer.send(f"{self.prefix}.fills", orjson.dumps(fill), key=fill["account"].encode(), **partition)
            if per_s and number % 100 == 0:
                await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
        await producer.flush()

    async def collect(self, consumer: AIOKafkaConsumer, due: set[str], seconds_max: float) -> bool:
        """Read breaches until all accounts that are due have one; say whether they came in time."""
        deadline = time.monotonic() + seconds_max
        while (late := due - self.breaches.keys()) and time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                print(f"{self.name}: ended with code {self.process.poll()}, log {self.log}", flush=True)
                return False
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    self.breaches.setdefault(message.key.decode(), []).append(orjson.loads(message.value))
        return not late

    def verdict(self) -> bool:
        """Compare, print, and say whether everything is right."""
        books = self.expected.books
        due = {name for name, book in books.items() if book.breach}
        missing, extra = due - self.breaches.keys(), self.breaches.keys() - due
        twice = sum(len(each) > 1 for each in self.breaches.values())
        wrong, shown = [], 0
        for name in sorted(due - missing):
            breach, first = books[name].breach, self.breaches[name][0]
            if breach is None or breach.phase == 0:  # which of its fills breached depends on when the price came
                continue
            shown += 1
            equity, maintenance = float(breach.equity), float(breach.maintenance)
            if abs(first["equity"] - equity) > TOLERANCE + abs(equity) * 1e-9 or (
                abs(first["maintenance_margin"] - maintenance) > TOLERANCE + maintenance * 1e-9
            ):
                wrong.append(f"{name}: {first}, must be {breach}")
        right = not (missing or extra or wrong or (twice and not self.options.kills))
        print(
            f"{self.name}: {'right' if right else 'WRONG'}: of {len(due)} accounts to breach {len(missing)} missing, "
            f"{len(extra)} extra, {twice} emitted twice; of {shown} positions shown {len(wrong)} wrong",
            *wrong[:3],
            sep="\n  ",
            flush=True,
        )
        return right


async def check_all(options: argparse.Namespace) -> bool:
    """Check one peer after the other on one broker."""
    right = True
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        for name in options.peers:
            right = await Peer(name, broker.bootstrap, options, Path(folder)).check() and right
    return right


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(check_all(OPTIONS.parse_args())) else 1)
