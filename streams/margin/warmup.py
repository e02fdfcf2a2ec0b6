"""Compile the kernels of options and of portfolio margin; instant once the compiled code is cached.

One account with a perpetual and an option, margined both ways.
"""

import numpy as np

from streams.margin import (
    black76,
    forwards,
    history,
    implied_volatility,
    offsets,
    portfolio,
    risk_parameters,
    risk_table,
    surface,
)
from streams.margin.parameters import F64
from streams.margin.risk_units import risk_units
from streams.margin.scenarios import FUTURE, OPTION, Instruments, SkewShock, VolatilityShock, grid
from streams.margin.screens import quadratic_loss, threshold_moves
from streams.margin.standard_options import OptionRates, expiry_requirement
from streams.margin.unit_risk import ChargeRates, unit_risk

_RATES = ChargeRates(1.0, 0.8, False, False, False, 0.01, 0.005, 0.005, 0.02, 0.01, 0.0, 0.0, 0.9)


def warm_up() -> int:
    """Run every kernel once and return what came of it (so that the work cannot be skipped)."""
    numbers = [*_portfolio(), *_options(), *_history()]
    return sum(number > 0.0 for number in numbers)


def _column(*values: float) -> F64:
    return np.array(values, dtype=np.float64)


def _portfolio() -> list[float]:
    full = grid(price_range=0.16)
    kind = np.array([FUTURE, OPTION], dtype=np.int32)
    unit = np.zeros(2, dtype=np.int32)
    of = Instruments(
        kind=kind,
        coin_settled=np.zeros(2, dtype=np.bool_),
        price=_column(100.0, 100.0),
        fixed=_column(0.0, 0.0),
        right=_column(0.0, 1.0),
        strike=_column(0.0, 110.0),
        years=_column(np.inf, 0.1),
        volatility=_column(0.0, 0.5),
        discount=_column(1.0, 1.0),
        multiplier=_column(1.0, 1.0),
        settlement_price=_column(1.0, 1.0),
    )
    table = risk_table.empty_table(kind, unit, *risk_table.lines_of(unit, of.years, of.strike), full)
    holding = risk_table.Holding(*(np.zeros(2) for _ in range(4)))
    shock = VolatilityShock(0.45, 0.25, 0.3, 0.13, 1.0, 0.4)
    skew = SkewShock(0.15, -0.05, 0.15, -0.05, 0.01, 4.0, 0.6, -0.1)
    which = np.arange(2, dtype=np.int32)
    risk_table.write_rows(table, which, of, of.price, holding, full, shock, skew)
    held = risk_table.sorted_by_line(table.line, which).astype(np.int32)
    quantity = _column(-1.0, -1.0)
    alone = offsets.Correlations(np.full(1, -1, dtype=np.int32), np.eye(1), np.eye(1), np.zeros(1))
    units = risk_units([full], [_RATES], _RATES, [1.0])
    room = portfolio.room_for(units)
    found = np.empty((1, 2))
    start = np.array([0, 2])
    portfolio.portfolio_risks(table, units, alone, start, held, quantity, np.zeros(1), room, found)
    account = portfolio.portfolio_risk(table, units, alone, held, quantity, 0.0, room)
    risk = unit_risk(table, full, _RATES, 0, held, quantity, room.columns)
    down, up = threshold_moves(100.0, 50.0, risk.delta, risk.gamma)
    return [*found[0], account.core, risk.scan, up, -down, quadratic_loss(risk.delta, risk.gamma, risk.vega, 0.1, 0.1)]


def _options() -> list[float]:
    one = (_column(1.0), _column(100.0), _column(110.0), _column(0.1), _column(0.5), _column(1.0))
    price = black76.values(*one)
    volatility, _ = implied_volatility.implied_volatilities(one[0], price, *one[1:4], one[5])
    rates = OptionRates(0.15, 0.1, 0.075, 0.075, 0.075, 1.05, 1.2, 1.1)
    required = expiry_requirement(rates, one[0], _column(-1.0), one[2], price, 100.0, 100.0)
    smile = np.array([[0.04, 0.1, -0.3, 0.0, 0.2]])
    limits = surface.Limits()
    fault, _, _ = surface.checked(smile, one[3], _column(0.0), 1e-9)
    quoted = surface.spline(_column(-0.1, 0.1), _column(0.5, 0.6), 0.1)
    return [
        black76.greeks(*one)[0, 0],
        volatility[0],
        *required,
        1.0 + fault,
        surface.svi_volatility(surface.Svi(*smile[0]), 0.0, 0.1, limits),
        surface.spline_volatility(quoted, 0.0, 0.1, limits),
        surface.between(one[3], volatility, 0.2),
        forwards.forward_at(100.0, one[3], one[1], 0.2),
        *black76.settlement_forward(100.0, 100.0, 0.1, 0.01),
    ]


def _history() -> list[float]:
    returns = np.array([[0.01], [-0.02], [0.03], [-0.01]])
    moves = np.empty_like(returns)
    history.factor_moves(returns, np.ones(1), moves)
    rules = history.TailRules(0.99, 0.975, 0.97, 2, 1.0)
    curve = history.curve_requirement(np.array([[-1.0, 1.0]]), -0.1, 0.2, moves, rules, np.empty(4))
    known = risk_parameters.refreshed(returns, np.full(1, np.inf), risk_parameters.RiskRules(rules, window=4))
    linear = risk_parameters.linear_value_at_risk(
        np.ones(1), returns, known.volatility, known.margined, rules, np.empty((3, 5))
    )
    moved = risk_parameters.margined_moves(returns, known.margined, rules)
    return [curve, linear, float(np.abs(moved).max())]
