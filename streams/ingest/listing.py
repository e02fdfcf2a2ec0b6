"""What the oracle has to know of the instruments that were published."""

from decimal import Decimal
from typing import NamedTuple

from schemas.instruments import FUTURE_TYPES
from streams.ingest.terms import Terms


class Listing(NamedTuple):
    """Instruments by what marks them.

    Parameters
    ----------
    priced : (instrument, underlying) of those that quotes mark
    dated : (instrument, underlying, expiry, right, strike, coin-settled) of futures, which make forwards, and of
        options, which are valued; right is 1 of calls, -1 of puts, 0 of futures
    """

    priced: list[tuple[str, str]]
    dated: list[tuple[str, str, int, int, float, bool]]


def listing(terms: Terms) -> Listing:
    """The usable instruments of the table, by id."""
    found = Listing([], [])
    for name, known in sorted(terms.instruments.items()):
        record = known.records[1]
        underlying, kind = record["underlying"], record["type"]
        if kind == "option":
            right = 1 if record["option_type"] == "call" else -1
            in_coins = record["settlement"] == underlying
            found.dated.append((name, underlying, record["expiry"], right, float(Decimal(record["strike"])), in_coins))
            continue
        found.priced.append((name, underlying))
        if kind in FUTURE_TYPES and record.get("expiry") is not None:
            found.dated.append((name, underlying, record["expiry"], 0, 0.0, False))
    return found
