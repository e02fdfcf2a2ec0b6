"""The state of every shard at a moment: folded from the journal, or at the end read from the changelog."""

from __future__ import annotations

from pathlib import Path

from streams.engine import state
from streams.engine.invariants import InvariantViolation
from streams.engine.shard import Shard
from streams.replay import snapshot
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
    shards = []
    for partition in extents:
        restoring = state.Restoring(partition)
        try:
            for part in recording.read("margin-changelog", partition):
                restoring.add(Rows.of((record.key or b"", record.value or b"") for record in part))
            shards.append(restoring.finish())
        except InvariantViolation as error:
            raise RecordingError(f"{error} (margin-changelog[{partition}], {recording.name})") from error
    return shards


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
    for part in recording.read("journal", shard.partition, shard.next_offset):
        for record in part:
            if stretch.over(record):
                return
            apply(shard, record, recording.name)
