"""The margin agent: one journal partition folded by its shard, state and decisions written together."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from aiokafka import TopicPartition

from streams.agents.blocks import Opening
from streams.agents.context import Context
from streams.engine import state
from streams.engine.decisions import SUMMARIES
from streams.engine.shard import Shard
from streams.kafka.batches import Record, Records
from streams.kafka.leases import Block
from streams.metrics import ACCOUNTS, APPLY_SECONDS, JOURNAL_BLOCKS, OUTPUTS, QUOTE_AGE
from streams.rows import Rows

#: Outputs that somebody waits for: a block that gives one is written at once.
URGENT = frozenset({"margin-calls", "liquidations"})
#: Header of these: when it was decided by the worker's clock, epoch ms. The record's own time is that of its sending.
WALL_HEADER = "decided_ms"

#: Changelog key of the journal position that the state covers: past the last block's commit marker, so no part of
#: the state.
POSITION_KEY = b"~position"


class Margin:
    """One shard of the engine behind its journal partition.

    Attributes
    ----------
    shard : the state, ahead of what is committed by the blocks of the flush in the air
    """

    def __init__(self, tp: TopicPartition, context: Context) -> None:
        settings = context.settings
        self.shard = Shard(tp.partition)
        self._context = context
        self._position: int | None = None
        self._changelog = TopicPartition(settings.topic("margin-changelog"), tp.partition)
        self._records: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        self._summaries: list[Rows] = []
        self._quoted: list[int] = []  # by decision not yet flushed: time of the newest quote it was taken on
        self._sent: list[int] = []  # the same of the flush in the air

    async def open(self, opening: Opening) -> int | None:
        """Restore the shard from its changelog; the offset is the one that the changelog names."""
        restoring = state.Restoring(self._changelog.partition)
        async for rows in opening.read_rows(self._changelog.topic, self._changelog.partition):
            restoring.add(rows)
        position = restoring.own.get(POSITION_KEY)
        self.shard = restoring.finish()
        self._position = None if position is None else int(position)
        return self._position

    async def take(self, block: Block) -> bool:
        """Apply journal records in order."""
        urgent = False
        shard = self._changelog.partition
        for record in block.records:
            began = time.perf_counter()
            outputs = self.shard.apply(record.offset, record.value)
            if len(outputs.summaries):
                self._summaries.append(outputs.summaries)
            now = time.time()
            quoted = max(self.shard.prices.quote_time.values(), default=None) if outputs.decisions else None
            for sent in (*outputs.decisions, *outputs.refused):
                headers = sent.headers
                if sent.topic in URGENT:
                    urgent = True
                    headers = (*headers, (WALL_HEADER, str(int(now * 1000)).encode()))
                    if quoted is not None:
                        self._quoted.append(quoted)
                        QUOTE_AGE.labels("decision").observe(now - quoted / 1000)
                target = self._context.partition(sent.topic, shard)
                self._records[target].append(Record(sent.key, sent.value, headers))
                OUTPUTS.labels(sent.topic).inc()
            APPLY_SECONDS.observe(time.perf_counter() - began)
        self._position = block.end
        JOURNAL_BLOCKS.labels(shard).inc(len(block.records))
        ACCOUNTS.labels(shard).set(len(self.shard.ledger.accounts))
        return urgent

    def tick(self) -> bool:
        """Nothing falls due by time alone: shard time comes by the journal."""
        return False

    def flush(self) -> Mapping[TopicPartition, Records]:
        """Changed state and decisions of all blocks taken since the last flush."""
        decided, self._records = self._records, defaultdict(list)
        summaries, self._summaries = Rows.joined(self._summaries), []
        self._sent, self._quoted = self._quoted, []
        OUTPUTS.labels(SUMMARIES).inc(len(summaries))
        position = Rows.of([(POSITION_KEY, str(self._position).encode())])
        return {
            **decided,
            self._context.partition(SUMMARIES, self._changelog.partition): summaries,
            self._changelog: Rows.joined([state.dirty(self.shard), position]),
        }

    def committed(self) -> None:
        """How old the prices are that decisions were taken on, now that consumers can have these."""
        now = time.time()
        for quoted in self._sent:
            QUOTE_AGE.labels("publication").observe(now - quoted / 1000)
        self._sent = []

    def closed(self) -> None:
        """Its accounts are another worker's from now on."""
        ACCOUNTS.remove(self._changelog.partition)
