"""A backtest's numbers: by book, horizon and model how often the requirement was not enough, and what it cost.

Horizons overlap where times are nearer to each other than the horizon is long, so each test runs on phases: every
horizon-th time, from the first, the second, ..; the phases' p-values make one that holds however they depend on each
other. Averages are of all times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from streams.backtest.books import Book
from streams.backtest.coverage import conditional, independence, joint, pinball, unconditional
from streams.backtest.panel import BacktestError, Panel, moment
from streams.backtest.walk import MODELS, Losses, Rules, losses, required
from streams.margin.parameters import F64, I64

Json = dict[str, Any]


class Result(NamedTuple):
    """A book over one horizon: at each time of `time` what MODELS required, shape (4, n), and what was lost after."""

    book: str
    horizon: int
    time: I64
    required: F64
    lost: Losses


def results(
    panel: Panel, books: Mapping[str, Book], horizons: Sequence[int], period: int | None, rules: Rules
) -> Iterator[Result]:
    """Each book over each horizon.

    Parameters
    ----------
    horizons, period : in steps of the panel; without a period, history is kept in periods of the horizon

    Raises
    ------
    BacktestError
        where a horizon is no multiple of the period, or the panel is too short for one outcome of each phase.
    """
    for horizon in horizons:
        kept = horizon if period is None else period
        if horizon % kept:
            raise BacktestError(f"a horizon must be whole periods of {kept} rows, found {horizon} rows")
        scaled = rules._replace(tail=rules.tail._replace(scale=(horizon / kept) ** 0.5))
        for name, book in books.items():
            columns = panel.price[:, [panel.assets.index(asset) for asset in book]]
            whole = ~np.isnan(columns).any(axis=1)
            price, time = np.ascontiguousarray(columns[whole]), panel.time[whole]
            first = rules.window * kept
            if len(price) < first + 2 * horizon + kept:
                raise BacktestError(
                    f"a panel must have {first + 2 * horizon + kept:,} rows for a window of {rules.window:,} periods "
                    f"and horizons of {horizon}, found {len(price):,} ({name})"
                )
            weights = np.array(list(book.values()))
            found = required(weights, price, kept, scaled)
            lost = losses(weights, price, horizon)
            end = len(lost.end)
            yield Result(
                name, horizon, time[first:end], found[:, first:end], Losses(lost.end[first:], lost.worst[first:])
            )


def row(result: Result, model: int, level: float) -> Json:
    """One line of the table, `model` an index of MODELS; shares are fractions, pinball and average of capital.

    `inside_breaches` is the share of horizons in which the requirement was passed at any row, `inside_factor` what
    the requirement would have to be multiplied by to hold at the level inside them too.
    """
    needed, lost, horizon = result.required[model], result.lost, result.horizon
    breached = lost.end > needed
    phases = [breached[phase::horizon] for phase in range(horizon)]
    return {
        "book": result.book,
        "horizon_rows": horizon,
        "model": MODELS[model],
        "times": len(breached),
        "from": moment(int(result.time[0])),
        "to": moment(int(result.time[-1])),
        "periods_a_phase": len(phases[-1]),
        "breaches": float(breached.mean()),
        "kupiec_p": joint([unconditional(int(one.sum()), len(one), level).p for one in phases]),
        "independence_p": joint([independence(one).p for one in phases]),
        "conditional_p": joint([conditional(one, level).p for one in phases]),
        "pinball": pinball(lost.end, needed, level),
        "average": float(needed.mean()),
        "inside_breaches": float((lost.worst > needed).mean()),
        "inside_factor": _inside_factor(needed, lost.worst, level),
    }


def _inside_factor(needed: F64, worst: F64, level: float) -> float | None:
    """None where nothing was required at some time: no factor helps there."""
    return float(np.quantile(worst / needed, level)) if needed.min() > 0.0 else None
