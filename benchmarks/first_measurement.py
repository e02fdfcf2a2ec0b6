"""A first measurement of one worker on one broker: fills/s, marks/s, latency from price to liquidation, memory.

``python benchmarks/first_measurement.py [--only fills|live|marks|latency|memory ...]`` starts a broker of its own and
prints one table. What the numbers mean, and what they leave out, is in docs/measurements.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from bench_worker import PARTITIONS, PRICES, SYMBOLS, Bench, Row, book, deposit, fill, quantile, quote, terms

from schemas.journal import Block
from schemas.sharding import shard_of
from streams.kafka.broker import LocalBroker

SESSION_SECONDS = 10
ROWS: list[tuple[str, str, str]] = []


def row(what: str, result: str, under: str = "") -> None:
    """One line of the table, printed at once too."""
    ROWS.append((what, result, under))
    print(f"{what}: {result}  ({under}; load {os.getloadavg()[0]:.1f})", flush=True)


async def seeded(bench: Bench, accounts: int) -> None:
    """Accounts of four positions each, far from any call, at the present marks."""
    await bench.send("instruments", terms())
    await bench.wait_ingested()
    await bench.send("collateral", (deposit(f"a{n}", 100_000.0) for n in range(accounts)))
    await bench.wait_ingested()
    await bench.send("fills", _positions(accounts))
    await bench.wait_ingested()
    await bench.send("oracle-prices", [quote("USDC", 1.0), *(quote(s, PRICES[s]) for s in SYMBOLS)])
    await bench.wait_applied()


def _positions(accounts: int) -> Iterator[Row]:
    for number in range(accounts):
        for at, symbol in enumerate(book(number)):
            quantity = 1_000.0 / PRICES[symbol] * (1 if (number + at) % 2 else -1)
            yield fill(f"o{at}", f"a{number}", symbol, f"{quantity:.2f}", PRICES[symbol])


def _fills(count: int, accounts: int, first: int = 0) -> Iterator[Row]:
    for number in range(first, first + count):
        symbol = SYMBOLS[number % 8]
        yield fill(f"t{number}", f"a{number * 7 % accounts}", symbol, "1" if number // 8 % 2 else "-1", PRICES[symbol])


async def fills_backlog(bench: Bench, count: int = 500_000, accounts: int = 10_000) -> None:
    """A backlog of fills read by a worker that starts: nobody else needs the cores but the broker."""
    await bench.start()
    await seeded(bench, accounts)
    await bench.stop()
    before = await bench.committed("ingest", "fills")
    await bench.send("fills", _fills(count, accounts))
    ready = asyncio.create_task(bench.start())
    while (first := await bench.committed("ingest", "fills")) == before:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    began, usage, left = time.monotonic(), bench.usage(), before + count - first
    await ready
    ingested = await bench.wait_ingested()
    applied = await bench.wait_applied()
    used = bench.usage().since(usage)
    under = f"backlog of {count:,} fills, {accounts:,} accounts, {PARTITIONS} shards; {used}"
    row("fills/s into the journal, backlog", f"{left / (ingested - began):,.0f}", under)
    row("fills/s, JSON to durable state, backlog", f"{left / (applied - began):,.0f}", under)


async def fills_live(bench: Bench, accounts: int = 10_000, seconds: float = 15.0) -> None:
    """Fills at a set rate while the shards judge and quotes come: what the worker keeps up with."""
    await bench.start()
    await seeded(bench, accounts)
    sent = 0
    for rate in (2_000, 5_000, 10_000, 20_000, 40_000):
        began, usage, dark, number = time.monotonic(), bench.usage(), 0, 0
        while (passed := time.monotonic() - began) < seconds:
            await bench.send("oracle-prices", _wiggled(number))
            wanted = int(rate * min(seconds, passed + 0.1)) - number
            await bench.send("fills", _fills(wanted, accounts, sent))
            sent, number = sent + wanted, number + wanted
            dark += not await asyncio.to_thread(lambda: bench.get("/shards/0")["live"])
            await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - began - passed)))
        ended = time.monotonic()
        await bench.wait_ingested()
        tail = await bench.wait_applied() - ended
        used = bench.usage().since(usage)
        row(
            f"fills offered live at {number / (ended - began):,.0f}/s",
            f"durable {tail:.2f} s after the last, {dark} looks not live",
            f"{seconds:.0f} s, {accounts:,} accounts, quotes each 0.1 s; {used}",
        )
        if tail > 3.0:
            break


def _wiggled(number: int) -> list[Row]:
    return [quote(symbol, PRICES[symbol] * (1 + (number + at) % 97 * 1e-5)) for at, symbol in enumerate(SYMBOLS)]


async def marks(bench: Bench, accounts: int, seconds: float = 8.0) -> None:
    """Quotes at a set rate: how many the oracle takes, and how often the shards are told and judge."""
    await bench.start()
    await seeded(bench, accounts)
    for rate in (100, 1_000, 5_000, 20_000):
        starts, taken = await bench.ends("journal"), bench.metric("crossmargin_source_rows_total")
        before = {name: bench.metric(f"crossmargin_apply_seconds_{name}") for name in ("sum", "count")}
        began, usage, number = time.monotonic(), bench.usage(), 0
        while (passed := time.monotonic() - began) < seconds:
            wanted = int(rate * min(seconds, passed + 0.02)) - number
            rows = (_quoted(number + at) for at in range(wanted))
            await bench.send("oracle-prices", rows)
            number += wanted
            await asyncio.sleep(max(0.0, 0.02 - (time.monotonic() - began - passed)))
        ended = time.monotonic()
        ends = sum((await bench.ends("oracle-prices")).values())
        while await bench.committed("oracle", "oracle-prices") < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        tail = await bench.wait_applied() - ended
        used = bench.usage().since(usage)
        after = {name: bench.metric(f"crossmargin_apply_seconds_{name}") for name in ("sum", "count")}
        blocks = sum(Block.decode(record.value).kind == "marks" for record in await bench.records("journal", starts))
        apply_ms = 1000 * (after["sum"] - before["sum"]) / max(1.0, after["count"] - before["count"])
        took = bench.metric("crossmargin_source_rows_total") - taken
        row(
            f"quotes offered at {number / (ended - began):,.0f}/s, {accounts:,} accounts",
            f"{took / (ended - began + tail):,.0f} quotes/s taken, {blocks / PARTITIONS / (ended - began):.1f} marks "
            f"blocks/s in each shard, {apply_ms:.2f} ms to judge one",
            f"{seconds:.0f} s, {PARTITIONS} price partitions, {PARTITIONS} shards, behind by {tail:.2f} s at the end; "
            f"{used}",
        )
        if tail > 3.0:
            break


def _quoted(number: int) -> Row:
    symbol = SYMBOLS[number % len(SYMBOLS)]
    return quote(symbol, PRICES[symbol] * (1 + number % 1009 * 1e-6))


async def latency(bench: Bench, accounts: int = 10_000, seconds: float = 60.0) -> None:
    """BTC falls a little with each quote; each step takes about one account below its line.

    From the time at which the broker appended the first quote below an account's line to the moment at which a
    read_committed consumer has the liquidation.
    """
    victims, quotes_s, fills_s = 400, 50, 500
    await bench.start()
    await seeded(bench, accounts)
    # Liquidated where cash + price - 50,000 < 0.05 x price.
    lines = {f"v{n}": 49_990.0 - 4.0 * n for n in range(victims)}
    await bench.send("collateral", (deposit(name, 50_000.0 - 0.95 * line) for name, line in lines.items()))
    await bench.wait_ingested()
    await bench.send("fills", (fill("o", name, "BTC", "1", 50_000.0) for name in lines))
    await bench.wait_ingested()
    await bench.wait_applied()
    crossed, heard = {}, {}
    stopping = asyncio.Event()
    reader = asyncio.create_task(_hear(bench, heard, stopping))
    await asyncio.sleep(1.0)
    usage = bench.usage()
    began, number, filled, price = time.monotonic(), 0, 1 << 30, 50_000.0
    below = iter(lines.items())
    name, line = next(below)
    fall = 4.0 * victims / (seconds * quotes_s / len(SYMBOLS))
    while (passed := time.monotonic() - began) < seconds:
        while number < passed * quotes_s:
            symbol = SYMBOLS[number % len(SYMBOLS)]
            number += 1
            if symbol != "BTC":
                await bench.send("oracle-prices", [quote(symbol, PRICES[symbol] * (1 + number % 89 * 1e-6))])
                continue
            price -= fall
            key, value, _ = quote("BTC", price)
            partition = shard_of("BTC", bench.counts[f"{bench.prefix}.oracle-prices"])
            batch = bench.producer.create_batch()
            batch.append(key=key, value=value, timestamp=int(time.time() * 1000))
            batch.close()
            sent = await bench.producer.send_batch(batch, f"{bench.prefix}.oracle-prices", partition=partition)
            appended_ms = (await sent).timestamp
            while price < line:
                crossed[name] = appended_ms
                name, line = next(below, ("", 0.0))
        wanted = int(passed * fills_s) - (filled - (1 << 30))
        await bench.send("fills", _fills(wanted, accounts, filled))
        filled += wanted
        await asyncio.sleep(0.01)
    used = bench.usage().since(usage)
    await asyncio.sleep(2.0)
    stopping.set()
    await reader
    ms = [1000 * heard[name] - at for name, at in crossed.items() if name in heard]
    if len(ms) < len(crossed):
        row("liquidations that were not heard", str(len(crossed) - len(ms)))
    row(
        "price to liquidation, on the wire",
        f"p50 {quantile(ms, 0.5):.0f} ms, p90 {quantile(ms, 0.9):.0f} ms, p99 {quantile(ms, 0.99):.0f} ms, "
        f"most {max(ms):.0f} ms",
        f"{len(ms)} liquidations in {seconds:.0f} s, {accounts:,} accounts, {quotes_s} quotes/s, {fills_s} fills/s; "
        f"{used}",
    )


async def _hear(bench: Bench, heard: dict[str, float], stopping: asyncio.Event) -> None:
    """Note when each account's first liquidation arrives, and fill the orders at their limits."""
    topic = f"{bench.prefix}.liquidations"
    consumer = AIOKafkaConsumer(**bench._client, isolation_level="read_committed", fetch_max_wait_ms=100)
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(bench.counts[topic])])
    await consumer.seek_to_end()
    try:
        while not stopping.is_set():
            found = await consumer.getmany(timeout_ms=100)
            now = time.time()
            for record in (record for part in found.values() for record in part):
                event = json.loads(record.value)
                if event["kind"] != "liquidation":
                    continue
                heard.setdefault(event["account"], now)
                more = f',"liquidation_id":"{event["id"]}"'
                rows = [
                    fill(f"{event['id']}-{at}", event["account"], order["instrument"].removesuffix("-PERP"),
                         order["quantity"], float(order["limit_price"]), more)
                    for at, order in enumerate(event["orders"])
                ]  # fmt: skip
                await bench.send("fills", rows)
    finally:
        await consumer.stop()


async def memory(bench: Bench, accounts: int = 100_000) -> None:
    """Resident memory with many accounts, and how long a killed worker takes to be back."""
    await bench.start()
    await bench.send("instruments", terms())
    await bench.wait_ingested()
    await asyncio.sleep(2.0)
    empty, _ = bench.memory_mib()
    await seeded(bench, accounts)
    await asyncio.sleep(3.0)
    full, most = bench.memory_mib()
    under = f"{accounts:,} accounts x 4 positions"
    row("memory of a worker", f"{empty:.0f} MiB empty, {full:.0f} MiB with the accounts, {most:.0f} MiB at most", under)
    row("memory of an account", f"{(full - empty) * 1024 / accounts:.1f} KiB", under)
    await bench.stop(kill=True)
    bench.log_path.unlink()
    await asyncio.sleep(SESSION_SECONDS + 1)  # until the broker forgets the dead member, the group stands still
    seconds = await bench.start()
    opened = [float(text) for text in re.findall(r"journal\[\d+\] opened at \d+ in ([0-9.]+) s", bench.log())]
    restored, most = bench.memory_mib()
    starts = dict.fromkeys(await bench.ends("margin-changelog"), 0)
    size = sum(len(record.value or b"") for record in await bench.records("margin-changelog", starts))
    row(
        "restore of a killed worker",
        f"{max(opened):.1f} s for the slowest of {len(opened)} shards, ready {seconds:.1f} s after its start",
        f"{under}, changelog {size / 2**20:.0f} MiB, {restored:.0f} MiB resident, {most:.0f} MiB at most",
    )


PARTS: dict[str, list[Callable[[Bench], Awaitable[None]]]] = {
    "fills": [fills_backlog],
    "live": [fills_live],
    "marks": [lambda bench: marks(bench, 1_000), lambda bench: marks(bench, 10_000)],
    "latency": [latency],
    "memory": [memory],
}


async def measure(names: list[str], broker: LocalBroker, folder: Path) -> None:
    for name in names:
        for number, part in enumerate(PARTS[name]):
            settings = {"quote_age_ms_max": 3_600_000, "session_seconds": SESSION_SECONDS}
            async with Bench(broker, folder, f"{name}{number}", **settings) as bench:
                await part(bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    names = parser.parse_args().only or list(PARTS)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        print(f"{broker.name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        asyncio.run(measure(names, broker, Path(folder)))
    print("\n| | | |\n|---|---|---|")
    for what, result, under in ROWS:
        print(f"| {what} | {result} | {under} |")


if __name__ == "__main__":
    main()
