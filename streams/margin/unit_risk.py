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
from streams.margin.risk_table import (
    BASIS_RATE,
    CONFIDENCE,
    DAILY_VOLATILITY,
    DAILY_VOLUME,
    DELTA,
    GAMMA,
    INDEX_CONFIDENCE,
    INITIAL,
    LONG_DISCOUNT,
    MAINTENANCE,
    MARK,
    MINIMUM,
    NOTIONAL,
    SHORT_DISCOUNT,
    SPREAD,
    VEGA,
    RiskTable,
)
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

    `scan` is the loss of the scenario that binds (`worst_scenario`); `up` and `down` the worst loss where the price
    does not fall, and does not rise (negative: what is gained at least, see `worst_losses`);
    `floor` the least that core risk is whatever the scenarios say, `most` the most (the value of a book of bought
    options).
    """

    value: float
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


@kernel(_nrt=False, forceinline=True)
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
    n = instrument.shape[0]
    total, options, linear = room[0], room[1], room[2]
    for c in range(scenarios + BASIS_COLUMNS):
        total[c] = 0.0
    value = delta = gross = gamma = vega = minimum = spread = 0.0
    holding_initial = holding_maintenance = naked = basis = unsure = 0.0
    bought = futures_long = futures_short = 0.0
    only_bought = n > 0
    has_options = has_linear = False
    options_now = line_sum = line_notional = futures = exposure = 0.0
    sure = table.by_unit[unit, INDEX_CONFIDENCE]
    certain = sure
    for j in range(n):
        i, q = instrument[j], quantity[j]
        own, kind = table.amounts[i], table.kind[i]
        amount = q * own[MARK]
        value += amount
        delta += q * own[DELTA]
        gross += abs(q * own[DELTA])
        gamma += q * own[GAMMA]
        vega += q * own[VEGA]
        size = abs(q)
        minimum += size * own[MINIMUM]
        spread += size * own[SPREAD]
        holding_initial += size * own[INITIAL]
        holding_maintenance += size * own[MAINTENANCE]
        exposure += size * own[NOTIONAL]
        certain = min(certain, own[CONFIDENCE])
        if kind == OPTION:
            options_now += amount
            line_sum += q
            line_notional = own[NOTIONAL]
            add_row(options, has_options, q, table.values[i], 0.0)
            has_options = True
            if q > 0.0:
                bought += amount
            else:
                only_bought = False
        else:
            only_bought = False
            if kind == FUTURE:
                futures += q * own[DELTA]
            add_row(linear, has_linear, q, table.values[i], own[MARK])
            has_linear = True
        last = j == n - 1
        if last or table.line[instrument[j + 1]] != table.line[i]:
            naked += max(-line_sum, 0.0) * line_notional
            line_sum = 0.0
        if last or table.expiry[instrument[j + 1]] != table.expiry[i]:
            expiry = table.by_expiry[table.expiry[i]]
            if has_options:
                discount_options(options, grid, options_now, expiry[LONG_DISCOUNT], expiry[SHORT_DISCOUNT])
                if has_linear:
                    add_row(options, True, 1.0, linear, 0.0)
                close_expiry(total, options, grid)
            else:
                close_expiry(total, linear, grid)
            basis -= expiry[BASIS_RATE] * min(total[scenarios], total[scenarios + 1], 0.0)
            if futures > 0.0:
                futures_long += futures
            else:
                futures_short -= futures
            if certain < rates.unsure_below:
                unsure += (1.0 - certain) * rates.unsure * exposure
            if expiry[BASIS_RATE] == 0.0:
                sure = certain
            certain = sure
            options_now = futures = exposure = 0.0
            has_options = has_linear = False
    scan, up, down = worst_losses(total, grid)
    minimum_delta = rates.delta_net * abs(delta) + rates.delta_hedged * (gross - abs(delta))
    floor = minimum
    if rates.basis_floors:
        floor = max(floor, basis)
    if rates.delta_floors:
        floor = max(floor, minimum_delta)
    weight = abs(delta)
    volatility, volume = table.by_unit[unit, DAILY_VOLATILITY], table.by_unit[unit, DAILY_VOLUME]
    impact = rates.impact * volatility * weight * np.sqrt(weight / volume)
    return UnitRisk(
        value,
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


@inner(_nrt=False)
def add_row(sums: F64, begun: bool, quantity: float, row: F64, base: float) -> None:
    """Add quantity x (row - base) to the sums, column by column; what they were counts only where they have begun."""
    if begun:
        for c in range(sums.shape[0]):
            sums[c] += quantity * (row[c] - base)
    else:
        for c in range(sums.shape[0]):
            sums[c] = quantity * (row[c] - base)


@inner(_nrt=False)
def discount_options(options: F64, grid: Grid, now: float, long_discount: float, short_discount: float) -> None:
    """From values of an expiry's options, by scenario and in the basis test, to their P&L, discounted in scenarios.

    Parameters
    ----------
    now : value of the expiry's options
    """
    scenarios = grid.move.shape[0]
    for s in range(scenarios):
        then = options[s]
        options[s] = then * (long_discount if then >= 0.0 else short_discount) - now
    for c in range(scenarios, scenarios + BASIS_COLUMNS):
        options[c] -= now


@inner(_nrt=False)
def close_expiry(total: F64, gain: F64, grid: Grid) -> None:
    """Add an expiry's P&L to the unit's, dampened; the basis columns are written, not added."""
    scenarios = grid.move.shape[0]
    plain = scenarios - grid.tilts
    for s in range(plain):
        total[s] += grid.dampening[s] * gain[s]
    for s in range(plain, scenarios):
        total[s] -= grid.dampening[s] * abs(gain[s])
    for c in range(scenarios, scenarios + BASIS_COLUMNS):
        total[c] = gain[c]


@inner(_nrt=False)
def worst_losses(gain: F64, grid: Grid) -> tuple[float, float, float]:
    """The worst loss of all scenarios, at least 0, and the worst with price up and down; nan where a gain is no number.

    A direction that only gains has a negative loss: the least gain of its scenarios, each in proportion to its move
    as if the price had gone to the edge of the range, so a linear book gains one way what it loses the other.
    Scenarios that leave the price where it is count in both directions where they lose.
    """
    unknown = 0
    for s in range(grid.move.shape[0]):
        unknown += gain[s] != gain[s]
    scan, up, down = largest_losses(gain, grid)
    if unknown > 0:
        scan = up = down = np.nan
    elif up == -np.inf and down == -np.inf:
        up = down = 0.0
    elif up == -np.inf:
        up = 0.0
    elif down == -np.inf:
        down = 0.0
    return scan, up, down


@inner(_nrt=False)
def largest_losses(gain: F64, grid: Grid) -> tuple[float, float, float]:
    """As `worst_losses` of gains that are numbers; -inf where a direction has nothing that counts."""
    scan, up, down = 0.0, -np.inf, -np.inf
    for s in range(grid.move.shape[0]):
        loss, move, to_edge = -gain[s], grid.move[s], grid.to_edge[s]
        gained = loss * to_edge if to_edge > 0.0 else -np.inf
        counted = loss if loss > 0.0 else gained
        scan = max(scan, loss)
        up = max(up, counted if move >= 0.0 else -np.inf)
        down = max(down, counted if move <= 0.0 else -np.inf)
    return scan, up, down


@kernel
def worst_scenario(gain: F64) -> int:
    """The scenario of least P&L, the first of equals within a TIE; NONE where none loses or a gain is no number.

    A tail of a delta-one book, dampened to the edge of the range, equals the edge within a TIE.
    """
    worst, scan = NONE, 0.0
    for s in range(gain.shape[0]):
        loss = -gain[s]
        if loss != loss:
            return NONE
        if loss > scan * (1.0 + TIE):
            worst = s
        scan = max(scan, loss)
    return worst


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
