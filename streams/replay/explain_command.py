"""`crossmargin explain`: why a margin call or liquidation was sent."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from streams.engine.report import decimal_text
from streams.replay.explain import Explained, Json, explain, missing
from streams.replay.options import DIRECTORY, opened, source_options
from streams.replay.recording import RecordingError


@click.command("explain")
@click.argument("event_id")
@source_options
@click.option("--start", type=DIRECTORY, help="Begin from the snapshots that `replay --save` wrote, not from the first "
              "record.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the event, the state it was made in, and what was "
              "missing, as one JSON document.")  # fmt: skip
@click.option("--document", is_flag=True, help="Print the state as a portfolio document, which "
              "`crossmargin evaluate -` reads and reports alike.")  # fmt: skip
def explain_command(
    event_id: str,
    folder: Path | None,
    broker: str | None,
    topic_prefix: str | None,
    start: Path | None,
    as_json: bool,
    document: bool,
) -> None:
    """Make one decision again from the journal, and say what was behind it.

    EVENT_ID is the `id` of a record of margin-calls or liquidations, such as 3-1811-alice-cross-liquidation. The
    journal is that of FOLDER, which `crossmargin export` wrote, or without FOLDER that of a cluster; it is folded from
    its first record, or a snapshot's state, to the one that the id names.

    Shown are assets after haircuts, each position's rate and share of the maintenance margin, the status before, how
    much more cash would have prevented it, and whether it is what was sent.

    \b
    Exit codes:
      0  it is what was sent
      1  it is not, or was not recorded
      2  there is no such decision, or history that is not whole
    """
    try:
        if as_json and document:
            raise RecordingError("--json or --document must be given, found both")
        with ExitStack() as stack:
            found = explain(opened(stack, folder, broker, topic_prefix), event_id, start)
    except RecordingError as error:
        click.echo(f"crossmargin explain: {error}", err=True)
        sys.exit(2)
    if document:
        click.echo(orjson.dumps(found.document, option=orjson.OPT_INDENT_2).decode())
    elif as_json:
        told = {
            "event": found.event,
            "previous_status": found.previous_status,
            "state": found.document,
            "missing": str(missing(found)),
            "matches": found.matches,
        }
        click.echo(orjson.dumps(told).decode())
    else:
        _show(found, Console())
    sys.exit(0 if found.matches else 1)


def _show(found: Explained, out: Console) -> None:
    event, report = found.event, found.event["report"]
    moment = datetime.fromtimestamp(event["time"] / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    out.print(f"[bold]{event['kind']}[/] of {event['account']}, {event['bucket']}, at {moment}", highlight=False)
    journal = event["journal"]
    out.print(
        f"caused by journal[{journal['partition']}] record {journal['offset']}; before it: {found.previous_status}"
    )
    out.print(_assets(found))
    if found.view.legs:
        out.print(_positions(report, event["marks"]))
    out.print(
        f"equity {report['equity']}, after haircuts {report['adjusted_equity']}; maintenance margin "
        f"{report['maintenance_margin']}; ratio {report['margin_ratio'] or '-'}",
        highlight=False,
    )
    out.print(_reason(found), highlight=False)
    verdict = (
        "what was sent" if found.matches else "not in the recording" if found.sent is None else "NOT what was sent"
    )
    out.print(f"made again from the journal: {verdict}", highlight=False)


def _assets(found: Explained) -> Table:
    table = Table(title="Assets: balance, P&L and funding that settle in it")
    for name in ("asset", "net", "price", "haircut", "value"):
        table.add_column(name, justify="left" if name == "asset" else "right")
    view = found.view
    net = view.net_assets()
    for index, amount in net.items():
        name = view.asset_names[index]
        terms = found.document["assets"][name]
        price = view.price(index)
        held = "by tiers" if terms["haircut_tiers"] else terms["haircut"]
        haircut = f"debt {terms['borrow_haircut']}" if amount < 0 else held
        widened = f" + {terms['widening']}" if terms.get("widening", "0") != "0" else ""
        state = f" {terms['state']}" if terms.get("state", "ok") != "ok" else ""
        value = f"{float(amount * price):,.2f}"
        table.add_row(name, decimal_text(float(amount)), decimal_text(float(price)) + state, haircut + widened, value)
    return table


def _positions(report: Json, marks: Json) -> Table:
    table = Table(title="Positions")
    names = ("instrument", "quantity", "mark", "notional", "P&L", "maintenance", "rate", "share", "liquidation price")
    for name in names:
        table.add_column(name, justify="left" if name == "instrument" else "right")
    total = float(report["maintenance_margin"] or 0)
    for position in report["positions"]:
        notional, maintenance = float(position["notional"] or 0), float(position["maintenance_margin"] or 0)
        mark = marks[position["instrument"]]
        table.add_row(
            position["instrument"],
            position["quantity"],
            f"{mark['mark']}{'' if mark['state'] == 'ok' else ' ' + mark['state']}",
            f"{notional:,.2f}",
            position["unrealized_pnl"],
            f"{maintenance:,.2f}",
            f"{maintenance / notional:.4%}" if notional else "-",
            f"{maintenance / total:.1%}" if total else "-",
            position["liquidation_price"] or "-",
        )
    return table


def _reason(found: Explained) -> str:
    kind, levels = found.event["kind"], found.levels
    cash = f"{missing(found):,.2f}"
    return {
        "called": f"called below a ratio of {levels.margin_call}: {cash} in cash would have prevented it",
        "cleared": f"the call ended: the ratio is {levels.margin_call_exit} or more, or a liquidation took its place",
        "liquidation": f"liquidated below its maintenance margin: {cash} in cash would have prevented it",
        "liquidation_cleared": f"the liquidation ended: the ratio is {levels.liquidation_exit} or more",
        "bankrupt": f"bankrupt, as its equity is below zero: {cash} in cash would have prevented it",
    }[str(kind)]
