"""Oracle drift: each source of one symbol against the others. Finds the one that is off; knows nothing of the index.

The gap of a source is ln(its price / the nearest price in the middle of the others): 0 inside of the two middle prices
of an even number. So sources of which less than half are wrong cannot make the others look wrong: with two of five,
the middle of any honest source's others still reaches to an honest one. A quote is compared when its source has made
the next one, with all between the middles at both moments: then who moves first, or last, in a fall is not off.

Two tests (Page 1954 for the first). A two-sided CUSUM of z = (gap - bias) / sd sees a gap that changes: its sum rises
by |z| - k a minute and alarms above h. The bias itself, an EMA of the gap with a half-life of an hour, sees one that
creeps. Both are sampled on a grid of oracle time, and each quote at most once: a source that is silent gives no
samples, rather than many of the same. With samples each second and sd = SD_MIN = 20 bp a gap alarms after

    1,000 x   10 %   1 %    60 bp   25 bp   5 bp more each hour
    4 s       8 s    70 s   2 min   7 min   6.4 hours, by the bias

and no one or two prints ever do; 10 bp for good never do.

A source that drifts is left out if more than half of the live ones are in control, which is: both sums are at most
h / 2. Else they are `split`, and nobody knows whom to believe. It is back in once it is in control again and its bias
half of what alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules

#: Least standard deviation of a gap. Honest venues stay 5 bp apart for minutes, so that samples are far from
#: independent; below this their common swings would alarm.
SD_MIN = 0.002
SD_HALF_LIFE_MS = 3_600_000
#: That of all sources together, which rises at once when a market crashes; by no more than that, since it would else
#: excuse any gap between one half of the sources and the other.
POOLED_HALF_LIFE_MS = 60_000
POOLED_SD_MAX = 3 * SD_MIN
#: What the market moves by between two quotes of a source, no gap of it can be told from.
MOVED_HALF_LIFE_MS = 300_000
#: Standard deviation over median of absolute values, of a normal distribution.
MAD_TO_SD = 1.4826
Z_MAX = 3.0
#: Gaps of honest sources come and go within a minute. Samples closer than this say partly the same again, and weigh
#: less by as much as they are closer; nor does a sample ever stand for more: the rest of a pause is missing.
APART_MS = 60_000
FORGET_MS = 3_600_000


class Drift(NamedTuple):
    """Sources by name, ascending: those to leave out; `split`: others drift too, with no majority against them."""

    left_out: tuple[str, ...]
    split: bool


@dataclass(slots=True)
class Watched:
    """Statistics of one source.

    `price` is of the last quote, which is yet to be compared; `low`, `high` were the middle prices of the others then.
    `off` is gap - bias of the last sample; `bias`, `variance` are those of the gap; `up`, `down` the sums of the CUSUM.
    `moved` is the variance of what the middle of the others moves by from one sample to the next.
    `drifting_ms` : since when it drifts, None while it does not; `out` : whether it is left out for that.
    """

    quote_ms: int
    sampled_ms: int
    price: float
    low: float
    high: float
    off: float = 0.0
    bias: float = 0.0
    variance: float = SD_MIN**2
    up: float = 0.0
    down: float = 0.0
    moved: float = 0.0
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
                self._leave_out([quote.source for quote in live], rules)
        names = [quote.source for quote in live]
        drifting = [name for name in names if name in self.held and self.held[name].drifting_ms is not None]
        left_out = tuple(name for name in drifting if self.held[name].out)
        return Drift(left_out, len(left_out) < len(drifting))

    def _sample(self, live: Sequence[Quote], now_ms: int, rules: SymbolRules) -> None:
        believed = {quote.source: quote.price for quote in live if not self._is_out(quote.source)}
        for quote in live:
            others = [price for source, price in believed.items() if source != quote.source]
            if others:
                self._watch(quote, middle(others), now_ms, rules)
        for source in [source for source, held in self.held.items() if now_ms - held.sampled_ms > FORGET_MS]:
            del self.held[source]
        self._pool([abs(held.off) for quote in live if (held := self.held.get(quote.source)) and not held.out], now_ms)

    def _watch(self, quote: Quote, others: tuple[float, float], now_ms: int, rules: SymbolRules) -> None:
        held = self.held.get(quote.source)
        if held is None:
            self.held[quote.source] = Watched(quote.time, now_ms, quote.price, *others)
            return
        if held.quote_ms == quote.time:
            return
        found = gap(held.price, min(held.low, others[0]), max(held.high, others[1]))
        elapsed_ms = min(max(now_ms - held.sampled_ms, 0), APART_MS)
        move = math.log(others[0] / held.low) ** 2
        kept = 0.5 ** (elapsed_ms / MOVED_HALF_LIFE_MS)
        held.moved = max(move, kept * held.moved + (1 - kept) * move)
        held.quote_ms, held.sampled_ms, held.price = quote.time, now_ms, quote.price
        held.low, held.high = others
        held.off = found - held.bias
        sd = math.sqrt(max(SD_MIN**2, held.variance, self.pooled, held.moved))
        if rules.cusum_h > 0:
            weight = elapsed_ms / APART_MS
            held.up = _summed(held.up, weight * (held.off / sd - rules.cusum_k), rules)
            held.down = _summed(held.down, weight * (-held.off / sd - rules.cusum_k), rules)
        _learn(held, found, min(Z_MAX * sd, abs(held.off)), elapsed_ms, rules)
        _judge(held, now_ms, rules)

    def _pool(self, offs: list[float], now_ms: int) -> None:
        """Learn how far sources are off by now: the median one, so that a few cannot hide in what they make."""
        if len(offs) < 3:
            return
        sd = min(POOLED_SD_MAX, MAD_TO_SD * sorted(offs)[(len(offs) - 1) // 2])
        kept = 0.5 ** (min(max(now_ms - self.pooled_ms, 0), APART_MS) / POOLED_HALF_LIFE_MS)
        self.pooled = kept * self.pooled + (1 - kept) * sd * sd
        self.pooled_ms = now_ms

    def _leave_out(self, live: Sequence[str], rules: SymbolRules) -> None:
        """Leave out those who drift, while more than half of the live sources are in control."""
        held = [self.held[source] for source in live if source in self.held]
        doubtful = [one for one in held if one.drifting_ms is not None or not _in_control(one, rules)]
        if 2 * len(doubtful) < len(live):
            for one in doubtful:
                one.out = one.drifting_ms is not None

    def _is_out(self, source: str) -> bool:
        return source in self.held and self.held[source].out

    def record(self) -> list[Any]:
        """For the changelog."""
        held = {source: [getattr(one, name) for name in Watched.__slots__] for source, one in self.held.items()}
        return [self.cell, self.pooled, self.pooled_ms, held]

    @classmethod
    def restored(cls, record: list[Any]) -> "DriftWatch":
        """The watch whose record it is."""
        cell, pooled, pooled_ms, held = record
        return cls(cell, pooled, pooled_ms, {source: Watched(*values) for source, values in held.items()})


def middle(prices: Sequence[float]) -> tuple[float, float]:
    """The two middle prices of an even number, twice the middle one of an odd number.

    Examples
    --------
    >>> middle([105.0, 100.0, 101.0]), middle([105.0, 100.0, 101.0, 104.0])
    ((101.0, 101.0), (101.0, 104.0))
    """
    ordered = sorted(prices)
    return ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]


def gap(price: float, low: float, high: float) -> float:
    """ln(price / nearest price from `low` to `high`); positive above them.

    Examples
    --------
    >>> gap(101.0, 100.0, 102.0), round(gap(101.0, 100.0, 100.0), 6)
    (0.0, 0.00995)
    """
    return math.log(price / min(high, max(low, price)))


def _summed(total: float, step: float, rules: SymbolRules) -> float:
    """The sum after a step, 0 to 1.5 h; a step counts for half of h at most, so that two prints alone never alarm."""
    return min(1.5 * rules.cusum_h, max(0.0, total + min(rules.cusum_h / 2, step)))


def _learn(held: Watched, found: float, off: float, elapsed_ms: int, rules: SymbolRules) -> None:
    """Take the gap into bias and variance; of a source that drifts a wide gap counts for what alarms.

    Were it not to count at all, small ones alone, from moments when the market moved by more than the gap, would in
    hours have a source taken back that is as far off as ever.
    """
    drifting = held.drifting_ms is not None
    if not drifting:
        kept = 0.5 ** (elapsed_ms / SD_HALF_LIFE_MS)
        held.variance = kept * held.variance + (1 - kept) * off * off
    if rules.bias_max > 0:
        kept = 0.5 ** (elapsed_ms / rules.bias_half_life_ms)
        most = rules.bias_max if drifting else 2 * rules.bias_max
        capped = min(most, max(-most, found))
        held.bias = kept * held.bias + (1 - kept) * capped


def _in_control(held: Watched, rules: SymbolRules) -> bool:
    return max(held.up, held.down) <= rules.cusum_h / 2


def _judge(held: Watched, now_ms: int, rules: SymbolRules) -> None:
    bias = abs(held.bias) if rules.bias_max > 0 else 0.0
    if held.drifting_ms is None:
        if max(held.up, held.down) > rules.cusum_h > 0 or bias > rules.bias_max > 0:
            held.drifting_ms = now_ms
    elif _in_control(held, rules) and bias <= rules.bias_max / 2:
        held.drifting_ms, held.out = None, False
