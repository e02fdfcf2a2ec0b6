"""`crossmargin stress`: shocks to accounts as they stand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from streams.engine.shard import Shard
from streams.replay.fold import Stretch
from streams.replay.options import DIRECTORY, Moment, opened, source_options
from streams.replay.recording import RecordingError
from streams.replay.states import at, latest
from streams.replay.stress.cascade import Stressed, stress
from streams.replay.stress.scenarios import CRASHES, shock


@click.command("stress")
@click.option("--shock", "shocks", multiple=True, metavar="SHOCK", help="A crash's name, or moves by symbol as "
              "fractions, * for all others: BTC=-0.3,*=-0.4; repeatable.  [default: all three crashes]")  # fmt: skip
@click.option("--at", "moment", type=Moment(), help="On the state of this moment: a journal offset, or shard time "
              "(2021-05-19T12:30:00Z).  [default: the state that workers last wrote]")  # fmt: skip
@click.option("--start", type=DIRECTORY, help="With --at: begin from the snapshots of `crossmargin replay --save`, not "
              "from the first record.")  # fmt: skip
@click.option("--impact", type=click.FloatRange(min=0.0), default=0.0, show_default=True, metavar="FRACTION",
              help="How far each million of notional that is liquidated pushes the price on: 0.01 is 1 %.")  # fmt: skip
@click.option("--slippage", type=click.FloatRange(0.0, 0.99), default=0.001, show_default=True, metavar="FRACTION",
              help="How far from the mark liquidations are filled.")  # fmt: skip
@click.option("--worst", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
              help="List so many accounts, those that lose most.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print all accounts of all shocks as one JSON document.")
@source_options
def stress_command(
    shocks: tuple[str, ...],
    moment: tuple[str, int] | None,
    start: Path | None,
    impact: float,
    slippage: float,
    worst: int,
    as_json: bool,
    folder: Path | None,
    broker: str | None,
    topic_prefix: str | None,
) -> None:
    """Let prices fall, in twenty steps, from where they stand, and say what is lost.

    The accounts are those of a cluster, or of FOLDER, which `crossmargin export` wrote. SHOCK is 2021-05-19, 2022-11-08
    or 2025-10-10 (the falls of those days), or moves of symbols. The engine itself judges each step; its liquidations
    are filled at the marks less slippage, and with --impact they push the price on, until nothing is liquidated any
    more. Nothing is written anywhere.

    \b
    Exit codes:
      0  done
      2  wrong options, or history that is not whole
    """
    try:
        if start is not None and moment is None:
            raise RecordingError("--start must be given with --at, found it alone")
        moves = {text: shock(text) for text in shocks or tuple(CRASHES)}
        with ExitStack() as stack:
            recording = opened(stack, folder, broker, topic_prefix)
            if moment is None:
                shards = latest(recording)
            else:
                shards = at(recording, Stretch(**{f"to_{moment[0]}": moment[1]}), start)
        _refuse_unpriced(shocks, moves, shards)
        price_impact, slip = impact / 1e6, Decimal(repr(slippage))
        results = {text: stress(shards, own, impact=price_impact, slippage=slip) for text, own in moves.items()}
    except RecordingError as error:
        click.echo(f"crossmargin stress: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(orjson.dumps({text: _document(found) for text, found in results.items()}).decode())
        return
    out = Console()
    out.print(_totals(results))
    for text, found in results.items():
        if worst and found.fates:
            out.print(_worst(text, found, worst))


def _refuse_unpriced(shocks: tuple[str, ...], moves: dict[str, dict[str, float]], shards: Sequence[Shard]) -> None:
    """RecordingError where a shock that is no crash moves a symbol that has no price: it would shock nothing."""
    priced = {symbol for shard in shards for symbol in shard.prices.index}
    for text in shocks:
        unpriced = sorted(set() if text in CRASHES else moves[text].keys() - priced - {"*"})
        if unpriced:
            raise RecordingError(f"a shock must move {', '.join(sorted(priced))} or *, found {', '.join(unpriced)}")


def _totals(results: dict[str, Stressed]) -> Table:
    table = Table("all accounts", *results, title="Stress")
    for column in table.columns[1:]:
        column.justify = "right"
    cells = [_cells(found) for found in results.values()]
    for name in cells[0]:
        table.add_row(name, *(column[name] for column in cells))
    return table


def _cells(found: Stressed) -> dict[str, str]:
    fates = found.fates.values()
    equity, lost = sum(max(fate.before, 0.0) for fate in fates), sum(fate.loss for fate in fates)
    falls = [fate.fall for fate in fates if fate.fall is not None]
    return {
        "equity": f"{equity:,.0f}",
        "capital lost": f"{lost:,.0f}" + (f" ({lost / equity:.1%})" if equity else ""),
        "called": f"{sum(fate.called for fate in fates):,}",
        "liquidated": f"{len(falls):,}",
        "the first of them after": f"{min(falls):.0%} of the way" if falls else "-",
        "bankrupt": f"{sum(fate.bankrupt for fate in fates):,}",
        "shortfall": f"{sum(fate.shortfall for fate in fates):,.2f}",
        "notional closed": f"{sum(found.closed.values()):,.0f}",
        "rounds of cascade": str(found.rounds),
    }


def _worst(text: str, found: Stressed, count: int) -> Table:
    table = Table(title=f"{text}: most capital lost")
    for name in ("account", "equity before", "after", "lost", "liquidated after", "shortfall"):
        table.add_column(name, justify="left" if name == "account" else "right")
    order = sorted(found.fates.items(), key=lambda item: (-item[1].loss, item[0]))
    for name, fate in order[:count]:
        table.add_row(
            name,
            f"{fate.before:,.2f}",
            f"{fate.after:,.2f}",
            f"{fate.loss:,.2f}",
            "-" if fate.fall is None else f"{fate.fall:.0%} of the way",
            f"{fate.shortfall:,.2f}" if fate.bankrupt else "-",
        )
    return table


def _document(found: Stressed) -> dict[str, Any]:
    return {
        "accounts": {
            name: {
                "equity_before": fate.before,
                "equity_after": fate.after,
                "loss": fate.loss,
                "liquidated_after": fate.fall,
                "called": fate.called,
                "bankrupt": fate.bankrupt,
                "shortfall": str(fate.shortfall),
            }
            for name, fate in sorted(found.fates.items())
        },
        "impacts": found.impacts,
        "closed": dict(found.closed),
        "rounds": found.rounds,
    }
