"""`volatilities`: at what volatility options are valued, one instrument's or a whole surface of an underlying."""

import msgspec

from schemas.fields import Name, Number, Record, Time


class Svi(Record, frozen=True, kw_only=True):
    """A smile in raw SVI: total variance = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)), k = ln(strike / forward).

    Parameters
    ----------
    a : level; a + b sigma sqrt(1 - rho^2) is 0 or more
    b : slope of the wings, 0 or more
    rho : tilt, above -1 and below 1
    m : centre
    sigma : width, above 0
    """

    a: Number
    b: Number
    rho: Number
    m: Number
    sigma: Number


class Smile(Record, frozen=True, kw_only=True):
    """The volatilities of one expiry by log-moneyness k = ln(strike / forward): `svi` or `points`.

    Parameters
    ----------
    expiry : of the options, after the time of the record
    svi : total variance by the raw SVI formula, of the years from the record's time to the expiry
    points : quoted [k, volatility], k ascending, 2 to 200; between them a cubic spline, beyond them flat
    forward : price of the expiry when the record was made; null: of listed futures, else the index
    discount : factor from expiry to now, above 0, at most 2
    """

    expiry: Time
    svi: Svi | None = None
    points: tuple[tuple[Number, Number], ...] = ()
    forward: Number | None = None
    discount: Number = "1"


class Volatility(Record, frozen=True, kw_only=True):
    """The volatility of one `instrument`, or the surface of an `underlying`; the message key is that name.

    A record replaces the one before it of the same key, a surface with all its expiries. An instrument's own volatility
    goes before the surface, unless only the surface is young enough. A tombstone takes the record back.

    Parameters
    ----------
    source : who says so
    time : when the source saw it
    instrument : option whose volatility this is; null where an underlying is given
    volatility : of the instrument, a year's, 0.5 is 50 %
    underlying : oracle symbol that the surface is of; null where an instrument is given
    index : price of the underlying that forwards of the smiles were made with; given where one of them is
    smiles : by expiry, ascending, at most 64
    """

    source: Name
    time: Time
    instrument: Name | None = None
    volatility: Number | None = None
    underlying: Name | None = None
    index: Number | None = None
    smiles: tuple[Smile, ...] = msgspec.field(default_factory=tuple)
