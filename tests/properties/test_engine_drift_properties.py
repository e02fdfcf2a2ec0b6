"""Bounds for portfolio margin against judging everything: the same outputs and state after every block, whatever moves.

Options, linear and in coins, futures, coins held and owed, units that offset each other, discounted expiries, bought
options only; prices, volatilities, discounts and time, which go exactly to where some status changes, and next to it.
"""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import rules
from tests.risk_twins import RiskTwins


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 1 << 30), min_size=4, max_size=15), st.integers(0, 1 << 30))
def test_bounds_never_change_what_is_decided(steps: list[int], opening: int) -> None:
    """A hedged book left asleep while its hedge stopped working is liquidated too late, or never."""
    dice = Random(opening)
    twins = RiskTwins(dice)
    twins.play("tell", rules(reporting_currency="USD"))
    twins.open(dice)
    for seed in steps:
        twins.step(Random(seed))


def test_books_are_left_alone() -> None:
    """Where every book woke at every block, equal decisions would say nothing; here most sleep through most."""
    dice = Random(5)
    twins = RiskTwins(dice)
    twins.play("tell", rules(reporting_currency="USD"))
    twins.open(dice)
    slack, asleep = twins.swift.shard.slack, 0
    for _ in range(40):
        twins.move(dice)
        twins.marks(after=dice.choice((100, 60_000)))
        asleep += int(slack.drifts.anchored().sum())
    assert asleep > 60
