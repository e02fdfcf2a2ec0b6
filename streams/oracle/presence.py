"""Which sources of a symbol are missing, and which come and go too often to be counted on."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: A source that was live is missed for so long; then it is forgotten, unless the rules name it.
MISSED_MS = 3_600_000
#: Losses within this are counted; a source with too many is left out until it was live for STEADY_MS on end.
FLAPS_MS = 600_000
STEADY_MS = 60_000


class Found(NamedTuple):
    """Names of sources, ascending: `missing` are not live but should be, `flapping` are live but unsteady."""

    missing: tuple[str, ...]
    flapping: tuple[str, ...]


@dataclass(slots=True)
class Held:
    """One source: whether it was live when last looked at, since when so, when last live, when it was lost."""

    live: bool
    since_ms: int
    live_ms: int
    losses: list[int] = field(default_factory=list)
    flapping: bool = False


@dataclass(slots=True)
class Presence:
    """The sources seen live so far, by name."""

    held: dict[str, Held] = field(default_factory=dict)

    def look(self, live: Collection[str], named: Iterable[str], now_ms: int, *, flaps_max: int) -> Found:
        """What is to be said of the sources now.

        Parameters
        ----------
        live : sources with a quote that is young enough
        named : sources that the rules name: these are missed even if they were never seen
        flaps_max : a source lost so often within FLAPS_MS is flapping; 0: however often

        Notes
        -----
        Where all are gone at once, no loss is counted: then it is more likely that we were cut off from them.
        """
        for source in sorted(live):
            self._came(source, now_ms)
        for source, held in list(self.held.items()):
            if source not in live:
                self._gone(source, held, now_ms, flaps_max=flaps_max if live else 0)
        missing = {*named, *self.held} - set(live)
        flapping = [source for source, held in self.held.items() if held.live and held.flapping]
        return Found(tuple(sorted(missing)), tuple(sorted(flapping)))

    def _came(self, source: str, now_ms: int) -> None:
        held = self.held.setdefault(source, Held(live=True, since_ms=now_ms, live_ms=now_ms))
        if not held.live:
            held.live, held.since_ms = True, now_ms
        held.live_ms = now_ms
        if held.flapping and now_ms - held.since_ms >= STEADY_MS:
            held.losses, held.flapping = [], False

    def _gone(self, source: str, held: Held, now_ms: int, *, flaps_max: int) -> None:
        if held.live:
            held.live, held.since_ms = False, now_ms
            if flaps_max:
                held.losses = [lost_ms for lost_ms in held.losses if now_ms - lost_ms <= FLAPS_MS] + [now_ms]
                held.flapping |= len(held.losses) >= flaps_max
        if now_ms - held.live_ms > MISSED_MS:
            del self.held[source]

    def due_ms(self) -> int | None:
        """When time alone changes what is found: the first flapping source becomes steady, or is forgotten."""
        moments = [held.since_ms + STEADY_MS for held in self.held.values() if held.live and held.flapping]
        moments += [held.live_ms + MISSED_MS + 1 for held in self.held.values() if not held.live]
        return min(moments, default=None)

    def record(self) -> dict[str, list[Any]]:
        """For the changelog."""
        return {
            source: [held.live, held.since_ms, held.live_ms, held.losses, held.flapping]
            for source, held in self.held.items()
        }

    @classmethod
    def restored(cls, record: dict[str, list[Any]]) -> "Presence":
        """The presence whose record it is."""
        return cls({source: Held(*values) for source, values in record.items()})
