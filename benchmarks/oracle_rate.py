"""Quotes one oracle agent takes in a second, and how long after a quote its price is in the journal, on a real broker.

A worker with every role and without accounts: its shards have prices to fold and nobody to judge. Three times over: by
no oracle record, by one of five sources with all that it checks, and by the same with every quote signed. How many: a
backlog written while the worker is frozen, until the oracle has committed the last of it. How soon: at a steady rate,
from the broker's append of a quote to its append of the first marks block that is made of it or of a later one of its
symbol; beside it the first hop of a bare transactional relay at the same rate.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiokafka import ConsumerRecord
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.latency import RELAYS, relayed, stamped
from benchmarks.report import Report
from schemas.codec import encode
from schemas.journal import Block
from schemas.prices import Quote
from schemas.signatures import public_key_text, sign
from streams.bench.live import quantile
from streams.bench.records import PRICES, SYMBOLS, Row, terms
from streams.bench.usage import frozen
from streams.bench.worker import Bench
from streams.kafka.broker import LocalBroker

SOURCES = ("a", "b", "c", "d", "e")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KINDS = ("no rules", "rules", "rules, signed")
#: Ages are of no interest here: a backlog is older than any price should be.
RULES = {"kind": "oracle", "id": "~oracle", "sources": {name: {} for name in SOURCES}, "max_age_ms": 3_600_000}
RATES = (50, 500)
#: A part of the backlog passes before the clock starts.
WARM_UP = 0.1
STEP_SECONDS = 0.01


def run(report: Report, *, quick: bool) -> None:
    """Each kind in turn, on a worker of its own."""
    backlog, seconds = (2_000, 3.0) if quick else (40_000, 6.0)
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        asyncio.run(measure(report, broker, Path(folder), backlog, seconds))


async def measure(report: Report, broker: LocalBroker, folder: Path, backlog: int, seconds: float) -> None:
    """Rates and latencies of each kind, then the relay's, and how they compare."""
    found: dict[str, dict[int, list[float]]] = {}
    taken: dict[str, float] = {}
    for number, kind in enumerate(KINDS):
        count = backlog // 4 if kind == KINDS[-1] else backlog
        taken[kind], found[kind] = await _worker(report, broker, folder, f"rate{number}", kind, count, seconds)
    for kind in KINDS[1:]:
        report.ratio(f"quotes a second, {kind} to {KINDS[0]}", taken[kind], taken[KINDS[0]])
    name, backoff_ms = next(iter(RELAYS.items()))
    _, passages = await relayed(broker, "raterelay", backoff_ms, seconds)
    bare = [passage.mid - passage.sent for passage in passages]
    for share in (0.5, 0.99):
        report.add(f"{name}, one hop, p{100 * share:.0f}", quantile(bare, share), "ms", f"{len(bare)} messages at 50/s")
        for kind in KINDS:
            report.ratio(f"p{100 * share:.0f} of {kind} to the {name}'s one hop", quantile(found[kind][50], share),
                         quantile(bare, share))  # fmt: skip


async def _worker(
    report: Report, broker: LocalBroker, folder: Path, prefix: str, kind: str, backlog: int, seconds: float
) -> tuple[float, dict[int, list[float]]]:
    """Quotes a second, and by rate the ms from a quote's append to that of its price."""
    await stamped(broker, prefix, "journal")
    async with Bench(broker, folder, prefix, quote_age_ms_max=3_600_000) as bench:
        made = _quotes(signed=kind == KINDS[-1])
        await bench.send("instruments", [*terms(), *_rules(kind)])
        await bench.send("oracle-prices", [next(made) for _ in range(len(SYMBOLS) * len(SOURCES))])
        await bench.start()
        await bench.wait_ingested()
        await _taken(bench)
        await bench.send("oracle-prices", [next(made) for _ in range(int(WARM_UP * backlog))])
        await _taken(bench)
        with frozen(bench.pid):
            await bench.send("oracle-prices", [next(made) for _ in range(backlog)])
            before = bench.usage()
        await _taken(bench)
        after = bench.usage()
        cores = ", ".join(f"{name} {used:.2f}" for name, used in after.cores(before).items())
        rate = backlog / (after.at - before.at)
        under = f"{backlog:,} quotes of {len(SYMBOLS)} symbols by {len(SOURCES)} sources; cores: {cores}"
        report.add(f"quotes taken, {kind}", rate, "quotes/s", under)
        found = {}
        for pace in RATES:
            starts = {topic: await bench.ends(topic) for topic in ("oracle-prices", "journal")}
            await _steadily(bench, made, pace, seconds)
            await _taken(bench)
            await bench.wait_applied()
            found[pace] = _latencies(*[await bench.records(topic, at) for topic, at in starts.items()])
            spread = ", ".join(f"p{100 * share:.0f} {quantile(found[pace], share):.1f}" for share in (0.9, 0.99))
            report.add(f"quote to marks block, {kind}, {pace} quotes/s, p50", quantile(found[pace], 0.5), "ms", spread)
    return rate, found


def _rules(kind: str) -> list[Row]:
    """The records of `instruments` that a kind needs."""
    if kind == KINDS[0]:
        return []
    records = [RULES]
    if kind == KINDS[-1]:
        keys = [{"id": "k1", "public_key": public_key_text(KEY), "valid_from": 0}]
        records += [{"kind": "source", "id": f"~source:{name}", "signed": True, "keys": keys} for name in SOURCES]
    return [(str(record["id"]).encode(), json.dumps(record).encode(), None) for record in records]


def _quotes(*, signed: bool) -> Iterator[Row]:
    """Quotes without end, symbol after symbol and source after source, of prices that move; each a ms later at least
    than the one before of its symbol."""
    last: defaultdict[str, int] = defaultdict(int)
    number = 0
    while True:
        symbol, source = SYMBOLS[number % len(SYMBOLS)], SOURCES[number // len(SYMBOLS) % len(SOURCES)]
        last[symbol] = now = max(last[symbol] + 1, int(time.time() * 1000))
        price = f"{PRICES[symbol] * (1 + number % 1009 * 1e-7):.9f}"
        quote = Quote(symbol=symbol, source=source, price=price, confidence="0", time=now, sequence=number)
        quote = sign(quote, key_id="k1", private_key=KEY) if signed else quote
        yield symbol.encode(), encode(quote), now
        number += 1


async def _taken(bench: Bench) -> None:
    """Until the oracle has committed all quotes that there are."""
    ends = sum((await bench.ends("oracle-prices")).values())
    while await bench.committed("oracle", "oracle-prices") < ends:  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(0.01)


async def _steadily(bench: Bench, made: Iterator[Row], pace: int, seconds: float) -> None:
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * pace) - sent
        await asyncio.gather(*(bench.send_one("oracle-prices", next(made)) for _ in range(due)))
        sent += due
        await asyncio.sleep(STEP_SECONDS)


def _latencies(quotes: Sequence[ConsumerRecord], journal: Sequence[ConsumerRecord]) -> list[float]:
    """Of each quote, the ms from its append to that of the first marks block whose price of the symbol is as new.

    All shards are told in one transaction; the blocks of partition 0 stand for them.
    """
    told: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)  # (newest quote's time, append time)
    for record in journal:
        if record.partition == 0:
            block = Block.decode(record.value)
            if block.kind == "marks":
                for symbol, time_ms in zip(block.names["symbols"], block.columns["quote_time"].tolist(), strict=True):
                    told[symbol].append((time_ms, record.timestamp))
    found = []
    for record in quotes:
        quote = json.loads(record.value)
        at = bisect_left(told[quote["symbol"]], (quote["time"], 0))
        if at < len(told[quote["symbol"]]):
            found.append(told[quote["symbol"]][at][1] - record.timestamp)
    return found
