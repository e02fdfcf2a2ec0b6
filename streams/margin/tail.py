"""Value at risk and expected shortfall of a sample of losses, and of textbook distributions.

One rule each: value at risk is the quantile of type 7 (linear between order statistics; Hyndman and Fan 1996),
expected shortfall the mean of the worst (1 - level) of the sample's mass exactly. Losses are positive.
"""

import math

import numpy as np

from streams.compiled import kernel
from streams.margin.elementary import exp, log, normal, normal_quantile
from streams.margin.parameters import F64


@kernel
def tail_size(count: int, level: float) -> int:
    """How many of the worst of `count` losses decide both measures at a level."""
    return min(max(count - math.floor(level * (count - 1)), math.ceil((1.0 - level) * count) + 1), count)


@kernel
def worst_of(losses: F64, worst: F64) -> None:
    """Write the largest losses to `worst`, descending; as many as it has room for, at most all."""
    room, kept = worst.shape[0], 0
    for t in range(losses.shape[0]):
        loss = losses[t]
        if kept == room and not loss > worst[kept - 1]:
            continue
        at = kept if kept < room else room - 1
        while at > 0 and worst[at - 1] < loss:
            worst[at] = worst[at - 1]
            at -= 1
        worst[at] = loss
        kept = min(kept + 1, room)


@kernel
def value_at_risk(worst: F64, count: int, level: float) -> float:
    """Quantile of type 7 at `level` of `count` losses, of which `worst` are the largest, descending.

    Examples
    --------
    V4 in small: of 1 .. 5 at 90 %: position 0.9 x 4 = 3.6, so 4 + 0.6

    >>> round(value_at_risk(np.array([5.0, 4.0, 3.0]), 5, 0.9), 12)
    4.6
    """
    position = level * (count - 1)
    below = math.floor(position)
    share = position - below
    low = worst[count - 1 - below]
    if share == 0.0:
        return low
    return low + share * (worst[count - 2 - below] - low)


@kernel
def expected_shortfall(worst: F64, count: int, level: float) -> float:
    """Mean of the worst (1 - level) x count losses, the last of them in part; `worst` as in `value_at_risk`.

    Examples
    --------
    Half of ten is five; a quarter of ten 2.5 losses: (10 + 9 + 8 / 2) / 2.5

    >>> round(expected_shortfall(np.arange(10.0, 0.0, -1.0), 10, 0.75), 12)
    9.2
    """
    mass = (1.0 - level) * count
    total, left = 0.0, mass
    for at in range(worst.shape[0]):
        share = min(left, 1.0)
        if share <= 0.0:
            break
        total += share * worst[at]
        left -= share
    return total / mass


def quantile_of(sample: F64, probability: float, rule: str = "type7") -> float:
    """Quantile of a sample by one of three rules that differ in small samples (V4).

    Parameters
    ----------
    rule : "type7" linear between order statistics; "lower" the one at or before; "kth" the one of rank
        ceil(probability x n)

    Examples
    --------
    >>> [float(quantile_of(np.array([1.0, 2.0, 3.0, 4.0]), 0.6, rule)) for rule in ("type7", "lower", "kth")]
    [2.8, 2.0, 3.0]
    """
    ordered = np.sort(sample)
    position = probability * (len(ordered) - 1)
    if rule == "lower":
        return ordered[math.floor(position)]
    if rule == "kth":
        return ordered[max(math.ceil(probability * len(ordered)) - 1, 0)]
    below = min(math.floor(position), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def normal_tail(level: float) -> tuple[float, float]:
    """Value at risk and expected shortfall of a standard normal loss at a level.

    Examples
    --------
    >>> [round(number, 6) for number in (normal_tail(0.99)[0], normal_tail(0.975)[1])]
    [2.326348, 2.337803]
    """
    z = normal_quantile(level)
    return z, normal(z)[2] / (1.0 - level)


def student_tail(level: float, degrees: float) -> tuple[float, float]:
    """The same of a Student t loss of variance 1, with `degrees` > 2 of freedom.

    ES = density(q) / (1 - level) x (degrees + q^2) / (degrees - 1), before scaling to variance 1 (McNeil, Frey and
    Embrechts, Quantitative Risk Management, 2.2.4). The quantile is found by bisection on the distribution.

    Examples
    --------
    >>> [round(number, 6) for number in (student_tail(0.99, 4.0)[0], student_tail(0.975, 4.0)[1])]
    [2.649492, 2.823871]
    """
    if not degrees > 2.0:
        raise ValueError(f"degrees of freedom must be > 2 for a variance, found {degrees}")
    low, high = 0.0, 1.0
    while _student_above(high, degrees) > 1.0 - level:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if _student_above(middle, degrees) > 1.0 - level:
            low = middle
        else:
            high = middle
    q = 0.5 * (low + high)
    scale = math.sqrt((degrees - 2.0) / degrees)
    constant = math.lgamma(0.5 * (degrees + 1.0)) - math.lgamma(0.5 * degrees) - 0.5 * log(degrees * math.pi)
    density = exp(constant - 0.5 * (degrees + 1.0) * log(1.0 + q * q / degrees))
    return scale * q, scale * density / (1.0 - level) * (degrees + q * q) / (degrees - 1.0)


def _student_above(t: float, degrees: float) -> float:
    """P(T > t) for t >= 0: half the incomplete beta function at degrees / (degrees + t^2), by its fraction."""
    x, a, b = degrees / (degrees + t * t), 0.5 * degrees, 0.5
    if x > (a + 1.0) / (a + b + 2.0):
        return 0.5 * (1.0 - _beta_share(1.0 - x, b, a))
    return 0.5 * _beta_share(x, a, b)


def _beta_share(x: float, a: float, b: float) -> float:
    if x <= 0.0:
        return 0.0
    front = exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * log(x) + b * log(1.0 - x))
    fraction = 1.0
    for m in range(200, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        fraction = 1.0 + even / (1.0 + odd / fraction)
    return front / a / (1.0 - (a + b) * x / (a + 1.0) / fraction)
