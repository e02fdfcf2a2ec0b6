"""The price of one symbol that has an oracle record: made of its sources, held to its band, and judged.

One evaluation, in this order: which sources are young enough, in the reporting currency; which of them come and go, or
drift; the index of the others; the band; the check source and the state; redemption; means over time; the widening.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.oracle.aggregation import aggregate
from streams.oracle.bands import HELD, IN_BAND, Band
from streams.oracle.drift import DriftWatch
from streams.oracle.legs import PRICE_MIN, Rate, converted
from streams.oracle.marks import OK, SUSPECT, SymbolMark
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
    """What is known of a price now: `spot` is what marks are made of, `asset_price` what assets are valued at.

    `check` is what `asset_price` would be if the check were right: it is to `asset_price` as the check to `spot`.
    """

    spot: float
    asset_price: float
    confidence: float
    state: int
    quote_time: int
    sources: tuple[str, ...]
    check: float | None
    widening: float
    reasons: tuple[str, ...]


class Chosen(NamedTuple):
    """The quotes to make the index of, and why it may be in doubt; `missing`: not live, or its leg is in doubt."""

    used: list[Quote]
    legs: tuple[str, ...]
    missing: tuple[str, ...]
    drifting: tuple[str, ...]
    flapping: tuple[str, ...]
    split: bool


class Redeemed(NamedTuple):
    """What redemption says: the price is at most `most`, and is checked against `check`; and what it lacks for that."""

    most: float = math.inf
    check: float | None = None
    sources: tuple[str, ...] = ()
    legs: tuple[str, ...] = ()


@dataclass(slots=True)
class Judged:
    """All that is remembered of one symbol between evaluations.

    `looked_ms` is the moment of the last one, `newest_ms` the time of the newest quote that it saw, `wakes_ms` the next
    moment at which time alone may change what it found. `samples_ms` is when its sources are to be held against each
    other for what was quoted last. `spot`, `confidence` and `quote_time` are of the last index.
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
    samples_ms: int = 0
    spot: float | None = None
    confidence: float = 0.0
    quote_time: int = 0

    @classmethod
    def after(cls, sent: SymbolMark) -> "Judged":
        """What goes on from a price that was told by other rules; no source of it is known."""
        return cls(spot=sent.index_price, confidence=sent.confidence, quote_time=sent.quote_time)

    def look(
        self, quotes: Iterable[Quote], now_ms: int, rules: SymbolRules, rate_of: RateOf, *, halted: bool
    ) -> Price | None:
        """The price at `now_ms` from the latest quotes of all sources; None where there was none yet.

        Where no source is left, the last price holds, with the state that says so.
        """
        of_role = _by_role(quotes, rules)
        checks = usable(of_role["check"], now_ms, rules, rate_of)
        check = next((one.quote.price for one in checks if not one.doubt), None)
        newest_ms = max((quote.time for quote in (*of_role["index"], *of_role["check"])), default=0)
        tick, self.newest_ms, self.looked_ms = newest_ms > self.newest_ms, newest_ms, now_ms

        chosen = self._choose(usable(of_role["index"], now_ms, rules, rate_of), now_ms, rules)
        if chosen.used:
            verdict = self._accept(chosen.used, now_ms, rules)
        else:
            verdict = IN_BAND
            if self.spot is None:
                self._begin(of_role["index"], rules, rate_of)
        if self.spot is None:
            return None
        redeemed = self._redeemed(of_role["redemption"], now_ms, rules, rate_of)
        spot = min(self.spot, redeemed.most)
        check = redeemed.check if check is None else check
        evidence = Evidence(
            price=self.spot if chosen.used else None,
            live=len(chosen.used),
            tick=tick,
            verdict=verdict,
            check=check,
            missing=(*chosen.missing, *redeemed.sources),
            drifting=chosen.drifting,
            flapping=chosen.flapping,
            split=chosen.split,
            legs=(*chosen.legs, *redeemed.legs),
            halted=halted,
        )
        found = self.trust.judge(evidence, now_ms, rules)
        asset_price = max(PRICE_MIN, self._smoothed(spot, now_ms, rules))  # rounding leaves 0 of 1e-18 beside 100
        told_check = self.trust.check_price(check) if found.state >= SUSPECT else None
        price = Price(
            spot=spot,
            asset_price=asset_price,
            confidence=self.confidence,
            state=found.state,
            quote_time=self.quote_time,
            sources=tuple(sorted(quote.source for quote in chosen.used)),
            check=None if told_check is None else min(told_check, redeemed.most) * (asset_price / spot),
            widening=self._widened(chosen.used, found.state, now_ms, rules, tick=tick),
            reasons=found.reasons,
        )
        if tick:
            self.samples_ms = (now_ms // rules.drift_interval_ms + 1) * rules.drift_interval_ms
        self.wakes_ms = self._wakes(of_role, price, now_ms, rules)
        return price

    def _choose(self, live: Sequence[Live], now_ms: int, rules: SymbolRules) -> Chosen:
        """Whom to make the index of: sources that do not drift; and where they are enough, only steady ones, and only
        those whose leg is not in doubt."""
        sources = [one.quote.source for one in live]
        presence = self.presence.look(sources, rules.sources, now_ms, flaps_max=rules.flaps_max)
        drift = self.drift.look([one.quote for one in live], now_ms, rules)
        believed = [one for one in live if one.quote.source not in drift.left_out]
        steady = [one for one in believed if one.quote.source not in presence.flapping]
        flapping = presence.flapping if len(steady) >= rules.sources_min else ()
        taken = steady if len(steady) >= rules.sources_min else believed
        sure = [one for one in taken if not one.doubt]
        doubted = [] if len(sure) >= rules.sources_min else [one for one in taken if one.doubt]
        left_out = [one.quote.source for one in taken if one.doubt and not doubted]
        return Chosen(
            used=[one.quote for one in taken if doubted or not one.doubt],
            legs=tuple(sorted({one.doubt for one in doubted})),
            missing=(*presence.missing, *left_out),
            drifting=drift.left_out,
            flapping=flapping,
            split=drift.split,
        )

    def _accept(self, used: Sequence[Quote], now_ms: int, rules: SymbolRules) -> str:
        """Take the index of these sources as far as the band lets it through; the band's verdict."""
        index = aggregate(used, rules)
        self.spot = self.band.accept(index.price, used, now_ms, rules)
        self.quote_time = index.quote_time
        if self.band.verdict != HELD:  # how far off an unconfirmed print is says nothing of the price that is held
            self.confidence = index.confidence
        return self.band.verdict

    def _begin(self, quotes: Sequence[Quote], rules: SymbolRules, rate_of: RateOf) -> None:
        """A first price that is old already is a price, though none to trust: that of the newest quote's moment."""
        live = usable(quotes, max((quote.time for quote in quotes), default=0), rules, rate_of)
        if live:
            index = aggregate([one.quote for one in live], rules)
            self.spot, self.confidence, self.quote_time = index.price, index.confidence, index.quote_time

    def _redeemed(self, quotes: Sequence[Quote], now_ms: int, rules: SymbolRules, rate_of: RateOf) -> Redeemed:
        """By the rate and the index of what it is redeemed for. A check that is itself in doubt is none."""
        rule = rules.redemption
        if rule is None:
            return Redeemed()
        rate = rate_of(rule.of)
        is_fresh = bool(quotes) and now_ms - quotes[0].time <= REDEMPTION_AGE_MS_MAX
        is_sure = rate is not None and rate.state < SUSPECT
        value = None if not quotes or rate is None else max(PRICE_MIN, quotes[0].price * rate.price)
        missing = () if is_fresh else (rule.rate_source,)
        if rule.method == "check":
            return Redeemed(check=value if is_fresh and is_sure else None, sources=missing)
        legs = (rule.of,) if quotes and not is_sure else ()
        return Redeemed(math.inf if value is None else value, None, missing, legs)

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
        """By how much haircuts widen; a lost source counts only where no other is left to spare."""
        oldest_ms = max((rules.age_ms_max(quote.source) for quote in used), default=rules.max_age_ms)
        fraction = wanted(
            self.confidence,
            self.spot or 1.0,
            degraded=state >= SUSPECT or (state > OK and len(used) <= rules.sources_min),
            age_ms=max(0, now_ms - self.quote_time - oldest_ms),
            rules=rules,
        )
        return self.widening.at(fraction, now_ms, tick=tick, rules=rules)

    def _wakes(self, of_role: dict[str, list[Quote]], price: Price, now_ms: int, rules: SymbolRules) -> int | None:
        """The next moment at which time alone may change the price or its state."""
        moments = [self.band.due_ms(), self.presence.due_ms(), self.trust.due_ms(now_ms, rules), self.samples_ms]
        for quote in (*of_role["index"], *of_role["check"]):
            age_ms_max = rules.age_ms_max(quote.source)
            moments += [quote.time - age_ms_max, quote.time + age_ms_max + 1]
        moments += [quote.time + REDEMPTION_AGE_MS_MAX + 1 for quote in of_role["redemption"]]
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
_NUMBERS = ("looked_ms", "newest_ms", "wakes_ms", "samples_ms", "spot", "confidence", "quote_time")


def _by_role(quotes: Iterable[Quote], rules: SymbolRules) -> dict[str, list[Quote]]:
    found: dict[str, list[Quote]] = {"index": [], "check": [], "redemption": [], "": []}
    for quote in quotes:
        found[rules.role(quote.source)].append(quote)
    return found


def usable(quotes: Iterable[Quote], now_ms: int, rules: SymbolRules, rate_of: RateOf) -> list[Live]:
    """The quotes no older, and no further ahead of the clock, than their source's may be, that can be converted."""
    found = []
    for quote in quotes:
        if abs(now_ms - quote.time) > rules.age_ms_max(quote.source):
            continue
        if quote.quote_asset is None:
            found.append(Live(quote, ""))
            continue
        rate = rate_of(quote.quote_asset)
        told = None if rate is None else converted(quote, rate)
        if rate is not None and told is not None:
            found.append(Live(told, quote.quote_asset if rate.state >= SUSPECT else ""))
    return found
