"""A book seen by the portfolio model: its numbers, and unit by unit what binds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.engine.book_view import BookView
from streams.engine.risk_model import SHOCKS, RiskMarket, RiskModel, Rows
from streams.margin.equity import Book, standard_equity
from streams.margin.liquidation import leg_maintenance
from streams.margin.parameters import F64, I32, I64, Parameters, widened
from streams.margin.portfolio import Room, room_for
from streams.margin.portfolio_book import BookRisk, book_legs, book_risk, uncut
from streams.margin.portfolio_legs import leg_sizes
from streams.margin.portfolio_liquidation import leg_loss, share_sizes
from streams.margin.portfolio_price import liquidation_factors, price_search
from streams.margin.portfolio_tail import Tails
from streams.margin.rational import Rational
from streams.margin.risk_table import RiskTable
from streams.margin.risk_units import grid_of_unit, rates_of_unit
from streams.margin.screens import threshold_moves
from streams.margin.unit_risk import NONE, UnitRisk, unit_risk, worst_scenario

#: Names of what binds core risk, by number.
BINDS = ("nothing", "grid", "value_at_risk", "floor")


class RiskBook(NamedTuple):
    """A book with all that the kernels of portfolio margin read of it."""

    model: RiskModel
    p: Parameters
    rows: Rows
    table: RiskTable
    book: Book
    tails: Tails
    room: Room


def risk_book(view: BookView) -> RiskBook:
    """The view's book by the portfolio model.

    Raises
    ------
    ValueError : where the view knows no risk unit
    """
    if view.risk is None:
        raise ValueError("a book must have risk units to be seen by the portfolio model, found none")
    risk, model, book = view.risk, view.risk.model, view.book()
    marks, prices = np.array(view.marks, dtype=np.float64), np.array(view.prices, dtype=np.float64)
    options = risk.volatility, risk.forward, risk.discount
    rows = model.rows(RiskMarket(marks, prices, *options, risk.index_price, risk.time))
    coins = model.coin[book.asset]
    which = np.union1d(book.instrument, coins[coins >= 0]).astype(np.int32)
    cut_no_coin = uncut(view.parameters, model.coin, model.unit)
    return RiskBook(
        model=model,
        p=widened(cut_no_coin, np.where(model.coin >= 0, risk.widening, 0.0)),
        rows=rows,
        table=model.table(rows, which, curves=len(risk.tails.returns) > 0),
        book=book,
        tails=risk.tails,
        room=room_for(model.units),
    )


def measured(of: RiskBook, book: Book | None = None) -> BookRisk:
    """Numbers of the book, or of another on the same market and rows."""
    model = of.model
    found: BookRisk = book_risk(
        of.p, of.table, model.units, model.correlations, model.coin, book or of.book, of.tails, of.room
    )
    return found


def portfolio_numbers(view: BookView) -> tuple[float, float, float, float, float]:
    """Equity, adjusted equity, initial equity, initial and maintenance margin; nan where unpriced."""
    of = risk_book(view)
    found = measured(of)
    if np.isnan(found.equity):
        return (np.nan,) * 5
    return (*standard_equity(of.p, of.book, view.net_array()), found.initial, found.maintenance)


def portfolio_section(view: BookView) -> dict[str, Any]:
    """What the report of a priced book says of the portfolio model, numbers as floats."""
    of = risk_book(view)
    found = measured(of)
    risk = found.risk
    row, quantity = book_legs(of.table, of.model.coin, of.book, view.net_array())
    slack = found.adjusted, found.maintenance
    section: dict[str, Any] = {
        "core": risk.core,
        "binds": BINDS[risk.binds],
        "grid_loss": risk.grid_loss,
        "additive_loss": risk.additive_loss,
        "value_at_risk": risk.value_at_risk if len(of.tails.returns) else None,
        "units": [_unit_section(of, unit, row, quantity, slack) for unit in np.unique(of.table.unit[row]).tolist()],
    }
    if (of.table.unit[of.book.instrument] < 0).any():
        section["outside"] = {
            "initial_margin": found.outside_initial,
            "maintenance_margin": found.outside_maintenance,
        }
    return section


def _unit_section(of: RiskBook, unit: int, row: I32, quantity: F64, slack: tuple[float, float]) -> dict[str, Any]:
    model = of.model
    own = of.table.unit[row] == unit
    grid, rates = grid_of_unit(model.units, unit), rates_of_unit(model.units, unit)
    risk: UnitRisk = unit_risk(of.table, grid, rates, unit, row[own], quantity[own], of.room.columns)
    at, worst = worst_scenario(of.room.columns[0, : len(grid.move)]), None
    if at != NONE:
        worst = {
            "move": float(grid.move[at]),
            "volatility": SHOCKS[grid.shock[at]],
            "dampening": float(grid.dampening[at]),
        }
    return {
        "underlying": model.symbols[unit],
        "worst": worst,
        "scan": risk.scan,
        "basis": risk.basis,
        "calendar": risk.calendar,
        "naked": risk.naked_initial,
        "minimum_delta": risk.minimum_delta,
        "liquidity": risk.liquidity,
        "floor": risk.floor,
        "delta": risk.delta,
        "gamma": risk.gamma,
        "vega": risk.vega,
        "distance": _distance(risk, slack, model.rules[unit].daily_volatility),
        "liquidation_prices": _liquidation_prices(of, unit),
    }


def _distance(risk: UnitRisk, slack: tuple[float, float], daily_volatility: float) -> dict[str, float | None]:
    """Moves to the threshold by delta and gamma, requirement held; the nearer one in daily volatilities too."""
    down, up = threshold_moves(*slack, risk.delta, risk.gamma)
    nearest = min(-down, up)
    sigmas = nearest / daily_volatility if daily_volatility > 0.0 and nearest < np.inf else None
    return {"down": _finite(down), "up": _finite(up), "sigmas": sigmas}


def _liquidation_prices(of: RiskBook, unit: int) -> dict[str, float | None]:
    """Prices of the underlying below and above where adjusted equity meets maintenance margin."""
    model = of.model
    factors = liquidation_factors(
        price_search(
            p=of.p,
            table=of.table,
            units=model.units,
            correlations=model.correlations,
            coin=model.coin,
            book=of.book,
            of=of.rows.of,
            index_price=of.rows.index_price,
            holding=of.rows.holding,
            shock=model.rules[unit].shock,
            skew=model.rules[unit].skew,
            unit=unit,
            tails=of.tails,
            room=of.room,
        )
    )
    below, above = (factor * _index_of(of, unit) for factor in factors)
    return {"below": _finite(below), "above": _finite(above)}


def _index_of(of: RiskBook, unit: int) -> float:
    held = of.book.instrument[of.table.unit[of.book.instrument] == unit]
    row = held[0] if len(held) else len(of.table.unit) - len(of.model.symbols) + unit
    return float(of.rows.index_price[row])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def portfolio_sizes(view: BookView, closable: npt.NDArray[np.bool_], target: float, share_most: Rational) -> I64:
    """Lots to close of each leg of a priced book, so that it is brought to the target: the least share of all legs, or
    leg by leg where all units that it has positions in say so.

    Parameters
    ----------
    closable : by leg, whether an order may be sent for it
    share_most : most of the book, or of each leg, that one step closes
    """
    of = risk_book(view)
    model = of.model
    whole = of.p, of.table, model.units, model.correlations, model.coin
    unit = of.table.unit[of.book.instrument]
    rest = of.book, view.lots(), closable, target, float(share_most), of.tails, of.room
    sizes: I64
    if (unit >= 0).any() and model.by_legs[unit[unit >= 0]].all():
        sizes = leg_sizes(*whole, model.right, *rest)
    else:
        sizes = share_sizes(*whole, *rest)
    return sizes


def leg_losses(view: BookView) -> list[float]:
    """What each leg of a priced book can lose by itself: in its worst scenario, or where it belongs to no unit its
    standard maintenance margin."""
    of = risk_book(view)
    return [
        leg_loss(of.table, of.model.units, int(row), float(quantity))
        if of.table.unit[row] >= 0
        else leg_maintenance(of.p, of.book, j, quantity)
        for j, (row, quantity) in enumerate(zip(of.book.instrument, of.book.quantity, strict=True))
    ]
