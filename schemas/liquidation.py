"""`liquidations`: what to close, that it is over, or that an account is bankrupt."""

import msgspec

from schemas.fields import DecimalText, Record
from schemas.margin import AccountReport, JournalPlace, Order, UsedMark, UsedPrice, Withheld


class Liquidation(Record, frozen=True, kw_only=True, tag_field="kind", tag="liquidation"):
    """Orders that bring a bucket back to its target. The message key is the account. A step replaces the one
    before: its open orders are withdrawn. Fills that answer it carry its id as liquidation_id.

    Parameters
    ----------
    kind : always liquidation
    id : unique and the same in every replay: shard, journal offset, account, bucket, kind
    account : whose
    bucket : cross, or the instrument of an isolated position
    step : counts the steps of one liquidation from 1
    replaces : id of the step before; null: this is the first
    target : margin ratio that the orders reach
    orders : to be filled together, in the order of the positions; all reduce-only
    withheld : what they leave out because its price is stale or halted; left out itself where that is nothing
    report : as evaluate prints
    marks : the marks it was computed with, by instrument
    prices : the prices of its assets, alike; decisions by rules 1 have none
    journal : the block that caused it
    time : shard time, epoch ms
    """

    id: str
    account: str
    bucket: str
    step: int
    replaces: str | None
    target: DecimalText
    orders: tuple[Order, ...]
    report: AccountReport
    marks: dict[str, UsedMark]
    journal: JournalPlace
    time: int
    prices: dict[str, UsedPrice] = msgspec.field(default_factory=dict)
    withheld: tuple[Withheld, ...] = ()


class LiquidationCleared(Record, frozen=True, kw_only=True, tag_field="kind", tag="liquidation_cleared"):
    """The bucket is safe again: withdraw the open orders of the liquidation.

    Parameters
    ----------
    kind : always liquidation_cleared
    id : as of Liquidation
    account : whose
    bucket : cross, or the instrument of an isolated position
    replaces : id of the last step
    report : as evaluate prints
    marks : the marks it was computed with, by instrument
    prices : the prices of its assets, alike; decisions by rules 1 have none
    journal : the block that caused it
    time : shard time, epoch ms
    """

    id: str
    account: str
    bucket: str
    replaces: str | None
    report: AccountReport
    marks: dict[str, UsedMark]
    journal: JournalPlace
    time: int
    prices: dict[str, UsedPrice] = msgspec.field(default_factory=dict)


class Bankrupt(Record, frozen=True, kw_only=True, tag_field="kind", tag="bankrupt"):
    """The bucket's equity is below zero: all it held has moved to the house. Withdraw its open orders.

    Parameters
    ----------
    kind : always bankrupt
    id : as of Liquidation
    account : whose
    bucket : cross, or the instrument of an isolated position
    shortfall : loss past zero equity, in the reporting currency, positive, rounded up
    replaces : id of the last step; null: there was none
    report : as evaluate prints, before the take-over
    marks : the marks it was computed with, by instrument
    prices : the prices of its assets, alike; decisions by rules 1 have none
    journal : the block that caused it
    time : shard time, epoch ms
    """

    id: str
    account: str
    bucket: str
    shortfall: DecimalText
    report: AccountReport
    marks: dict[str, UsedMark]
    journal: JournalPlace
    time: int
    prices: dict[str, UsedPrice] = msgspec.field(default_factory=dict)
    replaces: str | None = None


#: Any record of the topic, told apart by `kind`.
LiquidationEvent = Liquidation | LiquidationCleared | Bankrupt
