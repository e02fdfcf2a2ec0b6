"""Index price of one symbol from the quotes of its sources. The clock is an argument; no message is known."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streams.oracle.quotes import Quote


class Index(NamedTuple):
    """The index price of a symbol.

    `price` and `confidence` are in the reporting currency. `quote_time` is that of the newest quote in it, in
    epoch ms. `sources` are those it was made of, by name.
    """

    price: float
    confidence: float
    quote_time: int
    sources: tuple[str, ...]


def index_of(live: Sequence[Quote]) -> Index:
    """The index price from the latest quotes, one a source, at least one: price = median of their prices.

    Examples
    --------
    >>> index_of([Quote("BTC", "b", 102.0, 0.4, 8_000), Quote("BTC", "a", 100.0, 0.2, 9_000)])
    Index(price=101.0, confidence=1.0, quote_time=9000, sources=('a', 'b'))
    """
    prices = [quote.price for quote in live]
    return Index(
        price=median(prices),
        confidence=confidence_of(prices, [quote.confidence for quote in live]),
        quote_time=max(quote.time for quote in live),
        sources=tuple(sorted(quote.source for quote in live)),
    )


def live_quotes(quotes: Iterable[Quote], *, now_ms: int, quote_age_ms_max: int) -> list[Quote]:
    """The quotes that still count at `now_ms`: now_ms - time <= quote_age_ms_max.

    At exactly that age a quote counts; one from the future counts as new.

    Examples
    --------
    >>> quotes = [Quote("BTC", "a", 100.0, 0.2, 9_000), Quote("BTC", "b", 102.0, 0.4, 8_000)]
    >>> len(live_quotes(quotes, now_ms=10_000, quote_age_ms_max=2_000))
    2
    >>> len(live_quotes(quotes, now_ms=10_001, quote_age_ms_max=2_000))
    1
    """
    return [quote for quote in quotes if now_ms - quote.time <= quote_age_ms_max]


def median(values: Sequence[float]) -> float:
    """The middle value; of an even count the mean of the middle two. Never outside least and greatest.

    Examples
    --------
    >>> median([101.0, 120.0, 100.0])
    101.0
    >>> median([100.0, 103.0])
    101.5
    """
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return ordered[half - 1] / 2 + ordered[half] / 2  # halved first, so that the sum cannot overflow


def confidence_of(prices: Sequence[float], confidences: Sequence[float]) -> float:
    """How far the index may be off: max((highest - lowest price) / 2, median of the stated confidences).

    Sources that agree on the price are believed as far as the median one of them believes itself; sources
    that disagree are believed no further than half of what lies between them.

    Examples
    --------
    >>> confidence_of([100.0, 103.0], [0.5, 0.1])
    1.5
    >>> confidence_of([100.0, 100.2, 100.4], [0.1, 0.5, 9.0])
    0.5
    """
    return max((max(prices) - min(prices)) / 2, median(confidences))
