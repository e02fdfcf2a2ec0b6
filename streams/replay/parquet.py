"""A recording in a folder: one Parquet file a partition and a list of them, which is written last.

``<folder>/<topic>/<partition>.parquet`` has the columns offset, timestamp, key, value and headers, as pandas, DuckDB
and Arrow read them; ``recording.json`` says what each file covers. A folder without it is no whole recording.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from streams.replay.recording import Extent, Recorded, Recording, RecordingError, ascending

FORMAT_VERSION = 1
LIST = "recording.json"
#: A row group's values before compression, and the columns whose values come again and again.
GROUP_BYTES, REPEATED = 16 << 20, ["key", "headers.list.element.name"]

SCHEMA = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)
#: File metadata: which partition of which topic it is.
PLACE = b"crossmargin"


class _Part(msgspec.Struct, frozen=True):
    """What one file covers: offsets ``[first, end)``, and how many records there are of them."""

    first: int
    end: int
    records: int


class _List(msgspec.Struct, frozen=True):
    format: int
    source: str
    topics: dict[str, dict[int, _Part]]


class _Format(msgspec.Struct, frozen=True):
    format: int


class ParquetRecording:
    """Reads what `export` wrote.

    Raises
    ------
    RecordingError
        where the folder holds no whole recording of a version known.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder
        try:
            data = (folder / LIST).read_bytes()
            version = msgspec.json.decode(data, type=_Format).format
            if version != FORMAT_VERSION:
                raise RecordingError(f"format must be {FORMAT_VERSION}, found {version} ({folder / LIST})")
            self._parts = msgspec.json.decode(data, type=_List).topics
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RecordingError(f"{LIST} must be there and whole, found {error} ({folder})") from None
        for topic, parts in self._parts.items():
            if sorted(parts) != list(range(len(parts))):
                found = ", ".join(map(str, sorted(parts)))
                raise RecordingError(f"partitions must be 0 to {len(parts) - 1}, found {found} ({topic}, {folder})")

    def extents(self, topic: str) -> Mapping[int, Extent]:
        """See `Recording`."""
        return {number: Extent(part.first, part.end) for number, part in sorted(self._parts.get(topic, {}).items())}

    def read(self, topic: str, partition: int, first: int = 0) -> Iterator[list[Recorded]]:
        """See `Recording`."""
        path = _path(self._folder, topic, partition)
        place = f"{topic}[{partition}]"
        return ascending(self._read(path, place, self._parts[topic][partition], first), str(path))

    def _read(self, path: Path, place: str, part: _Part, first: int) -> Iterator[list[Recorded]]:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                _check(file, place, part, path)
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group)
                    if len(rows) and rows["offset"][-1].as_py() >= first:
                        yield [record for record in _records(rows, part, path) if record.offset >= first]
        except (OSError, pa.ArrowException) as error:
            line = str(error).splitlines()[0]
            raise RecordingError(f"the file must be readable Parquet, found {line} ({path})") from None


def _check(file: Any, place: str, part: _Part, path: Path) -> None:
    """RecordingError where a file is not the one that the list tells of."""
    schema = file.schema_arrow
    if not schema.equals(SCHEMA):
        raise RecordingError(f"columns must be {', '.join(SCHEMA.names)}, found {', '.join(schema.names)} ({path})")
    found = (schema.metadata or {}).get(PLACE, b"no name").decode(errors="replace")
    if found != place:
        raise RecordingError(f"the file must be that of {place}, found {found} ({path})")
    if file.metadata.num_rows != part.records:
        raise RecordingError(f"the file must hold {part.records} records, found {file.metadata.num_rows} ({path})")


def export(recording: Recording, topics: Collection[str], folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Write topics of a recording to a folder; yields topic, partition, offset reached, end after each row group.

    Raises
    ------
    RecordingError
        where the folder holds a recording already, or the source cannot be read.
    """
    if (folder / LIST).exists():
        raise RecordingError(f"the folder must hold no recording yet, found {LIST} ({folder})")
    listed: dict[str, dict[str, Any]] = {}
    for topic in topics:
        for partition, extent in recording.extents(topic).items():
            path = _path(folder, topic, partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            count = 0
            schema = SCHEMA.with_metadata({PLACE: f"{topic}[{partition}]"})
            how: dict[str, Any] = {"compression": "zstd", "use_dictionary": REPEATED, "write_page_checksum": True}
            with pq.ParquetWriter(path, schema, **how) as writer:
                for group in _groups(recording.read(topic, partition)):
                    writer.write_table(_table(group))
                    count += len(group)
                    yield topic, partition, group[-1].offset + 1, extent.end
            entry = {"first": extent.first, "end": extent.end, "records": count}
            listed.setdefault(topic, {})[str(partition)] = entry
    if not listed:
        raise RecordingError(f"topics must be there, found none of {', '.join(topics)} ({recording.name})")
    text = {"format": FORMAT_VERSION, "source": recording.name, "topics": listed}
    (folder / LIST).write_bytes(orjson.dumps(text, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


def _groups(parts: Iterable[list[Recorded]]) -> Iterator[list[Recorded]]:
    """The records as row groups: each ends with the record that fills it."""
    held: list[Recorded] = []
    size = 0
    for record in chain.from_iterable(parts):
        held.append(record)
        size += len(record.value or b"")
        if size >= GROUP_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _path(folder: Path, topic: str, partition: int) -> Path:
    return folder / topic / f"{partition}.parquet"


def _table(records: list[Recorded]) -> Any:
    columns = list(zip(*records, strict=True))
    columns[4] = tuple([{"name": name, "value": value} for name, value in headers] for headers in columns[4])
    return pa.table(
        [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _records(rows: Any, part: _Part, path: Path) -> Iterator[Recorded]:
    columns = (
        rows["offset"].to_pylist(),
        rows["timestamp"].cast(pa.int64()).to_pylist(),
        rows["key"].to_pylist(),
        rows["value"].to_pylist(),
        rows["headers"].to_pylist(),
    )
    for offset, timestamp, key, value, headers in zip(*columns, strict=True):
        if not part.first <= offset < part.end:
            raise RecordingError(f"offsets must be {part.first} to {part.end - 1}, found {offset} ({path})")
        yield Recorded(offset, timestamp, key, value, tuple((head["name"], head["value"]) for head in headers or ()))
