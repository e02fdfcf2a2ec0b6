"""Oracle drift: each source of one symbol against the others. Finds the one that is off; knows nothing of the index.

The gap of a source is ln(its price / the nearest price in the middle of the others): 0 inside of the two middle prices
of an even number. So sources of which less than half are wrong cannot make the others look wrong: with two of five,
the middle of any honest source's others still reaches to an honest one.

Two tests (Page 1954 for the first). A two-sided CUSUM of z = (gap - bias) / sd sees a gap that changes: S rises by
|z| - k a sample and alarms above h. The bias itself, an EMA of the gap with a half-life of an hour, sees one that
creeps. Both are sampled on a grid of oracle time, and each quote at most once: a source that is silent gives no
samples, rather than many of the same. At one sample a second and sd = SD_MIN = 20 bp, a gap of 15 bp alarms
after 21 samples, of 25 bp after 7, of 60 bp or more after 3 (no one or two prints ever do); one that grows by 5 bp an
hour, by its bias, after 6.4 hours.

A source that drifts is left out while those left out are fewer than half of the live ones; else they are `split`, and
nobody knows whom to believe. It is back in once both sums have fallen to 0 and its bias is half of what alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules

#: Least standard deviation of a gap. Honest venues stay 5 bp apart for minutes, so that samples are far from
#: independent; below this their common swings would alarm.
SD_MIN = 0.002
SD_HALF_LIFE_MS = 600_000
#: That of all sources together: dispersion rises at once when a market crashes.
POOLED_HALF_LIFE_MS = 60_000
#: Standard deviation over median of absolute values, of a normal distribution.
MAD_TO_SD = 1.4826
Z_MAX = 3.0
#: The longest that one sample stands for; the rest of a pause is missing.
SAMPLE_MS_MAX = 60_000
FORGET_MS = 3_600_000


class Drift(NamedTuple):
    """Sources by name, ascending: those to leave out; `split`: others drift too, with no majority against them."""

    left_out: tuple[str, ...]
    split: bool


@dataclass(slots=True)
class Watched:
    """Statistics of one source.

    `off` is gap - bias of the last sample; `bias`, `variance` are those of the gap; `up`, `down` the sums of the CUSUM.
    `drifting_ms` : since when it drifts, None while it does not; `out` : whether it is left out for that.
    """

    quote_ms: int
    sampled_ms: int
    off: float = 0.0
    bias: float = 0.0
    variance: float = SD_MIN**2
    up: float = 0.0
    down: float = 0.0
    drifting_ms: int | None = None
    out: bool = False


@dataclass(slots=True)
class DriftWatch:
    """The sources of one symbol against each other.

    `cell` is the place on the grid last sampled, `pooled` the variance of gaps that most sources have now.
    """

    cell: int = 0
    pooled: float = 0.0
    pooled_ms: int = 0
    held: dict[str, Watched] = field(default_factory=dict)

    def look(self, quotes: Sequence[Quote], now_ms: int, rules: SymbolRules) -> Drift:
        """Whom to leave out, given the live quotes of all sources, those left out so far among them."""
        live = sorted(quotes, key=lambda quote: quote.source)
        if rules.cusum_h > 0 or rules.bias_max > 0:
            cell = now_ms // rules.drift_interval_ms
            if cell != self.cell:
                self.cell = cell
                self._sample(live, now_ms, rules)
                self._leave_out([quote.source for quote in live])
        names = [quote.source for quote in live]
        drifting = [name for name in names if name in self.held and self.held[name].drifting_ms is not None]
        left_out = tuple(name for name in drifting if self.held[name].out)
        return Drift(left_out, len(left_out) < len(drifting))

    def _sample(self, live: Sequence[Quote], now_ms: int, rules: SymbolRules) -> None:
        believed = {quote.source: quote.price for quote in live if not self._is_out(quote.source)}
        for quote in live:
            others = [price for source, price in believed.items() if source != quote.source]
            if others:
                self._watch(quote, gap(quote.price, others), now_ms, rules)
        for source in [source for source, held in self.held.items() if now_ms - held.sampled_ms > FORGET_MS]:
            del self.held[source]
        self._pool([abs(self.held[quote.source].off) for quote in live if quote.source in self.held], now_ms)

    def _watch(self, quote: Quote, found: float, now_ms: int, rules: SymbolRules) -> None:
        held = self.held.get(quote.source)
        if held is None:
            elapsed_ms = rules.drift_interval_ms
            held = self.held[quote.source] = Watched(quote.time, now_ms)
        elif held.quote_ms == quote.time:
            return
        else:
            elapsed_ms = min(max(now_ms - held.sampled_ms, 0), SAMPLE_MS_MAX)
            held.quote_ms, held.sampled_ms = quote.time, now_ms
        held.off = found - held.bias
        sd = math.sqrt(max(SD_MIN**2, held.variance, self.pooled))
        z = min(Z_MAX, max(-Z_MAX, held.off / sd))
        if rules.cusum_h > 0:
            held.up = min(2 * rules.cusum_h, max(0.0, held.up + z - rules.cusum_k))
            held.down = min(2 * rules.cusum_h, max(0.0, held.down - z - rules.cusum_k))
        _learn(held, found, z * sd, elapsed_ms, rules)
        _judge(held, now_ms, rules)

    def _pool(self, offs: list[float], now_ms: int) -> None:
        """Learn how far sources are off by now: the median one, so that a few cannot hide in what they make."""
        if len(offs) < 3:
            return
        middle = sorted(offs)[len(offs) // 2]
        kept = 0.5 ** (min(max(now_ms - self.pooled_ms, 0), SAMPLE_MS_MAX) / POOLED_HALF_LIFE_MS)
        self.pooled = kept * self.pooled + (1 - kept) * (MAD_TO_SD * middle) ** 2
        self.pooled_ms = now_ms

    def _leave_out(self, live: Sequence[str]) -> None:
        """Leave drifting sources out in the order of their alarms; those of one moment together or not at all."""
        out = sum(self._is_out(source) for source in live)
        waiting = [(held.drifting_ms, source) for source in live if (held := self._waiting(source))]
        for _, group in groupby(sorted(waiting), key=lambda pair: pair[0]):
            sources = [source for _, source in group]
            if 2 * (out + len(sources)) >= len(live):
                return
            out += len(sources)
            for source in sources:
                self.held[source].out = True

    def _is_out(self, source: str) -> bool:
        return source in self.held and self.held[source].out

    def _waiting(self, source: str) -> Watched | None:
        held = self.held.get(source)
        return held if held is not None and held.drifting_ms is not None and not held.out else None

    def record(self) -> list[Any]:
        """For the changelog."""
        held = {source: [getattr(one, name) for name in Watched.__slots__] for source, one in self.held.items()}
        return [self.cell, self.pooled, self.pooled_ms, held]

    @classmethod
    def restored(cls, record: list[Any]) -> "DriftWatch":
        """The watch whose record it is."""
        cell, pooled, pooled_ms, held = record
        return cls(cell, pooled, pooled_ms, {source: Watched(*values) for source, values in held.items()})


def gap(price: float, others: Sequence[float]) -> float:
    """ln(price / nearest of the one or two middle prices of the others); positive where it is above them.

    Examples
    --------
    >>> gap(101.0, [100.0, 102.0])
    0.0
    >>> round(gap(101.0, [100.0, 100.0, 105.0]), 6)
    0.00995
    """
    ordered = sorted(others)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return math.log(price / min(high, max(low, price)))


def _learn(held: Watched, found: float, off: float, elapsed_ms: int, rules: SymbolRules) -> None:
    """Take the gap into bias and variance; of a source that drifts no gap that is too wide to be its bias."""
    drifting = held.drifting_ms is not None
    if not drifting:
        kept = 0.5 ** (elapsed_ms / SD_HALF_LIFE_MS)
        held.variance = kept * held.variance + (1 - kept) * off * off
    if rules.bias_max > 0 and not (drifting and abs(found) > rules.bias_max):
        kept = 0.5 ** (elapsed_ms / rules.bias_half_life_ms)
        capped = min(2 * rules.bias_max, max(-2 * rules.bias_max, found))
        held.bias = kept * held.bias + (1 - kept) * capped


def _judge(held: Watched, now_ms: int, rules: SymbolRules) -> None:
    bias = abs(held.bias) if rules.bias_max > 0 else 0.0
    if held.drifting_ms is None:
        if max(held.up, held.down) > rules.cusum_h > 0 or bias > rules.bias_max > 0:
            held.drifting_ms = now_ms
    elif held.up == held.down == 0.0 and bias <= rules.bias_max / 2:
        held.drifting_ms, held.out = None, False
