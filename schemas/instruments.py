"""`instruments`: instruments, collateral assets, controls and engine rules, and the scale of amounts.

The records that are the oracle's alone are in `oracle_terms`, those of portfolio margin in `risk_terms`.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import msgspec

from schemas.fields import Id, Name, Number, Record, Time
from schemas.oracle_terms import OracleRules, Source
from schemas.risk_terms import ClosesLoaded, Correlations, RiskHistory, RiskUnit

PERPETUAL_TYPES = ("perpetual", "inverse_perpetual")
FUTURE_TYPES = ("future", "inverse_future")
INVERSE_TYPES = ("inverse_perpetual", "inverse_future")
#: Types that end at `expiry`.
DATED_TYPES = (*FUTURE_TYPES, "option")

#: Fields that never change once an id was published.
INSTRUMENT_IDENTITY = (
    "kind",
    "type",
    "underlying",
    "settlement",
    "multiplier",
    "price_precision",
    "quantity_precision",
)
#: Of an option as well.
OPTION_IDENTITY = ("option_type", "strike", "expiry", "settlement_window_ms")
ASSET_IDENTITY = ("kind", "precision")


class MarginTier(Record, frozen=True, kw_only=True):
    """Rates from a position notional upward.

    Parameters
    ----------
    notional_from : in the reporting currency, inclusive; the first tier starts at 0
    initial_margin : fraction of notional, at least maintenance_margin
    maintenance_margin : fraction of notional, 0 to 1
    """

    notional_from: Number
    initial_margin: Number
    maintenance_margin: Number


class OptionMargin(Record, frozen=True, kw_only=True):
    """Standard margin of options sold, on top of their value; options bought require none and lend none.

    Initial: max(most - out of the money / index, least) x index x units. Maintenance of a call: call x index x units;
    of a put: max(put x index x units, put_value x value). Initial margin and value of a put are at least put_offset x
    its maintenance margin and value. The defaults are Derive's.

    Parameters
    ----------
    most : initial rate at the money, 0 to 1
    least : initial rate far out of the money, 0 to most
    call : maintenance rate of a call, 0 to least
    put : maintenance rate of a put, 0 to least
    put_value : maintenance rate of a put on its own value, 0 to 1
    put_offset : 1 to 10
    """

    most: Number = "0.15"
    least: Number = "0.13"
    call: Number = "0.09"
    put: Number = "0.09"
    put_value: Number = "0.09"
    put_offset: Number = "1.05"


class HaircutTier(Record, frozen=True, kw_only=True):
    """The haircut of the slice of an account's holding that starts at a quantity.

    Parameters
    ----------
    from : in units of the asset; the first tier starts at 0
    haircut : fraction of value that does not count, 0 to 1
    initial_haircut : the same for initial equity; null: haircut
    """

    quantity_from: Number = msgspec.field(name="from")
    haircut: Number
    initial_haircut: Number | None = None


class Instrument(Record, frozen=True, kw_only=True, tag_field="kind", tag="instrument"):
    """An instrument with its risk parameters, replacing those before; the message key is its id. Type,
    underlying, settlement, multiplier and precisions of an id never change, nor do the type, strike, expiry and
    settlement window of an option. To end an instrument send `closed: true`, or a tombstone, which closes it under its
    last terms.

    Parameters
    ----------
    kind : always instrument
    id : does not begin with ~, is not cross
    type : perpetual and future pay P&L in quote currency, inverse types pay it in coins of the underlying; an
        option is European, and priced in what it settles in: in coins where that is the underlying
    underlying : oracle symbol whose price moves the instrument
    settlement : id of the asset that P&L, fees and funding are paid in
    multiplier : units of the underlying in one unit of quantity; of inverse types, units of quote currency
    price_precision : decimals of a price, 0 to 9; one tick is 10**-price_precision
    quantity_precision : decimals of a quantity, 0 to 9; one lot is 10**-quantity_precision
    initial_margin : fraction of notional, at least maintenance_margin; may be left out where tiers are given;
        options have option_margin in place of all rates and tiers
    maintenance_margin : fraction of notional, 0 to 1; may be left out where tiers are given
    tiers : rates by position notional, ascending; where given they replace the two flat rates
    tier_method : marginal charges each slice at its own rate, whole the whole position at the tier reached
    size_premium_factor : rate = max(r, 0.8 r + factor x sqrt(|quantity| x multiplier)), 0: no premium
    liquidation_fee : fraction of the closed notional, 0 to below 1, kept for liquidation fills
    open_interest : notional of all open positions, in the reporting currency
    open_interest_lower : where the initial rate begins to rise with open interest
    open_interest_upper : where it has reached 1
    expiry : of futures: they settle at the first mark at or after it; of options: they pay out at the first index at
        or after it
    settlement_window_ms : of options: they pay out at the mean of the index over so long before expiry, at most a day;
        0: at the first index at or after it
    settlement_price : of futures: the exact price to settle at, above zero; of options: that of the underlying
    option_type : of options: call or put
    strike : of options: in quote currency, above zero
    option_margin : of options: their standard margin; null: its defaults
    closed : true: no new positions
    """

    id: Name
    type: Literal["perpetual", "inverse_perpetual", "future", "inverse_future", "option"]
    underlying: Name
    settlement: Name
    multiplier: Number = "1"
    price_precision: int
    quantity_precision: int
    initial_margin: Number | None = None
    maintenance_margin: Number | None = None
    tiers: tuple[MarginTier, ...] = ()
    tier_method: Literal["marginal", "whole"] = "marginal"
    size_premium_factor: Number = "0"
    liquidation_fee: Number = "0"
    open_interest: Number | None = None
    open_interest_lower: Number | None = None
    open_interest_upper: Number | None = None
    expiry: Time | None = None
    settlement_window_ms: int = 0
    settlement_price: Number | None = None
    option_type: Literal["call", "put"] | None = None
    strike: Number | None = None
    option_margin: OptionMargin | None = None
    closed: bool = False


class Asset(Record, frozen=True, kw_only=True, tag_field="kind", tag="asset"):
    """A collateral or settlement asset with its risk parameters, replacing those before; the message key is
    its id, which is also the oracle symbol of its price. The precision of an id never changes.

    Parameters
    ----------
    kind : always asset
    id : does not begin with ~
    precision : decimals of an amount, 0 to 9; one minor unit is 10**-precision
    haircut : fraction of a positive holding's value that does not count, 0 to 1
    borrow_haircut : fraction added to a debt's value, 0 to 1
    initial_haircut : the same for initial equity; null: haircut
    initial_borrow_haircut : the same for initial equity; null: borrow_haircut
    haircut_tiers : haircuts by quantity, ascending, each slice at its own; where given they replace haircut
    closed : true: no new balances
    """

    id: Name
    precision: int
    haircut: Number = "0"
    borrow_haircut: Number = "0"
    initial_haircut: Number | None = None
    initial_borrow_haircut: Number | None = None
    haircut_tiers: tuple[HaircutTier, ...] = ()
    closed: bool = False


class Control(Record, frozen=True, kw_only=True, tag_field="kind", tag="control"):
    """An operator's order to the engine; it holds from its place in the journal on.

    Parameters
    ----------
    kind : always control
    id : ~control: and a name
    action : pause_liquidations or resume_liquidations, halt or resume of a symbol
    symbol : whose marks are halted or resumed; null: liquidations of all
    """

    id: Id
    action: Literal["pause_liquidations", "resume_liquidations", "halt", "resume"]
    symbol: Name | None = None


class EngineRules(Record, frozen=True, kw_only=True, tag_field="kind", tag="engine"):
    """The rules of the engine that are not an account's or an instrument's own; the message key is ~engine.

    Parameters
    ----------
    kind : always engine
    id : always ~engine
    margin_call : margin ratio below which an account is called, at least 1
    margin_call_exit : margin ratio at which the call ends, at least margin_call
    liquidation_exit : margin ratio at which a liquidation ends, at least 1
    liquidation_target : margin ratio a liquidation is sized to reach, at least liquidation_exit
    liquidation_timeout_ms : shard time after which an unanswered step is replaced
    liquidation_step_cap : most of a position that one step closes, a fraction above 0; 1: no cap
    duplicate_window : latest fill and transfer ids remembered per account, 1 to 65536
    summary_interval_ms : shard time between sweeps of all summaries
    reporting_currency : the asset that is worth 1 by definition
    portfolio_equity_min : least equity of an account that goes over to portfolio margin
    """

    id: Literal["~engine"] = "~engine"
    margin_call: Number = "1.25"
    margin_call_exit: Number = "1.30"
    liquidation_exit: Number = "1.05"
    liquidation_target: Number = "1.10"
    liquidation_timeout_ms: int = 5000
    liquidation_step_cap: Number = "1"
    duplicate_window: int = 256
    summary_interval_ms: int = 60000
    reporting_currency: Name = "USD"
    portfolio_equity_min: Number = "0"


#: Any record of the topic, told apart by `kind`.
TermsMessage = (
    Instrument
    | Asset
    | Control
    | EngineRules
    | Source
    | OracleRules
    | RiskUnit
    | Correlations
    | RiskHistory
    | ClosesLoaded
)


def identity_fields(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a published record (in normal form) that a later one of its id must repeat; one that
    is absent is absent there too."""
    if record["kind"] == "asset":
        return ASSET_IDENTITY
    if record["kind"] == "instrument":
        return INSTRUMENT_IDENTITY + (OPTION_IDENTITY if record["type"] == "option" else ())
    return ("kind",)


def unit_value(
    *, type: str, multiplier: Decimal, price_precision: int, quantity_precision: int, asset_precision: int
) -> Fraction:
    """Minor units of the settlement asset that scale a product of lots and ticks.

    Linear, and options: cash = lots x ticks x unit, unit = multiplier x 10**(asset - price - quantity precision).
    Inverse: coins = lots x unit / ticks, unit = multiplier x 10**(asset + price - quantity precision).

    Examples
    --------
    >>> unit_value(type="perpetual", multiplier=Decimal(1), price_precision=1, quantity_precision=3,
    ...            asset_precision=6)
    Fraction(100, 1)
    """
    sign = 1 if type in INVERSE_TYPES else -1
    places = asset_precision + sign * price_precision - quantity_precision
    return Fraction(multiplier) * Fraction(10) ** places
