"""Price to liquidation on the wire, beside the least that two hops can take: a bare transactional relay.

Both are timed from the broker's append of a message to the moment at which a `read_committed` consumer has what came of
it. The topics in between carry the broker's append times as well, so each stage is known.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from benchmarks.report import Report
from schemas.sharding import shard_of
from schemas.topics import TOPICS
from streams.bench.live import LINE_STEP, live, quantile
from streams.bench.records import PRICES, SYMBOLS, deposits, positions, quote, quotes, terms, trades
from streams.bench.worker import PARTITIONS, Bench
from streams.kafka.broker import LocalBroker
from streams.kafka.topics import TopicNeed, ensure_topics

QUOTES_S = 50
FILLS_S = 2_000
#: As of `streams.bench.live`, which sends to the worker.
STEP_SECONDS = 0.01
#: Times in a row, 2 s apart, that no more summaries than usual are found before anything is measured.
QUIET_LOOKS = 4
#: How many times as long as what is measured the broker is given the same work before, until its compiler is done.
WARM_UP = 4
#: The relay as aiokafka's documentation has it, and with the one setting that matters here: its wait after "concurrent
#: transactions", which Kafka 4 answers to a transaction that follows soon after another.
RELAYS = {"bare relay": 100, "bare relay, retry_backoff_ms 5": 5}


class Passage(NamedTuple):
    """One message's way, epoch ms: appended, appended by the first hop, appended by the second."""

    sent: float
    mid: float
    out: float


def run(report: Report, *, quick: bool) -> None:
    """Relays, the worker, relays again; then the worker with ten times the accounts."""
    sizes = (1_000, 10_000) if quick else (100_000, 1_000_000)
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker", long_lived=True) as broker:
        asyncio.run(measure(report, broker, Path(folder), sizes, seconds=15.0 if quick else 60.0))


async def measure(report: Report, broker: LocalBroker, folder: Path, sizes: Sequence[int], *, seconds: float) -> None:
    await warmed(broker, folder, sizes[0], WARM_UP * seconds)
    bare: dict[str, list[float]] = {name: [] for name in RELAYS}
    ours = []
    await relays(report, broker, bare, "before", seconds / 4)
    for number, accounts in enumerate(sizes):
        ours.append(await worker(report, broker, folder, f"latency{number}", accounts, seconds))
        if number == 0:
            await relays(report, broker, bare, "after", seconds / 4)
    for accounts, latencies in zip(sizes, ours, strict=True):
        for name, found in bare.items():
            for share, wanted in ((0.5, "at most 3"), (0.99, "at most 5")):
                report.ratio(
                    f"p{100 * share:.0f} of {accounts:,} accounts to the {name}'s",
                    quantile(latencies, share),
                    quantile(found, share),
                    wanted if accounts == sizes[0] else "",
                )


def tell(report: Report, what: str, latencies: Sequence[float], passages: Sequence[Passage], under: str) -> None:
    """Three quantiles of the whole way, and its stages."""
    for share in (0.5, 0.9, 0.99):
        report.add(f"{what}, p{100 * share:.0f}", quantile(latencies, share), "ms", under)
    first, second = [p.mid - p.sent for p in passages], [p.out - p.mid for p in passages]
    for name, times in (("first hop's record in the log", first), ("second hop's record in the log", second)):
        spread = ", ".join(f"p{100 * share:.0f} {quantile(times, share):.0f}" for share in (0.5, 0.9, 0.99))
        report.add(f"{what}: {name} after", fmean(times), "ms, mean", spread)
    report.add(f"{what}: consumer has it after", fmean(latencies) - fmean(first) - fmean(second), "ms, mean", "")


# -- the worker


async def warmed(broker: LocalBroker, folder: Path, accounts: int, seconds: float) -> None:
    """Give a new broker the work that will be measured, at twice the rates."""
    async with Bench(broker, folder, "warm-up", quote_age_ms_max=3_600_000) as bench:
        await loaded(bench, accounts)
        await live(bench, seconds=seconds, fill_rate=2 * FILLS_S, quote_rate=2 * QUOTES_S, accounts=accounts)


async def loaded(bench: Bench, accounts: int) -> None:
    """Start the worker and give it its books and prices, until all is durable."""
    await bench.start()
    for topic, rows in (("instruments", terms()), ("collateral", deposits(accounts)), ("fills", positions(accounts))):
        await bench.send(topic, rows)
        await bench.wait_ingested()
    await bench.send("oracle-prices", quotes())
    await bench.wait_applied()


async def worker(
    report: Report, broker: LocalBroker, folder: Path, prefix: str, accounts: int, seconds: float
) -> list[float]:
    """Latencies, ms, of liquidations by a falling price while fills come."""
    await stamped(broker, prefix, "journal", "liquidations")
    async with Bench(broker, folder, prefix, quote_age_ms_max=3_600_000) as bench:
        await loaded(bench, accounts)
        await _summarised(bench, accounts)
        starts = {topic: await bench.ends(topic) for topic in ("oracle-prices", "journal", "liquidations")}
        before = _counters(bench)
        found = await live(bench, seconds=seconds, fill_rate=FILLS_S, quote_rate=QUOTES_S, accounts=accounts)
        after = _counters(bench)
        prices, journal, events = [await bench.records(topic, at) for topic, at in starts.items()]
    if found.missed:
        report.note(f"{found.missed} liquidations were not heard of within the time")
    cores = ", ".join(f"{name} {used:.2f}" for name, used in found.cores.items())
    under = (
        f"{len(found.latencies_ms)} liquidations in {found.seconds:.0f} s, {accounts:,} accounts, {QUOTES_S} quotes/s, "
        f"{FILLS_S:,} fills/s, {PARTITIONS} shards; cores: {cores}"
    )
    what = f"price to liquidation, {accounts:,} accounts"
    tell(report, what, found.latencies_ms, _passages(prices, journal, events), under)
    timed = {
        f"transactions of {role}": _timed(after, before, "transaction_seconds", f'{{role="{role}"}}')
        for role in ("oracle", "ingest", "margin")
    }
    timed["blocks applied"] = _timed(after, before, "apply_seconds")
    for name, (number, each) in timed.items():
        report.add(f"{what}: {name}", number / found.seconds, "a second", f"{each:.2f} ms each")
    return found.latencies_ms


def _passages(
    prices: Sequence[ConsumerRecord], journal: Sequence[ConsumerRecord], events: Sequence[ConsumerRecord]
) -> list[Passage]:
    """The way of each victim's first liquidation, by the append times of quote, marks block and event."""
    falls = [(float(json.loads(r.value)["price"]), r.timestamp) for r in prices if r.key == b"BTC"]
    appended = {(record.partition, record.offset): record.timestamp for record in journal}
    found: dict[str, Passage] = {}
    for record in events:
        event = json.loads(record.value)
        victim = re.fullmatch(r"v(\d+)", event["account"])
        if victim is None or event["account"] in found or event["kind"] != "liquidation":
            continue
        line = PRICES["BTC"] - LINE_STEP * (int(victim[1]) + 1)
        sent = next(at for price, at in falls if price < line)
        mid = appended[event["journal"]["partition"], event["journal"]["offset"]]
        found[event["account"]] = Passage(sent, mid, record.timestamp)
    return list(found.values())


async def _summarised(bench: Bench, accounts: int) -> None:
    """Until everybody's first summary is out, which a worker owes once, when its shards turn live."""
    name, seconds = 'crossmargin_outputs_total{topic="margin-accounts"}', 2.0
    usual = 2 * accounts * seconds / 60  # twice as many as their turns give, once a minute each
    before, quiet = 0.0, 0
    while quiet < QUIET_LOOKS:
        await asyncio.sleep(seconds)
        now = _counters(bench).get(name, 0.0)
        quiet = quiet + 1 if now >= accounts and now - before < usual else 0
        before = now


def _counters(bench: Bench) -> dict[str, float]:
    """The worker's own counters now: name with labels -> value."""
    with urllib.request.urlopen(f"{bench.settings.url()}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def _timed(
    after: Mapping[str, float], before: Mapping[str, float], metric: str, labels: str = ""
) -> tuple[float, float]:
    """How often something timed happened in between, and the ms each took."""
    names = (f"crossmargin_{metric}_{part}{labels}" for part in ("count", "sum"))
    number, seconds = (after.get(name, 0.0) - before.get(name, 0.0) for name in names)
    return number, 1000 * seconds / max(number, 1.0)


# -- the relays


async def relays(report: Report, broker: LocalBroker, bare: dict[str, list[float]], when: str, seconds: float) -> None:
    """Both relays, one after the other; their latencies go to `bare`."""
    for number, (name, backoff_ms) in enumerate(RELAYS.items()):
        latencies, passages = await relayed(broker, f"relay{number}{when}", backoff_ms, seconds)
        bare[name] += latencies
        under = f"{len(latencies)} messages at {QUOTES_S}/s beside {FILLS_S:,} unread ones, {when} the worker's run"
        tell(report, f"{name}, {when}", latencies, passages, under)


async def relayed(
    broker: LocalBroker, prefix: str, backoff_ms: int, seconds: float
) -> tuple[list[float], list[Passage]]:
    """Messages like the quotes, at their rate, through a relay in a process of its own."""
    await stamped(broker, prefix, "in", "mid", "out", "fills")
    command = [sys.executable, "-m", "benchmarks.relay", "--broker", broker.bootstrap, "--prefix", prefix]
    relay = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
        [*command, "--retry-backoff-ms", str(backoff_ms)], stderr=subprocess.DEVNULL
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    heard: dict[bytes, tuple[float, ConsumerRecord]] = {}
    mid: dict[bytes, tuple[float, ConsumerRecord]] = {}
    try:
        async with _listening(broker, f"{prefix}.out", heard):
            while not heard:  # until the relay's groups have formed
                await producer.send_and_wait(f"{prefix}.in", b"", key=b"first", partition=0)
                await asyncio.sleep(0.2)
            sent = await _steadily(producer, prefix, seconds)
            while not sent.keys() <= heard.keys():  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.1)
        async with _listening(broker, f"{prefix}.mid", mid, from_start=True):
            while not sent.keys() <= mid.keys():  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.1)
    finally:
        await producer.stop()
        relay.terminate()
        await asyncio.to_thread(relay.wait, 30)
    latencies = [heard[key][0] - at for key, at in sent.items()]
    return latencies, [Passage(at, mid[key][1].timestamp, heard[key][1].timestamp) for key, at in sent.items()]


async def _steadily(producer: Any, prefix: str, seconds: float) -> dict[bytes, float]:
    """Send quotes to the pace, and fills that nobody reads, as broker and sender have them with the worker.

    Returns key -> append time of each quote, epoch ms.
    """
    sent: dict[bytes, float] = {}
    fills = 0
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        while len(sent) < passed * QUOTES_S:
            symbol = SYMBOLS[len(sent) % len(SYMBOLS)]
            key, (_, value, _) = b"%d" % len(sent), quote(symbol, PRICES[symbol])
            future = await producer.send(f"{prefix}.in", value, key=key, partition=shard_of(symbol, PARTITIONS))
            sent[key] = float((await future).timestamp)
        batch = producer.create_batch()
        for key, value, at in trades(int(passed * FILLS_S) - fills, len(SYMBOLS), fills):
            batch.append(key=key, value=value, timestamp=at)
        fills += batch.record_count()
        if batch.record_count():
            await (await producer.send_batch(batch, f"{prefix}.fills", partition=0))
        await asyncio.sleep(STEP_SECONDS)
    return sent


@asynccontextmanager
async def _listening(
    broker: LocalBroker, topic: str, heard: dict[bytes, tuple[float, ConsumerRecord]], *, from_start: bool = False
) -> AsyncIterator[None]:
    """Note every committed record of a topic by its key, and the epoch ms at which it came."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, isolation_level="read_committed")
    await consumer.start()
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer.assign(tps)
    for tp, end in (await consumer.end_offsets(tps)).items():
        consumer.seek(tp, 0 if from_start else end)

    async def listen() -> None:
        async for record in consumer:
            heard[record.key] = time.time() * 1000, record

    listener = asyncio.create_task(listen())
    try:
        yield
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await consumer.stop()


async def stamped(broker: LocalBroker, prefix: str, *names: str) -> None:
    """Create topics whose records carry the time at which the broker appended them."""
    needs = [
        TopicNeed(
            name=f"{prefix}.{name}",
            partitions=PARTITIONS,
            config=(TOPICS[name].config() if name in TOPICS else {}) | {"message.timestamp.type": "LogAppendTime"},
        )
        for name in names
    ]
    await ensure_topics({"bootstrap_servers": broker.bootstrap}, needs, create=True)
