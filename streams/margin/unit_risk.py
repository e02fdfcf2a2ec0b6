"""What the positions of one account in one risk unit (an underlying) can lose: the worst scenario and every add-on.

Positions x risk arrays in a fixed order, so the bits depend on nothing but the positions. Positions come sorted by
`line` (expiry, then strike): an expiry's options are netted before its value is discounted, a strike's before its
naked shorts are counted.
"""

from typing import NamedTuple

import numpy as np

from streams.compiled import inner, kernel
from streams.margin.equity import TIE
from streams.margin.parameters import F64, I32
from streams.margin.risk_table import RiskTable
from streams.margin.scenarios import BASIS_COLUMNS, FUTURE, OPTION, Grid

#: No scenario: the unit cannot lose in any.
NONE = -1


class ChargeRates(NamedTuple):
    """Rates of the add-ons, and how core risk and add-ons make a requirement.

    requirement = factor x core + add-ons, or factor x (core + add-ons) where `factor_on_charges` (initial margin
    only). The basis charge and the minimum delta are add-ons, or the least that core risk can be (`basis_floors`,
    `delta_floors`). `naked_*` are charged on the notional of options sold net at a strike, `calendar` on futures of
    one expiry matched with those of another, `delta_net` and `delta_hedged` on net delta and on gross less net,
    `unsure` x (1 - confidence) on the notional whose confidence is below `unsure_below` (initial margin only),
    `impact` x daily volatility x sqrt(N / daily volume) on the net delta N.
    """

    initial_factor: float
    maintenance_factor: float
    factor_on_charges: bool
    basis_floors: bool
    delta_floors: bool
    calendar: float
    naked_initial: float
    naked_maintenance: float
    delta_net: float
    delta_hedged: float
    unsure_below: float
    unsure: float
    impact: float


class UnitRisk(NamedTuple):
    """Risk of one account in one unit, reporting currency; charges and losses are >= 0.

    `worst` is the scenario that binds (NONE where none loses) and `scan` its loss; `up` and `down` the worst loss
    where the price does not fall, and does not rise (negative: what is gained at least, see `worst_scenario`);
    `floor` the least that core risk is whatever the scenarios say, `most` the most (the value of a book of bought
    options).
    """

    value: float
    worst: int
    scan: float
    up: float
    down: float
    floor: float
    most: float
    basis: float
    calendar: float
    naked_initial: float
    naked_maintenance: float
    minimum_delta: float
    holding_initial: float
    holding_maintenance: float
    liquidity: float
    unsure: float
    minimum: float
    delta: float
    gamma: float
    vega: float


@kernel(_nrt=False)
def unit_risk(
    table: RiskTable, grid: Grid, rates: ChargeRates, unit: int, instrument: I32, quantity: F64, room: F64
) -> UnitRisk:
    """Risk of the positions of one account in one unit.

    Parameters
    ----------
    instrument, quantity : shape (n_positions,), sorted by `table.line`; quantity positive long
    room : scratch of shape (3, n_scenarios + BASIS_COLUMNS); room[0, :n_scenarios] is the P&L by scenario afterwards

    Notes
    -----
    P&L of an expiry in scenario s: dampening x (discounted value of its options - their value now + P&L of its
    futures); in a skew scenario each expiry's loss or gain counts as loss, since the smile may tilt either way.
    """
    scenarios = grid.move.shape[0]
    columns = scenarios + BASIS_COLUMNS
    n = instrument.shape[0]
    total, options, linear = room[0], room[1], room[2]
    for c in range(columns):
        total[c] = options[c] = linear[c] = 0.0
    value = delta = gross = gamma = vega = minimum = spread = 0.0
    holding_initial = holding_maintenance = naked = basis = unsure = 0.0
    bought = futures_long = futures_short = 0.0
    only_bought = n > 0
    options_now = line_sum = line_notional = futures = exposure = 0.0
    sure = table.index_confidence[unit]
    certain = sure
    for j in range(n):
        i, q = instrument[j], quantity[j]
        amount = q * table.mark[i]
        value += amount
        delta += q * table.delta[i]
        gross += abs(q * table.delta[i])
        gamma += q * table.gamma[i]
        vega += q * table.vega[i]
        size = abs(q)
        minimum += size * table.minimum[i]
        spread += size * table.spread[i]
        holding_initial += size * table.initial_charge[i]
        holding_maintenance += size * table.maintenance_charge[i]
        exposure += size * table.notional[i]
        certain = min(certain, table.confidence[i])
        if table.kind[i] == OPTION:
            options_now += amount
            line_sum += q
            line_notional = table.notional[i]
            add_row(options, q, table.values[i], 0.0)
            if q > 0.0:
                bought += amount
            else:
                only_bought = False
        else:
            only_bought = False
            if table.kind[i] == FUTURE:
                futures += q * table.delta[i]
            add_row(linear, q, table.values[i], table.mark[i])
        last = j == n - 1
        if last or table.line[instrument[j + 1]] != table.line[i]:
            naked += max(-line_sum, 0.0) * line_notional
            line_sum = 0.0
        if last or table.expiry[instrument[j + 1]] != table.expiry[i]:
            g = table.expiry[i]
            close_expiry(room, grid, options_now, table.long_discount[g], table.short_discount[g])
            basis -= table.basis_rate[g] * min(total[scenarios], total[scenarios + 1], 0.0)
            if futures > 0.0:
                futures_long += futures
            else:
                futures_short -= futures
            if certain < rates.unsure_below:
                unsure += (1.0 - certain) * rates.unsure * exposure
            if table.basis_rate[g] == 0.0:
                sure = certain
            certain = sure
            options_now = futures = exposure = 0.0
    worst, scan, up, down = worst_scenario(total, grid)
    minimum_delta = rates.delta_net * abs(delta) + rates.delta_hedged * (gross - abs(delta))
    floor = minimum
    if rates.basis_floors:
        floor = max(floor, basis)
    if rates.delta_floors:
        floor = max(floor, minimum_delta)
    weight = abs(delta)
    impact = rates.impact * table.daily_volatility[unit] * weight * np.sqrt(weight / table.daily_volume[unit])
    return UnitRisk(
        value,
        worst,
        scan,
        up,
        down,
        floor,
        bought if only_bought else np.inf,
        basis,
        rates.calendar * min(futures_long, futures_short),
        rates.naked_initial * naked,
        rates.naked_maintenance * naked,
        minimum_delta,
        holding_initial,
        holding_maintenance,
        spread + impact,
        unsure,
        minimum,
        delta,
        gamma,
        vega,
    )


@kernel(_nrt=False)
def add_row(sums: F64, quantity: float, row: F64, base: float) -> None:
    """Add quantity x (row - base) to the sums, column by column."""
    for c in range(sums.shape[0]):
        sums[c] += quantity * (row[c] - base)


@inner(_nrt=False)
def close_expiry(room: F64, grid: Grid, now: float, long_discount: float, short_discount: float) -> None:
    """Add an expiry's P&L to the unit's in room[0], from its options in room[1] and its futures in room[2].

    The basis columns are written, not added. Clears both for the next expiry.

    Parameters
    ----------
    now : value of the expiry's options
    """
    total, options, linear = room[0], room[1], room[2]
    scenarios = grid.move.shape[0]
    for s in range(scenarios - grid.tilts):
        then = options[s]
        factor = long_discount if then >= 0.0 else short_discount
        total[s] += grid.dampening[s] * (then * factor - now + linear[s])
    for s in range(scenarios - grid.tilts, scenarios):
        then = options[s]
        factor = long_discount if then >= 0.0 else short_discount
        total[s] -= grid.dampening[s] * abs(then * factor - now + linear[s])
    for c in range(scenarios, scenarios + BASIS_COLUMNS):
        total[c] = options[c] - now + linear[c]
    for c in range(scenarios + BASIS_COLUMNS):
        options[c] = linear[c] = 0.0


@inner(_nrt=False)
def worst_scenario(gain: F64, grid: Grid) -> tuple[int, float, float, float]:
    """The scenario of least P&L (the first of equals), its loss, and the worst losses with price up and down.

    A tail of a delta-one book, dampened to the edge of the range, equals the edge within a TIE.

    A direction that only gains has a negative loss: the least gain of its scenarios, each in proportion to its move
    as if the price had gone to the edge of the range, so a linear book gains one way what it loses the other.
    Scenarios that leave the price where it is count in both directions where they lose. Where a gain is no number,
    so are the losses.
    """
    edge = 0.0
    for s in range(grid.move.shape[0]):
        edge = max(edge, abs(grid.move[s]) * grid.dampening[s])
    worst, scan = NONE, 0.0
    up = down = -np.inf
    for s in range(grid.move.shape[0]):
        loss = -gain[s]
        if loss != loss:
            return NONE, np.nan, np.nan, np.nan
        if loss > scan * (1.0 + TIE):
            worst = s
        scan = max(scan, loss)
        move = grid.move[s]
        if loss <= 0.0:
            if move == 0.0:
                continue
            loss *= edge / (abs(move) * grid.dampening[s])
        if move >= 0.0:
            up = max(up, loss)
        if move <= 0.0:
            down = max(down, loss)
    return worst, scan, up if up > -np.inf else 0.0, down if down > -np.inf else 0.0


@kernel(_nrt=False)
def charges(risk: UnitRisk, rates: ChargeRates) -> tuple[float, float]:
    """Add-ons of a unit to initial and to maintenance margin, before any factor; the unsure part is not in them."""
    common = risk.calendar + risk.liquidity
    if not rates.basis_floors:
        common += risk.basis
    if not rates.delta_floors:
        common += risk.minimum_delta
    initial = common + risk.naked_initial + risk.holding_initial
    maintenance = common + risk.naked_maintenance + risk.holding_maintenance
    return initial, maintenance


@kernel
def progressive(raw: float, start: F64, multiplier: F64) -> float:
    """A minimum charge lifted by tiers: each slice of it times its tier's multiplier (S5).

    Parameters
    ----------
    start : where each tier begins, ascending from 0
    multiplier : of each tier

    Examples
    --------
    OKX: the first 10,000 once, the rest of 30,000 twice

    >>> progressive(30_000.0, np.array([0.0, 10_000.0, 70_000.0]), np.array([1.0, 2.0, 4.0]))
    50000.0
    """
    total = 0.0
    for tier in range(start.shape[0]):
        end = start[tier + 1] if tier + 1 < start.shape[0] else np.inf
        total += max(min(raw, end) - start[tier], 0.0) * multiplier[tier]
    return total
