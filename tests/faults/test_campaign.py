"""A long run of faults of every kind under load, as a schedule drawn from a seed; `make chaos`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from faults.chaos import CRASHING, LONG, SEED, TOTAL, Total, concluded, settings, sound
from faults.fold import Verdict
from faults.rush import Rush
from faults.schedule import KINDS, schedule
from faults.squad import Squad

from streams.kafka.broker import LocalBroker

long = pytest.mark.skipif(not LONG, reason="long; make chaos runs it")

#: As many shards as two workers and three can share evenly: a crash inside a transaction needs one that has some.
ACCOUNTS, MINUTES, SHARDS, FILLS_S = 1000, 60, 6, 500
#: So slowly does the market go on while a fault is dealt with, that it lasts as long as the faults.
TRICKLE_S = 4.0
#: 30 kills, and five workers more that are frozen until fenced.
MANY = {"kill": 13, "crash": 12, "broker": 5, "freeze": 5, "pause": 2, "leave": 2}
SOME = {"kill": 2, "crash": 3, "broker": 1, "freeze": 1, "pause": 1, "leave": 1}
#: Some faults that follow from seed 7.
EXPECTED = [
    "step 78: freeze two, 2.8 s after all is held",
    "step 88: kill two, 2 s after all is held",
    "step 97: crash two, after committing offsets number 3, 1.05 s after all is held",
    "step 268: broker, 2.96 s after the step",
]


def test_a_schedule_follows_from_its_seed() -> None:
    """A difference that was found once could never be looked for again."""
    drawn = schedule(7, MANY, steps=720, names=("one", "two"))
    assert drawn == schedule(7, MANY, steps=720, names=("one", "two"))
    assert [str(fault) for fault in (*drawn[1:4], drawn[12])] == EXPECTED, "in every process, and ever after"
    assert drawn != schedule(8, MANY, steps=720, names=("one", "two"))


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_holds_what_was_asked_for(seed: int) -> None:
    """A campaign of thirty kills must not be one of twenty, whatever the seed."""
    drawn = schedule(seed, MANY, steps=720, names=("one", "two"))
    assert Counter(fault.kind for fault in drawn) == MANY
    steps = [fault.step for fault in drawn]
    assert steps == sorted(set(steps))
    assert 0 < steps[0] <= steps[-1] < 720
    assert all(fault.settled for fault in drawn if fault.kind == "freeze"), "who held nothing is not fenced"
    assert {fault.settled for fault in drawn if fault.kind == "kill"} == {True, False}


def test_the_total_is_one_line() -> None:
    """The line that people read must not leave a kind of fault out, or count a difference as none."""
    total = Total()
    found = Verdict(["wrong"], Counter({"source rows in journals": 1200, "journal blocks": 30, "liquidations": 4}))
    total.add(Counter(dict.fromkeys(KINDS, 2)), found)
    total.add(Counter(kill=1), found)
    assert str(total).partition(" (seed")[0] == (
        "chaos: 3 workers killed, 2 killed inside a transaction, 2 brokers killed, 2 frozen until fenced, "
        "2 frozen for a while, 2 told to stop, 2,400 source rows, 60 journal blocks, 8 decisions, 2 differences"
    )


@long
@pytest.mark.parametrize(
    ("clock", "names", "static", "counts"),
    [
        pytest.param("wall", ("one", "two"), False, MANY, id="two workers, many faults"),
        pytest.param("event", ("one", "two", "three"), True, SOME, id="three static members, event clock"),
    ],
)
def test_a_campaign_changes_nothing(
    own_broker: LocalBroker, tmp_path: Path, clock: str, names: tuple[str, ...], static: bool, counts: dict[str, int]
) -> None:
    """Faults come together: a rebalance is under way when a worker dies, the broker goes while another thaws."""
    given = settings(own_broker.bootstrap, "campaign", clock, SHARDS)
    squad = Squad(given, tmp_path, CRASHING, restarts_max=90)
    rush = Rush(given, seed=SEED, accounts=ACCOUNTS, minutes=MINUTES, pace_s=0.1, trickle_s=TRICKLE_S, fills_s=FILLS_S)
    steps = rush.script.steps
    faults = schedule(SEED, counts, steps=steps, names=names)
    squad.say("\n".join([f"seed {SEED}, {steps} steps; the schedule:", *map(str, faults)]))
    try:
        for name in names:
            squad.start(name, instance_id=name if static else "")
        rush.start()
        squad.until_held(*names, seconds=120)
        squad.until(rush.opened.is_set, 120, "the accounts")
        for number, fault in enumerate(faults):
            rush.allowed = fault.step / steps
            squad.until(lambda due=fault.step: rush.step >= due or rush.over, 300, f"step {fault.step}")
            if fault.settled:
                squad.until_held(*names, seconds=120)
            squad.sleep(fault.wait)
            squad.say(f"fault {number + 1} of {len(faults)} at step {rush.step}: {fault}")
            squad.strike(fault, own_broker)
        assert not rush.over, "the market must last as long as the faults"
        squad.until_held(*names, seconds=120)
        _, found = concluded(squad, rush)
        sound(found)
        squad.say(f"{len(squad.stopped)} stopped themselves; {TOTAL}")
    finally:
        squad.end()
