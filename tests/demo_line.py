"""The demo's line without a broker: ingest, oracle and shards in this process, one journal a shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson

from schemas.journal import Block
from streams.demo.feed import DECISIONS, Heard
from streams.demo.play import Play
from streams.demo.score import Score
from streams.demo.script import Script
from streams.demo.venue import Message
from streams.engine.shard import Shard
from streams.ingest import messages as ingest
from streams.ingest.dated import dated
from streams.ingest.partition import IngestPartition
from streams.ingest.quotes import QuotePartition
from streams.ingest.terms import Terms
from streams.ingest.volatilities import VolatilityPartition
from streams.oracle.options import Listed
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote
from streams.oracle.volatilities import Volatility, fault_of
from streams.replay.raw import ORDER

LIMITS = {"message_bytes_max": 262_144, "max_future_ms": 60_000}
LAG_MS = 1 << 40


class EngineLine:
    """What was sent is worked through at once, topic by topic; what the shards decide is heard.

    Attributes
    ----------
    shards, journals : by partition
    summaries : the last of each account
    """

    def __init__(self, shards: int = 1) -> None:
        self.shards = [Shard(partition) for partition in range(shards)]
        self.journals: list[list[bytes]] = [[] for _ in range(shards)]
        self.summaries: dict[str, dict[str, Any]] = {}
        self._terms = Terms(LIMITS["message_bytes_max"])
        self._ingest = {
            topic: IngestPartition(topic=topic, source_topic=topic, partition=0, shards=shards, **LIMITS)
            for topic in ORDER
            if topic not in ("volatilities", "oracle-prices")
        }
        self._quotes = QuotePartition(topic="oracle-prices", partition=0, **LIMITS)
        self._volatilities = VolatilityPartition(
            topic="volatilities", partition=0, fault_of=lambda row: fault_of(Volatility.of(row)), **LIMITS
        )
        self._oracle = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=60_000, max_source_skew_ms=LAG_MS)
        self._told: set[str] = set()
        self._offsets: defaultdict[str, int] = defaultdict(int)
        self._now_ms = 0
        self._heard: list[Heard] = []

    async def send(self, messages: Iterable[Message]) -> None:
        by_topic: defaultdict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[message.topic].append(message)
            self._now_ms = max(self._now_ms, message.value.get("time", 0))
        for topic in sorted(by_topic, key=ORDER.index):
            self._take(topic, by_topic[topic])
        update = self._oracle.due(self._now_ms, None) if {"oracle-prices", "volatilities"} & by_topic.keys() else None
        if update is not None:
            names, columns, extra = update.block()
            new = [name for name in names["instruments"] if name not in self._told]
            self._told.update(new)
            told = {record["id"]: record for name in new for record in self._terms.instruments[name].records}
            block = Block(kind="marks", names=names, columns=columns, extra=extra, terms=list(told.values()))
            for partition in range(len(self.shards)):
                self._apply(partition, block)

    async def wait_quiet(self, marked_ms: int | None = None) -> list[Heard]:  # noqa: ARG002 - as Feed has it; here all is quiet at once
        heard, self._heard = self._heard, []
        return heard

    def _take(self, topic: str, messages: list[Message]) -> None:
        rows = []
        for message in messages:
            rows.append(ingest.Message(self._offsets[topic], message.key.encode(), orjson.dumps(message.value), 0))
            self._offsets[topic] += 1
        if topic == "oracle-prices":
            self._learn_terms()
            quotes = self._quotes.take(rows, self._terms, self._now_ms, final=True)
            self._oracle.quotes([Quote(*row) for row in quotes.rows])
            letters = quotes.dead_letters
        elif topic == "volatilities":
            told = self._volatilities.take(rows, self._terms, self._now_ms, final=True)
            self._oracle.volatilities([Volatility.of(row) for row in told.rows])
            letters = told.dead_letters
        else:
            result = self._ingest[topic].take(rows, self._terms, self._now_ms, final=True)
            letters = result.dead_letters
            for partition, block in result.blocks:
                self._apply(partition, block)
        self._heard += [Heard("dead-letters", {"reason": letter.code}, 0.0) for letter in letters]

    def _learn_terms(self) -> None:
        terms = self._terms
        self._oracle.rules(terms.oracle_record, terms.halted(), terms.reporting_currency())
        self._oracle.terms(terms.marked_by_index())
        self._oracle.dated(Listed(*row) for row in dated(terms))

    def _apply(self, partition: int, block: Block) -> None:
        data, journal = block.encode(), self.journals[partition]
        for output in self.shards[partition].apply(len(journal), data):
            value = orjson.loads(output.value)
            if output.topic in DECISIONS:
                self._heard.append(Heard(output.topic, value, 0.0))
            else:
                self.summaries[value["account"]] = value
        journal.append(data)


async def played(script: Script, line: EngineLine) -> Score:
    """The whole script; the score at its end."""

    async def shown(_: Score) -> None:
        """Nobody looks."""

    return await Play(script, line, shown).run()
