"""The backtest as one self-contained HTML page: the table, and requirement beside loss through time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from plotly.subplots import make_subplots

from streams.backtest.results import Json, Result
from streams.backtest.walk import MODELS, REQUIREMENT

#: Points of a curve; a point stands for a stretch of time: mean requirement, largest loss.
POINTS = 600
COLORS = ("#b8b8b8", "#54a24b", "#4c78a8", "#e45756")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem }
body { color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
"""


def page(told: Json, results: Sequence[Result], cells: Sequence[Sequence[str]], names: Sequence[str]) -> str:
    """The page; `cells` are the table's lines as text under `names`."""
    plot = _figure(results, told["horizons"]).to_html(
        full_html=False, include_plotlyjs=True, config={"displaylogo": False}
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in cells)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Backtest: {escape(told['file'])}</title>"
        f"<style>{_STYLE}</style><h1>Backtest</h1><p>{escape(told['file'])}, {escape(told['from'])} to "
        f"{escape(told['to'])}, level {told['level']:.1%}, window {told['window']:,} periods.</p>"
        f"<table><tr>{head}</tr>{body}</table>"
        f"<p>Requirement and loss as shares of capital. A point is a stretch of time: the mean requirement in it, and "
        f"the worst loss at any row inside a horizon.</p>{plot}</html>"
    )


def _figure(results: Sequence[Result], horizons: Sequence[str]) -> Any:
    order = dict(zip(dict.fromkeys(one.horizon for one in results), horizons, strict=True))
    titles = [f"{one.book}, {order[one.horizon]}" for one in results]
    figure = make_subplots(rows=len(results), cols=1, subplot_titles=titles, vertical_spacing=0.25 / len(results))
    for at, one in enumerate(results, 1):
        edges = np.unique(np.linspace(0, len(one.time), POINTS + 1).astype(int))[:-1]
        times = one.time[edges].astype("datetime64[ms]")
        count = np.diff([*edges, len(one.time)])
        lost = np.maximum.reduceat(one.lost.worst, edges)
        shown = {"x": times, "mode": "lines", "showlegend": at == 1}
        figure.add_scatter(
            y=np.round(lost, 5), name="worst loss", legendgroup="loss", line={"color": "#dddddd"}, fill="tozeroy",
            row=at, col=1, **shown,
        )  # fmt: skip
        for model, name in enumerate(MODELS):
            mean = np.add.reduceat(one.required[model], edges) / count
            line = {"color": COLORS[model], "width": 2 if model == REQUIREMENT else 1}
            figure.add_scatter(y=np.round(mean, 5), name=name, legendgroup=name, line=line, row=at, col=1, **shown)
    figure.update_layout(height=260 * len(results), template="plotly_white", margin={"t": 40, "b": 30})
    figure.update_yaxes(tickformat=".1%", rangemode="tozero")
    return figure
