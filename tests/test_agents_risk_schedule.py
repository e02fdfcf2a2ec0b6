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
from streams.kafka.batches import BATCH_BYTES_MAX

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


def begun(records: dict[bytes, bytes | None] | None = None, risk: dict[str, Any] = RISK) -> RiskSchedule:
    schedule = RiskSchedule()
    schedule.restore((records or {}).items())
    schedule.learn(risk, UNITS, PUBLISHED.get)
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


def test_another_period_begins_anew() -> None:
    """Hourly moves are no daily ones: the old ones are gone, from the changelog too, and shards are told so."""
    other = RISK | {"period_ms": 2 * PERIOD, "horizon_ms": 8 * PERIOD}
    schedule = begun()
    schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0})
    changelog = dict(schedule.dirty())
    schedule.learn(other, UNITS, PUBLISHED.get)
    block = sent(schedule.take(1000 * PERIOD + 5, {"BTC": 200.0}))
    assert block is not None
    assert followed(None, block) is None, "nobody published closes of such periods"
    changelog |= dict(schedule.dirty())
    assert sorted(key for key, value in changelog.items() if value is not None) == [b"risk", b"risk-last:BTC"]
    for own in (schedule, begun(changelog, other)):
        own.learn(RISK, UNITS, PUBLISHED.get)
        again = sent(own.take(1000 * PERIOD + 6, {"BTC": 200.0}))
        assert again is not None, "the same closes are wanted again"
        assert again.columns["returns"].size == 2 * 100


def test_periods_of_another_length_in_proportion_are_told_whole() -> None:
    """Rules are the same where the horizon goes with the period: what shards know of the old period must go all the
    same."""
    longer = {unit: closes_of(unit, 499) | {"period_ms": 2 * PERIOD} for unit in UNITS}
    schedule = begun()
    before = followed(None, sent(schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0})))
    schedule.learn(RISK | {"period_ms": 2 * PERIOD, "horizon_ms": 8 * PERIOD}, UNITS, longer.get)
    block = sent(schedule.take(1000 * PERIOD + 5, {}))
    assert block is not None
    assert block.columns["returns"].size == 2 * 100
    now = followed(before, block)
    assert now is not None
    assert now.next_period == 500


def test_a_unit_comes_back_as_new() -> None:
    """Its moves from before it went are of other periods by now, also for an oracle that was killed in between."""
    schedule = begun()
    schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0})
    changelog = dict(schedule.dirty())
    schedule.learn(RISK, ["ETH"], PUBLISHED.get)
    schedule.take(1000 * PERIOD + 5, {})
    schedule.take(1003 * PERIOD, {"ETH": 101.0})
    changelog |= dict(schedule.dirty())
    blocks = []
    for own in (schedule, begun(changelog)):
        own.learn(RISK, UNITS, PUBLISHED.get)
        blocks.append(sent(own.take(1003 * PERIOD + 5, {"BTC": 300.0})))
    for block in blocks:
        assert block is not None
        now = followed(None, block)
        assert now is not None
        assert now.units == UNITS, "its closes are read again"
        assert now.returns[-3:, 0].tolist() == [0.0] * 3, "of the periods that it was away for nothing is known"


def test_rules_taken_back_and_published_again_read_closes_again() -> None:
    schedule = begun()
    first = sent(schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0}))
    changelog = dict(schedule.dirty())
    schedule.learn(None, UNITS, PUBLISHED.get)
    schedule.take(1000 * PERIOD + 5, {})
    changelog |= dict(schedule.dirty())
    assert [key for key, value in changelog.items() if value is not None] == [b"risk"]
    for own in (schedule, begun(changelog)):
        own.learn(RISK, UNITS, PUBLISHED.get)
        again = sent(own.take(1000 * PERIOD + 6, {"BTC": 200.0, "ETH": 100.0}))
        assert first is not None
        assert again is not None
        assert again.columns["returns"].tobytes() == first.columns["returns"].tobytes()


def margined_and_volatility(block: Block | None) -> tuple[float, float]:
    """Of BTC, as told."""
    assert block is not None
    return float(block.columns["margined"][0]), float(block.columns["volatility"][0])


def test_a_buffer_is_used_up_before_margins_rise() -> None:
    """Full at first; a wild period raises volatility by less than it holds, and nothing is required on top. A unit that
    comes back begins with a full one, whatever it had."""
    schedule = begun()
    prices = {"BTC": 200.0, "ETH": 100.0}
    first, plain = margined_and_volatility(schedule.take(1000 * PERIOD, prices))
    assert first == 1.25 * plain
    last = float(PUBLISHED["BTC"]["closes"][-1])
    schedule.take(1000 * PERIOD + 1, {"BTC": last * 1.015})
    kept, risen = margined_and_volatility(schedule.take(1001 * PERIOD, {}))
    assert plain < risen < first
    assert kept == first
    schedule.learn(RISK, ["ETH"], PUBLISHED.get)
    wilder = [repr(float(close) ** 3) for close in PUBLISHED["BTC"]["closes"]]
    loaded = PUBLISHED | {"BTC": {**PUBLISHED["BTC"], "closes": wilder}}
    schedule.learn(RISK, UNITS, loaded.get)
    block = schedule.take(1001 * PERIOD + 1, prices)
    anew, volatility = margined_and_volatility(block)
    assert anew == 1.25 * volatility > 2.0 * first
    assert block is not None
    assert block.columns["returns"].size == 2 * 100, "told whole: its past is another now"


def test_a_shorter_window_forgets_for_good() -> None:
    """Also in the changelog: a longer one after it must not find more where the oracle was killed in between."""
    schedule = begun()
    schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0})
    changelog = dict(schedule.dirty())
    schedule.learn({**RISK, "window": 60}, UNITS, PUBLISHED.get)
    changelog |= dict(schedule.dirty())
    schedule.learn(RISK, UNITS, PUBLISHED.get)
    for own in (schedule, begun(changelog)):
        block = own.take(1000 * PERIOD + 1, {})
        assert block is not None
        assert block.names["units"] == [], "no unit has a hundred periods any more"


def test_an_outage_of_many_periods_is_told_once() -> None:
    """One block, with a row for each period missed: the move in the first, none in the others."""
    schedule = begun()
    first = sent(schedule.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0}))
    schedule.take(1000 * PERIOD + 1, {"BTC": 210.0, "ETH": 100.0})
    last = float(PUBLISHED["BTC"]["closes"][-1])
    block = sent(schedule.take(1005 * PERIOD, {"BTC": 400.0, "ETH": 100.0}))
    assert block is not None
    assert block.columns["returns"].reshape(5, 2)[:, 0].tolist() == [210.0 / last - 1.0, 0.0, 0.0, 0.0, 0.0]
    assert schedule.take(1005 * PERIOD + 1, {"BTC": 400.0}) is None
    assert followed(followed(None, first), block) is not None  # type: ignore[arg-type]


def test_more_units_than_a_record_holds() -> None:
    """The first by name are told, in a record that the journal takes; the others go by their scenarios."""
    units = [f"UNIT-{at:03d}-" + "x" * 40 for at in range(120)]
    for window, most in ((100, 100), (1000, 91), (2000, 48)):
        prices = tuple(repr(100.0 + at % 7) for at in range(window + 1))
        loaded = ClosesLoaded(id="~closes:A", period_ms=PERIOD, period=999, closes=prices)
        record = normalised(loaded) | {"version": 3}
        schedule = RiskSchedule()
        schedule.learn(RISK | {"window": window}, units, lambda _, held=record: held)
        block = schedule.take(1000 * PERIOD, dict.fromkeys(units, 100.0))
        assert block is not None
        assert block.names["units"] == units[:most]
        assert len(block.encode()) + 16_384 < BATCH_BYTES_MAX


def test_closes_of_periods_to_come_wait_for_them() -> None:
    """A clock that stands before all of them, as when a replay begins: they are read once one of them is past."""
    schedule = begun()
    assert schedule.take(0, {}) is None
    assert schedule.take(5 * PERIOD, {"BTC": 1.0}) is None
    changelog = dict(schedule.dirty())
    for own in (schedule, begun(changelog)):
        block = sent(own.take(1000 * PERIOD, {"BTC": 200.0, "ETH": 100.0}))
        assert block is not None
        assert block.names["units"] == ["BTC", "ETH"]


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
    changelog: dict[bytes, bytes | None] = {}
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
