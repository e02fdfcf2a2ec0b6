"""A level that rises at once and falls late: hand-worked rows, and what holds for any evaluations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.hysteresis import Hysteresis

FEEDS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50), st.booleans()), max_size=40)


def fed(feeds: list[tuple[int, int, bool]], level: Hysteresis) -> list[int]:
    """The level after each of (wanted, ms since the one before, tick); 3 ticks over 100 ms let it fall."""
    now_ms, levels = 0, []
    for wanted, elapsed_ms, tick in feeds:
        now_ms += elapsed_ms
        levels.append(level.feed(wanted, now_ms, tick=tick, ticks_min=3, ms_min=100))
    return levels


@pytest.mark.parametrize(
    ("feeds", "expected"),
    [
        pytest.param([(2, 0, True)], [2], id="worse: at once"),
        pytest.param([(2, 0, True), (4, 1, False), (3, 1, True)], [2, 4, 4], id="worse again, even without a tick"),
        pytest.param([(2, 0, True), (0, 10, True), (0, 50, True), (0, 49, True)], [2] * 4, id="3 ticks over 99 ms"),
        pytest.param([(2, 0, True), (0, 10, True), (0, 50, True), (0, 50, True)], [2, 2, 2, 0], id="3 over 100 ms"),
        pytest.param([(2, 0, True), (0, 10, True), (0, 500, True)], [2, 2, 2], id="2 ticks, however long"),
        pytest.param([(2, 0, True), (0, 10, True)] + [(0, 500, False)] * 3, [2] * 5, id="no news is no recovery"),
        pytest.param(
            [(2, 0, True), (0, 10, True), (0, 50, True), (2, 1, True), (0, 10, True), (0, 80, True), (0, 20, True)],
            [2, 2, 2, 2, 2, 2, 0],
            id="one relapse: the row begins anew",
        ),
        pytest.param(
            [(3, 0, True), (0, 10, True), (1, 50, True), (0, 50, True), (0, 99, True), (0, 1, True)],
            [3, 3, 3, 1, 1, 0],
            id="falls to the worst of the row; the same tick begins the next row",
        ),
        pytest.param([(2, 0, True), (0, 10, True), (0, -5, True), (0, 104, True)], [2, 2, 2, 0], id="clock back by 5"),
    ],
)
def test_level_by_hand(feeds: list[tuple[int, int, bool]], expected: list[int]) -> None:
    """A state that flickers would have every holder's book judged anew, and orders blocked and let go in turn."""
    assert fed(feeds, Hysteresis()) == expected


@given(FEEDS)
def test_never_better_than_wanted(feeds: list[tuple[int, int, bool]]) -> None:
    """What is wrong now is told now."""
    assert all(level >= wanted for level, (wanted, _, _) in zip(fed(feeds, Hysteresis()), feeds, strict=True))


@given(FEEDS, st.integers(0, 40))
def test_restored_goes_on_as_if_never_stopped(feeds: list[tuple[int, int, bool]], cut: int) -> None:
    """A worker killed in the middle of a recovery must not recover sooner or later for it."""
    calm = Hysteresis()
    whole = fed(feeds, calm)
    first = Hysteresis()
    levels, now_ms = fed(feeds[:cut], first), sum(elapsed_ms for _, elapsed_ms, _ in feeds[:cut])
    second = Hysteresis(*first.record())
    for wanted, elapsed_ms, tick in feeds[cut:]:
        now_ms += elapsed_ms
        levels.append(second.feed(wanted, now_ms, tick=tick, ticks_min=3, ms_min=100))
    assert levels == whole
    assert second.record() == calm.record()
