"""The what-if as one self-contained HTML page: totals, curves over time, and the accounts that fared differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import accumulate
from typing import Any

from plotly.colors import qualitative
from plotly.subplots import make_subplots

from streams.replay.whatif.sides import CHANGED, KINDS, RECORDED

Json = dict[str, Any]

COLORS = {RECORDED: "#4c78a8", CHANGED: "#e45756"}
ROWS_SHOWN = 500
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem }
body { color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
td { white-space: nowrap }
code { background: #f3f3f3; padding: .1rem .3rem; white-space: pre-wrap }
"""


def page(report: Json, source: str) -> str:
    """The page of a report, see `summary.report`; `source` names the recording."""
    figure = _figure(report)
    plot = figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    changes = escape(_compact(report["changes"]))
    execution = report["execution"]
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>What if: {escape(source)}</title>"
        f"<style>{_STYLE}</style><h1>What if</h1>"
        f"<p>Journal of {escape(source)}, {_span(report['times'])}. Changed: <code>{changes}</code></p>"
        f"<p>The recorded side is what happened. The changed side takes the same rows under the changed parameters, "
        f"but its own liquidations are filled {escape(execution['rule'])} ({escape(execution['slippage'])}).</p>"
        f"{_totals(report['sides'])}{plot}{_accounts(report['accounts'])}</html>"
    )


def _figure(report: Json) -> Any:
    titles = (
        "Prices, first = 1",
        "Margin locked (maintenance)",
        "Accounts and isolated positions in a margin call",
        "Accounts and isolated positions in liquidation",
        "Margin calls so far",
        "Liquidations so far",
        "Bankruptcies so far",
        "Shortfall so far, reporting currency",
    )
    figure = make_subplots(rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.025, subplot_titles=titles)
    times = [_moment(time) for time in report["times"]]
    for symbol, prices in report["prices"].items():
        first = next((price for price in prices if price), None)
        if first:
            ratios = [None if price is None else price / first for price in prices]
            figure.add_scatter(x=times, y=ratios, name=symbol, legendgroup="prices", row=1, col=1)
    for name, side in report["sides"].items():
        line = {"color": COLORS[name], "dash": "dot" if name == CHANGED else "solid"}
        style = {"name": name, "line": line, "legendgroup": name, "mode": "lines"}
        figure.add_scatter(x=times, y=side["maintenance_margin"], **style, row=2, col=1)
        for row, status in enumerate(("margin_call", "liquidation"), 3):
            figure.add_scatter(x=times, y=side["statuses"][status], **style, showlegend=False, row=row, col=1)
        stairs = {**style, "line": {**line, "shape": "hv"}, "showlegend": False}
        sums = [[(time, 1.0) for time in side["events"][kind]] for kind in KINDS]
        sums.append([(time, float(amount)) for time, amount in side["shortfalls"]])
        for row, steps in enumerate(sums, 5):
            heights = list(accumulate((step for _, step in steps), initial=0.0))
            moments = [*times[:1], *(_moment(time) for time, _ in steps), *times[-1:]]
            figure.add_scatter(x=moments, y=[*heights, heights[-1]], **stairs, row=row, col=1)
    figure.update_layout(
        height=2000,
        template="plotly_white",
        colorway=qualitative.Dark24,
        hovermode="x unified",
        margin={"t": 40, "b": 30},
    )
    return figure


def _totals(sides: Mapping[str, Json]) -> str:
    lines = {
        "margin calls": "called",
        "liquidations": "liquidated",
        "liquidation steps": "steps",
        "bankruptcies": "bankrupt",
        "shortfall": "shortfall",
    }
    head = "".join(f"<th>{name}</th>" for name in sides)
    body = "".join(
        f"<tr><td>{title}</td>{''.join(f'<td>{_number(side[field])}</td>' for side in sides.values())}</tr>"
        for title, field in lines.items()
    )
    most = "".join(f"<td>{max(side['maintenance_margin'], default=0.0):,.0f}</td>" for side in sides.values())
    return f"<table><tr><th></th>{head}</tr>{body}<tr><td>most margin locked</td>{most}</tr></table>"


def _accounts(rows: Sequence[Json]) -> str:
    if not rows:
        return "<p>No account fared differently.</p>"
    cells = "".join(
        f"<tr><td>{escape(row['account'])}</td>{_fate(row[RECORDED])}{_fate(row[CHANGED])}</tr>"
        for row in rows[:ROWS_SHOWN]
    )
    more = f", the first {ROWS_SHOWN} of them" if len(rows) > ROWS_SHOWN else ""
    head = "".join(f"<th>{kind}</th>" for kind in (*KINDS, "shortfall"))
    return (
        f"<h2>{len(rows):,} accounts fared differently{more}</h2><table><tr><th></th><th colspan='4'>{RECORDED}</th>"
        f"<th colspan='4'>{CHANGED}</th></tr><tr><th>account</th>{head}{head}</tr>{cells}</table>"
    )


def _fate(fate: Json | None) -> str:
    if fate is None:
        return "<td></td>" * 4
    moments = "".join(f"<td>{'' if fate[kind] is None else _clock(fate[kind])}</td>" for kind in KINDS)
    return f"{moments}<td>{'' if fate['shortfall'] == '0' else _number(fate['shortfall'])}</td>"


def _number(value: int | str) -> str:
    return f"{float(value):,.2f}" if isinstance(value, str) else f"{value:,}"


def _compact(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_compact(item)}" for name, item in value.items()) + "}"
    return str(value)


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _clock(time_ms: int) -> str:
    return _moment(time_ms).strftime("%m-%d %H:%M:%S")


def _span(times: Sequence[int]) -> str:
    if not times:
        return "no moment"
    return f"{_moment(times[0]):%Y-%m-%d %H:%M} to {_moment(times[-1]):%Y-%m-%d %H:%M} UTC"
