"""What must hold of everything a run wrote, whatever happened to its workers: the comparison of the fault tests.

The journal that the run wrote is folded once more, block by block, with nobody disturbing it. All that the workers
left, outputs, tables and offsets, must be what that fold gives; and the journal itself must hold every valid row of
the sources once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from faults.evidence import Evidence
from faults.met import Met
from faults.past import past_problems
from faults.prices import oracle_problems, price_problems, volatility_problems
from faults.rows import Blocks, row_problems, shard_letters

from schemas.journal import Block
from streams.agents.ingest import SOURCES
from streams.agents.margin import POSITION_KEY
from streams.demo.script import Script
from streams.demo.verify import agreement, conservation
from streams.engine import state
from streams.engine.shard import Shard
from streams.engine.views import shard_view

#: How many differences of one kind are told.
TOLD_MAX = 3


@dataclass
class Fold:
    """The undisturbed fold of one journal partition."""

    shard: Shard
    outputs: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, partition: int, journal: Sequence[Any], blocks: Sequence[tuple[int, Block]]) -> Fold:
        fold = cls(Shard(partition))
        met = Met(fold.shard)
        for record, (_, block) in zip(journal, blocks, strict=True):
            met.before(block)
            outputs = fold.shard.apply(record.offset, record.value)
            for output in outputs:
                fold.outputs.setdefault(output.topic, []).append((output.key, output.value))
            met.after(block, outputs)
        fold.met = met.end()
        return fold

    def last(self, topic: str) -> dict[bytes, bytes]:
        """Last value of each key."""
        return dict(self.outputs.get(topic, ()))


@dataclass
class Verdict:
    """What the comparison came to.

    Parameters
    ----------
    problems : one line each; none where everything is as it must be
    compared : what was held against its counterpart, and how many of it
    shards : of the undisturbed fold
    """

    problems: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    shards: list[Shard] = field(default_factory=list)

    def __str__(self) -> str:
        told = ", ".join(f"{number:,} {what}" for what, number in self.compared.items())
        return "\n".join([f"compared {told}", *self.problems])


def verdict(evidence: Evidence, script: Script | None = None) -> Verdict:
    """Hold everything that a run left against the undisturbed fold.

    Parameters
    ----------
    script : what was played, where the money that it sent is to be found in the books
    """
    found = Verdict()
    blocks = {
        partition: [(record.offset, Block.decode(record.value)) for record in records]
        for partition, records in evidence.records["journal"].items()
    }
    checks: list[Callable[[], Iterator[str]]] = [
        lambda: row_problems(evidence, blocks, found.compared),
        lambda: price_problems(evidence, blocks, found.compared),
        lambda: oracle_problems(evidence, found.compared),
        lambda: volatility_problems(evidence, found.compared),
        lambda: past_problems(evidence, blocks, found.compared),
        lambda: _offset_problems(evidence),
        lambda: _id_problems(evidence),
        lambda: _fold_problems(evidence, blocks, script, found),
    ]
    for check in checks:
        found.problems += check()
    return found


def _fold_problems(evidence: Evidence, blocks: Blocks, script: Script | None, found: Verdict) -> Iterator[str]:
    folds, compared = {}, found.compared
    for partition, journal in evidence.records["journal"].items():
        try:
            folds[partition] = Fold.of(partition, journal, blocks[partition])
        except Exception as error:
            yield f"journal[{partition}] must fold, found {error!r}"
            return
    for partition, fold in folds.items():
        compared["journal blocks"] += len(evidence.records["journal"][partition])
        for topic in ("margin-calls", "liquidations"):
            got = [(record.key, record.value) for record in evidence.records[topic][partition]]
            compared[topic] += len(got)
            yield from _sequence_problems(f"{topic}[{partition}]", got, fold.outputs.get(topic, []))
        letters = [(record.key, record.value) for record in shard_letters(evidence, partition)]
        compared["dead letters of shards"] += len(letters)
        wanted_letters = fold.outputs.get("dead-letters", [])
        yield from _sequence_problems(f"dead letters of shard {partition}", letters, wanted_letters)
        summaries = evidence.last("margin-accounts", partition)
        compared["account summaries"] += len(summaries)
        yield from _table_problems(f"margin-accounts[{partition}]", summaries, fold.last("margin-accounts"), json.loads)
        kept = evidence.last("margin-changelog", partition)
        position = int(kept.pop(POSITION_KEY, b"-1"))
        committed = evidence.committed["margin"].get(("journal", partition))
        if position != committed:
            yield f"margin-changelog[{partition}] must be at the committed offset {committed}, is at {position}"
        compared["state records"] += len(kept)
        wanted = dict(state.records(fold.shard))
        yield from _table_problems(f"margin-changelog[{partition}]", kept, wanted, _record)
        compared.update(fold.met)
    found.shards = [fold.shard for fold in folds.values()]
    shards = [shard_view(shard) for shard in found.shards]
    checks = conservation(shards)
    if script is not None:  # positions apart: what a bankrupt account held is the house's, whenever that was
        checks += agreement(shards, script.tally, script.universe)[:3]
    yield from (f"{check.name}: {check.detail}" for check in checks if not check.holds)


def _sequence_problems(where: str, got: Sequence[Any], want: Sequence[Any]) -> Iterator[str]:
    if got == want:
        return
    pairs = enumerate(zip(got, want, strict=False))
    at = next((number for number, (one, other) in pairs if one != other), min(len(got), len(want)))
    shown = [str(side[at][1][:300]) if at < len(side) else "nothing" for side in (got, want)]
    yield f"{where} must have the fold's {len(want)} records, has {len(got)}; from record {at} on: {shown}"


def _table_problems(
    where: str, got: Mapping[bytes, bytes], want: Mapping[bytes, bytes], decode: Callable[[bytes], Any]
) -> Iterator[str]:
    wrong = sorted(key for key in got.keys() | want.keys() if got.get(key) != want.get(key))
    for key in wrong[:TOLD_MAX]:
        sides = [decode(side[key]) if key in side else "nothing" for side in (want, got)]
        yield f"{where} {key!r} must be {_cut(sides[0])}, found {_cut(sides[1])}"
    if len(wrong) > TOLD_MAX:
        yield f"{where} has {len(wrong)} wrong keys of {len(want)}"


def _record(value: bytes) -> Any:
    """A record of the changelog for people: those of accounts are bytes of their own kind."""
    try:
        return msgspec.msgpack.decode(value)
    except msgspec.DecodeError:
        return value.hex()


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 600 else text[:600] + "..."


def _id_problems(evidence: Evidence) -> Iterator[str]:
    ids: Counter[str] = Counter(
        json.loads(record.value)["id"]
        for topic in ("margin-calls", "liquidations")
        for records in evidence.records[topic].values()
        for record in records
    )
    twice = [identity for identity, number in ids.items() if number > 1]
    if twice:
        yield f"output ids must come once, {len(twice)} came more often: {twice[:TOLD_MAX]}"


def _offset_problems(evidence: Evidence) -> Iterator[str]:
    """Everything read: behind a committed offset of the journal only transaction markers may follow."""
    roles = {"ingest": (*SOURCES, "volatilities"), "oracle": ("oracle-prices",), "margin": ("journal",)}
    for role, topics in roles.items():
        for topic in topics:
            for partition, records in evidence.records[topic].items():
                offset = evidence.committed[role].get((topic, partition), 0)
                first = records[-1].offset + 1 if records else 0
                end = evidence.ends[topic][partition]
                if not first <= offset <= end:
                    yield f"{topic}[{partition}] must be committed in {first}..{end} by {role}, is at {offset}"
