"""Recordings for tests: what a run over a journal would have left on the topics, in memory and in files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from schemas.journal import Block
from streams.engine import state
from streams.engine.shard import Shard
from streams.replay.parquet import export
from streams.replay.recording import Extent, Recorded
from tests.golden.journals import HERE, read_journal

CRASH = HERE / "crash" / "journal.bin"


class MemoryRecording:
    """A recording that a test made."""

    name = "memory"

    def __init__(
        self, topics: Mapping[str, Mapping[int, list[Recorded]]], firsts: Mapping[str, int] | None = None
    ) -> None:
        self.topics = topics
        self.firsts = firsts or {}

    def extents(self, topic: str) -> Mapping[int, Extent]:
        first = self.firsts.get(topic, 0)
        return {
            number: Extent(first, records[-1].offset + 2 if records else first)
            for number, records in self.topics.get(topic, {}).items()
        }

    def read(self, topic: str, partition: int, first: int = 0) -> Iterator[list[Recorded]]:
        records = [record for record in self.topics[topic][partition] if record.offset >= first]
        yield from (records[at : at + 3] for at in range(0, len(records), 3))


def crash_blocks() -> list[bytes]:
    """The golden journal."""
    return list(read_journal(CRASH))


def recorded(blocks: Iterable[bytes]) -> MemoryRecording:
    """What a run over these blocks leaves: the journal, the outputs, and the changelog's last state.

    Journal offsets are as in a journal written in transactions: every third one is a marker.
    """
    topics: defaultdict[str, dict[int, list[Recorded]]] = defaultdict(lambda: {0: []})
    shard = Shard(0)
    for number, data in enumerate(blocks):
        offset = number + number // 2
        topics["journal"][0].append(Recorded(offset, 0, None, data))
        for sent in shard.apply(offset, data):
            place = topics[sent.topic][0]
            place.append(Recorded(2 * len(place), 0, sent.key, sent.value, sent.headers))
    changelog = [*state.records(shard), (b"~position", str(shard.next_offset).encode())]
    topics["margin-changelog"][0] = [Recorded(at, 0, key, value) for at, (key, value) in enumerate(changelog)]
    return MemoryRecording(topics)


def changed(recording: MemoryRecording, offset: int, **columns: int) -> MemoryRecording:
    """The same recording with one row of the journal record at `offset` changed by one; its checksum is right."""
    journal = []
    for record in recording.topics["journal"][0]:
        if record.offset == offset:
            block = Block.decode(record.value or b"")
            arrays = {name: column.copy() for name, column in block.columns.items()}
            for name, row in columns.items():
                arrays[name][row] += 1
            data = Block(
                kind=block.kind,
                source=block.source,
                names=block.names,
                columns=arrays,
                terms=block.terms,
                extra=block.extra,
            ).encode()
            record = record._replace(value=data)
        journal.append(record)
    return MemoryRecording({**recording.topics, "journal": {0: journal}})


def to_files(recording: MemoryRecording, folder: Path) -> Path:
    """The recording as `crossmargin export` writes it."""
    for _ in export(recording, recording.topics, folder):
        pass
    return folder
