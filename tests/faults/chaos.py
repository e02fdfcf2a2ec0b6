"""What the fault tests share: their sizes, how a run of workers is concluded, and the sum over all runs."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

from faults.evidence import Evidence
from faults.fold import Verdict, verdict
from faults.met import ALWAYS, UNDER_FAULTS
from faults.rush import Rush
from faults.schedule import KINDS
from faults.squad import Squad

from streams.settings import Settings

#: `make chaos` sets this: longer runs with more of everything.
LONG = bool(os.environ.get("CROSSMARGIN_CHAOS"))
SEED = int(os.environ.get("CROSSMARGIN_CHAOS_SEED") or random.SystemRandom().randrange(1 << 30))
CRASHING = [sys.executable, "-m", "tests.faults.crashing_worker"]
SLOW = [sys.executable, "-m", "tests.faults.slow_worker"]
SOURCE_ROWS, BLOCKS, DECISIONS = "source rows in journals", "journal blocks", ("margin-calls", "liquidations")


@dataclass
class Total:
    """What all runs together did and compared, the controls apart.

    Parameters
    ----------
    struck : faults by kind
    compared : as of `Verdict`
    differences : of all verdicts
    """

    struck: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    differences: int = 0

    def add(self, struck: Counter[str], found: Verdict) -> None:
        """Count one run."""
        self.struck += struck
        self.compared += found.compared
        self.differences += len(found.problems)

    def __str__(self) -> str:
        faults = [f"{self.struck[kind]} {name}" for kind, name in KINDS.items() if self.struck[kind]]
        rows, blocks = self.compared[SOURCE_ROWS], self.compared[BLOCKS]
        decisions = sum(self.compared[topic] for topic in DECISIONS)
        counts = (
            f"{rows:,} source rows, {blocks:,} journal blocks, {decisions:,} decisions, {self.differences} differences"
        )
        return f"chaos: {', '.join([*faults, counts])} (seed {SEED})"


TOTAL = Total()


def settings(bootstrap: str, prefix: str, clock: str, shards: int) -> Settings:
    """Of workers that are soon missed."""
    return Settings(
        broker=bootstrap,
        prefix=prefix,
        topic_prefix=f"{prefix}.",
        partitions=shards,
        clock=clock,
        session_seconds=6.0,
        transaction_timeout_ms=10_000,
    )


def concluded(squad: Squad, rush: Rush, *, control: bool = False) -> tuple[Evidence, Verdict]:
    """Let the market end, wait for quiet, and compare."""
    rush.allowed = 1.0
    squad.until(lambda: rush.over, 180, "the end of the market")
    squad.say(f"quiet: {rush.sent:,} messages sent, {rush.heard:,} decisions and dead letters heard")
    evidence = squad.evidence()
    found = verdict(evidence, rush.script)
    found.problems += [f"id heard twice: {identity}" for identity in rush.repeated]
    found.problems += [f"step replaces another: {identity}" for identity in rush.script.exchange.misplaced]
    squad.say(f"compared; {found}")
    if not control:
        TOTAL.add(squad.struck, found)
    return evidence, found


def sound(found: Verdict) -> None:
    """Enough happened, on both margin models, and nothing is wrong."""
    assert sum(found.compared[topic] for topic in DECISIONS) > 30, f"too little happened\n{found}"
    assert found.problems == [], f"seed {SEED}\n{found}"
    assert [what for what in (*ALWAYS, *UNDER_FAULTS) if not found.compared[what]] == [], f"seed {SEED}\n{found}"
