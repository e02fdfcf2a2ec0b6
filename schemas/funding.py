"""`funding-rates`: what longs pay shorts for an interval."""

from schemas.fields import Name, Number, Record, Time


class FundingRate(Record, frozen=True, kw_only=True):
    """One funding rate for one interval. The message key is the instrument.

    Parameters
    ----------
    instrument : id of a published perpetual
    rate : payment as a fraction of notional for the whole interval, positive: longs pay; between -1 and 1, at
        most 12 decimals
    time : end of the interval
    mark_price : exact price the notional is taken at; null: the mark at that place of the journal
    """

    instrument: Name
    rate: Number
    time: Time
    mark_price: Number | None = None
