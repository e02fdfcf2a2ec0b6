"""Mark price of one instrument from the index and the instrument's own book."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.oracle.index import median
from streams.oracle.quotes import Quote
from streams.oracle.settings import MarkRule
from streams.oracle.smoothing import SMOOTH_MS, Ema, WindowMean

#: Window of the mean basis of the median of three.
BASIS_WINDOW_MS = 30_000
#: The time to the next funding counts in such steps, so that a mark does not move by it with every look.
FUNDING_STEP_MS = 60_000


def median_of_three(
    index: float, *, funding_rate: float, to_funding_ms: int, funding_interval_ms: int, basis: float, last: float
) -> float:
    """The middle of index x (1 + funding_rate x to_funding / interval), index + basis, and the last trade.

    `basis` is the mean over 30 s of the middle of the book less the index. All but the rate (a fraction, per
    interval) and the times are prices in one currency.

    References
    ----------
    Binance, FAQ 360033525071; the 30 s basis since 18 September 2025.

    Examples
    --------
    >>> median_of_three(60_000.0, funding_rate=0.0001, to_funding_ms=4 * 3_600_000, funding_interval_ms=8 * 3_600_000,
    ...                 basis=25.0, last=60_110.0)  # of 60,003, 60,025 and 60,110
    60025.0
    """
    by_funding = index * (1 + funding_rate * to_funding_ms / funding_interval_ms)
    return median([by_funding, index + basis, last])


def within(mark: float, index: float, basis_max: float) -> float:
    """The mark, no further from the index than `basis_max` x index."""
    return min(max(mark, index * (1 - basis_max)), index * (1 + basis_max))


@dataclass(slots=True)
class InstrumentBook:
    """The latest quote of each source of an instrument, and its mean basis as a fraction of the index.

    Where no quote is young enough the basis goes to zero, as slowly as it would to any other level: a mark that jumped
    to the index when a venue fell silent would liquidate by that silence.
    """

    quotes: dict[str, Quote] = field(default_factory=dict)
    smooth: Ema | None = None
    window: WindowMean | None = None

    def mark(self, index: float, live: Sequence[Quote], now_ms: int, rule: MarkRule) -> float:
        """The mark price, in the index's currency; `live` are the quotes that count, converted to it."""
        if rule.method == "index":
            self.smooth = self.window = None
            return index
        basis = median([quote.price for quote in live]) / index - 1 if live else 0.0
        basis = min(max(basis, -rule.basis_max), rule.basis_max)
        if rule.method == "smoothed_basis":
            self.window = None
            if self.smooth is None:
                self.smooth = Ema(basis, now_ms, basis)
            self.smooth.step(basis, now_ms, rule.basis_half_life_ms)
            return index * (1 + self.smooth.at(now_ms, rule.basis_half_life_ms))
        self.smooth = None
        if self.window is None:
            self.window = WindowMean(basis, now_ms)
        self.window.step(basis, now_ms, BASIS_WINDOW_MS)
        mean = index * self.window.at(now_ms, BASIS_WINDOW_MS)
        if not live:
            return index + mean
        return within(_of_three(index, mean, live, now_ms), index, rule.basis_max)

    def wakes_ms(self, now_ms: int, rule: MarkRule, age_ms_max: Callable[[str], int]) -> int | None:
        """The next moment at which time alone moves the mark: a quote comes of age, or its mean is on the way."""
        if rule.method == "index":
            return None
        moments = [quote.time + age_ms_max(quote.source) + 1 for quote in self.quotes.values()]
        moments += [quote.time - age_ms_max(quote.source) for quote in self.quotes.values()]
        settles = [now_ms]
        if self.smooth is not None:
            settles.append(self.smooth.settles_ms(rule.basis_half_life_ms))
        if self.window is not None:
            settles.append(self.window.settles_ms(BASIS_WINDOW_MS))
        if max(settles) > now_ms:
            moments.append((now_ms // SMOOTH_MS + 1) * SMOOTH_MS)
        return min((moment for moment in moments if moment > now_ms), default=None)

    def record(self) -> list[Any]:
        """For the changelog."""
        quotes = {source: quote[2:] for source, quote in self.quotes.items()}
        means = [None if mean is None else mean.record() for mean in (self.smooth, self.window)]
        return [quotes, *means]

    @classmethod
    def restored(cls, symbol: str, record: list[Any]) -> "InstrumentBook":
        """The book whose record it is."""
        quotes, smooth, window = record
        return cls(
            {source: Quote(symbol, source, *rest) for source, rest in quotes.items()},
            None if smooth is None else Ema(*smooth),
            None if window is None else WindowMean(*window),
        )


def _of_three(index: float, basis: float, live: Sequence[Quote], now_ms: int) -> float:
    lasts = [quote.price if quote.last is None else quote.last for quote in live]
    funded = [quote for quote in live if quote.funding_rate is not None and quote.next_funding_time is not None]
    newest = max(funded, key=lambda quote: (quote.time, quote.source), default=None)
    rate, to_funding_ms, interval_ms = 0.0, 0, 1
    if newest is not None:
        interval_ms = newest.funding_interval_ms
        steps = -((now_ms - (newest.next_funding_time or 0)) // FUNDING_STEP_MS)
        rate, to_funding_ms = newest.funding_rate or 0.0, min(max(steps * FUNDING_STEP_MS, 0), interval_ms)
    return median_of_three(
        index,
        funding_rate=rate,
        to_funding_ms=to_funding_ms,
        funding_interval_ms=interval_ms,
        basis=basis,
        last=median(lasts),
    )
