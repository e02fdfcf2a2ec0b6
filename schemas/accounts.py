"""`accounts`: settings of accounts."""

from typing import Literal

from schemas.fields import Id, Number, Record


class Levels(Record, frozen=True, kw_only=True):
    """Levels of margin_ratio = adjusted equity / maintenance margin where a status changes; null: as engine.

    Parameters
    ----------
    margin_call : below it the account is called, at least 1
    margin_call_exit : at it the call ends, at least margin_call
    liquidation_exit : at it a liquidation ends, at least 1
    liquidation_target : a liquidation is sized to reach it, at least liquidation_exit
    """

    margin_call: Number | None = None
    margin_call_exit: Number | None = None
    liquidation_exit: Number | None = None
    liquidation_target: Number | None = None


class AccountSettings(Record, frozen=True, kw_only=True):
    """Settings of one account, replacing those before. The message key is the account. A tombstone brings
    back the defaults, which an account without settings has too.

    Parameters
    ----------
    account : whose settings
    mode : bucket of fills that name none
    margin_model : how requirements of the cross bucket are computed; another one than before only where the account
        meets initial margin by it, else this field is refused and the model in force stays
    levels : the account's own levels
    shadow : whether summaries of the account say what the margin model not in force would require
    """

    account: Id
    mode: Literal["cross", "isolated"] = "cross"
    margin_model: Literal["standard", "portfolio"] = "standard"
    levels: Levels = Levels()
    shadow: bool = False
