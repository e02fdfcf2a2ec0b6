"""A recording in a folder: one Parquet file a partition and a list of them, which is written last.

``<folder>/<topic>/<partition>.parquet`` has the columns offset, timestamp, key, value and headers, as pandas, DuckDB
and Arrow read them; ``recording.json`` says what each file covers. A folder without it is no whole recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from streams.replay.recording import Extent, Recorded, Recording, RecordingError, ascending

FORMAT_VERSION = 1
LIST = "recording.json"
GROUP_BYTES = 16 << 20

SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)


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
            found = orjson.loads((folder / LIST).read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise RecordingError(f"{LIST} must be there and be JSON, found {error} ({folder})") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT_VERSION:
            version = found.get("format") if isinstance(found, dict) else found
            raise RecordingError(f"format must be {FORMAT_VERSION}, found {version} ({folder / LIST})")
        self._parts: dict[str, dict[int, Extent]] = {
            topic: {int(number): Extent(part["first"], part["end"]) for number, part in parts.items()}
            for topic, parts in found["topics"].items()
        }

    def extents(self, topic: str) -> Mapping[int, Extent]:
        """See `Recording`."""
        return self._parts.get(topic, {})

    def read(self, topic: str, partition: int, first: int = 0) -> Iterator[list[Recorded]]:
        """See `Recording`."""
        path = _path(self._folder, topic, partition)
        return ascending(self._read(path, self._parts[topic][partition], first), str(path))

    def _read(self, path: Path, extent: Extent, first: int) -> Iterator[list[Recorded]]:
        try:
            with pq.ParquetFile(path) as file:
                if not file.schema_arrow.equals(SCHEMA):
                    raise RecordingError(f"columns must be {', '.join(SCHEMA.names)}, found others ({path})")
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group)
                    if len(rows) and rows["offset"][-1].as_py() >= first:
                        part = [record for record in _records(rows) if record.offset >= first]
                        if part and not extent.first <= part[0].offset <= part[-1].offset < extent.end:
                            raise RecordingError(
                                f"offsets must be {extent.first} to {extent.end - 1}, found {part[0].offset} to "
                                f"{part[-1].offset} ({path})"
                            )
                        yield part
        except (OSError, pa.ArrowException) as error:
            line = str(error).splitlines()[0]
            raise RecordingError(f"the file must be readable Parquet, found {line} ({path})") from None


def export(recording: Recording, topics: Iterable[str], folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Write topics of a recording to a folder; yields topic, partition, offset reached, end after each list of records.

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
            with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
                held: list[Recorded] = []
                size = 0
                for part in recording.read(topic, partition):
                    held += part
                    count += len(part)
                    size += sum(len(record.value or b"") for record in part)
                    if size >= GROUP_BYTES:
                        writer.write_table(_table(held))
                        held, size = [], 0
                    yield topic, partition, part[-1].offset + 1, extent.end
                if held:
                    writer.write_table(_table(held))
            entry = {"first": extent.first, "end": extent.end, "records": count}
            listed.setdefault(topic, {})[str(partition)] = entry
    folder.mkdir(parents=True, exist_ok=True)
    text = {"format": FORMAT_VERSION, "source": recording.name, "topics": listed}
    (folder / LIST).write_bytes(orjson.dumps(text, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


def _path(folder: Path, topic: str, partition: int) -> Path:
    return folder / topic / f"{partition}.parquet"


def _table(records: list[Recorded]) -> Any:
    columns = list(zip(*records, strict=True))
    columns[4] = tuple([{"name": name, "value": value} for name, value in headers] for headers in columns[4])
    return pa.table(
        [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _records(rows: Any) -> Iterator[Recorded]:
    columns = (
        rows["offset"].to_pylist(),
        rows["timestamp"].cast(pa.int64()).to_pylist(),
        rows["key"].to_pylist(),
        rows["value"].to_pylist(),
        rows["headers"].to_pylist(),
    )
    for offset, timestamp, key, value, headers in zip(*columns, strict=True):
        yield Recorded(offset, timestamp, key, value, tuple((head["name"], head["value"]) for head in headers))
