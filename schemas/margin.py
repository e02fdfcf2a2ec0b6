"""`margin-accounts` and `margin-calls`: what the engine says of an account's margin.

Amounts are in the reporting currency unless a field says otherwise.
"""

from typing import Literal

import msgspec

from schemas.fields import DecimalText, Record
from schemas.marks import MarkPrice, PriceState
from schemas.portfolio_margin import OtherModel, PortfolioReport

Status = Literal["ok", "margin_call", "liquidation", "bankrupt", "unpriced"]
MarginMode = Literal["cross", "isolated"]
#: What an account should not be let do while prices of what it holds are not to be trusted: open or enlarge positions,
#: or move collateral out.
Restriction = Literal["no_new_risk", "no_withdrawals"]


class JournalPlace(Record, frozen=True, kw_only=True):
    """The journal record that caused a decision.

    Parameters
    ----------
    partition : of `journal`; the account's shard
    offset : in that partition
    """

    partition: int
    offset: int


class PositionReport(Record, frozen=True, kw_only=True):
    """One position. An isolated one is a bucket of its own and has its own equity, ratio and status.

    Parameters
    ----------
    instrument : id
    quantity : signed, positive long
    notional : |quantity| x mark x multiplier; null: unpriced
    unrealized_pnl : in the settlement asset, positive gained
    initial_margin : requirement to open; null on portfolio margin, where no position requires anything by itself
    maintenance_margin : requirement to keep; null alike
    liquidation_price : mark at which the bucket's adjusted equity meets its maintenance margin; null: none, and on
        portfolio margin, where each unit has its own
    margin_mode : cross, or isolated
    equity : of an isolated position: its margin + unrealised P&L
    adjusted_equity : of an isolated position
    initial_equity : of an isolated position
    margin_ratio : of an isolated position: adjusted equity / maintenance margin
    free_margin : of an isolated position: initial equity - initial margin
    status : of an isolated position
    restrictions : of an isolated position; left out where there are none
    liquidation : of an isolated position: what would be ordered now; null: nothing
    shortfall : of a bankrupt isolated position: loss past zero equity, rounded up
    """

    instrument: str
    quantity: DecimalText
    notional: DecimalText | None
    unrealized_pnl: DecimalText | None
    initial_margin: DecimalText | None
    maintenance_margin: DecimalText | None
    liquidation_price: DecimalText | None = None
    margin_mode: MarginMode = "cross"
    equity: DecimalText | None = None
    adjusted_equity: DecimalText | None = None
    initial_equity: DecimalText | None = None
    margin_ratio: DecimalText | None = None
    free_margin: DecimalText | None = None
    status: Status | None = None
    restrictions: tuple[Restriction, ...] = ()
    liquidation: "LiquidationPlan | None" = None
    shortfall: DecimalText | None = None


class Order(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What to close, or what to convert: either instrument and quantity, or sell_asset, amount and buy_asset.

    Parameters
    ----------
    instrument : id of the position to reduce; the order is reduce-only
    quantity : signed, positive buys, opposite to the position
    limit_price : worst acceptable price, in ticks of the instrument; of a conversion buy_asset per sell_asset
    expected_fee : in the settlement asset, positive paid
    sell_asset : asset to sell
    amount : how much of sell_asset, in its units
    buy_asset : asset to buy
    """

    limit_price: DecimalText
    instrument: str | None = None
    quantity: DecimalText | None = None
    expected_fee: DecimalText | None = None
    sell_asset: str | None = None
    amount: DecimalText | None = None
    buy_asset: str | None = None


class Withheld(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What orders leave out because its price is not to be trusted: a position, or an asset that is not converted.

    Parameters
    ----------
    state : of the price: a halted one has no position closed, a stale or halted one no asset converted
    instrument : id of the position
    asset : id of the asset
    """

    state: PriceState
    instrument: str | None = None
    asset: str | None = None


class LiquidationPlan(Record, frozen=True, kw_only=True):
    """What would bring a bucket back to its target.

    Parameters
    ----------
    target : margin ratio that the orders reach
    orders : to be filled together, in the order of the positions, then of the conversions
    withheld : what they leave out; left out itself where that is nothing
    """

    target: DecimalText
    orders: tuple[Order, ...]
    withheld: tuple[Withheld, ...] = ()


class AccountReport(Record, frozen=True, kw_only=True):
    """The margin of one account, as `crossmargin evaluate` prints it.

    Parameters
    ----------
    account : whose
    status : of the cross bucket; unpriced where a mark was never seen, and then the numbers are null
    equity : sum of net assets x price
    adjusted_equity : the same after haircuts
    initial_equity : the same after initial haircuts; suspect prices count on the side that is worse for the account
    initial_margin : requirement to open, at the same prices
    maintenance_margin : requirement to keep
    margin_ratio : adjusted equity / maintenance margin; null: no requirement
    free_margin : initial equity - initial margin
    restrictions : what the account should not be let do; left out where there are none
    portfolio : of an account on portfolio margin: what binds
    other_model : what the model that is not in force would require; left out where no risk unit is published
    positions : all positions, cross and isolated, by instrument id
    liquidation : what would be ordered now; null: nothing
    shortfall : of a bankrupt account: loss past zero equity, rounded up
    """

    account: str
    status: Status
    equity: DecimalText | None
    adjusted_equity: DecimalText | None
    initial_equity: DecimalText | None
    initial_margin: DecimalText | None
    maintenance_margin: DecimalText | None
    margin_ratio: DecimalText | None
    free_margin: DecimalText | None
    restrictions: tuple[Restriction, ...] = ()
    portfolio: PortfolioReport | None = None
    other_model: OtherModel | None = None
    positions: tuple[PositionReport, ...] = ()
    liquidation: LiquidationPlan | None = None
    shortfall: DecimalText | None = None


class IsolatedSummary(Record, frozen=True, kw_only=True):
    """The margin of one isolated bucket, which is its position and the collateral moved to it.

    Parameters
    ----------
    bucket : the instrument
    balances : amount of each asset, in units of the asset
    status : of the bucket; unpriced where a mark was never seen, and then the numbers are null
    equity : sum of net assets x price
    adjusted_equity : the same after haircuts
    initial_equity : the same after initial haircuts
    initial_margin : requirement to open
    maintenance_margin : requirement to keep
    margin_ratio : adjusted equity / maintenance margin; null: no requirement
    free_margin : initial equity - initial margin
    restrictions : what the account should not be let do with it; left out where there are none
    """

    bucket: str
    balances: dict[str, DecimalText]
    status: Status
    equity: DecimalText | None
    adjusted_equity: DecimalText | None
    initial_equity: DecimalText | None
    initial_margin: DecimalText | None
    maintenance_margin: DecimalText | None
    margin_ratio: DecimalText | None
    free_margin: DecimalText | None
    restrictions: tuple[Restriction, ...] = ()


class MarginAccount(Record, frozen=True, kw_only=True):
    """The latest margin summary of an account. The message key is the account; the topic is compacted.

    Parameters
    ----------
    account : whose
    status : of the cross bucket; unpriced where a mark was never seen, and then the numbers are null
    equity : of the cross bucket: sum of net assets x price
    adjusted_equity : the same after haircuts
    initial_equity : the same after initial haircuts
    initial_margin : requirement to open
    maintenance_margin : requirement to keep
    margin_ratio : adjusted equity / maintenance margin; null: no requirement
    free_margin : initial equity - initial margin
    restrictions : what the account should not be let do with its cross bucket; left out where there are none
    other_model : what the model not in force would require of the cross bucket; left out unless the account's settings
        ask for it (`shadow`), and where no risk unit is published
    balances : amount of each asset in the cross bucket, in units of the asset, negative owed
    isolated : the isolated buckets
    journal : the block it was computed after
    time : shard time, epoch ms
    """

    account: str
    status: Status
    equity: DecimalText | None
    adjusted_equity: DecimalText | None
    initial_equity: DecimalText | None
    initial_margin: DecimalText | None
    maintenance_margin: DecimalText | None
    margin_ratio: DecimalText | None
    free_margin: DecimalText | None
    restrictions: tuple[Restriction, ...] = ()
    other_model: OtherModel | None = None
    balances: dict[str, DecimalText]
    isolated: tuple[IsolatedSummary, ...] = ()
    journal: JournalPlace
    time: int


class UsedMark(MarkPrice, frozen=True, kw_only=True):
    """A mark that a decision was made with.

    Parameters
    ----------
    mark : mark price, in the instrument's quote currency
    index : price of the underlying, in the reporting currency
    state : how far the mark is to be trusted, operators' halts included
    check : price of the underlying by the independent check oracle; null: none
    quote_time : when the source of the newest quote behind the mark saw its price, epoch ms
    """

    check: DecimalText | None = None
    quote_time: int | None = None


class UsedPrice(Record, frozen=True, kw_only=True):
    """An asset's price that a decision was made with.

    Parameters
    ----------
    index : in the reporting currency; null: never seen
    state : how far it is to be trusted, operators' halts included
    widening : fraction that was added to the asset's haircuts
    check : price by the independent check oracle; null: none
    quote_time : when the source of the newest quote behind it saw its price, epoch ms; null: the reporting currency
    """

    index: DecimalText | None
    state: PriceState
    widening: DecimalText
    check: DecimalText | None = None
    quote_time: int | None = None


class MarginCall(Record, frozen=True, kw_only=True):
    """A margin call, or its end. The message key is the account.

    Parameters
    ----------
    id : unique and the same in every replay: shard, journal offset, account, bucket, kind
    kind : called, or cleared
    account : whose
    bucket : cross, or the instrument of an isolated position
    level : the margin ratio that was crossed: of called the margin_call level, of cleared its exit
    report : as evaluate prints
    marks : the marks it was computed with, by instrument
    prices : the prices of its assets, alike; decisions by rules 1 have none
    journal : the block that caused it
    time : shard time, epoch ms
    """

    id: str
    kind: Literal["called", "cleared"]
    account: str
    bucket: str
    level: DecimalText
    report: AccountReport
    marks: dict[str, UsedMark]
    journal: JournalPlace
    time: int
    prices: dict[str, UsedPrice] = msgspec.field(default_factory=dict)
