"""The drift that a book on portfolio margin can bear before its status could change: its radius.

Slack / what a drift of 1 costs the book: its worth falls by the scales of its legs, and its requirement rises by them,
and by what net delta is charged. Offsets between units are left out of the slack, since they may go at once.
"""

import math

import numpy as np
import numpy.typing as npt

from streams.compiled import kernel
from streams.engine.columns import Balances, Positions
from streams.engine.drift import IN_DELTA, IN_REQUIREMENT, IN_WORTH, SIZE
from streams.engine.judged_books import Judged
from streams.engine.posting import Terms
from streams.engine.radius import GUARD, RADIUS_MAX, RADIUS_MIN
from streams.engine.reach import floor_of
from streams.engine.valuation import BANKRUPT, OK, Levels, gather, scratch
from streams.margin.equity import Book, net_assets
from streams.margin.parameters import F64, I32, I64, Parameters
from streams.margin.risk_table import DAILY_VOLATILITY, DAILY_VOLUME, DELTA, RiskTable
from streams.margin.risk_units import RiskUnits
from streams.margin.scenarios import OPTION

#: The group of a book that any unit's drift concerns.
ALL = -1
#: Columns of what a book holds of each unit.
_WORTH, _REQUIREMENT, _DELTA, _GROSS, _OTHER, _COINS, _HELD = range(7)


@kernel
def drift_radii(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    coin: I32,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    marks: F64,
    prices: F64,
    scale: F64,
    books: I64,
    rows: I64,
    judged: Judged,
    offset: F64,
    levels: Levels,
    level_set: I32,
    status: npt.NDArray[np.int8],
    called: npt.NDArray[np.bool_],
    step: I32,
    fixed: int,
    radius: F64,
    group: I32,
) -> None:
    """Write radius and group of the `rows` of books just judged; 0: no bound holds, infinite: nothing can happen to it.

    Only books that are ok have a radius. One has none either that holds what belongs to no unit or pays in the coin of
    another, or options bought that are paid in coins: a coin gained lifts the most that they require.

    Parameters
    ----------
    p : without haircuts on coins of units, as they are judged by
    scale : `streams.engine.drift.write_scales`
    offset : by book, what offsets took off its losses
    fixed : the asset whose price cannot move (the reporting currency), or NONE
    radius, group : as many as `rows`; the group is the one unit whose drift counts, or ALL
    """
    most, assets = 0, 0
    for row in rows:
        most = max(most, positions.size[books[row]])
        assets = max(assets, balances.size[books[row]])
    room, net = scratch(most, assets), np.empty(assets)
    held = np.empty((units.calendar.shape[0], 7))
    for at in range(rows.shape[0]):
        row = rows[at]
        book = books[row]
        radius[at], group[at] = 0.0, ALL
        if status[book] == BANKRUPT:
            radius[at] = math.inf
        elif status[book] == OK and step[book] == 0:
            own = level_set[book]
            floor = floor_of(levels.call[own], levels.call_exit[own], called[book])
            factor = units.common.maintenance_factor
            slack = judged.adjusted[row] - floor * (judged.maintenance[row] + factor * offset[book])
            if slack > 0.0:
                view = gather(p, positions, balances, terms, marks, prices, book, room)
                net_assets(p, view, net)
                found, group[at] = _radius(p, table, units, coin, scale, view, net, fixed, floor, slack, held)
                radius[at] = min(found, RADIUS_MAX) if found >= RADIUS_MIN else 0.0


@kernel
def _radius(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    coin: I32,
    scale: F64,
    book: Book,
    net: F64,
    fixed: int,
    floor: float,
    slack: float,
    held: F64,
) -> tuple[float, int]:
    """Radius and group of one priced book; nan where it has no bound."""
    held[:] = 0.0
    cost, turnover = 0.0, slack
    bounded = True
    for j in range(book.instrument.shape[0]):
        i, size = book.instrument[j], abs(book.quantity[j])
        if size == 0.0:
            continue
        unit, own_coin = table.unit[i], coin[p.settlement[i]]
        bounded = bounded and unit >= 0 and (own_coin < 0 or table.unit[own_coin] == unit)
        of = held[max(unit, 0)]
        cost += size * scale[i, IN_WORTH]
        of[_WORTH] += size * scale[i, IN_WORTH]
        of[_REQUIREMENT] += size * scale[i, IN_REQUIREMENT]
        of[_DELTA] += size * scale[i, IN_DELTA]
        of[_GROSS] += size * abs(table.amounts[i, DELTA])
        of[_OTHER] += table.kind[i] != OPTION or book.quantity[j] < 0.0
        of[_COINS] += own_coin >= 0
        of[_HELD] = 1.0
        paid = abs(book.cost[j]) + abs(book.accrued[j])
        turnover += size * scale[i, SIZE] + paid * book.price[book.slot[j]]
    for k in range(book.asset.shape[0]):
        asset = book.asset[k]
        amount, i = abs(net[k]), coin[asset]
        if amount > 0.0 and i >= 0:
            of = held[table.unit[i]]
            of[_REQUIREMENT] += amount * scale[i, IN_REQUIREMENT]
            of[_DELTA] += amount * scale[i, IN_DELTA]
            of[_GROSS] += amount * abs(table.amounts[i, DELTA])
            of[_OTHER] += 1.0
            of[_HELD] = 1.0
            turnover += amount * scale[i, SIZE]
        if amount > 0.0 or book.balance[k] != 0.0:
            turnover += (amount + abs(book.balance[k])) * book.price[k]
            if asset != fixed:
                cost += amount * book.price[k] * (1.0 + p.borrow_haircut[asset])
    one, count = ALL, 0
    factor = units.common.maintenance_factor
    for unit in range(held.shape[0]):
        of = held[unit]
        if of[_HELD] == 0.0:
            continue
        one = unit
        count += 1
        hedged = units.delta_hedged[unit]
        slope = units.calendar[unit] + abs(units.delta_net[unit] - hedged) + hedged
        part = (of[_GROSS] + of[_DELTA] * RADIUS_MAX) / table.by_unit[unit, DAILY_VOLUME]
        slope += 1.5 * units.impact[unit] * table.by_unit[unit, DAILY_VOLATILITY] * math.sqrt(part)
        required = of[_REQUIREMENT]
        if of[_OTHER] == 0.0:  # bought options only: they require at most what they are worth
            required += required / factor + (2.0 + factor) * of[_WORTH]
            bounded = bounded and of[_COINS] == 0.0
        cost += floor * (required + slope * of[_DELTA])
    found = (slack - GUARD * turnover) / cost
    if not bounded:
        found = math.nan
    elif cost == 0.0:
        found = math.inf
    return found, one if count == 1 else ALL
