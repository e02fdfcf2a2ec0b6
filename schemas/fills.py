"""`fills`: the trades of accounts."""

from typing import Literal

from schemas.fields import Id, Name, Number, Record, Time


class Fill(Record, frozen=True, kw_only=True):
    """One trade fill of one account: a fact. The message key is free.

    Parameters
    ----------
    fill_id : unique in its account; a repeat among the account's latest ids is counted, not applied
    account : whose position changes; names that begin with ~ are the engine's own
    instrument : id of a published instrument
    quantity : in the instrument's quantity unit, signed, positive buys, not zero
    price : in the instrument's quote currency, above zero
    time : when it traded
    fee : in the settlement asset, positive paid, negative received
    liquidation_id : id of the liquidation this fill answers
    margin_mode : the bucket it belongs to; null: that of liquidation_id, else the account's mode
    kind : trade; opening brings in a position that existed before; bust takes back a trade and gives that
        trade's quantity, price and fee unchanged, and may give its fill_id
    """

    fill_id: Id
    account: Id
    instrument: Name
    quantity: Number
    price: Number
    time: Time
    fee: Number = "0"
    liquidation_id: str | None = None
    margin_mode: Literal["cross", "isolated"] | None = None
    kind: Literal["trade", "opening", "bust"] = "trade"
