"""One worker against two on the same work, with the broker on the same cores: fills a second, and who used the cores.

The backlog is there before anybody works at it: the workers hold their partitions, stand still while it is sent, and go
on at one moment. Once with nothing else to do, once with quotes coming.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.fleet import Member, held_by
from benchmarks.report import Report, shown
from streams.bench import records
from streams.bench.records import PRICES, SYMBOLS, quote
from streams.bench.usage import usage
from streams.bench.worker import PARTITIONS, Bench
from streams.kafka.broker import LocalBroker

ACCOUNTS, FILLS = 10_000, 400_000
QUOTES_S = 50
NAMES = ("one", "two")
#: Workers that stand still are not given up while the backlog is sent.
SESSION_SECONDS = 60
#: More cores than that used by others, and the numbers are not ours; more than this part used, and the machine is full.
OTHERS_MAX, FULL = 0.2, 0.9


class Rate(NamedTuple):
    """Fills a second, and cores used meanwhile by process name."""

    fills_s: float
    cores: dict[str, float]

    @property
    def per_cpu_second(self) -> float:
        """Fills for a second of the workers' processor time."""
        return self.fills_s / sum(used for name, used in self.cores.items() if name in NAMES)


def run(report: Report, *, quick: bool) -> None:
    """Backlog alone, then with quotes; one worker, then two."""
    fills, accounts = (20_000, 1_000) if quick else (FILLS, ACCOUNTS)
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        for quotes_s in (0, QUOTES_S):
            rates = []
            for workers in (1, 2):
                bench = Bench(
                    broker, Path(folder), f"scaling{quotes_s}-{workers}",
                    session_seconds=SESSION_SECONDS, quote_age_ms_max=3_600_000,
                )  # fmt: skip
                rate = asyncio.run(measure(bench, broker, Path(folder), workers, fills, accounts, quotes_s))
                rates.append(rate)
                used = ", ".join(f"{name} {cores:.2f}" for name, cores in rate.cores.items())
                under = (
                    f"{fills:,} fills, {accounts:,} accounts, {PARTITIONS} shards, {quotes_s} quotes/s; cores: {used}"
                )
                report.add(f"fills/s, {workers} worker{'s' * (workers > 1)}", rate.fills_s, "fills/s", under)
            one, two = rates
            under = f"{quotes_s} quotes/s"
            report.ratio(f"two workers to one, fills/s, {under}", two.fills_s, one.fills_s)
            report.ratio(
                f"the same, fills for a CPU-second of the workers, {under}", two.per_cpu_second, one.per_cpu_second
            )
            report.note(_bound(two, os.cpu_count() or 1))


async def measure(
    bench: Bench, broker: LocalBroker, folder: Path, workers: int, fills: int, accounts: int, quotes_s: int
) -> Rate:
    """Books, then the backlog while the workers stand still, then its way to durable state."""
    async with bench:
        members = [Member(bench, folder, name) for name in NAMES[:workers]]
        try:
            await bench.send("instruments", records.terms())
            await bench.send("collateral", records.deposits(accounts))
            for member in members:
                member.start()
            await held_by(members)
            await bench.wait_ingested()
            await bench.send("fills", records.positions(accounts))
            await bench.send("oracle-prices", records.quotes())
            await bench.wait_ingested()
            await bench.wait_applied()
            for member in members:
                os.kill(member.pid, signal.SIGSTOP)
            await bench.send("fills", records.trades(fills, accounts))
            processes = {member.name: member.pid for member in members}
            others = {"broker": broker.pid, "load generator": os.getpid()}
            before = usage(others, processes)
            async with _quoted(bench, quotes_s):
                for member in members:
                    os.kill(member.pid, signal.SIGCONT)
                await bench.wait_ingested()
                await bench.wait_applied()
                after = usage(others, processes)
            return Rate(fills / (after.at - before.at), after.cores(before))
        finally:
            for member in members:
                if member.alive:
                    os.kill(member.pid, signal.SIGCONT)
                await member.end()


@asynccontextmanager
async def _quoted(bench: Bench, quotes_s: int) -> AsyncIterator[None]:
    """Quotes at a rate, as long as this lasts."""

    async def send() -> None:
        began, number = time.monotonic(), 0
        while quotes_s:
            symbol = SYMBOLS[number % len(SYMBOLS)]
            await bench.send_one("oracle-prices", quote(symbol, PRICES[symbol] * (1 + number % 89 * 1e-6)))
            number += 1
            await asyncio.sleep(max(0.0, began + number / quotes_s - time.monotonic()))

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _bound(two: Rate, cores: int) -> str:
    """What keeps two workers from being faster, as far as the cores tell."""
    used = sum(two.cores.values())
    told = ", ".join(f"{name} {share:.2f}" for name, share in two.cores.items())
    if two.cores["others"] > OTHERS_MAX:
        return f"others used the machine too ({told}): what bounds two workers cannot be told"
    if used > FULL * cores:
        return f"two workers are bound by the machine: {shown(used)} of {cores} cores used ({told})"
    return f"two workers leave cores idle, {shown(used)} of {cores} used ({told}): they wait for the broker"
