"""Readers of raw history: files of messages, files of prices, and the input topics of a recording, as sources.

A file of messages is called after its topic, `fills.jsonl`, `fills-2021.csv.gz` or `collateral.parquet`, and holds one
message a line or row: fields as in the topic's schema. Its times must ascend; instruments and accounts may have a
`time` too, from which they hold, else they hold from the beginning.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.dead_letters import Refused
from schemas.fields import epoch_ms
from streams.replay.bars import Bars, price_text, steps
from streams.replay.raw import ORDER, Message, Source
from streams.replay.recording import Recording, RecordingError

SUFFIXES = (".jsonl", ".csv", ".parquet")
#: The field that is a message's key, the first that it has.
_KEYS = {
    "instruments": ("id",),
    "accounts": ("account",),
    "volatilities": ("instrument", "underlying"),
    "oracle-prices": ("symbol",),
}
#: Fields that are integers in JSON, where a CSV file has text.
_INTEGERS = frozenset(
    {
        *("time", "expiry", "sequence", "precision", "price_precision", "quantity_precision"),
        *("liquidation_timeout_ms", "duplicate_window", "summary_interval_ms"),
    }
)


class _Timed(msgspec.Struct):
    time: int | str | None = None


_timed = msgspec.json.Decoder(_Timed).decode


def file_sources(folder: Path) -> list[Source]:
    """The files of messages in a folder, by topic and name.

    Raises
    ------
    RecordingError
        where there is none. A file is opened when it is read.
    """
    found: list[Source] = []
    for path in sorted(folder.iterdir() if folder.is_dir() else []):
        topic = next((name for name in ORDER if path.name.startswith(name)), None)
        if topic is not None:
            if not path.name.removesuffix(".gz").endswith(SUFFIXES):
                raise RecordingError(f"files of {topic} must end in {', '.join(SUFFIXES)} or .gz, found {path}")
            found.append(Source(topic, path.name, len(found), _in_order(_messages(path, topic), path)))
    if not found:
        known = ", ".join(f"{name}.jsonl" for name in ORDER)
        raise RecordingError(
            f"files must be called after their topics, {known}, .csv or .parquet, found none ({folder})"
        )
    return found


def topic_sources(recording: Recording, *, wall_clock: bool) -> list[Source]:
    """The partitions of the input topics of a recording.

    Parameters
    ----------
    wall_clock : instruments and accounts, which have no time, hold from their Kafka timestamps; else, where event
        times are not those of the clock, from the beginning
    """
    return [
        Source(topic, topic, partition, _recorded(recording, topic, partition, wall_clock=wall_clock))
        for topic in ORDER
        for partition in recording.extents(topic)
    ]


def price_source(bars: Bars, step_ms: int) -> Source:
    """Bars of prices, walked in steps of at most `step_ms` of event time, each quoted by the source it came from."""
    return Source("oracle-prices", "prices", 0, _quotes(bars, step_ms))


def _quotes(bars: Bars, step_ms: int) -> Iterator[Message]:
    offset = 0
    for step in steps(bars, step_ms):
        for (asset, source), price in sorted(step.quotes.items()):
            quote = {"symbol": asset, "source": source, "price": price_text(price), "time": step.time}
            yield Message(step.time, offset, asset.encode(), orjson.dumps(quote), step.time)
            offset += 1


def _recorded(recording: Recording, topic: str, partition: int, *, wall_clock: bool) -> Iterator[Message]:
    for part in recording.read(topic, partition):
        for record in part:
            time_ms = _time(record.value, record.timestamp_ms if wall_clock else 0)
            yield Message(time_ms, record.offset, record.key, record.value, record.timestamp_ms)


def _messages(path: Path, topic: str) -> Iterator[Message]:
    for number, value in enumerate(_values(path)):
        time_ms = _time(value, 0)
        yield Message(time_ms, number, _key(value, topic), value, time_ms)


def _time(value: bytes | None, default: int) -> int:
    """The message's event time; of one that has none, or that ingest is going to refuse, the default."""
    try:
        time = _timed(value or b"").time
        return default if time is None else epoch_ms(time, "time")
    except (msgspec.MsgspecError, Refused):
        return default


def _key(value: bytes, topic: str) -> bytes | None:
    if topic not in _KEYS:
        return None
    try:
        record = orjson.loads(value)
        return str(next(record[name] for name in _KEYS[topic] if record.get(name) is not None)).encode()
    except (orjson.JSONDecodeError, StopIteration, AttributeError):
        return b""


def _in_order(messages: Iterator[Message], path: Path) -> Iterator[Message]:
    last = 0
    for message in messages:
        if 0 < message.time_ms < last:
            raise RecordingError(
                f"times must ascend, found {message.time_ms} after {last} ({path}, row {message.offset + 1})"
            )
        last = max(last, message.time_ms)
        yield message


def _values(path: Path) -> Iterator[bytes]:
    """The messages of a file, as JSON."""
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            yield from _parquet_values(path)
            return
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            if name.endswith(".jsonl"):
                yield from _lines(file, path)
            else:
                yield from _rows(io.TextIOWrapper(file, encoding="utf-8", newline=""), path)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        line = str(error).splitlines()[0]
        raise RecordingError(f"the file must be readable, found {line} ({path})") from None


def _lines(file: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The lines that are not blank; where the last one is cut off in the middle, so is the file."""
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n") and not _is_json(line):
            raise RecordingError(f"the last line must be whole, found {line[-40:]!r} ({path}, line {number})")
        if line.strip():
            yield line.rstrip(b"\r\n")


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _rows(text: Iterable[str], path: Path) -> Iterator[bytes]:
    """The rows of a CSV file; empty cells are fields left out."""
    lines = csv.reader(text)
    names = next(lines, [])
    for number, row in enumerate(lines, 2):
        if row and len(row) != len(names):
            raise RecordingError(f"a row must have {len(names)} cells, found {len(row)} ({path}, line {number})")
        if row:
            yield orjson.dumps({name: _cell(name, cell) for name, cell in zip(names, row, strict=True) if cell})


def _cell(name: str, text: str) -> str | int | bool:
    """A cell as JSON has it: whole numbers and truth values are no text there."""
    if name in _INTEGERS and text.isascii() and text.isdigit():
        return int(text)
    return text == "true" if text in ("true", "false") else text


def _parquet_values(path: Path) -> Iterator[bytes]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                yield orjson.dumps(_plain(row))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's values as messages have them: decimals as text, moments as epoch ms, nulls left out."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Decimal):
            plain[name] = format(value, "f")
        elif hasattr(value, "timestamp"):
            plain[name] = round(value.timestamp() * 1000)
        elif value is not None:
            plain[name] = value
    return plain
