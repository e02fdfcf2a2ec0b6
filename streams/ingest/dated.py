"""What the oracle has to know of instruments that end: futures make forwards, and options are valued."""

from decimal import Decimal

from schemas.instruments import DATED_TYPES
from streams.ingest.terms import Terms


def dated(terms: Terms) -> list[tuple[str, str, int, int, float, bool, int]]:
    """Futures and options by id: (instrument, underlying, expiry, right, strike, coin-settled, settlement window).

    `right` is 1 of calls, -1 of puts; of futures it is 0, as is the strike.
    """
    found = []
    for name, known in sorted(terms.instruments.items()):
        record = known.records[1]
        if record["type"] not in DATED_TYPES:
            continue
        underlying, right, strike = record["underlying"], 0, 0.0
        if record["type"] == "option":
            right, strike = (1 if record["option_type"] == "call" else -1), float(Decimal(record["strike"]))
        in_coins = right != 0 and record["settlement"] == underlying
        window_ms = record.get("settlement_window_ms", 0)
        found.append((name, underlying, record["expiry"], right, strike, in_coins, window_ms))
    return found
