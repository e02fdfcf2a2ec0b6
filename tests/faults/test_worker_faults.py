"""Workers are killed, frozen, moved and cut off from their broker in the middle of a crash on the markets.

Whatever happens, what they leave must be what an undisturbed fold of the journal gives (`faults.fold`). A control
without transactions must fail the same comparison.
"""

from __future__ import annotations

import dataclasses
import random
import signal
import sys
from pathlib import Path

import pytest
from faults.chaos import LONG, SEED, concluded, settings, sound
from faults.evidence import Evidence
from faults.fold import verdict
from faults.met import IN_EVENT_TIME
from faults.rush import Rush
from faults.squad import BrokenBooks, Squad

from streams.kafka.broker import LocalBroker

pytestmark = pytest.mark.kafka

KILLS, ACCOUNTS, MINUTES, SHARDS = 3, 300, 15, 2
short = pytest.mark.skipif(LONG, reason="short; make test runs it, and make chaos a campaign")
UNGUARDED = [sys.executable, "-m", "tests.faults.unguarded_worker"]


def damaged(evidence: Evidence) -> Evidence:
    """A liquidation lost, a margin call sent twice, one summary and one account's state of another account."""
    records = {topic: {p: list(found) for p, found in parts.items()} for topic, parts in evidence.records.items()}
    for topic in ("margin-accounts", "margin-changelog"):
        told = [record for record in records[topic][0] if not record.key.startswith(b"~")]
        other = told[-1]
        one = next(record for record in reversed(told) if record.key != other.key)
        records[topic][0].append(dataclasses.replace(one, value=other.value))
    calls = next(found for found in records["margin-calls"].values() if found)
    calls.append(calls[-1])
    del next(found for found in records["liquidations"].values() if found)[0]
    return dataclasses.replace(evidence, records=records)


def killed(squad: Squad, rush: Rush, rng: random.Random, kills: int) -> None:
    """Kill the one worker so many times, at random moments of its life, its start included."""
    worker = squad.start("one")
    rush.start()
    for turn in range(kills):
        if turn % 3 != 2:  # else it is killed while it may still be opening its partitions
            squad.until_held("one")
            squad.until(rush.opened.is_set, 60, "the accounts")
            rush.allowed = (turn + 1) / (kills + 1)
            squad.sleep(rng.uniform(0.3, 3.0))
        else:
            squad.sleep(rng.uniform(1.0, 4.0))
        squad.kill("one")
        squad.say(f"kill {turn + 1} at step {rush.step} of {rush.script.steps}")
        squad.restart("one", worker)


@short
def test_killed_workers_and_a_killed_broker_change_nothing(own_broker: LocalBroker, tmp_path: Path) -> None:
    """A crash between a fill and its commit would book the fill twice, or send a liquidation order twice."""
    given = settings(own_broker.bootstrap, "killed", "wall", SHARDS)
    squad, rush = Squad(given, tmp_path), Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES)
    squad.say(f"seed {SEED}")
    try:
        killed(squad, rush, random.Random(SEED), KILLS)
        squad.until_held("one")
        rush.allowed = 0.9
        squad.sleep(1.0)
        own_broker.kill()
        squad.say(f"broker killed at step {rush.step}")
        own_broker.start()
        squad.say(f"broker back in {own_broker.start_seconds:.1f} s")
        _, found = concluded(squad, rush)
        sound(found)
        squad.say(f"workers that stopped themselves: {squad.stopped}")
    finally:
        squad.end()


@short
def test_frozen_worker_is_fenced_and_workers_come_and_go(broker: LocalBroker, tmp_path: Path) -> None:
    """A worker that wakes up with its partitions gone must not write over the new owner's books."""
    given = settings(broker.bootstrap, "frozen", "event", SHARDS)
    squad, rush = Squad(given, tmp_path), Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES)
    squad.say(f"seed {SEED}")
    try:
        squad.start("one")  # together: both find no topics
        squad.start("two")
        rush.start()
        squad.until_held("one", "two")
        squad.until(rush.opened.is_set, 60, "the accounts")
        rush.allowed = 0.3
        squad.sleep(1.0)
        squad.fence("one")
        rush.allowed = 0.7
        squad.until_held("one", "two")
        squad.sleep(1.0)
        squad.terminate("two")
        rush.allowed = 0.9
        squad.until_held("one")
        evidence, found = concluded(squad, rush)
        sound(found)
        assert [what for what in IN_EVENT_TIME if not found.compared[what]] == [], found
        seen = "\n".join(verdict(damaged(evidence)).problems)
        for topic in ("liquidations[", "margin-calls[", "margin-accounts[", "margin-changelog[", "ids must come once"):
            assert topic in seen, f"damage must be seen, found\n{seen}"
        assert squad.stopped == [], "only the frozen worker had a reason to stop itself"
    finally:
        squad.end()


@pytest.mark.parametrize("fault", ["frozen", "killed"] if LONG else ["killed"])
def test_without_the_guard_the_comparison_fails(broker: LocalBroker, tmp_path: Path, fault: str) -> None:
    """A comparison that passes anything would prove nothing."""
    given = settings(broker.bootstrap, f"unguarded-{fault}", "event", SHARDS)
    squad = Squad(given, tmp_path, UNGUARDED)
    # at this pace it is still busy when the one kill comes
    rush = Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES // 2, pace_s=0.1)
    squad.say(f"seed {SEED}")
    try:
        if fault == "killed":
            killed(squad, rush, random.Random(SEED), 1)
        else:
            thawed_unfenced(squad, rush)
        _, found = concluded(squad, rush, control=True)
        problems = found.problems
    except BrokenBooks as error:  # seen by a worker that restored them, before they could be compared
        problems = [str(error)]
    finally:
        squad.end()
    assert any("too many" in problem or "must sum to 0" in problem for problem in problems), f"seed {SEED}\n{problems}"


def thawed_unfenced(squad: Squad, rush: Rush) -> None:
    """Freeze one of two workers in the middle of its work, until the other has it; nothing stops it afterwards."""
    squad.start("one")
    squad.start("two")
    rush.start()
    squad.until_held("one", "two")
    squad.until(rush.opened.is_set, 60, "the accounts")
    rush.allowed = 0.5
    squad.sleep(1.0)
    squad.signal("one", signal.SIGSTOP)
    squad.until_held("two")
    squad.sleep(1.0)
    squad.signal("one", signal.SIGCONT)
    squad.until_held("one", "two")
    assert squad.stopped == [], "nothing fences these workers"
