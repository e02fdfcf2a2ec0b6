"""Risk table: what a unit of each instrument is worth, gains and is charged, made anew where a mark changed.

Between the market (marks, forwards, volatilities) and the accounts: an account's risk is its positions x rows of
this table. Rows depend on their own instrument alone, so writing some leaves the bits of the others.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import kernel
from streams.margin.black76 import option_greeks
from streams.margin.elementary import exp
from streams.margin.parameters import F64, I32
from streams.margin.scenarios import (
    BASIS_COLUMNS,
    OPTION,
    Grid,
    Instruments,
    SkewShock,
    VolatilityShock,
    risk_arrays,
    scenario_value,
)

#: The profit curve of a row: so many price moves, the first of them, and from one to the next.
CURVE_POINTS, CURVE_FIRST, CURVE_STEP = 49, -0.6, 0.025
#: Columns of `RiskTable.amounts`, of `by_expiry` and of `by_unit`.
MARK, DELTA, GAMMA, VEGA, MINIMUM, SPREAD, INITIAL, MAINTENANCE, NOTIONAL, CONFIDENCE = range(10)
LONG_DISCOUNT, SHORT_DISCOUNT, BASIS_RATE = range(3)
INDEX_CONFIDENCE, DAILY_VOLATILITY, DAILY_VOLUME = range(3)


class RiskTable(NamedTuple):
    """Per unit of each instrument, shape (n,) or (n, columns), in the reporting currency.

    Few arrays: each costs every kernel that is handed a table time to compile, and what is read of a row together
    lies together.

    `values` are `scenarios.risk_arrays`. `unit` is the risk unit; `expiry` numbers (unit, expiry) pairs, what never
    expires having one of its own; `line` numbers (unit, expiry, strike) and ascends with both.
    Of `amounts` MARK is what one unit is worth, DELTA the dollar delta (gain by a move of 1), GAMMA the dollar gamma
    (gain = delta s + gamma s^2 / 2), VEGA the gain by a volatility of 1; MINIMUM the least charge, SPREAD half the
    bid-ask spread, INITIAL and MAINTENANCE what holding a unit of either sign adds, NOTIONAL the price of the
    underlying, CONFIDENCE that of the instrument's price, 0 to 1. `curves` is the gain at CURVE_POINTS price moves,
    volatility and time as they are; without columns where nobody reads it.

    `by_expiry`, shape (n_expiries, 3): LONG_DISCOUNT and SHORT_DISCOUNT multiply a positive and a negative value of
    its options in scenarios, BASIS_RATE its loss in the basis test (0 for what never expires, whose confidence then
    bounds that of all the unit). `by_unit`, shape (n_units, 3): INDEX_CONFIDENCE, DAILY_VOLATILITY and DAILY_VOLUME
    (reporting currency; inf where unlimited).
    """

    values: F64
    amounts: F64
    kind: I32
    unit: I32
    expiry: I32
    line: I32
    by_expiry: F64
    by_unit: F64
    curves: F64


class Holding(NamedTuple):
    """What holding a unit of an instrument is charged: fractions of its notional, and `minimum` an amount.

    Shape (n,) each.
    """

    minimum: F64
    initial: F64
    maintenance: F64
    spread: F64


class ExpiryRules(NamedTuple):
    """How an expiry counts in scenarios and in the basis test.

    A positive value of its options counts long_base x exp(-T (rate x long_multiply + long_add)); a negative one
    grows by short_base x exp(T (rate x short_multiply + short_add)), at most by 1 / its discount factor. Its loss
    in the basis test is charged basis_add + basis_multiply x T.
    """

    long_base: float = 1.0
    long_multiply: float = 0.0
    long_add: float = 0.0
    short_base: float = 1.0
    short_multiply: float = 0.0
    short_add: float = 0.0
    basis_add: float = 0.5
    basis_multiply: float = 2.0


def lines_of(unit: I32, expires: F64, strike: F64) -> tuple[I32, I32]:
    """Numbers of (unit, expiry) and of (unit, expiry, strike), both ascending.

    Parameters
    ----------
    expires : any number that tells expiries apart, in their order; -inf for what never expires
    strike : of options; anything for others, which stand below every strike of their expiry

    Examples
    --------
    A perpetual, two calls of one expiry and a call of a later one:

    >>> expires, strike = np.array([-np.inf, 7.0, 7.0, 9.0]), np.array([0.0, 60.0, 50.0, 50.0])
    >>> [numbers.tolist() for numbers in lines_of(np.zeros(4, np.int32), expires, strike)]
    [[0, 1, 1, 2], [0, 2, 1, 3]]
    """
    groups = np.rec.fromarrays([unit, expires])
    lines = np.rec.fromarrays([unit, expires, strike])
    expiry = np.unique(groups, return_inverse=True)[1]
    line = np.unique(lines, return_inverse=True)[1]
    return expiry.astype(np.int32), line.astype(np.int32)


def expiry_factors(rules: ExpiryRules, years: F64, rate: F64, discount: F64) -> tuple[F64, F64, F64]:
    """Long discount, short discount and basis rate of each expiry; 1, 1, 0 for what never expires (years inf).

    Parameters
    ----------
    years, rate, discount : of each expiry, shape (n_expiries,); rates below 0 count as 0

    Examples
    --------
    Derive: 0.95 x exp(-37.2 / 365 x (0.21 + 0.08)); the inverse of the discount factor caps the other

    >>> rules = ExpiryRules(0.95, 1.0, 0.08, 1.04, 0.5, 0.08)
    >>> years = np.array([3_214_052 / 31_536_000])
    >>> factors = expiry_factors(rules, years, np.array([0.21]), np.array([0.9788248561009755]))
    >>> [float(round(of_expiry[0], 10)) for of_expiry in factors]
    [0.9223327676, 1.0216332307, 0.7038338407]
    """
    long, short, basis = np.ones(len(years)), np.ones(len(years)), np.zeros(len(years))
    for e, term in enumerate(years):
        if math.isinf(term):
            continue
        r = max(float(rate[e]), 0.0)
        long[e] = rules.long_base * exp(-term * (r * rules.long_multiply + rules.long_add))
        grown = rules.short_base * exp(term * (r * rules.short_multiply + rules.short_add))
        short[e] = min(grown, 1.0 / discount[e])
        basis[e] = rules.basis_add + rules.basis_multiply * term
    return long, short, basis


def empty_table(kind: I32, unit: I32, expiry: I32, line: I32, grid: Grid, *, curves: bool = False) -> RiskTable:
    """A table of rows not yet written, without discounts, charges, doubt or cost of trading.

    Parameters
    ----------
    kind, unit, expiry, line : of each instrument, shape (n,)
    curves : whether rows have profit curves
    """
    n = len(kind)
    expiries, units = int(expiry.max(initial=-1)) + 1, int(unit.max(initial=-1)) + 1
    amounts = np.zeros((n, CONFIDENCE + 1))
    amounts[:, CONFIDENCE] = 1.0
    return RiskTable(
        values=np.zeros((n, len(grid.move) + BASIS_COLUMNS)),
        amounts=amounts,
        kind=kind,
        unit=unit,
        expiry=expiry,
        line=line,
        by_expiry=np.tile([1.0, 1.0, 0.0], (expiries, 1)),
        by_unit=np.tile([1.0, 0.0, np.inf], (units, 1)),
        curves=np.zeros((n, CURVE_POINTS if curves else 0)),
    )


@kernel
def write_rows(
    table: RiskTable,
    which: I32,
    of: Instruments,
    index_price: F64,
    holding: Holding,
    grid: Grid,
    shock: VolatilityShock,
    skew: SkewShock,
) -> None:
    """Write the rows of the instruments `which`, whose marks, volatilities or terms have changed.

    Parameters
    ----------
    index_price : of each instrument's underlying, in the reporting currency; notionals are at it
    """
    risk_arrays(of, which, grid, shock, skew, table.values)
    for at in range(which.shape[0]):
        i = which[at]
        own = table.amounts[i]
        own[MARK] = scenario_value(of, i, 0.0, of.volatility[i])
        money = of.multiplier[i] * of.settlement_price[i]
        if of.kind[i] == OPTION:
            forward = of.price[i] + of.fixed[i]
            one = option_greeks(of.right[i], forward, of.strike[i], of.years[i], of.volatility[i], of.discount[i])
            moved = of.price[i]
            coins = 1.0 / forward if of.coin_settled[i] else 1.0
            premium = one.value / forward if of.coin_settled[i] else 0.0
            own[DELTA] = money * coins * moved * (one.delta - premium)
            own[GAMMA] = money * coins * moved * moved * one.gamma
            own[VEGA] = money * coins * one.vega
            own[NOTIONAL] = of.multiplier[i] * index_price[i]
        elif of.coin_settled[i]:
            own[DELTA] = money / of.price[i]
            own[NOTIONAL] = own[DELTA]
        else:
            own[DELTA] = money * of.price[i]
            own[NOTIONAL] = of.multiplier[i] * index_price[i]
        own[MINIMUM] = holding.minimum[i]
        own[INITIAL] = holding.initial[i] * own[NOTIONAL]
        own[MAINTENANCE] = holding.maintenance[i] * own[NOTIONAL]
        own[SPREAD] = holding.spread[i] * own[NOTIONAL]
        for point in range(table.curves.shape[1]):
            move = CURVE_FIRST + CURVE_STEP * point
            table.curves[i, point] = scenario_value(of, i, move, of.volatility[i]) - own[MARK]


@kernel
def sorted_by_line(line: I32, instrument: I32) -> npt.NDArray[np.int64]:
    """Order in which positions are margined: by line, equals as they came."""
    return np.argsort(line[instrument], kind="mergesort")
