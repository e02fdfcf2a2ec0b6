"""The schedule of risk parameters: told once a period, the same after any kill, begun by published closes.

If one of these failed, a restarted oracle would measure risk by another past than the one that did not fall.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.journal import Block
from schemas.risk_terms import ClosesLoaded, RiskHistory
from streams.agents.risk_schedule import RiskSchedule
from streams.engine.risk_factors import Factors, followed
from streams.ingest.term_rules import normalised

PERIOD = 60_000
RISK = normalised(RiskHistory(period_ms=PERIOD, horizon_ms=4 * PERIOD, window=100))
UNITS = ("BTC", "ETH")


def closes_of(unit: str, period: int = 999) -> dict[str, Any]:
    """101 closes up to a period."""
    steps = np.where(np.arange(101) % 3 == 0, 1.01, 0.995) if unit == "BTC" else np.linspace(0.99, 1.01, 101)
    closes = tuple(repr(float(price)) for price in 100.0 * np.cumprod(steps))
    return {
        **normalised(ClosesLoaded(id=f"~closes:{unit}", period_ms=PERIOD, period=period, closes=closes)),
        "version": 7,
    }


PUBLISHED = {unit: closes_of(unit) for unit in UNITS}


def begun(records: dict[bytes, bytes] | None = None) -> RiskSchedule:
    schedule = RiskSchedule()
    schedule.restore((records or {}).items())
    schedule.learn(RISK, UNITS, PUBLISHED.get)
    return schedule


def same(one: Factors | None, other: Factors | None) -> bool:
    if one is None or other is None:
        return one is other
    arrays = [(part.returns, part.moves, *part.parameters) for part in (one, other)]
    plain = [(part.units, part.next_period, part.rules) for part in (one, other)]
    return plain[0] == plain[1] and all(a.tobytes() == b.tobytes() for a, b in zip(*arrays, strict=True))


def sent(block: Block | None) -> Block | None:
    return None if block is None else Block.decode(block.encode())


def test_a_new_market_begins_with_its_published_closes() -> None:
    """At the first trusted price, not a thousand periods later; then once a period, and one row."""
    schedule = begun()
    first = sent(schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0}))
    assert first is not None
    assert first.names["units"] == ["BTC", "ETH"]
    assert len(first.columns["returns"]) == 2 * 100
    assert first.extra["rules"]["tail"]["scale"] == 2.0
    assert schedule.take(1000 * PERIOD + 1, {"BTC": 201.0}) is None
    second = sent(schedule.take(1001 * PERIOD, {}))
    assert second is not None
    assert len(second.columns["returns"]) == 2
    now = followed(followed(None, first), second)
    assert now is not None
    last = float(PUBLISHED["BTC"]["closes"][-1])
    assert now.returns[-1, 0] == 201.0 / last - 1.0


def test_terms_taken_back_are_told_once() -> None:
    schedule = begun()
    schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0})
    held = dict(schedule.dirty())
    for own in (schedule, begun(held)):
        own.learn(None, UNITS, PUBLISHED.get)
        block = sent(own.take(1000 * PERIOD + 5, {}))
        assert block is not None
        assert followed(None, block) is None
        assert own.take(1000 * PERIOD + 6, {}) is None


def test_a_unit_that_goes_takes_its_past_with_it() -> None:
    schedule = begun()
    schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0})
    schedule.learn(RISK, ["ETH"], PUBLISHED.get)
    block = sent(schedule.take(1000 * PERIOD + 5, {"BTC": 1.0}))
    assert block is not None
    assert block.names["units"] == ["ETH"]
    schedule.learn(RISK, [], PUBLISHED.get)
    block = sent(schedule.take(1000 * PERIOD + 6, {}))
    assert block is not None
    assert followed(None, block) is None


MOVES = st.lists(
    st.tuples(st.integers(1, 3 * PERIOD), st.dictionaries(st.sampled_from(UNITS), st.floats(50.0, 300.0))),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(moves=MOVES, kills=st.sets(st.integers(0, 11)))
def test_a_kill_leaves_no_trace(moves: list[tuple[int, dict[str, float]]], kills: set[int]) -> None:
    """Whoever follows the blocks knows the same after each, to the bit, however often the writer was killed between."""
    calm, killed = begun(), begun()
    knows: list[Factors | None] = [None, None]
    changelog: dict[bytes, bytes] = {}
    time = 1000 * PERIOD
    for at, (after, prices) in enumerate(moves):
        time += after
        for who, schedule in enumerate((calm, killed)):
            block = sent(schedule.take(time, prices))
            if block is not None:
                knows[who] = followed(knows[who], block)
        assert same(*knows)
        changelog |= dict(killed.dirty())
        if at in kills:
            killed = begun(changelog)
    assert dict(calm.dirty()).keys() <= changelog.keys() | {b"risk"}
