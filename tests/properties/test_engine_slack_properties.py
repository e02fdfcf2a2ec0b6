"""The slack index against judging everything: the same outputs and state after every block, on random journals.

Every requirement method, linear and inverse instruments, several assets, debts, haircut tiers, isolated books, levels
of accounts' own, pauses and halts; and prices that go exactly to where some book's status changes, and next to it.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import rules
from tests.twins import Twins


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1 << 30), min_size=4, max_size=30), st.integers(0, 1 << 30))
def test_the_index_never_changes_what_is_decided(steps: list[int], opening: int) -> None:
    """A book left asleep while its status changed is a liquidation that comes too late, or never."""
    twins = Twins(rules(reporting_currency="USD"))
    twins.open(Random(opening))
    for seed in steps:
        twins.step(Random(seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_long_run_reuses_every_slot(seed: int) -> None:
    """Anchors are few: after some hundred ticks each has served many books, and none may keep an old price."""
    dice = Random(seed)
    twins = Twins(rules(reporting_currency="USD"))
    twins.open(dice)
    for _ in range(150):
        twins.move(dice)
        twins.marks(after=100)
        if dice.random() < 0.3:
            twins.play("fills", twins.fill(dice))
