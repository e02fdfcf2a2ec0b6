"""When and how the faults of a run strike: drawn from a seed beforehand, so that a seed repeats them. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Kind of fault -> what a report calls it. All but the last two are kills or end in one.
KINDS = {
    "kill": "workers killed",
    "crash": "killed inside a transaction",
    "broker": "brokers killed",
    "freeze": "frozen until fenced",
    "pause": "frozen for a while",
    "leave": "told to stop",
}
#: Steps of a transaction, and where in one of them a crash falls.
STEPS = ("sending", "committing offsets", "ending")
POINTS = ("before", "during", "after")
#: The broker is away for so many seconds: at once back, or longer than a transaction may last.
AWAY_SECONDS = (0.0, 0.0, 2.0, 12.0)
#: No fault in these first and last parts of the market.
FIRST_PART, LAST_PART = 0.02, 0.05
CRASH_TURN_MAX, UNDER_WAY_SECONDS = 20, 0.02


class Fault(NamedTuple):
    """One fault.

    Parameters
    ----------
    step : of the market, at which it is due
    kind : key of KINDS
    name : of the worker that is hit; the broker has none
    settled : it waits until the workers hold all partitions; else it strikes whatever they are doing then
    wait : seconds from then to the strike
    seconds : how long a worker is frozen (pause), the broker stays away, or a transaction's step goes on (crash)
    where, turn : crash: before, during or after which step of a transaction, and how many such are let pass
    """

    step: int
    kind: str
    name: str
    settled: bool
    wait: float
    seconds: float = 0.0
    where: tuple[str, str] = ("", "")
    turn: int = 0

    def __str__(self) -> str:
        parts = [f"step {self.step}: {self.kind} {self.name}".rstrip()]
        if self.where[0]:
            parts.append(f"{' '.join(self.where)} number {self.turn + 1}")
        if self.seconds:
            parts.append(f"for {self.seconds:g} s")
        parts.append(f"{self.wait:g} s after " + ("all is held" if self.settled else "the step"))
        return ", ".join(parts)


def schedule(seed: int, counts: Mapping[str, int], *, steps: int, names: Sequence[str]) -> tuple[Fault, ...]:
    """The faults of a run in order; the same arguments give the same faults.

    Parameters
    ----------
    counts : how many of each kind
    steps : of the market
    names : of the workers
    """
    rng = random.Random(seed)
    kinds = [kind for kind in KINDS for _ in range(counts.get(kind, 0))]
    rng.shuffle(kinds)
    places = range(int(FIRST_PART * steps), int((1 - LAST_PART) * steps))
    due = sorted(rng.sample(places, len(kinds)))
    return tuple(_drawn(rng, step, kind, names) for step, kind in zip(due, kinds, strict=True))


def _drawn(rng: random.Random, step: int, kind: str, names: Sequence[str]) -> Fault:
    """One fault. Only who holds something can be fenced, so a freeze waits for that; of the others two in three do."""
    settled = kind == "freeze" or rng.random() < 2 / 3
    wait = round(rng.uniform(0.0, 3.0), 2)
    name = rng.choice(names)
    if kind == "broker":
        return Fault(step, kind, "", settled, wait, rng.choice(AWAY_SECONDS))
    if kind == "pause":
        return Fault(step, kind, name, settled, wait, round(rng.uniform(0.5, 10.0), 2))
    if kind == "crash":
        where = (rng.choice(POINTS), rng.choice(STEPS))
        seconds = round(rng.uniform(0.0, UNDER_WAY_SECONDS), 4) if where[0] == "during" else 0.0
        return Fault(step, kind, name, settled, wait, seconds, where, rng.randrange(CRASH_TURN_MAX))
    return Fault(step, kind, name, settled, wait)
