"""Prices stated in another symbol: by what they are converted, and which symbol is made first.

A leg is the symbol that a quote, or a redemption rate, is stated in. Its own index converts it, so a stablecoin that
lost its peg is never taken as 1.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams.oracle.quotes import Quote


class Rate(NamedTuple):
    """The index price of a symbol as others use it; `state` by its place in the contract's PRICE_STATES."""

    price: float
    confidence: float
    state: int


#: The reporting currency in itself.
ONE = Rate(1.0, 0.0, 0)
#: What a quote itself may state; without such bounds a chain of legs could leave the range of float64.
PRICE_MIN, PRICE_MAX = 1e-18, 1e18


def converted(quote: Quote, rate: Rate) -> Quote | None:
    """The quote in the reporting currency; its confidence is, in relation to the price, the sum of both.

    None where the price would be outside of PRICE_MIN to PRICE_MAX.

    Examples
    --------
    >>> usdt = Rate(0.9, 0.009, 0)  # 1 % sure
    >>> found = converted(Quote("BTC", "a", 50_000.0, 50.0, 0, quote_asset="USDT", last=50_010.0), usdt)
    >>> found.price, round(found.confidence / found.price, 9), found.last, found.quote_asset
    (45000.0, 0.011, 45009.0, None)
    """
    price = quote.price * rate.price
    if not PRICE_MIN <= price <= PRICE_MAX:
        return None
    return quote._replace(
        price=price,
        confidence=min(PRICE_MAX, quote.confidence * rate.price + quote.price * rate.confidence),
        quote_asset=None,
        last=None if quote.last is None else quote.last * rate.price,
    )


def ranks(needs: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """For each symbol that has legs its rank; all others have rank 0. A symbol is made after those of lower rank.

    A leg of the same or a higher rank closes a circle: nothing converts by it.

    Examples
    --------
    >>> ranks({"BTC": ["USDT"], "USDT": ["USDC"], "WBTC": ["BTC"]})
    {'USDT': 1, 'BTC': 2, 'WBTC': 3}
    >>> ranks({"A": ["B"], "B": ["A"]})
    {'A': 1, 'B': 2}
    """
    left = {symbol: set(legs) for symbol, legs in sorted(needs.items()) if legs}
    found: dict[str, int] = {}
    rank = 0
    while left:
        rank += 1
        ready = [symbol for symbol, legs in left.items() if not legs & left.keys()] or [min(left)]
        for symbol in ready:
            del left[symbol]
            found[symbol] = rank
    return found
