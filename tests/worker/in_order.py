"""What messages give when they are read in the order of their times: ingest, oracle and shards, without Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from schemas.journal import Block
from streams.engine.shard import Shard
from streams.ingest.partition import WRITERS, IngestPartition
from streams.ingest.quotes import QuotePartition
from streams.ingest.terms import Terms
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote
from tests.worker.backlog import Event

BYTES_MAX = 262_144
FUTURE_MS = 60_000

#: account, bucket, kind
Decision = tuple[str, str, str]


class InOrder:
    """The pure parts of a worker, driven by event time.

    Parameters
    ----------
    quote_age_ms_max : as the worker's setting
    """

    def __init__(self, shards: int, quote_age_ms_max: int) -> None:
        self.shards = [Shard(number) for number in range(shards)]
        self.decisions: list[Decision] = []
        self._terms = Terms(BYTES_MAX)
        self._ingest = {
            topic: IngestPartition(
                topic=topic, source_topic=topic, partition=0, shards=shards, message_bytes_max=BYTES_MAX,
                max_future_ms=FUTURE_MS,
            )
            for topic in WRITERS
        }  # fmt: skip
        self._quotes = QuotePartition(
            topic="oracle-prices", partition=0, message_bytes_max=BYTES_MAX, max_future_ms=FUTURE_MS
        )
        self._oracle = OraclePartition(
            0, 1, heartbeat_ms=1_000, quote_age_ms_max=quote_age_ms_max, max_source_skew_ms=2_000
        )
        self._offset = 0

    def take(self, events: Sequence[Event], now_ms: int) -> None:
        """Take in events in their order, and then tell the marks of `now_ms`."""
        for topic, run in groupby(events, key=lambda event: event.topic):
            messages = [(self._next(), event.key.encode(), event.value(), event.time) for event in run]
            if topic == "oracle-prices":
                rows, refused, *_ = self._quotes.take(messages, self._terms, now_ms, final=True)
                self._oracle.quotes([Quote(*row) for row in rows])
            else:
                result = self._ingest[topic].take(messages, self._terms, now_ms, final=True)
                refused = result.dead_letters
                for shard, block in result.blocks:
                    self._apply(shard, block)
            assert not refused, refused[0].reason
        instruments = sorted(self._terms.instruments.items())
        self._oracle.terms([(name, known.records[1]["underlying"]) for name, known in instruments])
        update = self._oracle.due(now_ms, None)
        if update is not None:
            names, columns, extra = update.block()
            records = {record["id"]: record for _, known in instruments for record in known.records}
            block = Block(kind="marks", names=names, columns=columns, extra=extra, terms=list(records.values()))
            for shard in range(len(self.shards)):
                self._apply(shard, block)

    def _next(self) -> int:
        self._offset += 1
        return self._offset

    def _apply(self, shard: int, block: Block) -> None:
        for sent in self.shards[shard].apply(self.shards[shard].next_offset, block.encode()):
            if sent.topic in ("margin-calls", "liquidations"):
                self.decisions.append(decision(sent.value))


def decision(value: bytes) -> Decision:
    """What a record of `margin-calls` or `liquidations` decides, about whom."""
    record = json.loads(value)
    return record["account"], record["bucket"], record["kind"]


def step_by_step(events: Sequence[Event], shards: int, quote_age_ms_max: int) -> set[Decision]:
    """Decisions when every quote meets the books of its moment."""
    fold = InOrder(shards, quote_age_ms_max)
    pending: list[Event] = []
    for event, after in zip(events, [*events[1:], None], strict=True):
        pending.append(event)
        if event.topic == "oracle-prices" and (after is None or after.time > event.time):
            fold.take(_by_topic(pending), event.time)
            pending = []
    fold.take(_by_topic(pending), events[-1].time)
    return set(fold.decisions)


def at_the_end(events: Iterable[Event], shards: int, quote_age_ms_max: int) -> set[Decision]:
    """Decisions when nobody judges before everything is read: those of the final books at the final prices."""
    fold = InOrder(shards, quote_age_ms_max)
    ordered = list(events)
    fold.take(_by_topic(ordered), ordered[-1].time)
    return set(fold.decisions)


def _by_topic(events: Sequence[Event]) -> list[Event]:
    """Terms, collateral, fills, quotes; each in order of time."""
    order = ("instruments", "accounts", "collateral", "fills", "funding-rates", "oracle-prices")
    return sorted(events, key=lambda event: order.index(event.topic))
