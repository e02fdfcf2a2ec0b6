"""The price of one symbol that has an oracle record: made of its sources, held to its band, and judged.

One evaluation, in this order: which sources are young enough, in the reporting currency; which of them come and go, or
drift; the index of the others; the band; the check source and the state; redemption; means over time; the widening.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.oracle.aggregation import aggregate
from streams.oracle.bands import IN_BAND, Band
from streams.oracle.drift import DriftWatch
from streams.oracle.legs import ONE, Rate, converted
from streams.oracle.marks import DEGRADED, SUSPECT
from streams.oracle.presence import Presence
from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules
from streams.oracle.smoothing import SMOOTH_MS, Ema, WindowMean
from streams.oracle.trust import Evidence, Trust
from streams.oracle.widening import Widening, wanted

#: Redemption rates are published daily, and move slowly: they count for a day and an hour.
REDEMPTION_AGE_MS_MAX = 90_000_000
#: While the price is not ok it is looked at this often.
LOOK_MS = 1_000

#: The rate of a symbol in the reporting currency; None: it is not known.
RateOf = Callable[[str], Rate | None]


class Live(NamedTuple):
    """A quote that is young enough, in the reporting currency; `doubt` is its leg where that is not to be trusted."""

    quote: Quote
    doubt: str


class Price(NamedTuple):
    """What is known of a symbol's price now. `spot` is what marks are made of, `index` what assets are valued at."""

    spot: float
    index: float
    confidence: float
    state: int
    quote_time: int
    sources: tuple[str, ...]
    check: float | None
    widening: float
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Judged:
    """All that is remembered of one symbol between evaluations.

    `looked_ms` is the moment of the last one, `newest_ms` the time of the newest quote that it saw, `wakes_ms` the next
    moment at which time alone may change what it found. `spot`, `confidence` and `quote_time` are of the last index.
    """

    presence: Presence = field(default_factory=Presence)
    drift: DriftWatch = field(default_factory=DriftWatch)
    band: Band = field(default_factory=Band)
    trust: Trust = field(default_factory=Trust)
    widening: Widening = field(default_factory=Widening)
    ema: Ema | None = None
    window: WindowMean | None = None
    looked_ms: int = 0
    newest_ms: int = 0
    wakes_ms: int | None = None
    spot: float | None = None
    confidence: float = 0.0
    quote_time: int = 0

    def look(
        self, quotes: Iterable[Quote], now_ms: int, rules: SymbolRules, rate_of: RateOf, *, halted: bool
    ) -> Price | None:
        """The price at `now_ms` from the latest quotes of all sources; None where there was none yet.

        Where no source is left, the last price holds, with the state that says so.
        """
        of_role: dict[str, list[Quote]] = {"index": [], "check": [], "redemption": [], "": []}
        for quote in quotes:
            of_role[rules.role(quote.source)].append(quote)
        newest_ms = max((quote.time for quote in (*of_role["index"], *of_role["check"])), default=0)
        tick, self.newest_ms, self.looked_ms = newest_ms > self.newest_ms, newest_ms, now_ms

        live = usable(of_role["index"], now_ms, rules, rate_of)
        named = sorted(source for source in rules.sources)
        presence = self.presence.look([one.quote.source for one in live], named, now_ms, flaps_max=rules.flaps_max)
        drift = self.drift.look([one.quote for one in live], now_ms, rules)
        used, legs, missing = _chosen(live, {*presence.flapping, *drift.left_out}, rules.sources_min)
        verdict = IN_BAND
        if used:
            index = aggregate(used, rules)
            self.spot = self.band.accept(index.price, used, now_ms, rules)
            self.confidence, self.quote_time = index.confidence, index.quote_time
            verdict = self.band.verdict
        elif self.spot is None and of_role["index"]:
            self._begin(of_role["index"], rules, rate_of)
        if self.spot is None:
            return None
        spot, redeeming = self._redeemed(of_role["redemption"], now_ms, rules, rate_of)
        if rules.redemption is not None and redeeming:
            (missing if redeeming == rules.redemption.rate_source else legs).append(redeeming)
        check = next(
            (one.quote.price for one in usable(of_role["check"], now_ms, rules, rate_of) if not one.doubt), None
        )
        found = self.trust.judge(
            Evidence(
                index=self.spot if used else None,
                live=len(used),
                tick=tick,
                verdict=verdict,
                check=check,
                missing=(*presence.missing, *missing),
                drifting=drift.left_out,
                flapping=presence.flapping,
                split=drift.split,
                legs=legs,
                halted=halted,
            ),
            now_ms,
            rules,
        )
        if check is None:
            check = self.trust.trusted
        price = Price(
            spot=spot,
            index=self._smoothed(spot, now_ms, rules),
            confidence=self.confidence,
            state=found.state,
            quote_time=self.quote_time,
            sources=tuple(sorted(quote.source for quote in used)),
            check=check if found.state >= SUSPECT else None,
            widening=self._widened(used, found.state, now_ms, rules, tick=tick),
            reasons=found.reasons,
        )
        self.wakes_ms = self._wakes(of_role, price, now_ms, rules, tick=tick)
        return price

    def _begin(self, quotes: Sequence[Quote], rules: SymbolRules, rate_of: RateOf) -> None:
        """A first price that is old already is a price, though none to trust: that of the newest quote's moment."""
        live = usable(quotes, max(quote.time for quote in quotes), rules, rate_of)
        if live:
            index = aggregate([one.quote for one in live], rules)
            self.spot, self.confidence, self.quote_time = index.price, index.confidence, index.quote_time

    def _redeemed(self, quotes: Sequence[Quote], now_ms: int, rules: SymbolRules, rate_of: RateOf) -> tuple[float, str]:
        """The lower of market and redemption value; and the rate source or symbol that is wanting, if any."""
        spot = self.spot or 0.0
        if rules.redemption is None:
            return spot, ""
        if not quotes:
            return spot, rules.redemption.rate_source
        rate = rate_of(rules.redemption.of)
        if rate is None:
            return spot, rules.redemption.of
        value = min(spot, quotes[0].price * rate.price)
        if now_ms - quotes[0].time > REDEMPTION_AGE_MS_MAX:
            return value, rules.redemption.rate_source
        return value, rules.redemption.of if rate.state >= SUSPECT else ""

    def _smoothed(self, spot: float, now_ms: int, rules: SymbolRules) -> float:
        """What assets are valued at: the spot index, or its mean over time."""
        if rules.twap_ms:
            self.ema = None
            if self.window is None:
                self.window = WindowMean(spot, now_ms)
            self.window.step(spot, now_ms, rules.twap_ms)
            return self.window.at(now_ms, rules.twap_ms)
        self.window = None
        if rules.index_half_life_ms:
            if self.ema is None:
                self.ema = Ema(spot, now_ms, spot)
            self.ema.step(spot, now_ms, rules.index_half_life_ms)
            return self.ema.at(now_ms, rules.index_half_life_ms)
        self.ema = None
        return spot

    def _widened(self, used: Sequence[Quote], state: int, now_ms: int, rules: SymbolRules, *, tick: bool) -> float:
        oldest_ms = max((rules.age_ms_max(quote.source) for quote in used), default=rules.max_age_ms)
        fraction = wanted(
            self.confidence,
            self.spot or 1.0,
            degraded=state >= DEGRADED,
            age_ms=max(0, now_ms - self.quote_time - oldest_ms),
            rules=rules,
        )
        return self.widening.at(fraction, now_ms, tick=tick, rules=rules)

    def _wakes(
        self, of_role: dict[str, list[Quote]], price: Price, now_ms: int, rules: SymbolRules, *, tick: bool
    ) -> int | None:
        """The next moment at which time alone may change the price or its state."""
        moments = [self.band.due_ms(), self.presence.due_ms(), self.trust.wakes_ms]
        for quote in (*of_role["index"], *of_role["check"]):
            age_ms_max = rules.age_ms_max(quote.source)
            moments += [quote.time - age_ms_max, quote.time + age_ms_max + 1]
        moments += [quote.time + REDEMPTION_AGE_MS_MAX + 1 for quote in of_role["redemption"]]
        if tick:
            moments.append((now_ms // rules.drift_interval_ms + 1) * rules.drift_interval_ms)
        if price.state or price.widening:
            moments.append((now_ms // LOOK_MS + 1) * LOOK_MS)
        smooth = (self.ema, rules.index_half_life_ms), (self.window, rules.twap_ms)
        if any(mean is not None and mean.settles_ms(span_ms) > now_ms for mean, span_ms in smooth):
            moments.append((now_ms // SMOOTH_MS + 1) * SMOOTH_MS)
        return min((moment for moment in moments if moment is not None and moment > now_ms), default=None)

    def record(self) -> dict[str, Any]:
        """For the changelog."""
        parts = {name: getattr(self, name) for name in _PARTS}
        held = {name: None if part is None else part.record() for name, part in parts.items()}
        return held | {name: getattr(self, name) for name in _NUMBERS}

    @classmethod
    def restored(cls, record: dict[str, Any]) -> "Judged":
        """What the record is of; a part that it lacks begins anew."""
        parts = {name: kind(record[name]) for name, kind in _PARTS.items() if record.get(name) is not None}
        return cls(**parts, **{name: record[name] for name in _NUMBERS if name in record})


_PARTS: dict[str, Callable[[Any], Any]] = {
    "presence": Presence.restored,
    "drift": DriftWatch.restored,
    "band": Band.restored,
    "trust": Trust.restored,
    "widening": Widening.restored,
    "ema": lambda record: Ema(*record),
    "window": lambda record: WindowMean(*record),
}
_NUMBERS = ("looked_ms", "newest_ms", "wakes_ms", "spot", "confidence", "quote_time")


def usable(quotes: Iterable[Quote], now_ms: int, rules: SymbolRules, rate_of: RateOf) -> list[Live]:
    """The quotes no older, and no further ahead of the clock, than their source's may be, and whose leg is known."""
    found = []
    for quote in quotes:
        if abs(now_ms - quote.time) > rules.age_ms_max(quote.source):
            continue
        rate = ONE if quote.quote_asset is None else rate_of(quote.quote_asset)
        if rate is not None:
            doubt = quote.quote_asset or "" if rate.state >= SUSPECT else ""
            found.append(Live(quote if quote.quote_asset is None else converted(quote, rate), doubt))
    return found


def _chosen(live: Sequence[Live], left_out: set[str], sources_min: int) -> tuple[list[Quote], list[str], list[str]]:
    """The quotes to make the index of; legs in doubt among them; sources not taken because of such a leg.

    Quotes by a leg in doubt are not taken where the others are enough.
    """
    used = [one for one in live if one.quote.source not in left_out]
    sure = [one for one in used if not one.doubt]
    if len(sure) >= sources_min:
        return [one.quote for one in sure], [], [one.quote.source for one in used if one.doubt]
    return [one.quote for one in used], sorted({one.doubt for one in used if one.doubt}), []
