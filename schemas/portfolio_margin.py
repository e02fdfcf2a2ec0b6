"""What a report says of the portfolio model: what binds, unit by unit, and what the other model would require.

Amounts are in the reporting currency.
"""

from typing import Literal

from schemas.fields import DecimalText, Record
from schemas.risk_terms import VolatilityMove

Binding = Literal["nothing", "grid", "value_at_risk", "floor"]


class WorstScenario(Record, frozen=True, kw_only=True):
    """The scenario that a unit loses most in.

    Parameters
    ----------
    move : of the underlying's prices, as a fraction
    volatility : what happens to volatilities
    dampening : fraction of the loss that counts
    """

    move: DecimalText
    volatility: VolatilityMove
    dampening: DecimalText


class Distance(Record, frozen=True, kw_only=True):
    """How far the price may move until adjusted equity is at maintenance margin, by delta and gamma with the
    requirement held: a screen, which decides nothing.

    Parameters
    ----------
    down : move, as a fraction, 0 or less; null: none
    up : move, as a fraction, 0 or more; null: none
    sigmas : the nearer of the two in daily volatilities; null: none, or the unit states no volatility
    """

    down: DecimalText | None
    up: DecimalText | None
    sigmas: DecimalText | None


class LiquidationPrices(Record, frozen=True, kw_only=True):
    """Prices of the underlying nearest to its index where adjusted equity meets maintenance margin, all revalued.

    Parameters
    ----------
    below : null: none within 60 %
    above : null: none within 60 %
    """

    below: DecimalText | None
    above: DecimalText | None


class UnitReport(Record, frozen=True, kw_only=True):
    """All that a book holds on one underlying, its coin too.

    Parameters
    ----------
    underlying : oracle symbol
    worst : the scenario that binds; null: none loses
    scan : loss in it
    basis : add-on for futures and options of each expiry moving apart from the rest
    calendar : add-on for futures matched across expiries
    naked : add-on for options sold net at a strike
    minimum_delta : add-on for delta, net and hedged
    liquidity : add-on for the cost of closing
    floor : least that counts in place of scan
    delta : gain by a move of 1 of the price
    gamma : change of delta by a move of 1: gain = delta s + gamma s^2 / 2
    vega : gain by a volatility of 1
    distance : to the threshold
    liquidation_prices : both sides
    """

    underlying: str
    worst: WorstScenario | None
    scan: DecimalText
    basis: DecimalText
    calendar: DecimalText
    naked: DecimalText
    minimum_delta: DecimalText
    liquidity: DecimalText
    floor: DecimalText
    delta: DecimalText
    gamma: DecimalText
    vega: DecimalText
    distance: Distance
    liquidation_prices: LiquidationPrices


class OtherModel(Record, frozen=True, kw_only=True):
    """What another model than the one in force requires, or what is margined by it.

    Parameters
    ----------
    initial_margin : requirement to open; null: it has no price for something
    maintenance_margin : requirement to keep; null: alike
    """

    initial_margin: DecimalText | None
    maintenance_margin: DecimalText | None


class PortfolioReport(Record, frozen=True, kw_only=True):
    """Why a book on portfolio margin requires what it does.

    Parameters
    ----------
    core : core risk: initial margin is core and add-ons, maintenance margin 0.8 core and add-ons
    binds : what core is: the grid, the value at risk, or a floor
    grid_loss : worst losses of the units after offsets
    additive_loss : their sum
    value_at_risk : null: no model has spoken
    units : by underlying
    outside : required by the standard model for what belongs to no unit; left out where that is nothing
    """

    core: DecimalText
    binds: Binding
    grid_loss: DecimalText
    additive_loss: DecimalText
    value_at_risk: DecimalText | None
    units: tuple[UnitReport, ...]
    outside: OtherModel | None = None
