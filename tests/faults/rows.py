"""Every valid row of the sources is in the journals once, in its account's shard; every other in dead letters, once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord
from faults.evidence import Evidence

from schemas.journal import Block
from schemas.sharding import shard_of
from streams.agents.ingest import SOURCES

#: Key of messages that a run sends to be refused; it sends no other bad ones.
BAD_KEY = b"bad"
TOLD_MAX = 5
#: Records on `instruments` that shards are not told: how prices are judged is in the marks that come of it, how values
#: at risk are made in the blocks of the past.
ORACLE_ONLY = {"oracle", "source", "risk", "closes"}
#: Why shards refuse what ingest has taken: those dead letters are the fold's to compare.
SHARD_CODES = {"ledger_range", "model_refused"}

Blocks = Mapping[int, Sequence[tuple[int, Block]]]
#: journal partition, source topic, its partition, offset, leg
Row = tuple[int, str, int, int, int]


def row_problems(evidence: Evidence, blocks: Blocks, compared: Counter[str]) -> Iterator[str]:
    """What is not in the journals, or not in the dead letters, exactly once."""
    wanted, refused = Counter(_wanted(evidence)), Counter(_refused(evidence))
    compared["source rows in journals"] += wanted.total()
    compared["refused rows in dead letters"] += refused.total()
    yield from _count_problems("journal rows (shard, topic, partition, offset, leg)", Counter(_rows(blocks)), wanted)
    yield from _count_problems("dead letters (topic, partition, offset)", Counter(_letters(evidence)), refused)


def _count_problems(what: str, got: Counter[Any], want: Counter[Any]) -> Iterator[str]:
    for name, wrong in (("missing", want - got), ("too many", got - want)):
        if wrong:
            yield f"{what}: {wrong.total()} {name}, {sorted(wrong)[:TOLD_MAX]}"


def _rows(blocks: Blocks) -> Iterator[Row]:
    """The rows that the journals hold."""
    for shard, listed in blocks.items():
        for _, block in listed:
            if block.source is None:
                continue
            place = (shard, block.source["topic"], block.source["partition"])
            if block.kind == "accounts":
                yield from ((*place, row["source_offset"], 0) for row in block.extra["accounts"])
            elif block.kind == "terms":
                covered = range(block.source["first"], block.source["next"])
                versions = {terms["version"] for terms in block.terms}  # an asset is told with its instruments again
                yield from ((*place, version, 0) for version in versions if version in covered)
            else:
                offsets = block.columns["source_offset"].tolist()
                legs = block.columns["leg"].tolist() if "leg" in block.columns else [0] * len(offsets)
                yield from ((*place, offset, leg) for offset, leg in zip(offsets, legs, strict=True))


def _wanted(evidence: Evidence) -> Iterator[Row]:
    """The rows that follow from the sources."""
    settings = evidence.settings
    for topic in SOURCES:
        for partition, records in evidence.records[topic].items():
            for record in records:
                if record.key != BAD_KEY:
                    place = (settings.topic(topic), partition, record.offset)
                    for shard, leg in _places(topic, json.loads(record.value), settings.partitions):
                        yield (shard, *place, leg)


def _places(topic: str, value: Mapping[str, Any], shards: int) -> list[tuple[int, int]]:
    """Journal partition and leg of each row that one source record becomes."""
    if topic == "instruments" and value["kind"] in ORACLE_ONLY:
        return []
    if topic in ("funding-rates", "instruments"):
        return [(shard, 0) for shard in range(shards)]
    first = shard_of(value["account"], shards)
    kind = value.get("type")
    if topic == "collateral" and kind == "transfer":
        return [(first, 0), (shard_of(value["to_account"], shards), 1)]
    return [(first, 0), (first, 1)] if kind == "conversion" else [(first, 0)]


def _refused(evidence: Evidence) -> Iterator[tuple[str, int, int]]:
    for topic in (*SOURCES, "oracle-prices", "volatilities"):
        for partition, records in evidence.records[topic].items():
            name = evidence.settings.topic(topic)
            yield from ((name, partition, record.offset) for record in records if record.key == BAD_KEY)


def _letters(evidence: Evidence) -> Iterator[tuple[str, int, int]]:
    for _, headers in _with_headers(evidence):
        if headers["reason_code"] not in SHARD_CODES:
            yield headers["source_topic"], int(headers["source_partition"]), int(headers["source_offset"])


def shard_letters(evidence: Evidence, shard: int) -> list[ConsumerRecord]:
    """The dead letters of one shard, in order."""
    found = [record for record, headers in _with_headers(evidence) if headers["reason_code"] in SHARD_CODES]
    return [record for record in found if json.loads(record.value)["journal"]["partition"] == shard]


def _with_headers(evidence: Evidence) -> Iterator[tuple[ConsumerRecord, dict[str, str]]]:
    for records in evidence.records["dead-letters"].values():
        for record in records:
            yield record, {name: value.decode() for name, value in record.headers}
