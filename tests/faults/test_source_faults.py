"""Sources that send again and cut otherwise, slow readers and shards, a broker that takes less than there is."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from faults.chaos import LONG, SEED, SLOW, TOTAL, concluded, settings, sound
from faults.evidence import collect
from faults.fold import verdict
from faults.met import OPTION_SHARES
from faults.mirror import replayed
from faults.quota import brake
from faults.rush import Rush
from faults.sending import StalledReader, by_partition, send
from faults.squad import Squad
from faults.trades import CASH_PRECISION, Row, Trades

from schemas.journal import Block
from streams.engine.shard import Shard
from streams.engine.views import account_view
from streams.ingest.partition import IngestPartition
from streams.ingest.terms import Terms
from streams.kafka.broker import LocalBroker
from streams.settings import Settings

SHARDS = 2
ACCOUNTS, TRADES, KILLS = (200, 8_000, 4) if LONG else (40, 600, 1)
BATCH_ROWS, TAIL_ROWS = (200, 2_000) if LONG else (40, 300)
#: Bytes of the journal that a slow worker may hold: three fetches, each of a batch of at most 700 rows.
HELD_MAX, SLOW_BATCH_ROWS = 160_000, 200


# -- sent again, and cut otherwise


def streams_of(trades: Trades, rng: random.Random, partitions: int) -> dict[int, list[Sequence[Row]]]:
    """The batches of each partition: deposits, then fills, then the fills that undo them."""
    found: dict[int, list[Sequence[Row]]] = {}
    for rows in (trades.deposits, trades.opens, trades.closes):
        for partition, own in by_partition(rows, partitions).items():
            found.setdefault(partition, []).extend(
                replayed(own, rng, batch_rows_max=BATCH_ROWS, tail_rows_max=TAIL_ROWS)
            )
    return found


def mixed(streams: dict[int, list[Sequence[Row]]]) -> Iterator[tuple[int, Sequence[Row]]]:
    """The batches of all partitions in turn."""
    for batches in zip_longest(*streams.values()):
        yield from ((p, batch) for p, batch in zip(streams, batches, strict=True) if batch is not None)


def owned(shards: Sequence[Shard], trades: Trades) -> dict[str, Any]:
    """What is wrong with each account: its cash, or a position that is left."""
    wrong: dict[str, Any] = {}
    for account, minor in trades.owned.items():
        view = next(filter(None, (account_view(shard, account) for shard in shards)))
        held = [position for position in view["positions"] if float(position["quantity"])]
        if held or Fraction(view["balances"]["USDC"]) * 10**CASH_PRECISION != minor:
            wrong[account] = (view["balances"], held, minor)
    return wrong


def folded(trades: Trades, batches: Sequence[Sequence[Row]], window: int) -> Shard:
    """One shard that was given these batches, without Kafka, remembering so many ids."""
    rules = Row("instruments", b"~engine", b'{"id": "~engine", "kind": "engine", "duplicate_window": %d}' % window)
    terms, shard, now_ms = Terms(1 << 18), Shard(0), int(time.time() * 1000)
    ingest = {
        topic: IngestPartition(
            topic=topic, source_topic=topic, partition=0, shards=1, message_bytes_max=1 << 18, max_future_ms=60_000
        )
        for topic in ("instruments", "accounts", "collateral", "fills")
    }
    offsets: Counter[str] = Counter()
    for batch in ([rules, *trades.terms], trades.settings, *batches):
        topic = batch[0].topic
        messages = [(offsets[topic] + at, row.key, row.value, now_ms) for at, row in enumerate(batch)]
        offsets[topic] += len(batch)
        result = ingest[topic].take(messages, terms, now_ms, final=True)
        assert not result.dead_letters
        for _, block in result.blocks:
            shard.apply(shard.next_offset, block.encode())
    return shard


@pytest.mark.parametrize("seed", range(3))
def test_the_books_do_not_depend_on_how_often_and_how_a_source_sends(seed: int) -> None:
    """A mirror that starts again would book every fill of its tail twice."""
    trades = Trades(seed, accounts=20, trades=200, cash=100_000, now_ms=int(time.time() * 1000))
    ((_, batches),) = streams_of(trades, random.Random(seed), 1).items()
    sent = sum(map(len, batches))
    once = len(trades.deposits) + len(trades.opens) + len(trades.closes)
    shard = folded(trades, batches, 256)
    assert owned([shard], trades) == {}
    assert shard.ledger.rows == {"applied": once, "duplicate": sent - once, "out_of_range": 0, "to_house": 0}
    assert sent - once > once / 10, "enough must come again"
    assert len(shard.portfolio.books()) == 10
    assert owned([folded(trades, batches, 1)], trades) != {}, "who remembers one id only must book some twice"


@pytest.mark.kafka
def test_batches_sent_twice_and_cut_otherwise_count_once(broker: LocalBroker, tmp_path: Path) -> None:
    """The same through a worker that is killed meanwhile: rows come again with new offsets, and are no new rows."""
    given = settings(broker.bootstrap, "again", "event", SHARDS)
    squad, rng = Squad(given, tmp_path), random.Random(SEED)
    now_ms = int(time.time() * 1000)
    trades = Trades(SEED, accounts=ACCOUNTS, trades=TRADES, cash=100_000, now_ms=now_ms)
    batches = list(mixed(streams_of(trades, rng, SHARDS)))
    kills = sorted(rng.sample(range(len(batches) // 4, len(batches)), KILLS))
    once = len(trades.deposits) + len(trades.opens) + len(trades.closes)
    squad.say(f"seed {SEED}: {once} rows in {len(batches)} batches, kills after batches {kills}")
    try:
        send(given, [(0, trades.terms)])
        worker = squad.start("one")
        squad.until_held("one")
        squad.until(lambda: knows(given, trades), 60, "the terms in all journals")
        send(given, by_partition(trades.settings, SHARDS).items())
        sent = send(given, by_partition(trades.deposits, SHARDS).items())
        squad.until(lambda: counted(worker, SHARDS) == sent, 60, "the deposits")
        for priced in (trades.volatilities, trades.quotes({}, now_ms)):  # before them all would be bankrupt
            send(given, by_partition(priced, SHARDS).items())
        for first, last in zip([0, *kills], [*kills, len(batches)], strict=True):
            if first:
                squad.struck["kill"] += 1
                squad.restart("one", squad.kill("one"))
            sent += send(given, batches[first:last])
            if last in kills:
                squad.sleep(rng.uniform(0.0, 2.0))
        squad.until(lambda: counted(worker, SHARDS) == sent, 120, f"{sent} rows counted")
        squad.until(squad.journal_read, 60, "the journal read to its end")
        found = verdict(squad.evidence())
        squad.say(f"{sent} rows sent, {sent - once} of them again; {found}")
        TOTAL.add(squad.struck, found)
        assert found.problems == [], f"seed {SEED}\n{found}"
        rows = sum((Counter(shard.ledger.rows) for shard in found.shards), Counter())
        assert (rows["applied"], rows["duplicate"]) == (once, sent - once)
        assert owned(found.shards, trades) == {}
        assert sum(len(shard.portfolio.books()) for shard in found.shards) == ACCOUNTS // 2
    finally:
        squad.end()


def knows(given: Settings, trades: Trades) -> bool:
    """Whether all journals have the terms: who asks for portfolio margin before is refused."""
    last = trades.terms[-1].key.decode()
    journals = collect(given).records["journal"].values()
    blocks = [[Block.decode(record.value) for record in records] for records in journals]
    return all(any(record["id"] == last for block in found for record in block.terms) for found in blocks)


def batched(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """Rows in batches of one size."""
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def counted(worker: Any, shards: int) -> int:
    """Rows that the shards of one worker have seen."""
    try:
        views = [worker.get(f"/shards/{shard}")["rows"] for shard in range(shards)]
    except OSError:
        return -1
    return sum(sum(view.values()) for view in views)


# -- slow readers, slow shards, a slow broker


@pytest.mark.kafka
def test_slow_shards_and_a_stalled_reader_lose_nothing(broker: LocalBroker, tmp_path: Path) -> None:
    """A worker that fetches what it cannot apply grows until it is killed; a reader that sleeps must miss nothing."""
    accounts, count, slow = (1000, 20_000, 0.1) if LONG else (200, 5_000, 0.1)
    given = settings(broker.bootstrap, "slow", "event", 1)
    squad = Squad(given, tmp_path, SLOW)
    now_ms = int(time.time() * 1000)
    trades = Trades(SEED, accounts=accounts, trades=count, cash=4_000, now_ms=now_ms)
    readers = [StalledReader(given, topic, 0) for topic in ("margin-calls", "liquidations")]
    squad.say(f"seed {SEED}: {len(trades.opens)} fills")
    try:
        send(given, [(0, trades.terms)])
        worker = squad.start("one", slow_seconds=slow)
        squad.until_held("one")
        squad.until(lambda: knows(given, trades), 60, "the terms in the journal")
        told = trades.settings, trades.volatilities, trades.deposits, trades.quotes({}, now_ms)
        send(given, [(0, rows) for rows in told])
        for reader in readers:
            reader.start()
        send(given, [(0, part) for part in batched(trades.opens, SLOW_BATCH_ROWS)])
        send(given, [(0, trades.quotes({"BTC": 0.99 - fall / 100}, now_ms + 1 + fall)) for fall in range(20)])
        squad.until(lambda: counted(worker, 1) == len(trades.opens) + accounts, 300, "all fills applied")
        squad.until(squad.journal_read, 60, "the journal read to its end")
        evidence = squad.evidence()
        found = verdict(evidence)
        journal = sum(len(record.value) for record in evidence.records["journal"][0])
        held = max(int(text) for text in re.findall(r"most held of slow.journal: (\d+)", worker.log_path.read_text()))
        squad.say(f"most held {held:,} of {journal:,} bytes; {found}")
        TOTAL.add(squad.struck, found)
        assert found.problems == [], f"seed {SEED}\n{found}"
        assert found.compared["margin-calls"] + found.compared["liquidations"] > accounts / 2
        assert found.compared[OPTION_SHARES] > 0, str(found)
        assert held <= HELD_MAX < journal / 3, "what is held must be bounded, and the journal far beyond the bound"
        for reader, topic in zip(readers, ("margin-calls", "liquidations"), strict=True):
            wanted = [(record.key, record.value) for record in evidence.records[topic][0]]
            reader.finish(len(wanted))
            assert [(record.key, record.value) for record in reader.read] == wanted
    finally:
        squad.end()


def margin_writers(given: Settings) -> list[str]:
    """Client ids of the producers that write for the shards."""
    return [f"{given.prefix}-margin-{given.topic('journal')}-{shard}" for shard in range(given.partitions)]


@pytest.mark.kafka
@pytest.mark.long
def test_a_broker_that_takes_less_than_there_is(own_broker: LocalBroker, tmp_path: Path) -> None:
    """Decisions pile up behind a full buffer: none may be lost, sent twice, or overtaken by its account's next."""
    accounts, minutes, seconds, frozen = 1000, 30, 20.0, (5.0, 20.0)
    given = settings(own_broker.bootstrap, "full", "event", 1)
    squad = Squad(given, tmp_path, restarts_max=20)
    rush = Rush(given, seed=SEED, accounts=accounts, minutes=minutes, fills_s=200)
    squad.say(f"seed {SEED}")
    try:
        squad.start("one")
        rush.start()
        squad.until_held("one")
        squad.until(rush.opened.is_set, 60, "the accounts")
        writers = margin_writers(given)
        rush.allowed = 0.3
        brake(own_broker, writers, 20_000)
        squad.say(f"shards may write 20 kB/s from step {rush.step} on")
        rush.allowed = 0.7
        squad.sleep(seconds)
        brake(own_broker, writers, None)
        squad.say(f"as much as they like from step {rush.step} on")
        for pause in frozen:
            assert own_broker.pid is not None
            os.kill(own_broker.pid, signal.SIGSTOP)
            squad.sleep(pause)
            os.kill(own_broker.pid, signal.SIGCONT)
            squad.say(f"broker frozen for {pause:g} s, thawed at step {rush.step}")
        _, found = concluded(squad, rush)
        sound(found)
    finally:
        squad.end()
