"""A panel of prices: one row a time, all times equally far apart, one column an asset.

Read from CSV (plain or .gz) or Parquet; the first column is the time. Nothing is filled: an asset may begin late
(blanks above its first price), a hole after that is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streams.margin.parameters import F64, I64

#: Epoch numbers are seconds below the first bound, milliseconds below the second, else microseconds.
_SECONDS, _MILLISECONDS = 10**11, 10**14


class BacktestError(ValueError):
    """What was given cannot be tested; the message is one line with file and place."""


class Panel(NamedTuple):
    """Prices > 0, NaN before an asset's first; `time` in epoch milliseconds, `step_ms` apart.

    `price` has shape (n_times, n_assets).
    """

    time: I64
    step_ms: int
    assets: tuple[str, ...]
    price: F64


def read(path: Path, *, returns: bool = False, assets: Sequence[str] = ()) -> Panel:
    """The panel in a file.

    Parameters
    ----------
    returns : the file has simple returns of the period that ends at its row, not prices
    assets : only these columns, in this order; all where empty

    Raises
    ------
    BacktestError
        where the file cannot be read, times are not equally far apart, or a used column has a hole or no price.
    """
    table = _table(path)
    names = list(table.column_names)
    wanted = tuple(assets) or tuple(names[1:])
    missing = [name for name in wanted if name not in names[1:]]
    if missing or not wanted:
        raise BacktestError(
            f"a panel must have a time and columns {', '.join(wanted) or 'of assets'}, found {names} ({path})"
        )
    time = _times(table.column(0), path)
    columns = np.column_stack([_numbers(table.column(name), name, path) for name in wanted])
    if returns:
        time, columns = _prices(time, columns)
    panel = Panel(time, int(time[1] - time[0]), wanted, columns)
    _check(panel, path)
    return panel


def moment(time_ms: int) -> str:
    """A time as people write it.

    >>> moment(1_621_425_600_000)
    '2021-05-19T12:00Z'
    """
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}"


def _table(path: Path) -> Any:
    # pyarrow takes a moment to load: `--help` does without
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        return parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise BacktestError(f"a panel must be a readable CSV or Parquet file, {reason[:160]} ({path})") from None


def _times(column: Any, path: Path) -> I64:
    import pyarrow as pa

    if (
        column.null_count
        or len(column) < 2
        or not (pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type))
    ):
        raise BacktestError(
            f"the first column must be the time of each of two rows at least, found {len(column)} of type "
            f"{column.type}, {column.null_count} blank ({path})"
        )
    if pa.types.is_timestamp(column.type):
        time: I64 = column.to_numpy().astype("datetime64[ms]").astype(np.int64)
    else:
        time = column.to_numpy().astype(np.int64)
        first = int(time[0])
        if first < _SECONDS:
            time = time * 1000
        elif first >= _MILLISECONDS:
            time = time // 1000
    gaps = np.diff(time)
    uneven = np.flatnonzero(gaps != np.min(gaps))
    if gaps[0] <= 0 or np.min(gaps) <= 0:
        at = int(np.flatnonzero(gaps <= 0)[0])
        raise BacktestError(f"times must ascend, found {moment(time[at + 1])} after {moment(time[at])} ({path})")
    if len(uneven):
        at = int(uneven[0])
        raise BacktestError(
            f"times must be equally far apart ({np.min(gaps) / 1000:g} s), found {gaps[at] / 1000:g} s after "
            f"{moment(time[at])}, {len(uneven)} such gaps ({path})"
        )
    return time


def _numbers(column: Any, name: str, path: Path) -> F64:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise BacktestError(f"column {name} must be numbers, found {kind} ({path})")
    return column.cast(pa.float64()).to_numpy().astype(np.float64)


def _prices(time: I64, returns: F64) -> tuple[I64, F64]:
    """Prices that have these returns, 1 before the first of each asset."""
    known = np.isfinite(returns)
    growth = np.cumprod(1.0 + np.where(known, returns, 0.0), axis=0)
    after = np.where(known, growth, np.nan)
    price = np.vstack([np.full((1, returns.shape[1]), np.nan), after])
    for k in range(returns.shape[1]):
        first = np.flatnonzero(known[:, k])
        if len(first):
            price[first[0], k] = 1.0
    return np.concatenate([[2 * time[0] - time[1]], time]), price


def _check(panel: Panel, path: Path) -> None:
    for name, price in zip(panel.assets, panel.price.T, strict=True):
        found = np.flatnonzero(~np.isnan(price))
        if not len(found):
            raise BacktestError(f"{name} must have a price, found none ({path})")
        begun = price[found[0] :]
        bad = np.flatnonzero(~(np.isfinite(begun) & (begun > 0.0)))
        if len(bad):
            value, where = begun[bad[0]], moment(int(panel.time[found[0] + bad[0]]))
            told = "a blank" if np.isnan(value) else f"{value:g}"
            raise BacktestError(
                f"prices of {name} must be finite and > 0 from its first on, found {told} at {where}, {len(bad)} such "
                f"rows ({path}); name the columns to use with --assets"
            )
