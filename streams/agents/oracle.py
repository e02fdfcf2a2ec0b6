"""The oracle agent: quotes of one source partition become marks, told to every shard."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from schemas.codec import encode
from schemas.journal import PRICE_STATES
from schemas.journal import Block as JournalBlock
from schemas.sharding import shard_of
from streams.agents.blocks import Opening
from streams.agents.context import Context
from streams.agents.risk_schedule import RiskSchedule
from streams.engine.report import decimal_text
from streams.ingest.blocks import in_pieces
from streams.ingest.dated import dated
from streams.ingest.messages import Message
from streams.ingest.quotes import QuotePartition, QuoteResult
from streams.kafka.batches import Headers, Record
from streams.kafka.leases import Block
from streams.metrics import (
    DEAD_LETTERS,
    PRICE_REASONS,
    PRICE_STATE,
    QUOTE_AGE,
    QUOTES_REFUSED,
    SOURCE_ROWS,
    UNKNOWN_FIELDS,
)
from streams.oracle.marks import DEGRADED, LIVE, MarksUpdate, SymbolMark
from streams.oracle.options import Listed
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import REFUSALS, Quote

#: How often the oracle looks whether something falls due by time alone: a heartbeat, a source gone stale.
TICK_MS = 50
#: So many quotes are read between two passes of the event loop: signed ones take 13 ms.
QUOTES_AT_ONCE = 100
#: Logical name of the topic that quotes come on.
SOURCE = "oracle-prices"
#: Header of a marks block in the journal: when it was told by the worker's clock, epoch ms.
WALL_HEADER = "told_ms"


class Oracle:
    """One partition of quotes. Quotes that come while a transaction is open are conflated into the next one."""

    def __init__(self, tp: TopicPartition, context: Context) -> None:
        settings = context.settings
        self._context = context
        self._tp = tp
        self._changelog = TopicPartition(settings.topic("oracle-changelog"), tp.partition)
        self._quotes = QuotePartition(
            topic=tp.topic,
            partition=tp.partition,
            message_bytes_max=settings.message_bytes_max,
            max_future_ms=settings.max_future_ms,
        )
        self._fold = OraclePartition(
            tp.partition,
            context.counts[tp.topic],
            heartbeat_ms=settings.heartbeat_ms,
            quote_age_ms_max=settings.quote_age_ms_max,
            max_source_skew_ms=settings.max_source_skew_ms,
        )
        self._newest_ms = 0  # the event clock
        self._terms_read = -1
        self._rates_read: tuple[int, list[str]] = (-1, [])  # edition of the marks, and what was wanted of them
        self._volatilities_read = 0
        self._schedule = RiskSchedule() if tp.partition == 0 else None
        self._told: set[str] = set()  # instruments whose terms this producer has put into the journals
        self._records: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        self._reasons: dict[str, set[str]] = {}  # last told, by symbol

    async def open(self, opening: Opening) -> int | None:
        """Restore the sources' quotes and what was told last."""
        records = []
        async for part in opening.read(self._changelog.topic, self._changelog.partition):
            records += [(record.key, record.value) for record in part]
        await self._context.terms.refresh()
        self._learn_rules()
        self._fold.restore((key, value) for key, value in records if not RiskSchedule.owns(key))
        if self._schedule is not None:
            self._schedule.restore((key, value) for key, value in records if RiskSchedule.owns(key))
        self._newest_ms = self._fold.time
        self._learn_terms()
        self._context.marks.want(self._foreign())
        await self._context.marks.refresh()
        await self._context.volatilities.refresh()
        return None

    async def take(self, block: Block) -> bool:
        """Take in quotes; what they change is told by the next flush.

        An instrument, source or key that nobody has published is looked up once more before it is refused.
        """
        messages = [Message(record.offset, record.key, record.value, record.timestamp) for record in block.records]
        now_ms = int(time.time() * 1000)
        result = await self._read(messages, now_ms)
        self._learn_terms()
        self._fold.quotes([Quote(*row) for row in result.rows])
        newest_ms = max((row[4] for row in result.rows), default=0)
        self._newest_ms = max(self._newest_ms, newest_ms)
        if newest_ms:
            QUOTE_AGE.labels("arrival").observe((now_ms - newest_ms) / 1000)
        for letter in result.dead_letters:
            target = self._context.partition("dead-letters", self._tp.partition)
            self._records[target].append(Record(letter.key, letter.value, letter.headers))
            DEAD_LETTERS.labels(letter.code).inc()
        SOURCE_ROWS.labels(SOURCE).inc(len(messages))
        for reason, number in self._fold.refused.items():
            QUOTES_REFUSED.labels(self._tp.partition, reason).set(number)
        return True

    async def _read(self, messages: Sequence[Message], now_ms: int) -> QuoteResult:
        """Check quotes, and let others have their turn in between."""
        read, terms, looked_up = QuoteResult([], []), self._context.terms, False
        for first in range(0, len(messages), QUOTES_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            part = messages[first : first + QUOTES_AT_ONCE]
            result = self._quotes.take(part, terms.terms, now_ms, final=looked_up)
            if result.unknown_ids:
                await terms.refresh()
                looked_up = True
                result = self._quotes.take(part, terms.terms, now_ms, final=True)
            read.rows.extend(result.rows)
            read.dead_letters.extend(result.dead_letters)
            UNKNOWN_FIELDS.labels(SOURCE).inc(result.unknown_fields)
        return read

    def tick(self) -> bool:
        """Look again: time has passed, and sources may have caught up."""
        return True

    def flush(self) -> Mapping[TopicPartition, Sequence[Record]]:
        """The marks update that is due, for every shard, and the changed state of the oracle."""
        self._learn_terms()
        self._learn_rates()
        self._learn_volatilities()
        now_ms, context = self._now_ms(), self._context
        update = self._fold.due(now_ms, context.progress_ms(now_ms), backlog=context.backlog())
        if update is not None:
            self._tell(update)
            self._tell_risk(update)
        context.marks.want(self._foreign())
        records, self._records = self._records, defaultdict(list)
        changed = [Record(key, value) for key, value in self._fold.dirty()]
        if self._schedule is not None:
            changed += [Record(key, value) for key, value in self._schedule.dirty()]
        if changed:
            records[self._changelog] = changed
        return records

    def committed(self) -> None:
        """Nothing waits for it."""

    def closed(self) -> None:
        """Whoever takes the partition over tells its numbers from now on."""
        for symbol in self._reasons:
            PRICE_STATE.remove(symbol)
        for reason in REFUSALS:
            QUOTES_REFUSED.remove(self._tp.partition, reason)

    def _now_ms(self) -> int:
        return int(time.time() * 1000) if self._context.settings.clock == "wall" else self._newest_ms

    def _learn_terms(self) -> None:
        terms = self._context.terms.terms
        if terms.next_offset != self._terms_read:
            self._terms_read = terms.next_offset
            self._learn_rules()
            self._fold.terms(terms.marked_by_index())
            listed = [Listed(*row) for row in dated(terms)]
            self._fold.dated(listed)
            self._context.volatilities.want(any(one.right for one in listed))
            if self._schedule is not None:
                self._schedule.learn(terms.risk_history(), terms.risk_units(), terms.closes_of)

    def _learn_rules(self) -> None:
        terms = self._context.terms.terms
        self._fold.rules(terms.oracle_record, terms.halted(), terms.reporting_currency())

    def _learn_rates(self) -> None:
        """What other partitions told of the symbols that prices here are stated in."""
        marks, legs = self._context.marks, self._fold.foreign_legs()
        if (marks.edition, legs) != self._rates_read:
            self._rates_read = marks.edition, legs
            self._fold.rates(marks.rows[leg] for leg in legs if leg in marks.rows)

    def _learn_volatilities(self) -> None:
        """What was accepted of `volatilities`, on whichever partition."""
        volatilities = self._context.volatilities
        if volatilities.edition != self._volatilities_read:
            self._volatilities_read = volatilities.edition
            self._fold.volatilities(volatilities.rows.values())

    def _tell(self, update: MarksUpdate) -> None:
        names, columns, extra = update.block()
        terms: list[dict[str, Any]] = []
        for name in names["instruments"]:
            known = self._context.terms.terms.instruments.get(name)
            if known is not None and name not in self._told:  # one whose terms are gone was told before they went
                self._told.add(name)
                terms += known.records
        *ahead, own = in_pieces(list({record["id"]: record for record in terms}.values()))
        wall_ms = int(time.time() * 1000)
        for records in ahead:
            self._journal(JournalBlock(kind="terms", terms=records))
        block = JournalBlock(kind="marks", names=names, columns=columns, extra=extra, terms=own)
        self._journal(block, ((WALL_HEADER, str(wall_ms).encode()),))
        topic = self._context.settings.topic("marks")
        for row in update.rows:
            partition = shard_of(row.symbol, self._context.counts[topic])
            self._records[TopicPartition(topic, partition)].append(
                Record(row.symbol.encode(), encode(_mark(row, update.time)))
            )
            self._measure(row, wall_ms)

    def _foreign(self) -> list[str]:
        """Symbols whose prices other partitions tell."""
        units = self._schedule.units if self._schedule is not None else []
        return self._fold.foreign_legs() + [unit for unit in units if not self._fold.quoted(unit)]

    def _tell_risk(self, update: MarksUpdate) -> None:
        """What values at risk are made of, in the transaction of the marks that ended a period."""
        if self._schedule is None or update.mode != LIVE:
            return
        others = (self._context.marks.rows[unit] for unit in self._foreign() if unit in self._context.marks.rows)
        prices = {row.symbol: row.price for row in others if row.state <= DEGRADED}
        prices |= {row.symbol: row.index_price for row in update.rows if row.state <= DEGRADED}
        block = self._schedule.take(update.time, prices)
        if block is not None:
            self._journal(block)

    def _journal(self, block: JournalBlock, headers: Headers = ()) -> None:
        """Tell every shard."""
        value = block.encode()
        for shard in range(self._context.settings.partitions):
            self._records[self._context.partition("journal", shard)].append(Record(None, value, headers))

    def _measure(self, row: SymbolMark, wall_ms: int) -> None:
        PRICE_STATE.labels(row.symbol).set(row.state)
        if row.sources:
            QUOTE_AGE.labels("index").observe((wall_ms - row.quote_time) / 1000)
        for reason in sorted(set(row.reasons) - self._reasons.get(row.symbol, set())):
            PRICE_REASONS.labels(row.symbol, reason.partition(":")[0]).inc()
        self._reasons[row.symbol] = set(row.reasons)


def _mark(row: SymbolMark, time_ms: int) -> dict[str, object]:
    """The record of one symbol on `marks`."""
    index = decimal_text(row.index_price)
    record: dict[str, object] = {
        "symbol": row.symbol,
        "index": index,
        "confidence": decimal_text(row.confidence),
        "check": None if row.check is None else decimal_text(row.check),
        "state": PRICE_STATES[row.state],
        "reasons": list(row.reasons),
        "widening": decimal_text(row.widening),
        "sources": list(row.sources),
        "quote_time": row.quote_time,
        "marks": {
            mark.instrument: {"mark": decimal_text(mark.price), "index": index, "state": PRICE_STATES[state]}
            for mark, state in row.instruments()
        },
        "time": time_ms,
    }
    if row.options:
        names = ("volatility", "forward", "discount")
        record["options"] = {
            option.instrument: {name: decimal_text(getattr(option, name)) for name in names} for option in row.options
        }
    return record
