"""The state of every shard at a moment: folded from the journal, or at the end read from the changelog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streams.engine import state
from streams.engine.invariants import InvariantViolation
from streams.engine.shard import Shard
from streams.replay import snapshot
from streams.replay.bar import watched
from streams.replay.fold import Stretch, apply
from streams.replay.recording import Recording, RecordingError
from streams.rows import Rows


def latest(recording: Recording) -> list[Shard]:
    """The shards as their workers last wrote them to the changelog.

    Raises
    ------
    RecordingError
        where the recording has no changelog, or it holds no whole state.
    """
    extents = recording.extents("margin-changelog")
    if not extents:
        raise RecordingError(
            f"there must be a margin-changelog, found none: name a moment with --at ({recording.name})"
        )
    return [_restored(recording, partition) for partition in extents]


def _restored(recording: Recording, partition: int) -> Shard:
    restoring = state.Restoring(partition)
    try:
        for part in recording.read("margin-changelog", partition):
            restoring.add(Rows.of((record.key or b"", record.value or b"") for record in part))
        return restoring.finish()
    except InvariantViolation as error:
        raise RecordingError(f"{error} (margin-changelog[{partition}], {recording.name})") from error


@dataclass
class WorkersState:
    """The state that a shard's workers wrote themselves, and whether a replay comes to the same.

    Attributes
    ----------
    next_offset : of the journal, in that state
    found : hash of the replay's state there, "" where it has not been there
    """

    partition: int
    next_offset: int
    expected: str
    found: str = ""

    @classmethod
    def read(cls, recording: Recording, partition: int) -> WorkersState | None:
        """Of a recording; None where it has no changelog of the shard, or nothing in it."""
        if partition not in recording.extents("margin-changelog"):
            return None
        shard = _restored(recording, partition)
        return cls(partition, shard.next_offset, state.state_hash(shard)) if shard.next_offset else None

    def step(self, shard: Shard) -> None:
        """After each record of the replay."""
        if shard.next_offset == self.next_offset:
            self.found = state.state_hash(shard)

    def difference(self) -> str | None:
        """One line where the states differ."""
        if self.found in ("", self.expected):
            return None
        return (
            f"state of journal[{self.partition}] after record {self.next_offset - 1}: hash must be {self.found}, found "
            f"{self.expected} (margin-changelog)"
        )


def at(recording: Recording, stretch: Stretch, start: Path | None) -> list[Shard]:
    """The shards after all journal records before the end of `stretch`, from the first record or from snapshots."""
    shards = []
    for partition, extent in recording.extents("journal").items():
        shard = Shard(partition) if start is None else snapshot.read(partition, start)
        if extent.first > shard.next_offset:
            raise RecordingError(
                f"journal[{partition}] must begin at {shard.next_offset}, found {extent.first} ({recording.name})"
            )
        _fold(recording, shard, stretch)
        shards.append(shard)
    if not shards:
        raise RecordingError(f"there must be a journal, found none ({recording.name})")
    return shards


def _fold(recording: Recording, shard: Shard, stretch: Stretch) -> None:
    extent, name = recording.extents("journal")[shard.partition], f"journal[{shard.partition}]"
    for part in watched(recording.read("journal", shard.partition, shard.next_offset), extent, name):
        for record in part:
            if stretch.over(record):
                return
            apply(shard, record, recording.name)
