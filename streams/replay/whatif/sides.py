"""Both sides of a what-if: the recorded journal as it was, and the same under changed parameters, in one pass.

The changed side takes every recorded row but those that answered a liquidation (fills and conversions that name one):
its own liquidations are filled by `Execution` instead. What people would have done otherwise is not modelled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import orjson

from schemas.journal import RULES_OLDEST, Block
from streams.engine.decisions import Output
from streams.engine.judge import numbers_of
from streams.engine.shard import Shard
from streams.engine.valuation import STATUSES
from streams.replay.execution import Execution, without_answers
from streams.replay.fold import apply
from streams.replay.recording import Recorded
from streams.replay.whatif.changes import Changes, Json

#: Names of the two sides.
RECORDED, CHANGED = "recorded", "changed"
KINDS = ("called", "liquidation", "bankrupt")


class Sample(NamedTuple):
    """One side at one moment: sums over all books that are priced, in the reporting currency."""

    equity: float
    initial_margin: float
    maintenance_margin: float
    statuses: tuple[int, ...]  # books by status, in the order of STATUSES


@dataclass
class Fate:
    """What happened to one account on one side: shard time of the first event of each kind, and its shortfall."""

    first: dict[str, int] = field(default_factory=dict)
    shortfall: Decimal = Decimal(0)


@dataclass
class Side:
    """One side over all shards.

    Attributes
    ----------
    samples : (shard time, partition) -> sample
    events : (shard time, kind) of margin calls, first liquidation steps and bankruptcies
    shortfalls : (shard time, loss past zero equity in the reporting currency) of bankruptcies
    """

    samples: dict[tuple[int, int], Sample] = field(default_factory=dict)
    events: list[tuple[int, str]] = field(default_factory=list)
    shortfalls: list[tuple[int, Decimal]] = field(default_factory=list)
    fates: defaultdict[str, Fate] = field(default_factory=lambda: defaultdict(Fate))
    counts: Counter[str] = field(default_factory=Counter)

    def hear(self, outputs: list[Output]) -> None:
        """Take in decisions."""
        for sent in outputs:
            event = orjson.loads(sent.value)
            kind, time_ms = event["kind"], event["time"]
            self.counts["step" if kind == "liquidation" and event["step"] > 1 else kind] += 1
            if kind not in KINDS or (kind == "liquidation" and event["step"] > 1):
                continue
            fate = self.fates[event["account"]]
            fate.first.setdefault(kind, time_ms)
            if kind == "bankrupt":
                fate.shortfall += Decimal(event["shortfall"])
                self.shortfalls.append((time_ms, Decimal(event["shortfall"])))
            self.events.append((time_ms, kind))

    @property
    def shortfall(self) -> Decimal:
        """Loss past zero equity of all bankrupt accounts, reporting currency."""
        return sum((fate.shortfall for fate in self.fates.values()), Decimal(0))


class Pair:
    """One journal partition, folded on both sides.

    Parameters
    ----------
    sample_ms : shard time from sample to sample
    """

    def __init__(self, partition: int, changes: Changes, sides: Mapping[str, Side], sample_ms: int) -> None:
        self.partition = partition
        self.shards = {RECORDED: Shard(partition), CHANGED: Shard(partition)}
        self.prices: dict[int, dict[str, float]] = {}
        self._sides = sides
        self._changes = changes
        self._execution = Execution(changes.slippage)
        self._sample_ms = sample_ms
        self._sampled_ms = -1
        self._offset = 0  # of the changed side's own journal
        first = Block(kind="terms", terms=changes.engine(), rules_version=RULES_OLDEST)
        if first.terms:
            self._apply(first)

    def take(self, record: Recorded, name: str) -> None:
        """Apply one journal record to both sides."""
        self._sides[RECORDED].hear(apply(self.shards[RECORDED], record, name).folded.decisions)
        block = Block.decode(record.value or b"")
        if settings := self._newcomers(block):
            self._apply(Block(kind="accounts", extra={"accounts": settings}, rules_version=RULES_OLDEST))
        self._apply(self._changed(block))
        if block.kind == "marks":
            for answer in self._execution.blocks(self.shards[CHANGED]):
                self._apply(answer)
            self._sample()

    def _apply(self, block: Block) -> None:
        record = Recorded(self._offset, 0, None, block.encode())
        self._offset += 1
        outputs = apply(self.shards[CHANGED], record, "changed side").folded.decisions
        self._sides[CHANGED].hear(outputs)
        self._execution.hear(outputs)

    def _newcomers(self, block: Block) -> list[Json]:
        """Changed settings of the accounts that the block has rows of for the first time."""
        accounts = self.shards[CHANGED].ledger.accounts
        return self._changes.newcomers(name for name in block.names.get("accounts", ()) if accounts.find(name) < 0)

    def _changed(self, block: Block) -> Block:
        terms = [self._changes.terms(record) for record in block.terms]
        extra = block.extra
        if block.kind == "accounts":
            extra = {**extra, "accounts": [self._changes.settings(settings) for settings in extra["accounts"]]}
        return replace(without_answers(block), terms=terms, extra=extra)

    def _sample(self) -> None:
        shard = self.shards[RECORDED]
        slot = shard.prices.time // self._sample_ms
        if slot == self._sampled_ms or not shard.prices.live or not shard.prices.time:
            return
        self._sampled_ms = slot
        time_ms = slot * self._sample_ms
        self.prices[time_ms] = dict(shard.prices.index)
        for name, own in self.shards.items():
            self._sides[name].samples[time_ms, self.partition] = sample(own)


def sample(shard: Shard) -> Sample:
    """Sums over a shard's books at its marks."""
    books = np.arange(shard.ledger.books, dtype=np.int64)
    numbers = numbers_of(shard, books)
    statuses = np.bincount(shard.standing.status[: len(books)], minlength=len(STATUSES))
    return Sample(
        float(np.nansum(numbers.equity)),
        float(np.nansum(numbers.initial)),
        float(np.nansum(numbers.maintenance)),
        tuple(int(count) for count in statuses),
    )
