"""A replay: journal records of one or all partitions, in order, into one run a partition."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO

from streams.engine import state
from streams.engine.decisions import SUMMARIES
from streams.engine.shard import Shard
from streams.replay import snapshot
from streams.replay.execution import Execution, unanswering, without_answers
from streams.replay.fold import Chain, Step, Stretch, apply
from streams.replay.raw import RawFold
from streams.replay.recording import Recorded, Recording, RecordingError
from streams.replay.states import WorkersState
from streams.replay.verify import Verifier

#: A journal record and its partition.
Item = tuple[int, Recorded]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do on the way.

    Parameters
    ----------
    wait : called with the shard time of each record that counts, to go by at a set pace
    every : journal records from state hash to state hash, 0 none
    start : folder of snapshots to begin with
    decisions : where margin calls and liquidations are written, one a line
    slippage : of the fills of liquidations, where this replay makes them itself (`Execution`); None: it does not
    """

    stretch: Stretch
    wait: Callable[[int], None]
    verify: bool = False
    every: int = 0
    start: Path | None = None
    save: Path | None = None
    decisions: IO[str] | None = None
    slippage: Decimal | None = None


class Run:
    """One partition.

    Attributes
    ----------
    first, last, records, outputs : of the stretch: journal offsets, their number, records given by topic
    verifier, workers, chain : see their classes; None, or without links, where not asked for
    state : hash of the state at the end
    """

    def __init__(self, partition: int, plan: Plan, recording: Recording | None) -> None:
        self.partition = partition
        self.shard = Shard(partition) if plan.start is None else snapshot.read(partition, plan.start)
        self.begins = self.shard.next_offset
        self.chain = Chain(plan.every)
        self.execution = None if plan.slippage is None else Execution(plan.slippage)
        self.workers: WorkersState | None = None
        self.verifier: Verifier | None = None
        if plan.verify and recording is not None:
            self.workers = WorkersState.read(recording, partition)
            reached = sys.maxsize if self.workers is None else self.workers.next_offset
            self.verifier = Verifier(recording, partition, first_offset=self.begins, reached=reached)
        self.first: int | None = None
        self.last = -1
        self.records = 0
        self.outputs: Counter[str] = Counter()
        self.seconds = 0.0
        self.state = ""
        self._plan = plan

    def take(self, record: Recorded, where: str) -> None:
        """Apply a journal record, and do with it what is asked for."""
        began = time.perf_counter()
        step = apply(self.shard, record, where)
        if self.execution is not None:
            self.execution.hear(step.folded.decisions)
        plan = self._plan
        counts = plan.stretch.counts(step)
        if plan.every:
            self.chain.step(self.shard, record.offset)
        if self.verifier is not None:
            self.verifier.step(self.shard, record.offset, step.folded, counts=counts)
        if self.workers is not None:
            self.workers.step(self.shard)
        if counts:
            self._count(step)
        self.seconds += time.perf_counter() - began
        if counts:
            plan.wait(step.time_ms)

    def _count(self, step: Step) -> None:
        self.records += 1
        self.first = step.record.offset if self.first is None else self.first
        self.last = step.record.offset
        self.outputs[SUMMARIES] += len(step.folded.due)
        self.outputs["dead-letters"] += len(step.folded.refused)
        for sent in step.folded.decisions:
            self.outputs[sent.topic] += 1
            if self._plan.decisions is not None:
                self._plan.decisions.write(sent.value.decode() + "\n")

    def differences(self) -> list[str]:
        """A line for each topic, and for the state, that is not what was recorded."""
        found = [] if self.verifier is None else [first.line() for first in self.verifier.differences.values()]
        state_differs = None if self.workers is None else self.workers.difference()
        return found if state_differs is None else [*found, state_differs]

    def finish(self) -> None:
        """After the last record."""
        if self.verifier is not None:
            self.verifier.finish(self.shard)
        self.state = state.state_hash(self.shard)
        if self._plan.save is not None:
            snapshot.write(self.shard, self._plan.save)


def recorded_items(recording: Recording, partitions: Sequence[int], runs: dict[int, Run]) -> Iterator[Item]:
    """The journal of each partition, one after another, from where its run stands.

    Raises
    ------
    RecordingError
        where the recording begins later.
    """
    for partition in partitions:
        begins, extent = runs[partition].begins, recording.extents("journal")[partition]
        if extent.first > begins:
            raise RecordingError(
                f"journal[{partition}] must begin at {begins}, found {extent.first}: retention has passed what is "
                f"before; start from a snapshot ({recording.name})"
            )
        for part in recording.read("journal", partition, begins):
            for record in part:
                yield partition, record


def raw_items(raw: RawFold, runs: Mapping[int, Run]) -> Iterator[Item]:
    """The journals that raw history gives, of all partitions as they come.

    Its answers to liquidations name those of another journal: they count as any other fill, and where the replay fills
    its own, after each block of marks, they are left out.
    """
    offsets: Counter[int] = Counter()
    for partition, block in raw.blocks():
        run = runs.get(partition)
        execution = None if run is None else run.execution
        own = [unanswering(block) if execution is None else without_answers(block)]
        while own:
            for each in own:
                yield partition, Recorded(offsets[partition], 0, None, each.encode())
                offsets[partition] += 1
            # the replay has applied them by now
            own = execution.blocks(run.shard) if execution and run and own[0].kind == "marks" else []


def replay(items: Iterator[Item], runs: dict[int, Run], stretch: Stretch, name: str) -> Iterator[Item]:
    """Give each record to its run, until the stretch is over; yields them for who shows how far it is."""
    over: set[int] = set()
    for partition, record in items:
        if partition in over or partition not in runs:
            continue
        if stretch.over(record):
            over.add(partition)
            if over >= runs.keys():
                break
            continue
        runs[partition].take(record, name)
        yield partition, record
    for run in runs.values():
        run.finish()
