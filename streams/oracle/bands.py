"""Price band of one symbol: holds a print back that nobody confirms, and lets a move through that sources confirm.

The band lies around the last accepted index. An index outside of it is held at the band's edge while the sources
beyond that edge are counted. The band moves to a price

- that `band_sources` live sources are at or beyond, so that one source alone never carries it out, and
- that `band_ticks` prints confirm, or that the sources have agreed on for AGREED_MS.

Prints of different sources in one evaluation all count: three sources that fall together are let through at once. Two
need a third print, which comes with the next quote of either; where quotes come only each 5 or 60 s, AGREED_MS stands
in for it, because then no print does not mean no confirmation. So a move that is real is held for no longer than
AGREED_MS after the second source has seen it.

What is told may be off the index by NEAR, and yet nothing counts as held back: in a fall some sources are a little past
the edge and some not yet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules

YEAR_MS = 365 * 86_400_000
#: For so long sources must agree where they print too seldom to confirm by count.
AGREED_MS = 10_000
#: Less than venues differ by when prices move fast.
NEAR = 0.0025
#: Returns shorter than this are bid, ask and rounding more than volatility.
VOLATILITY_STEP_MS = 60_000
VOLATILITY_HALF_LIFE_MS = 1_800_000

IN_BAND, HELD, CONFIRMED = "in_band", "held", "confirmed"


def half_width(sigmas: float, volatility: float, elapsed_ms: int, *, least: float, most: float) -> float:
    """Half of the band's width as a fraction of the price: clip(sigmas x volatility x sqrt(dt), least, most).

    `volatility` is annual, dt in years.

    Examples
    --------
    >>> half_width(6, 0.6, 10_000, least=0.01, most=0.05)  # 0.2 %
    0.01
    >>> round(half_width(6, 3.0, 300_000, least=0.01, most=0.06), 5)
    0.05552
    """
    return min(most, max(least, sigmas * volatility * math.sqrt(max(elapsed_ms, 0) / YEAR_MS)))


@dataclass(slots=True)
class Candidate:
    """A move that waits for its confirmation.

    Parameters
    ----------
    side : 1 above the band, -1 below
    prints : source -> [time of its latest print beyond the edge, how many of its prints were there]; a source that
        comes back inside, or is live no more, is out
    agreed_ms : since when enough sources are beyond the edge; None while they are not
    """

    side: int
    prints: dict[str, list[int]] = field(default_factory=dict)
    agreed_ms: int | None = None


@dataclass(slots=True)
class Band:
    """The band of one symbol: its centre, the volatility that makes its width, and the candidate held, if any.

    `price` and `time_ms` are of the last accepted index; None before the first, which nothing can check.
    `variance` is annual, an EMA of squared returns over at least VOLATILITY_STEP_MS, the last from `from_price` at
    `from_ms`. `verdict` is IN_BAND, HELD or CONFIRMED, of the last evaluation.
    """

    price: float | None = None
    time_ms: int = 0
    variance: float = 0.0
    from_price: float = 0.0
    from_ms: int = 0
    candidate: Candidate | None = None
    verdict: str = IN_BAND

    def accept(self, index: float, quotes: Sequence[Quote], now_ms: int, rules: SymbolRules) -> float:
        """The accepted index, for the index made of these live quotes (prices in the reporting currency)."""
        self.verdict = IN_BAND
        if rules.band_sigmas <= 0 or self.price is None:
            return self._move(index, now_ms, rules)
        width = half_width(
            rules.band_sigmas,
            max(rules.band_volatility, math.sqrt(self.variance)),
            now_ms - self.time_ms,
            least=rules.band_min,
            most=rules.band_max,
        )
        side = 1 if index > self.price * (1 + width) else -1 if index < self.price * (1 - width) else 0
        if not side:
            return self._move(index, now_ms, rules)
        edge = self.price * (1 + side * width)
        confirmed = self._confirmed(side, edge, quotes, now_ms, rules)
        if confirmed is None:
            self.verdict = HELD if abs(index / edge - 1) > NEAR else IN_BAND
            return edge
        accepted = min(index, confirmed) if side > 0 else max(index, confirmed)
        self.verdict = HELD if abs(index / accepted - 1) > NEAR else CONFIRMED
        return self._move(accepted, now_ms, rules)

    def _confirmed(
        self, side: int, edge: float, quotes: Sequence[Quote], now_ms: int, rules: SymbolRules
    ) -> float | None:
        """The furthest price that enough sources are at or beyond, where it is confirmed; None where it is not."""
        if self.candidate is None or self.candidate.side != side:
            self.candidate = Candidate(side)
        candidate = self.candidate
        beyond = {quote.source: quote for quote in quotes if (quote.price - edge) * side > 0}
        for source in [source for source in candidate.prints if source not in beyond]:
            del candidate.prints[source]
        for source, quote in sorted(beyond.items()):
            seen = candidate.prints.setdefault(source, [quote.time - 1, 0])
            if quote.time != seen[0]:
                candidate.prints[source] = [quote.time, seen[1] + 1]
        sources_min = min(rules.band_sources, rules.sources_min)
        if len(beyond) < sources_min:
            candidate.agreed_ms = None
            return None
        if candidate.agreed_ms is None:
            candidate.agreed_ms = now_ms
        ticks = sum(count for _, count in candidate.prints.values())
        if ticks < rules.band_ticks and now_ms - candidate.agreed_ms < AGREED_MS:
            return None
        prices = sorted((quote.price for quote in beyond.values()), reverse=side > 0)
        return prices[sources_min - 1]

    def _move(self, price: float, now_ms: int, rules: SymbolRules) -> float:
        self.candidate = None
        if self.price is None:
            self.variance, self.from_price, self.from_ms = rules.band_volatility**2, price, now_ms
        self.price, self.time_ms = price, now_ms
        elapsed_ms = now_ms - self.from_ms
        if elapsed_ms >= VOLATILITY_STEP_MS:
            squared = math.log(price / self.from_price) ** 2 * YEAR_MS / elapsed_ms
            kept = 0.5 ** (elapsed_ms / VOLATILITY_HALF_LIFE_MS)
            self.variance = kept * self.variance + (1 - kept) * squared
            self.from_price, self.from_ms = price, now_ms
        return price

    def due_ms(self) -> int | None:
        """When time alone confirms the candidate; None where it cannot."""
        agreed_ms = self.candidate.agreed_ms if self.candidate else None
        return None if agreed_ms is None else agreed_ms + AGREED_MS

    def record(self) -> list[Any]:
        """For the changelog."""
        held = self.candidate
        candidate = None if held is None else [held.side, held.prints, held.agreed_ms]
        numbers = [self.price, self.time_ms, self.variance, self.from_price, self.from_ms]
        return [*numbers, candidate, self.verdict]

    @classmethod
    def restored(cls, record: list[Any]) -> "Band":
        """The band whose record it is."""
        price, time_ms, variance, from_price, from_ms, held, verdict = record
        candidate = None if held is None else Candidate(*held)
        return cls(price, time_ms, variance, from_price, from_ms, candidate, verdict)
