"""The state of a symbol and its reasons: each cause by hand, recovery, and what holds for any evidence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.journal import PRICE_STATES
from streams.oracle.bands import CONFIRMED, HELD, IN_BAND
from streams.oracle.settings import SymbolRules
from streams.oracle.trust import DEGRADED, HALTED, OK, STALE, SUSPECT, Evidence, Trust, Verdict

T = 1_760_130_900_000
RULES = SymbolRules(check_source="check")
CLEAN = Evidence(100.0, 3, tick=True, verdict=IN_BAND, check=100.0)

EVIDENCE = st.builds(
    Evidence,
    price=st.sampled_from([None, 99.0, 100.0, 102.0]),
    live=st.integers(0, 3),
    tick=st.booleans(),
    verdict=st.sampled_from([IN_BAND, HELD, CONFIRMED]),
    check=st.sampled_from([None, 100.0]),
    missing=st.sampled_from([(), ("c",)]),
    drifting=st.sampled_from([(), ("b",)]),
    flapping=st.sampled_from([(), ("a",)]),
    split=st.booleans(),
    legs=st.sampled_from([(), ("USDC",)]),
    halted=st.booleans(),
)
MERELY_DEGRADED = {"source_missing", "drift", "flapping", "check_missing", "recovering"}
STEPS = st.lists(st.tuples(st.integers(0, 20_000), EVIDENCE), max_size=30)


def judged(trust: Trust, time: int, **saw: Any) -> Verdict:
    return trust.judge(CLEAN._replace(**saw), T + time, RULES)


def recovered(trust: Trust, time: int) -> Verdict:
    """After five clean evaluations over 10 s from `time` on."""
    return [judged(trust, time + elapsed) for elapsed in (0, 2_500, 5_000, 7_500, 10_000)][-1]


def test_states_are_those_of_the_contract() -> None:
    """A state told by the wrong number would halt what is only degraded."""
    assert tuple(PRICE_STATES.index(name) for name in ("ok", "degraded", "suspect", "stale", "halted")) == (
        OK,
        DEGRADED,
        SUSPECT,
        STALE,
        HALTED,
    )


@pytest.mark.parametrize(
    ("saw", "state", "reasons"),
    [
        pytest.param({}, OK, (), id="nothing wrong"),
        pytest.param({"missing": ["b", "a"]}, DEGRADED, ("source_missing:a", "source_missing:b"), id="missing"),
        pytest.param({"drifting": ["a"]}, DEGRADED, ("drift:a",), id="one drifts and is left out"),
        pytest.param({"flapping": ["a"]}, DEGRADED, ("flapping:a",), id="one flaps and is left out"),
        pytest.param({"check": None}, DEGRADED, ("check_missing",), id="the check source is silent"),
        pytest.param({"split": True}, SUSPECT, ("sources_split",), id="two against two"),
        pytest.param({"verdict": HELD}, SUSPECT, ("band",), id="held at the band's edge"),
        pytest.param({"verdict": CONFIRMED}, OK, (), id="a move that was confirmed at once"),
        pytest.param({"legs": ["USDC"]}, SUSPECT, ("leg:USDC",), id="a rate that is suspect itself"),
        pytest.param({"live": 2}, OK, (), id="sources = sources_min"),
        pytest.param({"live": 1}, SUSPECT, ("few_sources",), id="sources = sources_min - 1"),
        pytest.param({"live": 0, "price": None}, SUSPECT, ("few_sources",), id="no source: stale only after stale_ms"),
        pytest.param({"check": 90.0}, OK, (), id="10 % off the check: not yet for check_ms"),
        pytest.param({"halted": True}, HALTED, ("halted",), id="by hand"),
        pytest.param(
            {"halted": True, "live": 1, "missing": ["b"]},
            HALTED,
            ("few_sources", "halted", "source_missing:b"),
            id="the worst counts, all are told",
        ),
    ],
)
def test_each_cause_by_hand(saw: dict[str, Any], state: int, reasons: tuple[str, ...]) -> None:
    """Each action of the engine hangs on the state, and each person's on the reason."""
    assert judged(Trust(), 0, **saw) == Verdict(state, reasons)


@pytest.mark.parametrize(
    ("saw", "after_ms", "state"),
    [
        pytest.param({"live": 1}, 59_999, SUSPECT, id="too few for stale_ms - 1"),
        pytest.param({"live": 1}, 60_000, STALE, id="too few for stale_ms"),
        pytest.param({"check": 99.0}, 9_999, OK, id="off by more than 1 % for check_ms - 1"),
        pytest.param({"check": 99.0}, 10_000, SUSPECT, id="off by more than 1 % for check_ms"),
        pytest.param({"check": 99.01}, 10_000, OK, id="off by 0.99990 %"),
        pytest.param({"check": 101.1}, 10_000, SUSPECT, id="check above the index by 1.1 %: index -1.088 %"),
    ],
)
def test_what_takes_its_time(saw: dict[str, Any], after_ms: int, state: int) -> None:
    """A moment's lag of one source is no deviation, and a minute of silence is no price."""
    trust = Trust()
    before = judged(trust, 0, **saw).state
    due_ms = trust.due_ms(T, RULES)
    assert judged(trust, after_ms, **saw).state == state
    if state != before:
        assert due_ms == T + after_ms


def test_nothing_is_due_once_it_has_happened() -> None:
    """A moment in the past would have the oracle look at the symbol for ever."""
    trust = Trust()
    judged(trust, 0, live=1, check=90.0)
    assert trust.due_ms(T, RULES) == T + 10_000
    judged(trust, 10_000, live=1, check=90.0)
    assert trust.due_ms(T + 10_000, RULES) == T + 60_000
    judged(trust, 60_000, live=1, check=90.0)
    assert trust.due_ms(T + 60_000, RULES) is None


def test_a_deviation_that_ends_begins_anew() -> None:
    """Two moments off, 10 s apart, are not 10 s off."""
    trust = Trust()
    judged(trust, 0, check=90.0)
    judged(trust, 5_000)
    assert judged(trust, 11_000, check=90.0).state == OK
    assert judged(trust, 20_999, check=90.0).state == OK
    assert judged(trust, 21_000, check=90.0) == Verdict(SUSPECT, ("check",))


def test_recovery_takes_five_ticks_over_ten_seconds() -> None:
    """Too early, and the next bad print finds accounts liquidable again; the reason says what it waits for."""
    trust = Trust()
    judged(trust, 0, live=1)
    found = [judged(trust, time) for time in (1_000, 3_000, 5_000, 7_000, 10_999)]
    assert found == [Verdict(SUSPECT, ("recovering",))] * 5
    assert judged(trust, 11_000) == Verdict(OK, ())


def test_recovery_ends_at_what_is_still_wrong() -> None:
    """A suspect symbol with a source missing is degraded next, not ok."""
    trust = Trust()
    judged(trust, 0, halted=True)
    for time in (1_000, 3_000, 5_000, 7_000):
        assert judged(trust, time, missing=["b"]) == Verdict(HALTED, ("recovering", "source_missing:b"))
    assert judged(trust, 11_000, missing=["b"]) == Verdict(DEGRADED, ("source_missing:b",))
    assert recovered(trust, 12_000) == Verdict(OK, ())


def test_a_band_left_unconfirmed_recovers_slowly_a_confirmed_one_at_once() -> None:
    """A bad print leaves doubt behind; a confirmed crash is the truth, and liquidations must not wait for it."""
    bad, crash = Trust(), Trust()
    for trust in (bad, crash):
        assert judged(trust, 0, verdict=HELD).state == SUSPECT
    assert judged(bad, 1_000) == Verdict(SUSPECT, ("recovering",))
    assert judged(crash, 1_000, verdict=CONFIRMED) == Verdict(OK, ())


def test_a_confirmed_move_excuses_nothing_else() -> None:
    """Sources that are too few do not become enough by a crash."""
    trust = Trust()
    judged(trust, 0, verdict=HELD, split=True)
    assert judged(trust, 1_000, verdict=CONFIRMED).state == SUSPECT


def test_the_second_opinion_on_a_suspect_price() -> None:
    """Liquidation while suspect asks for a price that was believed: the check's, else the last one trusted."""
    trust = Trust()
    assert trust.check_price(None) is None
    judged(trust, 0)
    judged(trust, 1_000, price=80.0, verdict=HELD)
    assert (trust.check_price(None), trust.check_price(81.0)) == (100.0, 81.0)
    judged(trust, 2_000, price=70.0, verdict=CONFIRMED)
    assert trust.check_price(None) == 70.0
    judged(trust, 3_000, price=60.0, verdict=HELD)
    assert judged(trust, 4_000, price=69.0) == Verdict(SUSPECT, ("recovering",))
    assert trust.check_price(None) == 69.0


@given(STEPS, st.integers(0, 30))
def test_restored_goes_on_as_if_never_stopped(steps: list[tuple[int, Evidence]], cut: int) -> None:
    """A restart must neither trust a price sooner nor forget since when it is off."""
    calm, killed, now_ms = Trust(), Trust(), T
    for number, (elapsed_ms, saw) in enumerate(steps):
        now_ms += elapsed_ms
        if number == cut:
            killed = Trust.restored(json.loads(json.dumps(killed.record())))
        assert killed.judge(saw, now_ms, RULES) == calm.judge(saw, now_ms, RULES)
        assert killed.record() == calm.record()


@given(STEPS)
def test_what_every_verdict_keeps(steps: list[tuple[int, Evidence]]) -> None:
    """No state without a reason, no better state than what is wrong now, nothing trusted that has something wrong."""
    trust, now_ms = Trust(), T
    for elapsed_ms, saw in steps:
        now_ms += elapsed_ms
        trusted = trust.trusted
        verdict = trust.judge(saw, now_ms, RULES)
        assert bool(verdict.reasons) == (verdict.state != OK)
        assert list(verdict.reasons) == sorted(verdict.reasons)
        assert verdict.state >= (HALTED if saw.halted else SUSPECT if saw.split or saw.live < 2 else OK)
        wrong = {reason.partition(":")[0] for reason in verdict.reasons} - MERELY_DEGRADED
        assert trust.trusted == (trusted if wrong or saw.price is None else saw.price)


@given(STEPS, EVIDENCE)
def test_nothing_worsens_before_it_is_due(steps: list[tuple[int, Evidence]], last: Evidence) -> None:
    """Whoever looks again only when told to must not be late."""
    trust, now_ms = Trust(), T
    for elapsed_ms, saw in steps:
        now_ms += elapsed_ms
        trust.judge(saw, now_ms, RULES)
    state = trust.judge(last._replace(tick=False), now_ms, RULES).state
    due_ms = trust.due_ms(now_ms, RULES)
    assert due_ms is None or due_ms > now_ms
    later_ms = now_ms + 100_000 if due_ms is None else due_ms - 1
    assert trust.judge(last._replace(tick=False), later_ms, RULES).state <= state
