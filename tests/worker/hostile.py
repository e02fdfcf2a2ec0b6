"""Hostile messages mixed into good ones, through a real worker: `python -m tests.worker.hostile 100000 [seed]`.

What must hold at the end: every bad message is in `dead-letters` once, with its code, its place and its bytes; every
good one is in the journals once; the books are those of the good ones alone; the worker is the same process, ready.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord

from schemas.dead_letters import REASONS
from schemas.journal import Block
from streams.engine.views import shard_view
from streams.ingest.partition import WRITERS
from streams.kafka.broker import LocalBroker
from tests.worker import ledgers
from tests.worker.harness import Worker, read_all, running, until
from tests.worker.hostile_good import Good, Traffic, opening, published
from tests.worker.hostile_kinds import KEPT_BYTES, MESSAGE_BYTES_MAX, OWN_KEY, Kind, kinds
from tests.worker.hostile_records import text

SHARDS = 4
KEY_FIELDS = {
    "oracle-prices": "symbol",
    "funding-rates": "instrument",
    "instruments": "id",
    "volatilities": "underlying",
}
#: A value that is small on the wire and large unpacked.
BOMB_BYTES = 16 << 20
HEAVY_SHARE = 0.01
SENT_AT_ONCE = 2_000
#: What producers compress with, and who of the good ones does.
CODECS = ("", "gzip", "snappy", "lz4", "zstd")
CODEC_OF = {"fills": "lz4", "collateral": "zstd", "accounts": "snappy"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that Kafka has: what it is, and where.

    Parameters
    ----------
    value : as sent, of an over-size one the start
    length, digest : of the value as sent, digest where it is over-size
    kind, good : what it is, hostile or good
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    length: int
    digest: str
    kind: Kind | None
    good: Good | None


@dataclass
class Run:
    """One run: everything sent, everything found, how long it took."""

    prefix: str
    bootstrap: str
    sent: list[Sent] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)

    def check(self, holds: bool, what: str) -> None:
        self.compared["checks"] += 1
        if not holds:
            self.problems.append(what)


# -- sending ---------------------------------------------------------------------------------------------------------


def mixed(random: Random, number: int, now_ms: int) -> Iterator[Kind | Good]:
    """`number` hostile kinds among at least as many good messages, in random order."""
    light = [kind for kind in kinds() if not kind.heavy]
    heavy = [kind for kind in kinds() if kind.heavy]
    traffic = iter(Traffic(random, now_ms))
    # Each kind once, then by chance; the heavy ones seldom.
    rest = number - len(light) - len(heavy)
    chosen = [*light, *heavy, *(random.choice(light) for _ in range(rest))]
    chosen += [random.choice(heavy) for _ in range(int(number * HEAVY_SHARE))]
    random.shuffle(chosen)
    for kind in chosen:
        if random.random() < 0.5:
            yield next(traffic)
            yield kind
        else:
            yield kind
            yield next(traffic)


async def send(run: Run, messages: Iterator[Kind | Good], random: Random, now_ms: int) -> None:
    """Send, some of it compressed, and note where each message went."""
    producers = {
        codec: AIOKafkaProducer(
            bootstrap_servers=run.bootstrap, linger_ms=5, max_batch_size=128 << 10, max_request_size=64 << 20,
            compression_type=codec or None,
        )
        for codec in CODECS
    }  # fmt: skip
    for producer in producers.values():
        await producer.start()
    waiting: list[tuple[Any, Any]] = []

    async def settle() -> None:
        for future, sent in waiting:
            at = await future
            topic = at.topic.removeprefix(f"{run.prefix}.")
            run.sent.append(Sent(topic, at.partition, at.offset, *sent))
        waiting.clear()

    try:
        for number, message in enumerate(messages):
            if isinstance(message, Good):
                kind, good, key, value, headers = None, message, message.key, message.value, ()
                # A partition's good messages keep their order: one producer each.
                codec = CODEC_OF.get(message.topic, "")
            else:
                kind, good, headers = message, None, message.headers
                key, value = made(message, random, number, now_ms)
                codec = random.choice(CODECS)
                if kind.name == "fills: a megabyte" and random.random() < 0.2:
                    value, codec = b" " * BOMB_BYTES, "gzip"
            timestamp = stamp(random)
            future = await _sent(producers[codec], f"{run.prefix}.{message.topic}", key, value, timestamp, headers)
            waiting.append((future, (timestamp, key, *_kept(value), kind, good)))
            if len(waiting) >= SENT_AT_ONCE:
                await settle()
        await settle()
    finally:
        for producer in producers.values():
            await producer.stop()


async def _sent(
    producer: AIOKafkaProducer,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    timestamp: int,
    headers: Sequence[tuple[str, bytes]],
) -> Any:
    """A future of where the message is."""
    if key is not None or value is not None:
        return await producer.send(topic, key=key, value=value, timestamp_ms=timestamp, headers=list(headers))
    batch = producer.create_batch()  # aiokafka sends no message that is nothing, other clients do
    batch.append(key=None, value=None, timestamp=timestamp, headers=list(headers))
    batch.close()
    return await producer.send_batch(batch, topic, partition=0)


def _kept(value: bytes | None) -> tuple[bytes | None, int, str]:
    """What is remembered of a value: it, its length, and of one that is over-size the start and the digest."""
    if value is None or len(value) <= MESSAGE_BYTES_MAX:
        return value, len(value or b""), ""
    return value[:KEPT_BYTES], len(value), hashlib.sha256(value).hexdigest()


def stamp(random: Random) -> int:
    """A message's own time stamp: now, with a few clocks that are far off (the broker bears up to an hour ahead)."""
    now_ms = int(time.time() * 1000)
    return random.choice((0, 1, now_ms - 86_400_000, now_ms + 3_000_000)) if random.random() < 0.005 else now_ms


def made(kind: Kind, random: Random, number: int, now_ms: int) -> tuple[bytes | None, bytes | None]:
    """Key and value of a hostile message."""
    value = kind.make(random, number, now_ms)
    record = value if isinstance(value, dict) else {}
    key: bytes | None = kind.key
    if kind.key == OWN_KEY:
        key = str(record.get(KEY_FIELDS.get(kind.topic, "account"), f"key-{number % 50}")).encode()
    return key, text(record) if isinstance(value, dict) else value


# -- waiting ---------------------------------------------------------------------------------------------------------


def wait_taken(run: Run, worker: Worker, seconds: float) -> None:
    """Until the worker has committed the offsets of everything sent."""
    last: dict[tuple[str, int], int] = {}
    for one in run.sent:
        place = (one.topic, one.partition)
        last[place] = max(one.offset, last.get(place, -1))

    def taken() -> bool:
        found = worker.get("/progress")
        at = {place: found.get(f"{run.prefix}.{place[0]}", {}).get(str(place[1])) for place in last}
        return all(at[place] is not None and at[place] > offset for place, offset in last.items())

    until(taken, seconds, 0.2)


def read_journal(run: Run, worker: Worker) -> tuple[list[ConsumerRecord], list[dict[str, Any]]]:
    """The journal, and what the worker shows of each shard once it has applied every row in it."""
    journal = asyncio.run(read_all(run.bootstrap, f"{run.prefix}.journal"))
    last: dict[int, int] = {}
    for record in journal:
        if Block.decode(record.value).kind != "marks":
            last[record.partition] = record.offset

    def applied() -> list[dict[str, Any]]:
        views = [worker.get(f"/shards/{shard}") for shard in range(SHARDS)]
        return views if all(view["next_offset"] > last[shard] for shard, view in enumerate(views)) else []

    views = until(applied)
    return asyncio.run(read_all(run.bootstrap, f"{run.prefix}.journal")), views


# -- checking --------------------------------------------------------------------------------------------------------


def check_dead_letters(run: Run) -> None:
    """Every bad message once, with its code, its place and its bytes; nothing else."""
    found: defaultdict[tuple[str, int, int], list[tuple[dict[str, str], ConsumerRecord]]] = defaultdict(list)
    for record in asyncio.run(read_all(run.bootstrap, f"{run.prefix}.dead-letters")):
        headers = {name: value.decode() for name, value in record.headers}
        topic = headers["source_topic"].removeprefix(f"{run.prefix}.")
        found[topic, int(headers["source_partition"]), int(headers["source_offset"])].append((headers, record))
    for one in run.sent:
        letters = found.pop((one.topic, one.partition, one.offset), [])
        name = one.kind.name if one.kind else f"good {one.good}"[:200]
        wanted = 1 if one.kind or (one.good and one.good.over_range) else 0
        run.check(len(letters) == wanted, f"{name}: must have {wanted} dead letters, found {letters}"[:600])
        if len(letters) == 1 and wanted:
            check_letter(run, one, name, *letters[0])
    run.check(not found, f"dead letters of what was not sent: {list(found)[:5]}")


def check_letter(run: Run, one: Sent, name: str, headers: dict[str, str], record: ConsumerRecord) -> None:
    code = one.kind.code if one.kind else "ledger_range"
    run.compared[f"code {code}"] += 1
    run.check(headers["reason_code"] == code, f"{name}: must be {code}, found {headers}")
    run.check(0 < len(headers["reason"]) <= 500 and "\n" not in headers["reason"], f"{name}: one line, found {headers}")
    if one.kind is None:
        return  # the shard's own: it has no original bytes any more
    run.check(headers["source_timestamp"] == str(one.timestamp), f"{name}: must be of {one.timestamp}, found {headers}")
    if one.digest:
        whole = {"value_length": str(one.length), "value_sha256": one.digest}
        run.check({**headers, **whole} == headers, f"{name}: must have {whole}, found {headers}")
    run.check(record.value == one.value, f"{name}: value must be the original, found {record.value!r:.200}")
    key = one.key and one.key[:KEPT_BYTES]
    run.check(record.key == key, f"{name}: key must be {key!r:.80}, is {record.key!r:.80}")


def check_books(run: Run, journal: Sequence[ConsumerRecord], views: list[dict[str, Any]], now_ms: int) -> None:
    """Every good row once in the journals; books as of the good messages alone; the worker shows just these."""
    names = {topic: f"{run.prefix}.{topic}" for topic in WRITERS}
    good: defaultdict[tuple[str, int], list[Sent]] = defaultdict(list)
    for one in run.sent:
        if one.good and one.topic in names:
            good[one.topic, one.partition].append(one)
    wanted_rows = ledgers.fold_of(SHARDS, names, _messages(good, all_of_them=True), now_ms)[1]
    alone = ledgers.fold_of(SHARDS, names, _messages(good, all_of_them=False), now_ms)[0]
    found_rows = Counter(
        row for record in journal for row in ledgers.rows(record.partition, Block.decode(record.value))
    )
    run.compared["source rows in the journals"] = found_rows.total()
    run.check(found_rows.keys() == wanted_rows, f"rows: {_differ(set(found_rows), wanted_rows)}")
    # Terms are told again with what needs them; every other row once.
    twice = [row for row, count in found_rows.items() if count > 1 and row[1] != names["instruments"]]
    run.check(not twice, f"rows more than once in the journals: {twice[:5]}")
    ends = {shard: view["next_offset"] for shard, view in enumerate(views)}
    for shard, (ours, reference) in enumerate(zip(ledgers.folded(SHARDS, journal, ends), alone, strict=True)):
        run.check(shard_view(ours) == views[shard], f"shard {shard} must show its journal's fold")
        books, expected = ledgers.ledger(ours), ledgers.ledger(reference)
        run.compared["books"] += len(books["accounts"])
        for part in expected:
            difference = _differ(_items(books[part]), _items(expected[part]))
            run.check(books[part] == expected[part], f"shard {shard}, {part}: {difference}")
        for name, entry in (views[shard]["assets"] | views[shard]["lots"]).items():
            run.check(entry["total"] == "0", f"shard {shard} must balance in {name}, found {entry}")
    rejected = sum(view["rows"]["out_of_range"] for view in views)
    repeated = sum(view["rows"]["duplicate"] for view in views)
    run.check(rejected == sum(one.good.over_range for one in run.sent if one.good), f"{rejected} rows out of range")
    run.check(repeated > 0, f"{repeated} repeated rows must be counted")


def _messages(good: dict[tuple[str, int], list[Sent]], *, all_of_them: bool) -> dict[tuple[str, int], list[Any]]:
    return {
        place: [
            (one.offset, one.key, one.value, one.timestamp)
            for one in sorted(sent, key=lambda one: one.offset)
            if all_of_them or not (one.good and (one.good.repeated or one.good.over_range))
        ]
        for place, sent in good.items()
    }


def _items(part: dict[Any, Any]) -> set[str]:
    return {f"{name}: {value}" for name, value in part.items()}


def _differ(found: set[Any], wanted: set[Any]) -> str:
    missing, more = wanted - found, found - wanted
    return f"{len(missing)} missing {sorted(missing)[:3]}, {len(more)} too many {sorted(more)[:3]}"


def check_marks(run: Run) -> None:
    """The last mark of each symbol is the median of what the good quotes said last."""
    last: dict[tuple[str, str], float] = {}
    quotes = [one for one in run.sent if one.good and one.topic == "oracle-prices"]
    for one in sorted(quotes, key=lambda one: one.offset):
        said = json.loads(one.value or b"")
        last[said["symbol"], said["source"]] = said["price"]
    records = asyncio.run(read_all(run.bootstrap, f"{run.prefix}.marks"))
    told = {record.key.decode(): json.loads(record.value) for record in records}
    for symbol in {symbol for symbol, _ in last}:
        prices = sorted(price for (name, _), price in last.items() if name == symbol)
        run.check(float(told[symbol]["index"]) == prices[1], f"{symbol} must be {prices[1]}, found {told[symbol]}")
    run.check(set(told) == {symbol for symbol, _ in last}, f"marks of {set(told)}")


# -- the run ---------------------------------------------------------------------------------------------------------


def hostile_run(broker: LocalBroker, folder: Path, number: int, seed: int, prefix: str = "hostile") -> Run:
    """Everything, from a worker that has seen nothing to the checks."""
    random, now_ms = Random(seed), int(time.time() * 1000)
    run = Run(prefix, broker.bootstrap)
    worker = Worker(broker.bootstrap, prefix, folder / "worker.log", quote_age_ms_max=3_600_000, partitions=SHARDS)
    with running(worker):
        process = worker.process
        assert process is not None
        # One after the other: two producers keep no order between their topics.
        asyncio.run(send(run, iter(published()), random, now_ms))
        asyncio.run(send(run, iter(opening(now_ms)), random, now_ms))
        wait_taken(run, worker, 60)
        read_journal(run, worker)
        began = time.monotonic()
        asyncio.run(send(run, mixed(random, number, now_ms), random, now_ms))
        run.seconds["sent"] = time.monotonic() - began
        wait_taken(run, worker, 60 + number / 200)
        run.seconds["taken"] = time.monotonic() - began
        journal, views = read_journal(run, worker)
        run.seconds["applied"] = time.monotonic() - began
        run.check(worker.process is process and process.poll() is None, "the worker must be alive, and the same")
        run.check(worker.get("/health")["ready"], "the worker must be ready")
        starts = worker.log_path.read_text(errors="replace").count("[^Worker]: Starting")
        run.check(starts == 1, f"the worker must have started once, found {starts}")
        check_dead_letters(run)
        check_books(run, journal, views, now_ms)
        check_marks(run)
        for topic in ("margin-calls", "liquidations"):
            wrong = asyncio.run(read_all(run.bootstrap, f"{prefix}.{topic}"))
            run.check(not wrong, f"{topic} must be empty, found {wrong[:1]}")
        run.seconds["checked"] = time.monotonic() - began
    return run


def report(run: Run) -> str:
    bad = [one for one in run.sent if one.kind]
    codes = {code for code in REASONS if run.compared[f"code {code}"]}
    lines = [
        f"{len(bad)} hostile messages of {len({one.kind.name for one in bad if one.kind})} kinds and "
        f"{len(codes)} of {len(REASONS)} reason codes, {sum(one.length for one in bad) / 1e6:.0f} MB; "
        f"{len(run.sent) - len(bad)} good messages",
        "seconds since the first: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.seconds.items()),
        ", ".join(f"{count} {name}" for name, count in run.compared.items() if not name.startswith("code")),
        f"{len(run.problems)} problems",
        *run.problems[:20],
    ]
    return "\n".join(lines)


def main() -> int:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        run = hostile_run(broker, Path(folder), number, seed)
    print(report(run))
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
