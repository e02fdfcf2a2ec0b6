"""`oracle-prices`: what one source says a symbol is worth."""

from schemas.fields import Name, Number, Record, Time


class Quote(Record, frozen=True, kw_only=True):
    """One quote of one source. The message key is the symbol.

    Parameters
    ----------
    symbol : what is priced, such as BTC
    source : who says so, such as binance
    price : in the reporting currency, above zero
    confidence : half-width of the source's own uncertainty, same unit as the price, zero or more
    time : when the source saw the price
    sequence : counts the source's quotes of this symbol upwards; null where the source gives none
    """

    symbol: Name
    source: Name
    price: Number
    time: Time
    confidence: Number = "0"
    sequence: int | None = None
