"""Ledgers by name: what journals and lists of messages come to, to be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord

from schemas.journal import Block
from streams.engine.shard import Shard
from streams.ingest.partition import WRITERS, IngestPartition
from streams.ingest.partition import Message as SourceMessage
from streams.ingest.terms import Terms

BYTES_MAX = 262_144
BATCH_ROWS = 1_000

#: (shard, source topic, its partition, source offset, leg)
Row = tuple[int, str, int, int, int]


def folded(shards: int, journal: Iterable[ConsumerRecord], ends: Mapping[int, int] | None = None) -> list[Shard]:
    """The shards that the journal gives, up to (not including) the offset `ends` of each partition."""
    found = [Shard(number) for number in range(shards)]
    for record in journal:
        if ends is None or record.offset < ends[record.partition]:
            found[record.partition].apply(record.offset, record.value)
    return found


def rows(shard: int, block: Block) -> Iterable[Row]:
    """The source rows that a journal block brought in; of terms those that it covers itself."""
    if block.source is None:
        return
    place = (shard, block.source["topic"], block.source["partition"])
    covered = range(block.source["first"], block.source["next"])
    if block.kind == "accounts":
        found = [(row["source_offset"], 0) for row in block.extra["accounts"]]
    elif block.kind == "terms":
        found = [(record["version"], 0) for record in block.terms if record["version"] in covered]
    else:
        offsets = block.columns["source_offset"].tolist()
        legs = block.columns["leg"].tolist() if "leg" in block.columns else [0] * len(offsets)
        found = list(zip(offsets, legs, strict=True))
    for offset, leg in found:
        assert offset in covered, (place, offset, covered)
        yield (*place, offset, leg)


def fold_of(
    shards: int,
    names: Mapping[str, str],
    messages: Mapping[tuple[str, int], Sequence[SourceMessage]],
    now_ms: int,
) -> tuple[list[Shard], set[Row]]:
    """The shards that messages give without Kafka, no price known, and their rows.

    Parameters
    ----------
    names : logical topic -> the broker's name
    messages : (logical topic, partition) -> (offset, key, value, timestamp), in order of offset; all of them good
    """
    terms = Terms(BYTES_MAX)
    for _, listed in sorted(item for item in messages.items() if item[0][0] == "instruments"):
        terms.read([message[:3] for message in listed])
    found, taken = [Shard(number) for number in range(shards)], set()
    order = ["instruments", "accounts", "collateral", "fills", "funding-rates"]
    assert set(order) == WRITERS.keys()
    for topic, partition in sorted(messages.keys(), key=lambda place: (order.index(place[0]), place[1])):
        fold = IngestPartition(
            topic=topic, source_topic=names[topic], partition=partition, shards=shards, message_bytes_max=BYTES_MAX,
            max_future_ms=60_000,
        )  # fmt: skip
        listed = messages[topic, partition]
        for first in range(0, len(listed), BATCH_ROWS):
            result = fold.take(listed[first : first + BATCH_ROWS], terms, now_ms, final=True)
            assert not result.dead_letters, [letter.reason for letter in result.dead_letters[:3]]
            for shard, block in result.blocks:
                found[shard].apply(found[shard].next_offset, block.encode())
                taken.update(rows(shard, block))
    return found, taken


def ledger(shard: Shard) -> dict[str, dict[Any, Any]]:
    """Every book's balances and positions by name, what the house holds, settings, funding indices and terms."""
    books, terms = shard.ledger, shard.terms
    accounts: dict[str, Any] = {}
    for number, name in enumerate(books.accounts):
        for book in books.books_of(number):
            instrument = int(books.book_instrument[book])
            bucket = "cross" if instrument < 0 else terms.instruments[instrument]
            accounts[f"{name} {bucket}"] = _book(shard, book)
    house: Counter[tuple[str, str]] = Counter()
    for entries, names in ((books.house_assets, terms.assets), (books.house_lots, terms.instruments)):
        for (who, key), amount in entries.items():
            house[who.partition(":")[0], names[key]] += amount
    return {
        "accounts": accounts,
        "house": {key: amount for key, amount in house.items() if amount},
        "settings": {books.accounts[number]: (said["mode"], said["levels"]) for number, said in shard.settings.items()},
        "funding": {terms.instruments[i]: index for i, index in shard.prices.funding_index.items()},
        "terms": terms.records,
    }


def _book(shard: Shard, book: int) -> tuple[Any, Any]:
    """Positions as (instrument, lots, cost, funding), balances as (asset, amount); both by name."""
    terms, positions, balances = shard.terms, shard.ledger.positions, shard.ledger.balances
    at = slice(int(positions.start[book]), int(positions.start[book]) + int(positions.size[book]))
    held = slice(int(balances.start[book]), int(balances.start[book]) + int(balances.size[book]))
    columns = (positions.key, positions.lots, positions.cost, positions.funding)
    rows = zip(*(column[at].tolist() for column in columns), strict=True)
    amounts = zip(balances.key[held].tolist(), balances.amount[held].tolist(), strict=True)
    return (
        sorted((terms.instruments[key], *rest) for key, *rest in rows),
        sorted((terms.assets[key], amount) for key, amount in amounts),
    )
