"""Raw history to journals: messages of the input topics through ingest and oracle, in the order of event time.

The rule for ties: what has the same time goes in the order of `ORDER` (facts before the prices of their moment), then
by source as given, then as it stands in its source. A source never goes back: what is older than what came before it
counts as of the same time. All that has one time is one batch, so the journals don't depend on how files are cut.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from schemas.dead_letters import DeadLetter
from schemas.journal import Block
from schemas.sharding import shard_of
from streams.agents.risk_schedule import RiskSchedule
from streams.ingest import messages as ingest
from streams.ingest.blocks import in_pieces
from streams.ingest.dated import dated
from streams.ingest.partition import IngestPartition
from streams.ingest.quotes import QuotePartition
from streams.ingest.terms import Terms
from streams.ingest.volatilities import VolatilityPartition
from streams.oracle.marks import DEGRADED, MarksUpdate
from streams.oracle.options import Listed
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote
from streams.oracle.volatilities import Volatility, fault_of
from streams.replay.recording import RecordingError

#: Input topics, in the order in which those of one moment are taken.
ORDER = ("instruments", "accounts", "collateral", "funding-rates", "fills", "volatilities", "oracle-prices")


class Message(NamedTuple):
    """One message; `time_ms` is its event time, epoch ms."""

    time_ms: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


class Source(NamedTuple):
    """Messages of one partition of a topic, or of one file, in their order."""

    topic: str
    name: str
    partition: int
    messages: Iterable[Message]


@dataclass(frozen=True, kw_only=True)
class RawRules:
    """What a worker's settings say of the same names."""

    shards: int = 1
    message_bytes_max: int = 262_144
    max_future_ms: int = 60_000
    heartbeat_ms: int = 1_000
    quote_age_ms_max: int = 10_000


class RawFold:
    """Ingest and oracle without a broker.

    Attributes
    ----------
    taken : messages, by topic
    refused : dead letters, by reason code
    past_told : how often shards were told of the market's past, for values at risk
    """

    def __init__(self, sources: Sequence[Source], rules: RawRules) -> None:
        self._rules = rules
        self._sources = sorted(enumerate(sources), key=lambda item: (ORDER.index(item[1].topic), item[0]))
        self._terms = Terms(rules.message_bytes_max)
        limits = {"message_bytes_max": rules.message_bytes_max, "max_future_ms": rules.max_future_ms}
        self._ingest = {
            number: IngestPartition(
                topic=source.topic,
                source_topic=source.name,
                partition=source.partition,
                shards=rules.shards,
                **limits,
            )
            for number, source in self._sources
            if source.topic not in ("oracle-prices", "volatilities")
        }
        self._quotes = {
            number: QuotePartition(topic=source.name, partition=source.partition, **limits)
            for number, source in self._sources
            if source.topic == "oracle-prices"
        }
        self._volatilities = {
            number: VolatilityPartition(
                topic=source.name,
                partition=source.partition,
                fault_of=lambda row: fault_of(Volatility.of(row)),
                **limits,
            )
            for number, source in self._sources
            if source.topic == "volatilities"
        }
        self._oracle = OraclePartition(
            0, 1, heartbeat_ms=rules.heartbeat_ms, quote_age_ms_max=rules.quote_age_ms_max, max_source_skew_ms=0
        )
        self._schedule = RiskSchedule()
        self._terms_read = -1
        self._told: set[str] = set()
        self._taken: Counter[int] = Counter()  # by source
        self._refused: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.past_told = 0

    @property
    def past_wanted(self) -> bool:
        """Whether the terms, as far as they have been read, have values at risk made."""
        return self._terms.risk_history() is not None

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Journal blocks in order, with the journal partition each is for.

        Raises
        ------
        RecordingError
            at the end, where all messages of a source were refused.
        """
        streams = [_ranked(source.messages, rank) for rank, (_, source) in enumerate(self._sources)]
        merged = heapq.merge(*streams, key=lambda item: item[:2])
        for time_ms, moment in groupby(merged, key=lambda item: item[0]):
            batches: dict[int, list[Message]] = defaultdict(list)
            for _, rank, message in moment:
                batches[rank].append(message)
            for rank in sorted(batches):
                number, source = self._sources[rank]
                self.taken[source.topic] += len(batches[rank])
                self._taken[number] += len(batches[rank])
                yield from self._take(number, batches[rank], time_ms)
            update = self._mark(time_ms)
            if update is not None:
                for block in self._told_of(update):
                    for shard in range(self._rules.shards):
                        yield shard, block
        self._check()

    def _take(self, number: int, batch: list[Message], time_ms: int) -> list[tuple[int, Block]]:
        messages = [ingest.Message(row.offset, row.key, row.value, row.timestamp_ms) for row in batch]
        if number in self._quotes:
            self._learn_terms()
            quotes = self._quotes[number].take(messages, self._terms, time_ms, final=True)
            self._oracle.quotes([Quote(*row) for row in quotes.rows])
            self._refuse(number, quotes.dead_letters)
            return []
        if number in self._volatilities:
            told = self._volatilities[number].take(messages, self._terms, time_ms, final=True)
            self._oracle.volatilities([Volatility.of(row) for row in told.rows])
            self._refuse(number, told.dead_letters)
            return []
        messages = [message._replace(value=self._readdressed(message.value)) for message in messages]
        result = self._ingest[number].take(messages, self._terms, time_ms, final=True)
        self._refuse(number, result.dead_letters)
        return result.blocks

    def _readdressed(self, value: bytes | None) -> bytes | None:
        """An answer to a liquidation, with the shard in its id that the account is in here."""
        if value is None or b'"liquidation_id"' not in value:
            return value
        try:
            record = orjson.loads(value)
            identity, shard = record["liquidation_id"], shard_of(record["account"], self._rules.shards)
            _, _, rest = identity.partition("-")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return value  # ingest refuses it, or it answers none
        return value.replace(orjson.dumps(identity), orjson.dumps(f"{shard}-{rest}"))

    def _refuse(self, number: int, letters: Iterable[DeadLetter]) -> None:
        codes = [letter.code for letter in letters]
        self.refused.update(codes)
        self._refused[number].update(codes)

    def _check(self) -> None:
        """RecordingError where a source gave nothing that its topic takes: it is another one's."""
        for number, source in self._sources:
            refused = self._refused[number]
            if 0 < self._taken[number] <= refused.total():
                (code, _), *_ = refused.most_common(1)
                clock = "; of topics, terms hold from their Kafka timestamps, or else take --clock event"
                raise RecordingError(
                    f"messages must be of {source.topic}, found all {self._taken[number]:,} refused, most as {code} "
                    f"({source.name}{clock if code.startswith('unknown_') else ''})"
                )

    def _mark(self, time_ms: int) -> MarksUpdate | None:
        self._learn_terms()
        return self._oracle.due(time_ms, None)

    def _learn_terms(self) -> None:
        terms = self._terms
        if terms.next_offset != self._terms_read:
            self._terms_read = terms.next_offset
            self._oracle.rules(terms.oracle_record, terms.halted(), terms.reporting_currency())
            self._oracle.terms(terms.marked_by_index())
            self._oracle.dated(Listed(*row) for row in dated(terms))
            self._schedule.learn(terms.risk_history(), terms.risk_units(), terms.closes_of)

    def _told_of(self, update: MarksUpdate) -> Iterator[Block]:
        """Marks with the terms that they need, and at the end of a period, by event time, the market's past."""
        names, columns, extra = update.block()
        told: dict[str, Any] = {}
        for name in names["instruments"]:
            if name not in self._told:
                self._told.add(name)
                told.update((record["id"], record) for record in self._terms.instruments[name].records)
        *ahead, own = in_pieces(list(told.values()))
        yield from (Block(kind="terms", terms=terms) for terms in ahead)
        yield Block(kind="marks", names=names, columns=columns, extra=extra, terms=own)
        prices = {row.symbol: row.index_price for row in update.rows if row.state <= DEGRADED}
        past = self._schedule.take(update.time, prices)
        if past is not None:
            self.past_told += 1
            yield past


def _ranked(messages: Iterable[Message], rank: int) -> Iterator[tuple[int, int, Message]]:
    """Each message with the time that it counts as, which never goes back, and its source's rank."""
    latest = 0
    for message in messages:
        latest = max(latest, message.time_ms)
        yield latest, rank, message
