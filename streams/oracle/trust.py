"""How far the price of one symbol is trusted: its state and the reasons for it, from what an evaluation saw.

States and what brings them, the worst one counts:

- ok: nothing below.
- degraded: `source_missing:S`, `drift:S` (left out), `flapping:S` (left out), `check_missing`.
- suspect: `few_sources` (fewer than sources_min), `sources_split` (they disagree, and there is no majority to
  believe), `band` (the index is held at the band's edge), `leg:SYMBOL` (a rate that quotes are converted by is itself
  suspect or worse), `check` (off the check source by more than check_deviation, for check_ms).
- stale: too few sources for stale_ms.
- halted: by hand.

A state worsens at once. It betters after recovery_ticks evaluations with a newer quote over recovery_ms, to the worst
that was seen in that row; meanwhile `recovering` is a reason. One exception: suspicion by the band ends with the
confirmation of the move, since that is proof and not merely quiet; a crash would else stay suspect as long as it lasts.
For the same reason a price is `trusted` again, as the second opinion on itself, as soon as nothing is wrong with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.oracle.bands import CONFIRMED, HELD
from streams.oracle.hysteresis import Hysteresis
from streams.oracle.marks import DEGRADED, HALTED, OK, STALE, SUSPECT
from streams.oracle.settings import SymbolRules


class Evidence(NamedTuple):
    """What one evaluation of a symbol saw.

    Parameters
    ----------
    price : the accepted index, None where no source is live
    live : how many sources the index was made of
    tick : whether a quote is newer than all of the evaluation before
    verdict : of the band
    check : price of the check source, or what the redemption value says; None where it is not known or there is none
    missing, drifting, flapping : sources by name; of the last two, those left out for it
    split : sources disagree with no majority to believe
    legs : symbols whose rate is suspect or worse
    halted : by a control message
    """

    price: float | None
    live: int
    tick: bool
    verdict: str
    check: float | None = None
    missing: Iterable[str] = ()
    drifting: Iterable[str] = ()
    flapping: Iterable[str] = ()
    split: bool = False
    legs: Iterable[str] = ()
    halted: bool = False


class Verdict(NamedTuple):
    """State (a place in PRICE_STATES) and its reasons, ascending."""

    state: int
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Trust:
    """The state of one symbol.

    `few_ms`, `off_ms` : since when sources are too few, and since when the index is off the check; None: they are not.
    `trusted` : the index when there was last no reason to suspect it, other than recovery; None before that.
    """

    told: Hysteresis = field(default_factory=Hysteresis)
    band: Hysteresis = field(default_factory=Hysteresis)
    few_ms: int | None = None
    off_ms: int | None = None
    trusted: float | None = None

    def judge(self, saw: Evidence, now_ms: int, rules: SymbolRules) -> Verdict:
        """The state after this evaluation, and why."""
        found = self._found(saw, now_ms, rules)
        by_band = SUSPECT if saw.verdict == HELD else OK
        if saw.verdict == CONFIRMED:
            self.band = Hysteresis()
        levels = [
            level.feed(wanted, now_ms, tick=saw.tick, ticks_min=rules.recovery_ticks, ms_min=rules.recovery_ms)
            for level, wanted in ((self.told, max(found.values(), default=OK)), (self.band, by_band))
        ]
        if by_band:
            found["band"] = SUSPECT
        state, now = max(levels), max(found.values(), default=OK)
        if now <= DEGRADED and saw.price is not None:
            self.trusted = saw.price
        if state > now:
            found["recovering"] = state
        return Verdict(state, tuple(sorted(found)))

    def _found(self, saw: Evidence, now_ms: int, rules: SymbolRules) -> dict[str, int]:
        """Reason -> the state that it calls for, but for the band's."""
        found = {f"source_missing:{source}": DEGRADED for source in saw.missing}
        found |= {f"drift:{source}": DEGRADED for source in saw.drifting}
        found |= {f"flapping:{source}": DEGRADED for source in saw.flapping}
        found |= {f"leg:{symbol}": SUSPECT for symbol in saw.legs}
        if saw.split:
            found["sources_split"] = SUSPECT
        self.few_ms = _since(self.few_ms, saw.live < rules.sources_min, now_ms)
        if self.few_ms is not None:
            found["few_sources"] = STALE if now_ms - self.few_ms >= rules.stale_ms else SUSPECT
        if rules.checked:
            if saw.check is None:
                found["check_missing"] = DEGRADED
            off = saw.check is not None and saw.price is not None and _off(saw.price, saw.check, rules)
            self.off_ms = _since(self.off_ms, off, now_ms)
            if self.off_ms is not None and now_ms - self.off_ms >= rules.check_ms:
                found["check"] = SUSPECT
        if saw.halted:
            found["halted"] = HALTED
        return found

    def check_price(self, check: float | None) -> float | None:
        """The second opinion on a suspect price: the check source's, else the index last trusted."""
        return self.trusted if check is None else check

    def due_ms(self, now_ms: int, rules: SymbolRules) -> int | None:
        """The next moment at which time alone worsens the state; None where it cannot."""
        moments = []
        if self.few_ms is not None:
            moments.append(self.few_ms + rules.stale_ms)
        if self.off_ms is not None:
            moments.append(self.off_ms + rules.check_ms)
        return min((moment for moment in moments if moment > now_ms), default=None)

    def record(self) -> list[Any]:
        """For the changelog."""
        return [self.told.record(), self.band.record(), self.few_ms, self.off_ms, self.trusted]

    @classmethod
    def restored(cls, record: list[Any]) -> "Trust":
        """The trust whose record it is."""
        told, band, *rest = record
        return cls(Hysteresis(*told), Hysteresis(*band), *rest)


def _since(since_ms: int | None, holds: bool, now_ms: int) -> int | None:
    if not holds:
        return None
    return now_ms if since_ms is None else min(since_ms, now_ms)


def _off(index: float, check: float, rules: SymbolRules) -> bool:
    return abs(index / check - 1) > rules.check_deviation
