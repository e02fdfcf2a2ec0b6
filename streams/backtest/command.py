"""`crossmargin backtest`: margin models walked forward through a panel of prices."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from streams.backtest import books as books_of
from streams.backtest.panel import BacktestError, Panel, moment, read
from streams.replay.files import whole_file

FILE = click.Path(path_type=Path, dir_okay=False)
Json = dict[str, Any]

UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: Periods that start the volatility filter and are not used otherwise.
WARM_UP = 50
NAMES = ("book", "model", "breach", "Kupiec", "indep.", "both", "pinball", "average", "inside", "x")


@click.command("backtest")
@click.argument("file", type=FILE)
@click.option("--returns", is_flag=True, help="FILE has simple returns, not prices.")
@click.option("--assets", metavar="A,B,..", help="Use these columns only, in this order.  [default: all]")
@click.option("--books", "own", type=FILE, help="Own books beside the four: JSON, {\"name\": {\"BTC\": 0.6, \"ETH\": "
              "-0.4}}, as shares of capital.")  # fmt: skip
@click.option("--horizons", default="1h,8h,24h", show_default=True, metavar="1h,1d,..", help="How long a book is "
              "held, in m, h or d.")  # fmt: skip
@click.option("--period", metavar="1h", help="Keep history in these periods, and scale by the root of time.  "
              "[default: periods of the horizon]")  # fmt: skip
@click.option("--level", type=click.FloatRange(0.5, 1.0, max_open=True), default=0.99, show_default=True,
              help="Of value at risk.")  # fmt: skip
@click.option("--shortfall-level", type=click.FloatRange(0.5, 1.0, max_open=True), default=0.975, show_default=True,
              help="Of expected shortfall; the larger of the two counts.")  # fmt: skip
@click.option("--window", type=click.IntRange(min=2 * WARM_UP), default=1000, show_default=True, metavar="PERIODS",
              help="History that a requirement knows.")  # fmt: skip
@click.option("--decay", type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True), default=0.97,
              show_default=True, help="Of the volatility, a period.")  # fmt: skip
@click.option("--floor", type=click.FloatRange(0.0, 1.0), default=0.5, show_default=True, help="Volatility is at "
              "least this share of the window's.")  # fmt: skip
@click.option("--buffer", type=click.FloatRange(min=0.0), default=0.25, show_default=True, help="Margin above the "
              "requirement that is used up when it rises.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
@click.option("--out", "out", type=FILE, help="Write this HTML page too, with plots; needs nothing else.")
def backtest_command(
    file: Path,
    returns: bool,
    assets: str | None,
    own: Path | None,
    horizons: str,
    period: str | None,
    level: float,
    shortfall_level: float,
    window: int,
    decay: float,
    floor: float,
    buffer: float,
    as_json: bool,
    out: Path | None,
) -> None:
    """Ask of every time in FILE what each model would have required then, and whether it was enough after.

    FILE is CSV (plain or .gz) or Parquet: a time column, then a column an asset, rows equally far apart. Books are all
    assets long, short, the first half against the others (neutral) and the first against the second (pair). Models:
    delta-normal (EWMA), historical simulation, filtered historical simulation, and the requirement of portfolio
    margin: the larger of its value at risk and expected shortfall, with floor and buffer.

    Columns: breach, the share of horizons that ended beyond the requirement; p-values of Kupiec's and
    Christoffersen's tests (independence, both) on horizons that do not overlap; pinball loss in basis points; average
    requirement; inside, the share that was beyond it at any row inside; x, the factor that would have held inside.
    Meaning and measured numbers: docs/backtest.md.

    \b
    Exit codes:
      0  done
      2  wrong options or file (one line says why)
    """
    # the kernels load in seconds: a wrong option is answered before
    try:
        panel = read(file, returns=returns, assets=assets.split(",") if assets else ())
        held = books_of.books(panel.assets) | (books_of.read(own, panel.assets) if own else {})
        texts = horizons.split(",")
        steps = [_rows(text, panel) for text in texts]
        kept = None if period is None else _rows(period, panel)
        from streams.backtest.results import results, row
        from streams.backtest.walk import MODELS, Rules
        from streams.margin.history import TailRules

        rules = Rules(TailRules(level, shortfall_level, decay, WARM_UP, 1.0, floor), window, buffer)
        found = list(
            track(
                results(panel, held, steps, kept, rules),
                total=len(held) * len(steps),
                description="walking",
                console=Console(stderr=True),
                transient=True,
            )
        )
        told: Json = {
            "file": file.name,
            "from": moment(int(panel.time[0])),
            "to": moment(int(panel.time[-1])),
            "step_s": panel.step_ms / 1000,
            "assets": panel.assets,
            "horizons": list(dict.fromkeys(texts)),
            "period": period,
            "level": level,
            "shortfall_level": shortfall_level,
            "window": window,
            "decay": decay,
            "floor": floor,
            "buffer": buffer,
            "books": held,
            "rows": [row(one, model, level) for one in found for model in range(len(MODELS))],
        }
        lines = [_cells(line, dict(zip(steps, texts, strict=True))) for line in told["rows"]]
        if out is not None:
            from streams.backtest.page import page

            with whole_file(out) as written:
                written.write(page(told, found, lines, NAMES))
    except (BacktestError, OSError) as error:
        click.echo(f"crossmargin backtest: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    Console().print(_table(lines, level))


def _rows(text: str, panel: Panel) -> int:
    """Rows of the panel in a duration such as 8h."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    length_ms = int(found[1]) * UNIT_MS[found[2]] if found else 0
    if not length_ms or length_ms % panel.step_ms:
        raise BacktestError(
            f"a horizon or period must be like 30m, 8h or 1d, in whole rows of {panel.step_ms / 1000:g} s, "
            f"found {text!r}"
        )
    return length_ms // panel.step_ms


def _cells(line: Json, horizons: dict[int, str]) -> list[str]:
    factor = line["inside_factor"]
    return [
        f"{line['book']} {horizons[line['horizon_rows']]}",
        line["model"],
        f"{line['breaches']:.2%}",
        *(f"{line[name]:.3f}" for name in ("kupiec_p", "independence_p", "conditional_p")),
        f"{1e4 * line['pinball']:.2f}",
        f"{line['average']:.2%}",
        f"{line['inside_breaches']:.2%}",
        "-" if factor is None else f"{factor:.2f}",
    ]


def _table(lines: Sequence[Sequence[str]], level: float) -> Table:
    table = Table(title=f"Backtest: {1.0 - level:.2%} of horizons may end beyond the requirement")
    table.box, table.padding, table.pad_edge = None, (0, 1, 0, 0), False
    for at, name in enumerate(NAMES):
        table.add_column(name, justify="left" if at < 2 else "right", no_wrap=True)
    before = ""
    for line in lines:
        if before and before != line[0]:
            table.add_row()
        table.add_row("" if line[0] == before else line[0], *line[1:])
        before = line[0]
    return table
