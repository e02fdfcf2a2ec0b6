"""Workers are killed, frozen, moved and cut off from their broker in the middle of a crash on the markets.

Whatever happens, what they leave must be what an undisturbed fold of the journal gives (`faults.fold`). A control
without transactions must fail the same comparison.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.evidence import Evidence
from faults.fold import Verdict, verdict
from faults.rush import Rush
from faults.squad import Squad

from streams.kafka.broker import LocalBroker
from streams.kafka.fatal import EXIT_CODE
from streams.settings import Settings

pytestmark = pytest.mark.kafka

#: `make chaos` sets this: longer runs with more of everything.
LONG = bool(os.environ.get("CROSSMARGIN_CHAOS"))
KILLS, FREEZES, OUTAGE_SECONDS = (10, 3, 15.0) if LONG else (3, 1, 0.0)
ACCOUNTS, MINUTES, SHARDS = (1000, 60, 4) if LONG else (300, 15, 2)
ACTIONS = 25
CLOCKS = ("wall", "event") if LONG else ("wall",)
SEED = int(os.environ.get("CROSSMARGIN_CHAOS_SEED") or random.SystemRandom().randrange(1 << 30))
CRASHING = [sys.executable, "-m", "tests.faults.crashing_worker"]
UNGUARDED = [sys.executable, "-m", "tests.faults.unguarded_worker"]


def settings(bootstrap: str, prefix: str, clock: str) -> Settings:
    return Settings(
        broker=bootstrap,
        prefix=prefix,
        topic_prefix=f"{prefix}.",
        partitions=SHARDS,
        clock=clock,
        session_seconds=6.0,
        transaction_timeout_ms=10_000,
    )


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker that a test may kill."""
    with LocalBroker(tmp_path / "broker") as running:
        yield running


def concluded(squad: Squad, rush: Rush) -> tuple[Evidence, Verdict]:
    """Let the market end, wait for quiet, and compare."""
    rush.allowed = 1.0
    squad.until(lambda: rush.over, 120, "the end of the market")
    squad.say(f"quiet: {rush.sent:,} messages sent, {rush.heard:,} decisions and dead letters heard")
    evidence = squad.evidence()
    found = verdict(evidence, rush.script)
    squad.say(f"compared; {found}")
    found.problems += [f"id heard twice: {identity}" for identity in rush.repeated]
    found.problems += [f"step replaces another: {identity}" for identity in rush.script.exchange.misplaced]
    return evidence, found


def sound(found: Verdict) -> None:
    """Enough happened, and nothing is wrong."""
    assert found.compared["margin-calls"] + found.compared["liquidations"] > 30, f"too little happened\n{found}"
    assert found.problems == [], f"seed {SEED}\n{found}"


def damaged(evidence: Evidence) -> Evidence:
    """A liquidation lost, a margin call sent twice, one summary and one account's state of another account."""
    records = {topic: {p: list(found) for p, found in parts.items()} for topic, parts in evidence.records.items()}
    for topic in ("margin-accounts", "margin-changelog"):
        one, other = [record for record in records[topic][0] if not record.key.startswith(b"~")][-2:]
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


@pytest.mark.parametrize("clock", CLOCKS)
def test_killed_workers_and_a_killed_broker_change_nothing(own_broker: LocalBroker, tmp_path: Path, clock: str) -> None:
    """A crash between a fill and its commit would book the fill twice, or send a liquidation order twice."""
    given = settings(own_broker.bootstrap, "killed", clock)
    squad, rush = Squad(given, tmp_path), Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES)
    squad.say(f"seed {SEED}")
    try:
        killed(squad, rush, random.Random(SEED), KILLS)
        squad.until_held("one")
        rush.allowed = 0.9
        squad.sleep(1.0)
        own_broker.kill()
        squad.say(f"broker killed at step {rush.step}")
        squad.sleep(OUTAGE_SECONDS)
        own_broker.start()
        squad.say(f"broker back in {own_broker.start_seconds:.1f} s")
        _, found = concluded(squad, rush)
        sound(found)
        squad.say(f"workers that stopped themselves: {squad.stopped}")
    finally:
        squad.end()


def freeze_and_thaw(squad: Squad, rush: Rush, name: str, other: str) -> None:
    """Stop a worker until the other holds its partitions; thawed, it must find that out and end."""
    squad.sleep(1.0)
    frozen = squad.release(name)
    frozen.signal(signal.SIGSTOP)
    squad.say(f"{name} frozen at step {rush.step} of {rush.script.steps}")
    squad.until_held(other)
    squad.sleep(1.0)
    began = time.monotonic()
    frozen.signal(signal.SIGCONT)
    process = frozen.process
    assert process is not None
    squad.until(lambda: process.poll() is not None, 30, "the end of the thawed worker")
    squad.say(f"{name} thawed, ended with {process.returncode} after {time.monotonic() - began:.2f} s")
    assert process.returncode == EXIT_CODE, frozen.log()
    squad.restart(name, frozen)


def test_frozen_worker_is_fenced_and_workers_come_and_go(broker: LocalBroker, tmp_path: Path) -> None:
    """A worker that wakes up with its partitions gone must not write over the new owner's books."""
    given = settings(broker.bootstrap, "frozen", "event")
    squad, rush = Squad(given, tmp_path), Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES)
    squad.say(f"seed {SEED}")
    try:
        squad.start("one")  # together: both find no topics
        squad.start("two")
        rush.start()
        squad.until_held("one", "two")
        squad.until(rush.opened.is_set, 60, "the accounts")
        rush.allowed = 0.3
        for turn in range(FREEZES):
            freeze_and_thaw(squad, rush, *(("one", "two"), ("two", "one"))[turn % 2])
            rush.allowed = 0.3 + 0.4 * (turn + 1) / FREEZES
            squad.until_held("one", "two")
        squad.sleep(1.0)
        squad.terminate("two")
        rush.allowed = 0.9
        squad.until_held("one")
        evidence, found = concluded(squad, rush)
        sound(found)
        seen = "\n".join(verdict(damaged(evidence)).problems)
        for topic in ("liquidations[", "margin-calls[", "margin-accounts[", "margin-changelog[", "ids must come once"):
            assert topic in seen, f"damage must be seen, found\n{seen}"
        assert squad.stopped == [], "only the frozen worker had a reason to stop itself"
    finally:
        squad.end()


@pytest.mark.skipif(not LONG, reason="long; make chaos runs it")
@pytest.mark.parametrize("clock", CLOCKS)
def test_workers_that_die_inside_transactions(broker: LocalBroker, tmp_path: Path, clock: str) -> None:
    """The moments at which a crash hurts most are short: random ones from outside seldom hit them."""
    given = settings(broker.bootstrap, f"crashing-{clock}", clock)
    squad = Squad(given, tmp_path, CRASHING, mortal=True, restarts_max=60)
    rush = Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES, pace_s=0.1)
    squad.say(f"seed {SEED}")
    try:
        squad.start("one")
        squad.start("two")
        rush.start()
        rush.allowed = 0.9
        squad.until(lambda: rush.step > 0.9 * rush.script.steps or rush.over, 600, "most of the market")
        for name in ("one", "two"):
            squad.kill(name)
        squad.command = None
        squad.start("last")
        _, found = concluded(squad, rush)
        sound(found)
        squad.say(f"{len(squad.stopped)} crashes")
    finally:
        squad.end()


@pytest.mark.skipif(not LONG, reason="long; make chaos runs it")
@pytest.mark.parametrize("membership", ["dynamic", "static"])
def test_anything_at_any_time(own_broker: LocalBroker, tmp_path: Path, membership: str) -> None:
    """Faults come together: a rebalance is under way when a worker dies, the broker goes while another thaws."""
    given = settings(own_broker.bootstrap, "anything", "wall")
    squad = Squad(given, tmp_path, restarts_max=60)
    rush, rng = Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES, pace_s=0.1), random.Random(SEED)
    squad.say(f"seed {SEED}")
    names = ("one", "two", "three")
    try:
        for name in names:
            squad.start(name, instance_id=name if membership == "static" else "")
        rush.start()
        squad.until(rush.opened.is_set, 120, "the accounts")
        for turn in range(ACTIONS):
            rush.allowed = (turn + 1) / (ACTIONS + 1)
            squad.sleep(rng.uniform(0.2, 5.0))
            name, action = rng.choice(names), rng.choice(("kill", "stop", "freeze", "freeze", "broker"))
            squad.say(f"step {rush.step}: {action} {name}")
            if action == "kill":
                squad.restart(name, squad.kill(name))
            elif action == "stop":
                squad.restart(name, squad.terminate(name, codes=(0, EXIT_CODE, -signal.SIGTERM)))
            elif action == "freeze":
                squad.signal(name, signal.SIGSTOP)
                squad.sleep(rng.uniform(0.5, 10.0))
                squad.signal(name, signal.SIGCONT)
            else:
                own_broker.kill()
                squad.sleep(rng.choice((0.0, 0.0, 12.0)))
                own_broker.start()
        squad.until_held(*names)
        _, found = concluded(squad, rush)
        sound(found)
        squad.say(f"{len(squad.stopped)} stopped themselves")
    finally:
        squad.end()


@pytest.mark.parametrize("fault", ("killed", "frozen") if LONG else ("killed",))
def test_without_the_guard_the_comparison_fails(broker: LocalBroker, tmp_path: Path, fault: str) -> None:
    """A comparison that passes anything would prove nothing."""
    given = settings(broker.bootstrap, f"unguarded-{fault}", "event")
    squad = Squad(given, tmp_path, UNGUARDED)
    # at this pace it is still busy when the one kill comes
    rush = Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES // 2, pace_s=0.1)
    squad.say(f"seed {SEED}")
    try:
        if fault == "killed":
            killed(squad, rush, random.Random(SEED), 1)
        else:
            thawed_unfenced(squad, rush)
        _, found = concluded(squad, rush)
        assert any("too many" in problem for problem in found.problems), f"seed {SEED}\n{found}"
    finally:
        squad.end()


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
