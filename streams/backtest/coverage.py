"""Whether a requirement was enough as often as it says: tests of breaches, and one p-value of many.

A breach is a period whose loss was larger than what was required before it.

References
----------
Kupiec, Techniques for verifying the accuracy of risk measurement models (1995); Christoffersen, Evaluating interval
forecasts (1998); Rueger (1978), as in Vovk and Wang, Combining p-values via averaging (2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.margin.parameters import F64

Breaches = npt.NDArray[np.bool_]


class Ratio(NamedTuple):
    """A likelihood ratio, and how probable a larger one is where the requirement is what it says."""

    statistic: float
    p: float


def unconditional(breaches: int, count: int, level: float) -> Ratio:
    """Kupiec: are there as many breaches as 1 - level of `count` periods? Chi-square, 1 degree of freedom.

    Examples
    --------
    T1: 5 breaches in 250 days where 2.5 are due

    >>> [round(number, 3) for number in unconditional(5, 250, 0.99)]
    [1.957, 0.162]
    """
    share = breaches / count if count else 0.0
    found = _likelihood(count - breaches, breaches, share) - _likelihood(count - breaches, breaches, 1.0 - level)
    return _chi_square(found, 1)


def independence(breached: Breaches) -> Ratio:
    """Christoffersen: is a breach as probable after a breach as after none? Chi-square, 1 degree of freedom.

    Parameters
    ----------
    breached : of periods that follow each other and do not overlap, shape (n,)
    """
    before, after = breached[:-1], breached[1:]
    none, first = int(np.sum(~before & ~after)), int(np.sum(~before & after))
    last, both = int(np.sum(before & ~after)), int(np.sum(before & after))
    count = none + first + last + both
    apart = _likelihood(none, first, _share(first, none + first)) + _likelihood(last, both, _share(both, last + both))
    return _chi_square(apart - _likelihood(none + last, first + both, _share(first + both, count)), 1)


def conditional(breached: Breaches, level: float) -> Ratio:
    """Christoffersen: both at once, the sum of the two ratios. Chi-square, 2 degrees of freedom."""
    each = unconditional(int(breached.sum()), len(breached), level), independence(breached)
    return _chi_square(sum(one.statistic for one in each) / 2.0, 2)


def pinball(loss: F64, required: F64, level: float) -> float:
    """Mean pinball loss of a requirement as the forecast of the loss's quantile; least where it is that quantile.

    Examples
    --------
    One breach by 2 at 99 %, one period with 10 left over: (0.99 x 2 + 0.01 x 10) / 2

    >>> round(pinball(np.array([5.0, -7.0]), np.array([3.0, 3.0]), 0.99), 12)
    1.04
    """
    over = loss - required
    return float(np.mean(np.maximum(level * over, (level - 1.0) * over)))


def joint(p: Sequence[float]) -> float:
    """One p-value of many that may depend on each other in any way: (n / k) times the k-th smallest, k half of n.

    Examples
    --------
    >>> joint([0.04]), joint([0.01, 0.02, 0.9]), joint([0.6, 0.7])
    (0.04, 0.03, 1.0)
    """
    k = (len(p) + 1) // 2
    return min(len(p) / k * sorted(p)[k - 1], 1.0)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _likelihood(misses: int, hits: int, share: float) -> float:
    """Logarithm of the likelihood of so many hits and misses; 0 log 0 = 0."""
    return (misses * math.log(1.0 - share) if misses else 0.0) + (hits * math.log(share) if hits else 0.0)


def _chi_square(half: float, degrees: int) -> Ratio:
    statistic = max(2.0 * half, 0.0)
    return Ratio(statistic, math.erfc(math.sqrt(statistic / 2.0)) if degrees == 1 else math.exp(-statistic / 2.0))
