"""What was on the topics: records by offset, from a cluster or from files, read alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol


class RecordingError(ValueError):
    """A recording is not what it must be; the message is one line that says where."""


class Recorded(NamedTuple):
    """One committed record of a partition; `timestamp_ms` is Kafka's."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Extent(NamedTuple):
    """The offsets of a partition that a recording covers, ``[first, end)``; markers and compaction leave holes."""

    first: int
    end: int


class Recording(Protocol):
    """Topics by their logical names.

    Attributes
    ----------
    name : what to call it in messages
    """

    name: str

    def extents(self, topic: str) -> Mapping[int, Extent]:
        """Partitions of a topic and what of them is there; empty where the topic is not there."""

    def read(self, topic: str, partition: int, first: int = 0) -> Iterator[list[Recorded]]:
        """The records from offset `first` to the extent's end, in order, in lists of bounded size.

        Raises
        ------
        RecordingError
            where a part of the extent cannot be read, or offsets do not ascend.
        """


def ascending(records: Iterator[list[Recorded]], where: str) -> Iterator[list[Recorded]]:
    """The same lists, whose offsets are seen to ascend; raises RecordingError where they do not."""
    last = -1
    for part in records:
        for record in part:
            if record.offset <= last:
                raise RecordingError(f"offsets must ascend, found {record.offset} after {last} ({where})")
            last = record.offset
        yield part
