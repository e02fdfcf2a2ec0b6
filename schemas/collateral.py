"""`collateral`: what moved into, out of and between accounts."""

from typing import Literal

from schemas.fields import Id, Name, Number, Record, Time


class Transfer(Record, frozen=True, kw_only=True):
    """One movement of collateral: a fact, not a request. The message key is free.

    Parameters
    ----------
    transfer_id : unique in its account; a repeat among the account's latest ids is counted, not applied
    type : deposit; withdrawal; transfer, to another account or bucket; adjustment, a correction; opening, a
        balance that existed before; conversion, one asset sold for another
    account : whose balance changes; names that begin with ~ are the engine's own
    asset : id of a published asset
    amount : in units of the asset, above zero; of adjustment and opening signed (positive received), not zero
    time : when it happened
    to_account : who receives a transfer; null: the same account, then to_bucket differs
    bucket : cross, or the instrument of an isolated position
    to_bucket : the bucket that receives a transfer
    to_asset : what a conversion buys
    to_amount : what a conversion brings, in units of to_asset, above zero
    liquidation_id : id of the liquidation this conversion answers
    """

    transfer_id: Id
    type: Literal["deposit", "withdrawal", "transfer", "adjustment", "opening", "conversion"]
    account: Id
    asset: Name
    amount: Number
    time: Time
    to_account: Id | None = None
    bucket: Name = "cross"
    to_bucket: Name = "cross"
    to_asset: Name | None = None
    to_amount: Number | None = None
    liquidation_id: str | None = None
