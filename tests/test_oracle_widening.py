"""What haircuts widen by: the formula by hand, steps, and that it changes rarely."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.settings import SymbolRules
from streams.oracle.widening import STEPS, Widening, steps_up, wanted

RULES = SymbolRules()


@pytest.mark.parametrize(
    ("confidence", "degraded", "age_ms", "expected"),
    [
        pytest.param(0.0, False, 0, 0.0, id="sure, whole, new"),
        pytest.param(0.5, False, 0, 0.01, id="2 x 0.5 / 100"),
        pytest.param(0.0, True, 0, 0.02, id="degraded"),
        pytest.param(0.0, False, 6_000, 0.01, id="a tenth of stale_ms: 0.1 x 0.1"),
        pytest.param(0.0, False, 600_000, 0.10, id="ten times stale_ms: 0.1 at most"),
        pytest.param(0.5, True, 30_000, 0.08, id="0.01 + 0.02 + 0.05"),
        pytest.param(200.0, True, 0, 1.0, id="nothing is left"),
    ],
)
def test_formula_by_hand(confidence: float, degraded: bool, age_ms: int, expected: float) -> None:
    """Collateral at a doubtful price must back less."""
    found = wanted(confidence, 100.0, degraded=degraded, age_ms=age_ms, rules=RULES)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("fraction", "steps"),
    [
        pytest.param(0.0, 0, id="0"),
        pytest.param(1e-6, 1, id="anything: a step"),
        pytest.param(0.0025, 1, id="a step"),
        pytest.param(0.00250001, 2, id="a step and a bit"),
        pytest.param(0.1 + 0.02, 48, id="48 steps and a rounding error"),
        pytest.param(1.0, 400, id="all"),
    ],
)
def test_steps_by_hand(fraction: float, steps: int) -> None:
    """Rounded down, a doubt would count for nothing."""
    assert steps_up(fraction) == steps


def test_rises_at_once_and_falls_after_recovery() -> None:
    """Each change has the books of all holders judged anew: a confidence that flickers must not."""
    widening = Widening()
    found = [
        widening.at(fraction, second * 1_000, tick=True, rules=RULES)
        for second, fraction in enumerate([0.0, 0.001, 0.004, 0.0, 0.002, 0.0, 0.002, 0.0, *[0.002] * 6])
    ]
    assert found == [0.0, 0.0025, *[0.005] * 11, 0.0025]


def test_where_old_quotes_have_no_time_to_grow_old() -> None:
    """stale_ms = 0: any age beyond a source's is stale."""
    rules = SymbolRules(stale_ms=0)
    assert wanted(0.0, 1.0, degraded=False, age_ms=0, rules=rules) == 0.0
    assert wanted(0.0, 1.0, degraded=False, age_ms=1, rules=rules) == 0.10


@given(st.lists(st.tuples(st.integers(0, 9_000), st.floats(0, 1), st.booleans()), max_size=30), st.integers(0, 30))
def test_never_less_than_wanted_and_restored_as_it_was(steps: list[tuple[int, float, bool]], cut: int) -> None:
    """A restart in the middle of a recovery must not lower haircuts early."""
    calm, killed, now_ms = Widening(), Widening(), 0
    for number, (elapsed_ms, fraction, tick) in enumerate(steps):
        now_ms += elapsed_ms
        if number == cut:
            killed = Widening.restored(json.loads(json.dumps(killed.record())))
        found = calm.at(fraction, now_ms, tick=tick, rules=RULES)
        assert killed.at(fraction, now_ms, tick=tick, rules=RULES) == found
        assert fraction - 1e-11 <= found <= 1.0
        assert found == round(found * STEPS) / STEPS
