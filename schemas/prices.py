"""`oracle-prices`: what one source says a symbol, or one instrument on it, is worth."""

from typing import Annotated

import msgspec

from schemas.fields import Name, Number, Record, Time

#: An ed25519 signature: 64 bytes in base64.
Signature = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[A-Za-z0-9+/]{86}==$"})]

#: How often funding is paid where a quote doesn't say.
FUNDING_INTERVAL_MS = 28_800_000


class Quote(Record, frozen=True, kw_only=True):
    """One quote of one source. The message key is the symbol.

    Parameters
    ----------
    symbol : what is priced, such as BTC
    source : who says so, such as binance
    price : above zero; of an instrument, the middle of its book
    confidence : half-width of the source's own uncertainty, same unit as the price, zero or more
    time : when the source saw the price
    sequence : counts the source's quotes of this symbol upwards; null where the source gives none
    quote_asset : symbol that all prices of the quote are stated in, such as USDT; null: the reporting currency
    instrument : instrument on the symbol whose price this is; null: it is the symbol's own
    last : price of the instrument's last trade, above zero
    funding_rate : the instrument's next rate per interval, -1 to 1; longs pay where it is positive
    next_funding_time : when that is paid, at most two intervals after time; given with the rate, never alone
    funding_interval_ms : time between two payments of funding, one minute to one week
    key_id : which of the source's keys signed the quote; given with the signature, never alone
    signature : ed25519 over the bytes that schemas/signatures.py gives for the quote, base64
    """

    symbol: Name
    source: Name
    price: Number
    time: Time
    confidence: Number = "0"
    sequence: int | None = None
    quote_asset: Name | None = None
    instrument: Name | None = None
    last: Number | None = None
    funding_rate: Number | None = None
    next_funding_time: Time | None = None
    funding_interval_ms: int = FUNDING_INTERVAL_MS
    key_id: Name | None = None
    signature: Signature | None = None
