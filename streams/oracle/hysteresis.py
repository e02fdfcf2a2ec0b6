"""A level that rises at once and falls only after a row of clean evaluations. Knows not what the level means."""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Hysteresis:
    """A level (>= 0, higher is worse) and the row of clean evaluations since it was last wanted.

    `lower` is the highest level wanted in that row, None outside of one: the level falls to it, no further.
    """

    level: int = 0
    lower: int | None = None
    since_ms: int = 0
    ticks: int = 0

    def feed(self, wanted: int, now_ms: int, *, tick: bool, ticks_min: int, ms_min: int) -> int:
        """The level, after an evaluation that wants `wanted`.

        Parameters
        ----------
        tick : whether the evaluation saw a newer quote than the one before; only those count for `ticks_min`
        ticks_min, ms_min : the level falls once the row is so many ticks and so many ms long; 0: at once

        Examples
        --------
        >>> level = Hysteresis()
        >>> [level.feed(wanted, time, tick=True, ticks_min=2, ms_min=100)
        ...  for time, wanted in [(0, 2), (10, 0), (60, 1), (110, 0), (120, 0), (210, 0)]]
        [2, 2, 2, 1, 1, 0]
        """
        if wanted >= self.level:
            self.level, self.lower, self.ticks = wanted, None, 0
            return self.level
        if self.lower is None:
            self.lower, self.since_ms = wanted, now_ms
        self.lower = max(self.lower, wanted)
        self.since_ms = min(self.since_ms, now_ms)  # a clock that ran backwards begins the row anew
        self.ticks += tick
        if self.ticks >= ticks_min and now_ms - self.since_ms >= ms_min:
            self.level, self.lower, self.ticks = self.lower, None, 0
            return self.feed(wanted, now_ms, tick=tick, ticks_min=ticks_min, ms_min=ms_min)
        return self.level

    def record(self) -> list[Any]:
        """For the changelog; `Hysteresis(*record)` is the same again."""
        return [self.level, self.lower, self.since_ms, self.ticks]
