"""`crossmargin risk-history`: a file of past prices as records of `instruments`, to begin a market's history with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson

from schemas.risk_terms import CLOSES_PREFIX
from streams.backtest.panel import BacktestError, Panel, read
from streams.ingest.risk_history_rules import CLOSES_MAX

Json = dict[str, Any]


@click.command("risk-history")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--assets", metavar="A,B,..", help="Use these columns only.  [default: all]")
@click.option("--period-ms", type=click.IntRange(min=60_000), default=86_400_000, show_default=True,
              help="As in the record ~risk.")  # fmt: skip
@click.option("--key-separator", default="\t", help="Between key and value.  [default: a tab]")
def risk_history_command(file: Path, assets: str | None, period_ms: int, key_separator: str) -> None:
    """Print the closes in FILE (CSV or Parquet: a time, and a column of prices an underlying), a record of the topic
    `instruments` a line: key, tab, value. For instance with kcat: `crossmargin risk-history prices.csv | kcat -P -t
    instruments -K '\\t'`."""
    try:
        panel = read(file, assets=assets.split(",") if assets else ())
        records = closes(panel, period_ms)
    except BacktestError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    for record in records:
        click.echo(f"{record['id']}{key_separator}{orjson.dumps(record).decode()}")


def closes(panel: Panel, period_ms: int) -> list[Json]:
    """The record of each asset: its last price of each period, as many as one holds; the last period has ended.

    Raises
    ------
    BacktestError
        where rows are farther apart than periods are long, or no period ends in the panel.
    """
    if panel.step_ms > period_ms:
        raise BacktestError(f"rows must be at most {period_ms} ms apart, found {panel.step_ms}")
    period = panel.time // period_ms
    last_rows = np.flatnonzero(np.diff(period))[-CLOSES_MAX:]
    if panel.time[-1] + panel.step_ms >= (period[-1] + 1) * period_ms:  # what would come next is of another period
        last_rows = np.append(last_rows, len(period) - 1)[-CLOSES_MAX:]
    if not len(last_rows):
        raise BacktestError(f"a period of {period_ms} ms must end among the rows, found none that does")
    records: list[Json] = []
    for name, price in zip(panel.assets, panel.price.T, strict=True):
        known = price[last_rows]
        told = [repr(float(close)) for close in known[~np.isnan(known)]]
        if told:
            record = {"id": CLOSES_PREFIX + name, "kind": "closes", "period_ms": period_ms}
            records.append(record | {"period": int(period[last_rows[-1]]), "closes": told})
    return records
