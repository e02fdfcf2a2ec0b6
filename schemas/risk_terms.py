"""What portfolio margin is computed by: the risk units, one an underlying, and how they offset each other.

Records of `instruments`. Where a unit is published, accounts on the portfolio model are margined by it; everything
else of them as under the standard model. Defaults are those of docs/margin.md.
"""

from typing import Literal

from schemas.fields import Id, Name, Number, Record

RISK_UNIT_PREFIX = "~risk_unit:"
CORRELATIONS_PREFIX = "~correlations:"
RISK_ID = "~risk"
CLOSES_PREFIX = "~closes:"

VolatilityMove = Literal["same", "up", "down", "linear_skew", "absolute_skew"]


class Scenario(Record, frozen=True, kw_only=True):
    """One scenario of a grid that is given row by row.

    Parameters
    ----------
    move : of all prices of the underlying, as a fraction, above -1
    volatility : what happens to volatilities; scenarios that skew the smile come last
    dampening : fraction of the gain or loss that counts
    """

    move: Number
    volatility: VolatilityMove = "same"
    dampening: Number = "1"


class VolatilityRules(Record, frozen=True, kw_only=True):
    """Volatility in a scenario that moves it: times 1 + up, or 1 - down, each x (30 / days)**power.

    Parameters
    ----------
    up : fraction at 30 days
    down : fraction at 30 days, at most 1
    short_power : of terms to 30 days
    long_power : of longer terms
    days_least : shorter terms count as this many days, above 0
    least : volatility in a scenario that raises it is at least this
    """

    up: Number = "0.45"
    down: Number = "0.25"
    short_power: Number = "0.30"
    long_power: Number = "0.13"
    days_least: Number = "1"
    least: Number = "0.40"


class SkewRules(Record, frozen=True, kw_only=True):
    """Tilt of the smile in a scenario that skews it: volatility times 1 + min(cap, k cap / k*), where
    k = ln(strike / forward), cap = base cap + slope x sqrt(years) and
    k* = max(least, sqrt(years) x width x (static + scale x sqrt(years))).

    Parameters
    ----------
    linear_cap : base cap of linear_skew, which raises calls and lowers puts
    linear_slope : its slope
    absolute_cap : base cap of absolute_skew, which raises both wings
    absolute_slope : its slope
    least : least k*, above 0
    width : in standard deviations
    static : volatility at once
    scale : its change with sqrt(years)
    """

    linear_cap: Number = "0.15"
    linear_slope: Number = "-0.05"
    absolute_cap: Number = "0.15"
    absolute_slope: Number = "-0.05"
    least: Number = "0.01"
    width: Number = "4"
    static: Number = "0.6"
    scale: Number = "-0.1"


class ExpiryRules(Record, frozen=True, kw_only=True):
    """How an expiry counts: a positive value of its options times long_base x exp(-T (rate x long_multiply
    + long_add)), a negative one times short_base x exp(T (rate x short_multiply + short_add)), its loss in the
    basis test times basis_add + basis_multiply x T.

    Parameters
    ----------
    long_base : 0 to 1
    long_multiply : share of the interest rate
    long_add : a year
    short_base : 1 or more
    short_multiply : share of the interest rate
    short_add : a year
    basis_add : share of the loss in the basis test that is charged at once
    basis_multiply : and per year to expiry
    """

    long_base: Number = "1"
    long_multiply: Number = "0"
    long_add: Number = "0"
    short_base: Number = "1"
    short_multiply: Number = "0"
    short_add: Number = "0"
    basis_add: Number = "0.5"
    basis_multiply: Number = "2"


class RiskUnit(Record, frozen=True, kw_only=True, tag_field="kind", tag="risk_unit"):
    """How everything on one underlying is margined together, its coin too; replaces the record before. The message
    key is its id. A tombstone takes it back: its instruments and coin are then margined as under the standard model.

    Parameters
    ----------
    kind : always risk_unit
    id : ~risk_unit: and the underlying, an oracle symbol
    price_range : largest move of the base grid, as a fraction, above 0 and below 1
    steps : equal steps from no move to the largest, each way; 1 to 20
    tails : moves beyond the range, volatility up; range / |move| of their loss counts
    skew : whether two scenarios skew the smile
    scenarios : the whole grid row by row; where given it replaces price_range, steps, tails and skew
    basis_move : move of the basis test, as a fraction; null: a quarter of price_range
    volatility : shocks of volatility
    smile : tilt of the smile
    expiries : how an expiry counts
    calendar : fraction of futures of one expiry matched with those of another
    naked : fraction of the notional of options sold net at a strike
    delta_net : fraction of the net dollar delta
    delta_hedged : fraction of the gross less the net dollar delta
    spread : half the bid-ask spread, as a fraction of notional
    impact : of sqrt(net dollar delta / daily_volume), in daily volatilities
    daily_volatility : of the price, as a fraction
    daily_volume : traded in a day, in the reporting currency; null: unlimited
    minimum : least charge, as a fraction of each position's notional
    group : units of the group may offset each other; null: with none
    liquidity_horizon : over how many times the horizon of `~risk` the unit's past moves count, for what takes longer to
        get out of; 1 to 100
    liquidation : how a book of such units alone is closed: share, the same share of every leg; legs, the leg first that
        frees most maintenance margin per cost
    """

    id: Id
    price_range: Number = "0.16"
    steps: int = 4
    tails: tuple[Number, ...] = ("-0.66", "-0.33", "0.5", "1", "2", "3", "4", "5")
    skew: bool = True
    scenarios: tuple[Scenario, ...] = ()
    basis_move: Number | None = None
    volatility: VolatilityRules = VolatilityRules()
    smile: SkewRules = SkewRules()
    expiries: ExpiryRules = ExpiryRules()
    calendar: Number = "0.01"
    naked: Number = "0.005"
    delta_net: Number = "0.02"
    delta_hedged: Number = "0.01"
    spread: Number = "0"
    impact: Number = "0"
    daily_volatility: Number = "0"
    daily_volume: Number | None = None
    minimum: Number = "0"
    group: Name | None = None
    liquidity_horizon: Number = "1"
    liquidation: Literal["share", "legs"] = "share"


class PairCorrelation(Record, frozen=True, kw_only=True):
    """Correlations of two units.

    Parameters
    ----------
    units : the two underlyings
    low : lower correlation that is tried, -1 to 1
    high : higher correlation that is tried, low to 1
    """

    units: tuple[Name, Name]
    low: Number
    high: Number


class Correlations(Record, frozen=True, kw_only=True, tag_field="kind", tag="correlations"):
    """How far the losses of a group's units offset each other, replacing the record before. The message key is its id.
    A tombstone takes it back: the units are then added up.

    Parameters
    ----------
    kind : always correlations
    id : ~correlations: and the group
    low : lower correlation that is tried of any two units, -1 to 1
    high : higher correlation that is tried, low to 1
    pairs : of two units that differ from the others
    share : least fraction of the sum of the units' losses that is required
    """

    id: Id
    low: Number
    high: Number
    pairs: tuple[PairCorrelation, ...] = ()
    share: Number = "0.5"


class RiskHistory(Record, frozen=True, kw_only=True, tag_field="kind", tag="risk"):
    """That value at risk counts under portfolio margin, and how it is made of the risk units' past prices. The message
    key is its id. A tombstone takes it back: the scenarios alone count then.

    Parameters
    ----------
    kind : always risk
    id : always ~risk
    period_ms : a return is kept of every such period of epoch time, a minute at least
    horizon_ms : what is lost over this counts: a period's loss times sqrt(horizon_ms / period_ms)
    window : periods that are known, 100 to 2000; a unit with fewer adds its worst scenario
    decay : of the volatility, a period, above 0 and below 1
    value_at_risk_level : 0.5 to below 1
    shortfall_level : alike, of expected shortfall; the larger of the two measures counts
    floor : volatility is at least this share of the window's
    buffer : margin above the requirement, as a fraction, that is used up when it rises
    shrink : share of the mean correlation in each
    fall : of the lower correlations from those measured
    rise : of the higher ones
    stress : least of the higher ones
    """

    id: Literal["~risk"] = "~risk"
    period_ms: int = 86_400_000
    horizon_ms: int = 86_400_000
    window: int = 1000
    decay: Number = "0.97"
    value_at_risk_level: Number = "0.99"
    shortfall_level: Number = "0.975"
    floor: Number = "0.5"
    buffer: Number = "0.25"
    shrink: Number = "0.3"
    fall: Number = "0.25"
    rise: Number = "0.5"
    stress: Number = "0.5"


class ClosesLoaded(Record, frozen=True, kw_only=True, tag_field="kind", tag="closes"):
    """Past closes of a risk unit, for as long as its own prices do not fill the window of ~risk. The message key is
    its id.

    Parameters
    ----------
    kind : always closes
    id : ~closes: and the underlying
    period_ms : as in ~risk; others are passed over
    period : number of the last close's period: epoch time of its start / period_ms
    closes : last price of each period, oldest first, above 0; 1 to 2001
    """

    id: Id
    period_ms: int
    period: int
    closes: tuple[Number, ...]
