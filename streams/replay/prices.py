"""Readers of price files: each public layout to one list of bars in the reporting currency.

Layouts, told apart by their first line (plain, .gz or .zip):

- Binance's public klines: `open_time,open,high,low,close,...`, with or without that header, milliseconds or
  microseconds; asset and quote from the file's name, as in `BTCUSDT-1m-2021-05-19.csv`;
- `ts,asset,open,high,low,close,...`: one source;
- `ts,venue,market,asset,quote,open,high,low,close,...`: every venue, market and quote is a source of its own;
- `ts` and one column an asset: closes, so a bar opens where the one before closed.

USD, USDT and other dollar coins count as the reporting currency, USDC too unless the files price it: then a
USDC quote is worth the first USDC price of its bar. Nothing is filled: no bar, no quote.
"""

import csv
import gzip
import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from streams.replay.bars import MINUTE_MS, Bar, Bars

DOLLARS = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD")
KLINE_NAME = re.compile(rf"(?P<asset>[A-Z0-9]+?)(?P<quote>{'|'.join(DOLLARS)})(_PERP)?-")
OHLC = ("open", "high", "low", "close")


class PriceFileError(ValueError):
    """A price file is not what it must be; the message is one line with file and line number."""


class _Row(NamedTuple):
    """A bar as its file states it, in its own quote currency."""

    bar: Bar
    quote: str


def read(paths: Iterable[Path]) -> Bars:
    """All bars of the files as one market.

    Raises
    ------
    PriceFileError
        where a file cannot be read, its layout is unknown, a bar is none, or bars differ in length.
    """
    rows: list[_Row] = []
    lengths: dict[int, Path] = {}
    for path in paths:
        found = list(_rows(path))
        if not found:
            raise PriceFileError(f"prices must have a bar at least, found none ({path})")
        lengths[_length_ms(found)] = path
        rows += found
    if len(lengths) != 1:
        told = ", ".join(f"{length // 1000} s in {path}" for length, path in lengths.items())
        raise PriceFileError(f"bars must have one length, found {told or 'no file'}")
    dollars: dict[int, float] = {}
    for row in rows:
        if row.bar.asset == "USDC":
            dollars.setdefault(row.bar.time, row.bar.open)
    bars = {(bar.time, bar.asset, bar.source): bar for bar in (_in_dollars(row, dollars) for row in rows)}
    return Bars(length_ms=next(iter(lengths)), bars=[bars[key] for key in sorted(bars)])


def epoch_ms(text: str) -> int:
    """Epoch milliseconds of a time: RFC 3339 (UTC where it names no zone), or epoch s, ms or us.

    >>> epoch_ms("2021-05-19T12:00:00Z"), epoch_ms("1621425600000"), epoch_ms("1621425600000000")
    (1621425600000, 1621425600000, 1621425600000)
    """
    if text.isdigit():
        number = int(text)
        return number // 1000 if number > 10**14 else number if number > 10**11 else number * 1000
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _rows(path: Path) -> Iterator[_Row]:
    lines: Iterator[list[str]] = csv.reader(io.StringIO(_text(path)))
    first = next(lines, [])
    names = [name.strip().lower() for name in first]
    if names[:2] == ["open_time", "open"] or (names and names[0].isdigit()):
        header = ["ts", *OHLC]
        lines = _again(first, lines) if names[0].isdigit() else lines
        yield from _bar_rows(path, header, lines, kline=_kline_name(path))
    elif names[:1] == ["ts"] and {"asset", *OHLC} <= set(names):
        yield from _bar_rows(path, names, lines)
    elif names[:1] == ["ts"] and len(names) > 1 and all(name.isupper() for name in first[1:]):
        yield from _close_rows(path, first, lines)
    else:
        raise PriceFileError(
            f"prices must be Binance klines, ts,asset,open,high,low,close or ts and a column an asset, "
            f"found {','.join(first)[:80]!r} ({path})"
        )


def _bar_rows(
    path: Path, header: list[str], lines: Iterable[list[str]], kline: tuple[str, str] | None = None
) -> Iterator[_Row]:
    """Rows of open, high, low, close; asset and quote from columns, or from a kline file's name."""
    place = {name: at for at, name in enumerate(header)}
    for number, line in enumerate(lines, start=2):
        try:
            values = [float(line[place[name]]) for name in OHLC]
            time = epoch_ms(line[place["ts"]])
            if kline:
                asset, quote, source = *kline, "klines"
            else:
                asset = line[place["asset"]]
                quote = line[place["quote"]] if "quote" in place else "USD"
                where = [line[place[name]] for name in ("venue", "market", "quote") if name in place]
                source = "-".join(where) or "spot"
        except (ValueError, IndexError) as error:
            raise PriceFileError(f"a bar must be a time and four prices, {error} ({path}:{number})") from None
        bar = Bar(time, asset, source, *values)
        low, high = min(bar.open, bar.close, bar.high), max(bar.open, bar.close, bar.low)
        if not (0.0 < bar.low <= low and high <= bar.high < math.inf):
            raise PriceFileError(f"a bar must have 0 < low <= open, close <= high, found {values} ({path}:{number})")
        yield _Row(bar, quote)


def _close_rows(path: Path, header: list[str], lines: Iterable[list[str]]) -> Iterator[_Row]:
    """A table of closes: a bar runs from the close before to this one; blanks are no bar."""
    before: dict[str, float] = {}
    for number, line in enumerate(lines, start=2):
        try:
            time = epoch_ms(line[0])
            closes = {asset: float(text) for asset, text in zip(header[1:], line[1:], strict=True) if text}
        except (ValueError, IndexError) as error:
            raise PriceFileError(f"a row must be a time and closes, {error} ({path}:{number})") from None
        for asset, close in closes.items():
            if not 0.0 < close < math.inf:
                raise PriceFileError(f"a close must be finite and > 0, found {close} ({path}:{number})")
            start = before.get(asset, close)
            yield _Row(Bar(time, asset, "close", start, max(start, close), min(start, close), close), "USD")
        before = closes


def _in_dollars(row: _Row, usdc: dict[int, float]) -> Bar:
    """The bar in the reporting currency."""
    if row.quote == "USDC" and row.bar.time in usdc:
        rate = usdc[row.bar.time]
        values = (row.bar.open, row.bar.high, row.bar.low, row.bar.close)
        return Bar(*row.bar[:3], *(value * rate for value in values))
    return row.bar


def _length_ms(rows: list[_Row]) -> int:
    """The shortest gap between two bars' times; one minute where there is one time only."""
    times = sorted({row.bar.time for row in rows})
    return min((later - time for time, later in pairwise(times)), default=MINUTE_MS)


def _kline_name(path: Path) -> tuple[str, str]:
    found = KLINE_NAME.match(path.name)
    if not found:
        raise PriceFileError(f"a kline file must be named like BTCUSDT-1m-2021-05-19.csv, found {path.name}")
    return found["asset"], found["quote"]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        elif path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(archive.namelist()[0])
        return data.decode()
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, IndexError, UnicodeDecodeError) as error:
        raise PriceFileError(f"prices must be a readable CSV file, {error} ({path})") from None


def _again(first: list[str], rest: Iterable[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest
