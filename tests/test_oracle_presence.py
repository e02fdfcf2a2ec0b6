"""Missing and flapping sources, by hand; restart; and that being cut off from all is nobody's fault."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.presence import Found, Presence

Look = tuple[int, str]  # second, the live sources


def looked(looks: list[Look], presence: Presence, named: str = "") -> list[Found]:
    return [presence.look(set(live), named, second * 1_000, flaps_max=3) for second, live in looks]


#: c is lost at 10, 30 and 50 s and comes back each time.
THREE_LOSSES = [(0, "abc"), (10, "ab"), (20, "abc"), (30, "ab"), (40, "abc"), (50, "ab")]


@pytest.mark.parametrize(
    ("looks", "missing", "flapping"),
    [
        pytest.param([(0, "abc")], "", "", id="all there"),
        pytest.param([(0, "abc"), (1, "ab")], "c", "", id="c was there"),
        pytest.param([(0, "abc"), (3_600, "ab")], "c", "", id="missed for an hour"),
        pytest.param([(0, "abc"), (3_601, "ab")], "", "", id="then forgotten"),
        pytest.param([(0, "abc"), (1, "")], "abc", "", id="all gone"),
        pytest.param([*THREE_LOSSES[:-1]], "", "", id="lost twice and back: still counted on"),
        pytest.param(THREE_LOSSES, "c", "", id="lost for the third time: missing"),
        pytest.param([*THREE_LOSSES, (60, "abc")], "", "c", id="back from the third loss: flapping"),
        pytest.param([*THREE_LOSSES, (60, "abc"), (119, "abc")], "", "c", id="steady for 59 s"),
        pytest.param([*THREE_LOSSES, (60, "abc"), (120, "abc")], "", "", id="steady for 60 s"),
        pytest.param(
            [*THREE_LOSSES, (60, "abc"), (110, "ab"), (111, "abc"), (130, "abc")], "", "c", id="lost while on trial"
        ),
        pytest.param(
            [*THREE_LOSSES, (60, "abc"), (120, "abc"), (130, "ab"), (140, "abc")], "", "", id="a new row of losses"
        ),
        pytest.param(
            [(0, "abc"), (10, "ab"), (20, "abc"), (30, "ab"), (40, "abc"), (611, "ab"), (612, "abc")],
            "",
            "",
            id="the first loss is over 10 minutes ago",
        ),
        pytest.param(
            [(second, "" if second % 20 else "abc") for second in range(0, 110, 10)],
            "",
            "",
            id="all gone and back, often",
        ),
    ],
)
def test_whom_to_miss_and_whom_to_leave_out(looks: list[Look], missing: str, flapping: str) -> None:
    """A source counted on too soon makes the index jump each time it comes and goes."""
    assert looked(looks, Presence())[-1] == Found(tuple(missing), tuple(flapping))


def test_a_named_source_is_missed_before_it_ever_came() -> None:
    """A symbol whose second source never started must not look whole."""
    presence = Presence()
    assert looked([(0, "a")], presence, named="ab")[-1].missing == ("b",)
    assert looked([(9_000, "a")], presence, named="ab")[-1].missing == ("b",)


def test_any_number_of_losses_where_the_rules_count_none() -> None:
    """flaps_max = 0 turns it off."""
    presence = Presence()
    for second, live in [*THREE_LOSSES, (60, "abc")]:
        found = presence.look(set(live), "", second * 1_000, flaps_max=0)
    assert found == Found((), ())


LOOKS = st.lists(st.tuples(st.integers(0, 90), st.sets(st.sampled_from("abc"))), max_size=40)


@given(LOOKS, st.integers(0, 40))
def test_restored_goes_on_as_if_never_stopped(steps: list[tuple[int, set[str]]], cut: int) -> None:
    """A restart must not give a flapping source a clean sheet."""
    calm, killed, second = Presence(), Presence(), 0
    for number, (elapsed, live) in enumerate(steps):
        second += elapsed
        if number == cut:
            killed = Presence.restored(json.loads(json.dumps(killed.record())))
        assert looked([(second, live)], killed) == looked([(second, live)], calm)
        assert killed.record() == calm.record()
        assert killed.due_ms() == calm.due_ms()


@given(LOOKS)
def test_nothing_changes_before_it_is_due(steps: list[tuple[int, set[str]]]) -> None:
    """Whoever looks again only when told to must miss nothing."""
    presence, second = Presence(), 0
    for elapsed, live in steps:
        second += elapsed
        found = looked([(second, live)], presence)
        due_ms = presence.due_ms()
        if due_ms is None:
            assert looked([(second + 10_000, live)], presence) == found
        elif due_ms > second * 1_000 + 1_000:
            assert presence.look(set(live), "", due_ms - 1, flaps_max=3) == found[0]
            assert presence.look(set(live), "", due_ms, flaps_max=3) != found[0]
