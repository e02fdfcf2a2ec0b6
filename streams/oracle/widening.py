"""How much haircuts widen because a price is less sure than it could be. Knows no asset and no haircut."""

import math
from dataclasses import dataclass, field
from typing import Any

from streams.oracle.hysteresis import Hysteresis
from streams.oracle.settings import SymbolRules

#: Widenings are multiples of 1 / STEPS, rounded up: every change has the books of all holders judged anew.
STEPS = 400


def wanted(confidence: float, price: float, *, degraded: bool, age_ms: int, rules: SymbolRules) -> float:
    """The widening (a fraction, 0 to 1) that these call for.

    min(1, confidence_factor x confidence / price + degraded_haircut [`degraded`]
    + age_haircut x min(age / stale_ms, 1)).

    Parameters
    ----------
    degraded : the price is in doubt, or would be with one source less
    age_ms : by how much the newest quote is older than a source's may be; 0 where it is not

    Examples
    --------
    >>> rules = SymbolRules()
    >>> wanted(50.0, 50_000.0, degraded=False, age_ms=0, rules=rules)
    0.002
    >>> round(wanted(50.0, 50_000.0, degraded=True, age_ms=30_000, rules=rules), 6)  # 0.2 % + 2 % + 10 % / 2
    0.072
    """
    doubt = rules.confidence_factor * confidence / price
    state = rules.degraded_haircut if degraded else 0.0
    age = rules.age_haircut * (min(age_ms / rules.stale_ms, 1.0) if rules.stale_ms else float(age_ms > 0))
    return min(1.0, doubt + state + age)


def steps_up(fraction: float) -> int:
    """The least number of steps that is no less than the fraction; what is a step but for rounding is that step.

    Examples
    --------
    >>> [steps_up(fraction) for fraction in (0.0, 0.0001, 0.0025, 0.0026, 0.02 + 0.0025)]
    [0, 1, 1, 2, 9]
    """
    return math.ceil(fraction * STEPS - 1e-9)


@dataclass(slots=True)
class Widening:
    """The widening of one symbol: rises at once, and falls as its state recovers."""

    steps: Hysteresis = field(default_factory=Hysteresis)

    def at(self, fraction: float, now_ms: int, *, tick: bool, rules: SymbolRules) -> float:
        """The widening that holds, after an evaluation that wants `fraction`; a multiple of 1 / STEPS."""
        steps = self.steps.feed(
            steps_up(fraction), now_ms, tick=tick, ticks_min=rules.recovery_ticks, ms_min=rules.recovery_ms
        )
        return steps / STEPS

    def record(self) -> list[Any]:
        """For the changelog."""
        return self.steps.record()

    @classmethod
    def restored(cls, record: list[Any]) -> "Widening":
        """The widening whose record it is."""
        return cls(Hysteresis(*record))
