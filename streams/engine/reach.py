"""The radius of most books at once, without a search: what a move can cost them, as a polynomial in its size.

Looser than the bounds of streams.margin.bounds, and much quicker. With x the largest fall and y the largest rise of any
price, as log ratios, a position of value V loses at most |V| x where a fall takes it towards 0, |V| (e^y - 1) where a
rise makes it owe more, and alike for the other two; a net amount after haircuts loses at most (1 + borrow haircut) of
what is taken from it, and its own price the rest; a requirement grows by at most its slope at the far end.
"""

import math

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.engine.columns import Balances, Positions
from streams.engine.exposures import Held
from streams.engine.judged_books import INDEX, Judged, fetch_ahead
from streams.engine.prefetch import FAR, prefetch
from streams.engine.radius import BOTH, FALLS, GUARD, LEAN, RADIUS_MAX, RADIUS_MIN, RISES
from streams.engine.valuation import BANKRUPT, MARGIN_CALL, OK, UNPRICED, Levels
from streams.margin.equity import haircut_value
from streams.margin.parameters import F64, I32, I64, Parameters

F32 = npt.NDArray[np.float32]

#: The bounds have to be asked.
UNKNOWN = -1.0
#: A marginal tier's rate is that of the notional times this: a requirement that nears an edge is ready for it.
AHEAD = 1.5
#: Of log ratios z <= Z_MAX: e^z <= 1 + z + CURVE z^2 by the largest z.
Z_MAX, E_Z_MAX = 4.0, 54.6
#: How often a radius is tried, and which part of what is too much is close enough.
TRIES_MOST, CLOSE = 8, 0.85
# what moves cost, by what it hangs on; + MOVING where the settlement asset's own price moves too
FALL, FALL_MORE, RISE, RISE_MORE, MOVING = 0, 1, 2, 3, 4
# by how requirements grow: with rises of the mark, of mark and settlement asset, with falls of the mark and rises of
# the settlement asset
ONE_RISE, TWO_RISES, FALL_AND_RISE = 8, 9, 10
COSTS = 11


@kernel
def curve(z: float) -> float:
    """The c for which e^t <= 1 + t + c t^2 at all 0 <= t <= z <= Z_MAX."""
    if z <= 1.0:
        return 0.72
    if z <= 2.0:
        return 1.1
    return 3.11


@inner
def floor_of(call: float, call_exit: float, called: bool) -> float:
    """How many times the maintenance margin a book that is ok must keep."""
    return max(max(call, call_exit) if called else call, 1.0)


@kernel
def radii(
    p: Parameters,
    positions: Positions,
    held: Held,
    balances: Balances,
    marks: F64,
    prices: F64,
    books: I64,
    judged: Judged,
    levels: Levels,
    level_set: I32,
    status: npt.NDArray[np.int8],
    called: npt.NDArray[np.bool_],
    step: I32,
    fixed: int,
    radius: F32,
    kind: npt.NDArray[np.int8],
) -> int:
    """Write radius and kind of the books just judged; `status`, `called` and `step` are as it left them. How many are
    UNKNOWN.

    A book in liquidation, or held back from it, or with options, has radius 0; one that was taken over no end to it.
    UNKNOWN are those that the bounds must be asked about: with a call open, or too close to the edge of a tier to tell.

    Parameters
    ----------
    fixed : the asset whose price cannot move (the reporting currency), or NONE
    """
    net, costs = np.empty(prices.shape[0]), np.empty(COSTS)
    options = np.any(p.right != 0.0)
    unknown = 0
    for at in range(books.shape[0]):
        fetch_ahead(positions, held, balances, books, at)
        if at + FAR < books.shape[0]:
            prefetch(level_set, books[at + FAR])
            prefetch(called, books[at + FAR])
            prefetch(status, books[at + FAR])
            prefetch(step, books[at + FAR])
        book = books[at] & INDEX
        equity, maintenance = judged.equity[at], judged.maintenance[at]
        own = level_set[book] & INDEX
        floor = floor_of(levels.call[own], levels.call_exit[own], called[book])
        slack = judged.adjusted[at] - floor * maintenance
        found, its_kind = 0.0, BOTH
        loose = False
        if options:
            for entry in range(positions.start[book], positions.start[book] + positions.size[book]):
                loose = loose or p.right[positions.key[entry]] != 0.0
        if status[book] == BANKRUPT:
            found = math.inf
        elif loose:
            found = 0.0
        elif status[book] == UNPRICED and step[book] == 0 and equity != equity:
            found = RADIUS_MAX  # its price, once it comes, is farther
        elif status[book] == MARGIN_CALL and step[book] == 0 and equity >= 0.0:
            found = UNKNOWN
        elif status[book] == OK and step[book] == 0 and equity >= 0.0 and slack >= 0.0:
            first, base = positions.start[book] & INDEX, balances.start[book] & INDEX
            end, last = first + (positions.size[book] & INDEX), base + (balances.size[book] & INDEX)
            costs[:] = 0.0
            turnover, room = 0.0, math.inf
            debts = False
            for k in range(base, last):
                asset = balances.key[k] & INDEX
                net[asset] = balances.amount[k] / p.asset_scale[asset]
                if net[asset] != 0.0:
                    turnover += abs(net[asset]) * prices[asset]
                debts = debts or net[asset] < 0.0
            for entry in range(first, end):
                i, units = positions.key[entry] & INDEX, held.units[entry]
                asset = p.settlement[i] & INDEX
                worth = -units / marks[i] if p.inverse[i] else units * marks[i]
                value = abs(worth) * prices[asset]
                net[asset] += worth - held.paid[entry]
                turnover += 2.0 * value + abs(held.paid[entry]) * prices[asset]
                what = 0 if asset == fixed else MOVING
                if units > 0.0:
                    what += FALL_MORE if p.inverse[i] else FALL
                else:
                    what += RISE if p.inverse[i] else RISE_MORE
                costs[what] += value * (1.0 + p.borrow_haircut[asset])
                tier, following = p.tier_start[i] & INDEX, p.tier_start[i + 1] & INDEX
                ahead = value if p.whole_tiers[i] else value * AHEAD
                while tier + 1 < following and ahead >= p.tier_from[tier + 1]:
                    tier += 1
                rate = p.tier_maintenance[tier]
                if p.size_premium_factor[i] > 0.0:
                    rate = max(rate, 0.8 * rate + p.size_premium_factor[i] * math.sqrt(abs(units)))
                if tier + 1 < following:
                    room = min(room, p.tier_from[tier + 1] / value)
                grows = FALL_AND_RISE if p.inverse[i] else ONE_RISE if asset == fixed else TWO_RISES
                costs[grows] += floor * rate * value
            for k in range(base, last):
                asset = balances.key[k] & INDEX
                if asset != fixed and net[asset] != 0.0:
                    kept = haircut_value(p, asset, net[asset], prices[asset])[0]
                    costs[FALL if kept > 0.0 else RISE_MORE] += abs(kept)
            found = math.inf
            if first < end or debts:
                found, its_kind = radius_of(costs, slack - GUARD * (turnover + slack), room)
        radius[at] = found if found >= RADIUS_MIN or found == UNKNOWN else 0.0
        kind[at] = its_kind
        unknown += found == UNKNOWN
    return unknown


@inner
def radius_of(costs: F64, slack: float, room: float) -> tuple[float, int]:
    """Radius and kind of a book whose moves have these costs; `room`: next edge of a tier / notional, the least."""
    falls = costs[0] + costs[1] + costs[4] + costs[5]
    rises = costs[2] + costs[3] + costs[6] + costs[7] + costs[8] + costs[9] + costs[10]
    kind, f, g = BOTH, 1.0, 1.0
    if 3.0 * rises < falls:
        kind, g = FALLS, LEAN
    elif 3.0 * falls < rises:
        kind, f = RISES, LEAN
    radius = math.inf
    if falls + rises > 0.0:
        radius = _radius(costs, f, g, slack)
        widest = max(2.0 * g, f + g)
        if room < E_Z_MAX and radius > 0.0:
            near = math.log(room) / widest * (1.0 - GUARD)
            radius = UNKNOWN if near < 0.5 * radius else min(radius, near)
    return radius, kind


@kernel
def _radius(costs: F64, f: float, g: float, slack: float) -> float:
    """An r at which falls of f r and rises of g r cost no more than the slack; 0 where it is too small to matter.

    All that they cost at any r up to m is below r times a sum that has what bends upward at its steepest, at m. So
    slack / sum is one such r where it is below m, and m itself where not; between the best of them and the least m
    that was too much the next is tried.
    """
    needs = g * costs[ONE_RISE] + 2.0 * g * costs[TWO_RISES] + (f + g) * costs[FALL_AND_RISE]
    still = f * (costs[FALL] + costs[FALL_MORE]) + g * (costs[RISE] + costs[RISE_MORE])
    moving = f * (costs[FALL + MOVING] + costs[FALL_MORE + MOVING])
    moving += g * (costs[RISE + MOVING] + costs[RISE_MORE + MOVING])
    steep = f * f * costs[FALL_MORE] + g * g * (costs[RISE_MORE] + costs[ONE_RISE] + 4.0 * costs[TWO_RISES])
    steep += (f + g) ** 2 * costs[FALL_AND_RISE]
    steep_moving = f * f * costs[FALL_MORE + MOVING] + g * g * costs[RISE_MORE + MOVING]
    widest = max(2.0 * g, f + g)
    most = min(slack / (still + moving + needs), min(RADIUS_MAX, Z_MAX / widest))
    best, m = 0.0, most
    for _ in range(TRIES_MOST):
        c = curve(m * widest)
        dearer = 1.0 + g * m + c * (g * m) ** 2
        total = still + needs + dearer * moving + c * (steep + dearer * steep_moving) * m
        if slack >= total * m:
            best = max(best, m)
        else:
            best = max(best, slack / total)
            most = m
        if best >= CLOSE * most:
            break
        m = math.sqrt(best * most)
    return best if best >= RADIUS_MIN else 0.0
