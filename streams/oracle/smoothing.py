"""Means over time of a price that changes in steps: exponential, and over a window.

Both hold the level that is on since a moment, and fold it in only when it changes. So what `at` says depends on when
the level changed, never on how often anybody asked. Times are epoch ms; time that runs backwards counts as none.
"""

from dataclasses import dataclass, field
from typing import Any

#: After so many half-lives an exponential mean is its level, to 6e-8 of where it began.
HALF_LIVES = 24
#: Parts of a window; it slides by one of them.
PARTS = 60
#: A mean that is on its way to a level that stands still is looked at this often.
SMOOTH_MS = 250


@dataclass(slots=True)
class Ema:
    """Exponential mean: the gap between it and the level halves each half-life.

    `level` is on since `since_ms`, when the mean was `value`.

    Examples
    --------
    >>> mean = Ema(100.0, 0, 100.0)
    >>> mean.step(108.0, 1_000, 5_000)
    >>> [mean.at(moment, 5_000) for moment in (1_000, 6_000, 11_000)]
    [100.0, 104.0, 106.0]
    """

    level: float
    since_ms: int
    value: float

    def at(self, now_ms: int, half_life_ms: int) -> float:
        """The mean at `now_ms`; never beyond the levels so far."""
        if now_ms >= self.settles_ms(half_life_ms):
            return self.level
        left = 0.5 ** (max(now_ms - self.since_ms, 0) / half_life_ms)
        return self.level + (self.value - self.level) * left

    def step(self, level: float, now_ms: int, half_life_ms: int) -> None:
        """From `now_ms` on the level is another."""
        if level != self.level:
            self.value = self.at(now_ms, half_life_ms)
            self.level, self.since_ms = level, max(now_ms, self.since_ms)

    def settles_ms(self, half_life_ms: int) -> int:
        """The moment from which the mean is the level."""
        return self.since_ms + HALF_LIVES * half_life_ms if self.value != self.level else self.since_ms

    def record(self) -> list[Any]:
        """For the changelog; `Ema(*record)` is the same again."""
        return [self.level, self.since_ms, self.value]


@dataclass(slots=True)
class WindowMean:
    """Time-weighted mean over a window, and over less where less is known.

    `level` is on since `since_ms`. `parts` are [number, sum of level x ms, ms] of what was before, ascending, a part
    being window / PARTS long; the window reaches back to the beginning of its oldest part.

    Examples
    --------
    >>> mean = WindowMean(100.0, 0)
    >>> mean.step(106.0, 20_000, 30_000)
    >>> mean.at(20_000, 30_000), mean.at(30_000, 30_000), mean.at(60_000, 30_000)
    (100.0, 102.0, 106.0)
    """

    level: float
    since_ms: int
    parts: list[list[Any]] = field(default_factory=list)

    def at(self, now_ms: int, window_ms: int) -> float:
        """The mean of the window that ends at `now_ms`."""
        now_ms, size = max(now_ms, self.since_ms), _part_ms(window_ms)
        oldest = now_ms // size - PARTS
        above, total = 0.0, float(now_ms - max(self.since_ms, oldest * size))
        for number, integral, span in self.parts:
            if number >= oldest:
                above += integral - self.level * span
                total += span
        return self.level + above / total if total else self.level

    def step(self, level: float, now_ms: int, window_ms: int) -> None:
        """From `now_ms` on the level is another."""
        if level == self.level:
            return
        now_ms, size = max(now_ms, self.since_ms), _part_ms(window_ms)
        oldest = now_ms // size - PARTS
        self.parts = [part for part in self.parts if part[0] >= oldest]
        start = max(self.since_ms, oldest * size)
        while start < now_ms:
            number = start // size
            end = min((number + 1) * size, now_ms)
            if self.parts and self.parts[-1][0] == number:
                self.parts[-1] = [
                    number,
                    self.parts[-1][1] + self.level * (end - start),
                    self.parts[-1][2] + end - start,
                ]
            else:
                self.parts.append([number, self.level * (end - start), end - start])
            start = end
        self.level, self.since_ms = level, now_ms

    def settles_ms(self, window_ms: int) -> int:
        """The moment from which the mean is the level."""
        return self.since_ms + (PARTS + 1) * _part_ms(window_ms) if self.parts else self.since_ms

    def record(self) -> list[Any]:
        """For the changelog; `WindowMean(*record)` is the same again."""
        return [self.level, self.since_ms, self.parts]


def _part_ms(window_ms: int) -> int:
    return max(1, window_ms // PARTS)
