"""Offsets between risk units: how much of the sum of their losses can happen at once.

Each unit has a worst loss by direction of its price. With x the losses signed by direction, the requirement is
the largest sqrt(x' R x) over a low and a high matrix R of correlations and over the directions each unit may take
(FRTB's test of correlation scenarios), never less than a share of the sum. A linear book gains one way what it loses
the other, so it has one x; a book that loses both ways is tried both ways.
"""

import math
from typing import NamedTuple

from streams.compiled import inner, kernel
from streams.margin.parameters import F64, I32

#: Units of a group that may offset each other: 2**n directions are tried. Those of higher number are added.
OFFSETTING_MOST = 10


class Correlations(NamedTuple):
    """Which risk units offset each other: only those of one group, those of a negative group nothing.

    `low` and `high` are correlation matrices by unit; `share_least`, 0 to 1 by group, of the sum of a group's losses
    is required whatever they say.
    """

    group: I32
    low: F64
    high: F64
    share_least: F64


@kernel(_nrt=False)
def offset_requirement(of: Correlations, unit: I32, up: F64, down: F64, room: F64) -> tuple[float, float]:
    """Loss of an account's units together, and the plain sum of their worst losses; both >= 0.

    Parameters
    ----------
    unit : numbers of the account's units, each once; shape (n,)
    up, down : worst loss of each where its price does not fall, and where it does not rise; negative gains
    room : scratch of shape (2, n)

    Examples
    --------
    S6: long A and C, short B: 182,000 by addition, 91,280 at the low correlations, 48,908 at the high ones

    >>> import numpy as np
    >>> loss = np.array([100e3, -70e3, 12e3])
    >>> low = np.array([[1, 0.5, 0.4], [0.5, 1, 0.4], [0.4, 0.4, 1]])
    >>> high = np.array([[1, 0.95, 0.9], [0.95, 1, 0.9], [0.9, 0.9, 1]])
    >>> together = Correlations(np.zeros(3, np.int32), low, high, np.array([0.5]))
    >>> found = offset_requirement(together, np.arange(3, dtype=np.int32), -loss, loss, np.empty((2, 3)))
    >>> [round(f, 4) for f in found]
    [91279.7897, 182000.0]
    """
    total = additive = 0.0
    members, x = room[0], room[1]
    for first in range(unit.shape[0]):
        alone = max(up[first], down[first], 0.0)
        additive += alone
        group = of.group[unit[first]]
        if group < 0:
            total += alone
            continue
        count, together, beyond = 0, 0.0, 0.0
        for at in range(unit.shape[0]):
            if of.group[unit[at]] == group:
                if at < first:
                    break  # counted with the first of its group
                worst = max(up[at], down[at], 0.0)
                together += worst
                if count < OFFSETTING_MOST:
                    members[count] = at
                    count += 1
                else:
                    beyond += worst
        if count:
            best = largest_together(of, unit, up, down, members[:count], x)
            total += max(min(best + beyond, together), of.share_least[group] * together)
    return total, additive


@inner(_nrt=False)
def largest_together(of: Correlations, unit: I32, up: F64, down: F64, members: F64, x: F64) -> float:
    """Largest sqrt(x' R x) of the member units over both matrices and all directions; `x` is scratch."""
    count = members.shape[0]
    most = 0.0
    for directions in range(1 << count):
        for j in range(count):
            at = int(members[j])
            x[j] = up[at] if directions >> j & 1 else -down[at]
        square_low = square_high = 0.0
        for j in range(count):
            row = unit[int(members[j])]
            for k in range(count):
                column = unit[int(members[k])]
                pair = x[j] * x[k]
                square_low += pair * of.low[row, column]
                square_high += pair * of.high[row, column]
        most = max(most, square_low, square_high)
    return math.sqrt(most)
