"""Which source drifts: how fast each fault is found, and that neither chance nor colluders put the blame on others."""

import json
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.oracle.drift import Drift, DriftWatch, gap, middle
from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules

RULES = SymbolRules()
BP = 1e-4
NOBODY = Drift((), False)


def look(watch: DriftWatch, now_ms: int, prices: dict[str, float], rules: SymbolRules = RULES) -> Drift:
    """One evaluation at which every source has just quoted."""
    return watch.look([Quote("BTC", source, price, 0.0, now_ms) for source, price in prices.items()], now_ms, rules)


def found_after(
    off: Callable[[int], float], *, honest: int = 2, colluding: int = 1, seconds: int = 600, every_ms: int = 1_000
) -> tuple[int, Drift] | None:
    """Samples until something is found, where the `x` sources are off by exp(off(second)); None: nothing is."""
    watch = DriftWatch()
    for number in range(1, seconds * 1_000 // every_ms + 1):
        price = math.exp(off(number * every_ms // 1_000))
        prices = {f"h{at}": 100.0 * (1 + at * BP) for at in range(honest)}
        prices |= {f"x{at}": 100.0 * price for at in range(colluding)}
        drift = look(watch, number * every_ms, prices)
        if drift != NOBODY:
            return number, drift
    return None


@pytest.mark.parametrize(
    ("price", "others", "expected"),
    [
        pytest.param(100.0, [100.0], 0.0, id="one other, equal"),
        pytest.param(101.0, [100.0], math.log(1.01), id="one other: each is off the other"),
        pytest.param(100.5, [100.0, 101.0], 0.0, id="between two"),
        pytest.param(102.0, [100.0, 101.0], math.log(102 / 101), id="above two: from the upper"),
        pytest.param(99.0, [100.0, 101.0], math.log(99 / 100), id="below two: from the lower"),
        pytest.param(100.0, [100.0, 101.0, 110.0], math.log(100 / 101), id="three others: from the middle one"),
        pytest.param(100.0, [100.0, 100.0, 110.0, 110.0], 0.0, id="two honest, two colluding others: 0"),
        pytest.param(110.0, [100.0, 100.0, 100.0, 110.0], math.log(1.1), id="a colluder, with its friend: the whole"),
    ],
)
def test_gap_by_hand(price: float, others: list[float], expected: float) -> None:
    """A gap from the mean would let liars move what the honest are measured by."""
    assert gap(price, *middle(others)) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("off", "samples"),
    [
        pytest.param(11 * BP, None, id="10 bp over the upper honest one: z = 0.5 = k, so never"),
        pytest.param(26 * BP, 438, id="25 bp: 0.75 a minute, 5 after 400 s; some more as bias and sd are learned"),
        pytest.param(61 * BP, 130, id="60 bp: 2.5 a minute, 5 after 120 s; some more"),
        pytest.param(101 * BP, 70, id="1 %: 4.5 a minute, 5 after 67 s; a little more"),
        pytest.param(math.log(1.1), 8, id="953 bp: 47 a minute, 5 after 6.4 s"),
        pytest.param(math.log(1_000), 4, id="1,000 x: 2.5 a sample, not more"),
        pytest.param(-math.log(1_000), 4, id="1 / 1,000"),
    ],
)
def test_how_fast_a_gap_is_found(off: float, samples: int | None) -> None:
    """A source that is off takes the index along until it is left out; a quote is a sample once the next has come."""
    assert found_after(lambda _: off) == (None if samples is None else (samples, Drift(("x0",), False)))


def test_two_bad_prints_are_no_drift() -> None:
    """An honest source that slips twice would be missed when it is needed."""
    watch = DriftWatch()
    for second in range(1, 100):
        bad = 5_000.0 if second in (10, 11) else 100.0
        assert look(watch, second * 1_000, {"a": 100.0, "b": 100.0, "c": bad}) == NOBODY


def test_five_basis_points_an_hour_are_found_by_the_bias() -> None:
    """The slowest theft: no sample looks odd. The EMA lags 1.44 h behind, so 25 bp are reached after 6.4 h."""
    found = found_after(lambda second: (5 * second / 3_600 + 1) * BP, seconds=8 * 3_600, every_ms=10_000)
    assert found is not None
    assert found[1] == Drift(("x0",), False)
    assert 6.3 < found[0] * 10 / 3_600 < 6.6


def test_ten_basis_points_for_ever_are_a_basis() -> None:
    """Venues differ a little for good; one left out for that would be gone for ever."""
    assert found_after(lambda _: 11 * BP, seconds=36 * 3_600, every_ms=30_000) is None


@pytest.mark.parametrize(
    ("honest", "colluding", "expected"),
    [
        pytest.param(2, 1, Drift(("x0",), False), id="one of three"),
        pytest.param(3, 2, Drift(("x0", "x1"), False), id="two of five: both are left out, no honest one"),
        pytest.param(1, 1, Drift((), True), id="one against one: nobody knows"),
        pytest.param(2, 2, Drift((), True), id="two against two: nobody knows"),
    ],
)
def test_who_is_to_blame(honest: int, colluding: int, expected: Drift) -> None:
    """Colluders that get an honest source left out are the majority next."""
    found = found_after(lambda _: 100 * BP, honest=honest, colluding=colluding)
    assert found is not None
    assert found[1] == expected


def test_a_frozen_source_is_found_once_the_market_has_moved() -> None:
    """It repeats its last price with new times, so it is never too old."""
    watch = DriftWatch()
    for second in range(1, 600):
        market = 100.0 * (1 + second * BP)
        drift = look(watch, second * 1_000, {"a": market, "b": market, "c": 100.0})
        if drift != NOBODY:
            break
    assert drift == Drift(("c",), False)
    # z - k = n / 20 a minute from the 11th second on: n (n + 1) / 2,400 > 5 at n = 110, so 120; bias and sd are learned
    assert 120 <= second <= 123


def test_silence_gives_no_samples() -> None:
    """Of a source that stopped there is nothing to learn: the same quote looked at 100 times is one sample."""
    watch = DriftWatch()
    look(watch, 1_000, {"a": 100.0, "b": 100.0, "c": 100.0})
    off = Quote("BTC", "c", 101.0, 0.0, 1_500)
    for second in range(2, 100):
        quotes = [Quote("BTC", source, 100.0, 0.0, second * 1_000) for source in "ab"]
        assert watch.look([*quotes, off], second * 1_000, RULES) == NOBODY


def test_looking_more_often_changes_nothing() -> None:
    """How often an evaluation happens is chance; only the grid of time counts."""
    seldom, often = DriftWatch(), DriftWatch()
    for second in range(1, 20):
        prices = {"a": 100.0, "b": 100.0, "c": 100.2}
        expected = look(seldom, second * 1_000, prices)
        for part_ms in range(0, 1_000, 200):
            assert look(often, second * 1_000 + part_ms, prices) == expected
    assert often.record() == seldom.record()


def test_back_in_when_it_agrees_again() -> None:
    """Left out for as long as it is off, and some minutes more: the sum falls from 7.5 to 2.5 by 0.5 a minute, and by
    what a bias of at most 25 (1 - 2^-1/12) = 1.4 bp, learnt in five minutes, adds to that."""
    watch = DriftWatch()
    prices = {"a": 100.0, "b": 100.0, "c": 5_000.0}
    for second in range(1, 301):
        drift = look(watch, second * 1_000, prices)
    assert drift == Drift(("c",), False)
    backs = [look(watch, (300 + second) * 1_000, prices | {"c": 100.0}) == NOBODY for second in range(1, 900)]
    assert 500 <= backs.index(True) <= 600
    assert all(backs[backs.index(True) :])
    assert not watch.held["c"].out
    for second in range(4_500, 4_575):  # and found as fast as ever
        drift = look(watch, second * 1_000, prices | {"c": 101.0})
    assert drift == Drift(("c",), False)


def test_a_bias_that_stays_keeps_it_out() -> None:
    """The sums are quiet about a source that crept away and stays there."""
    watch, crept = DriftWatch(), 30 * BP
    for minute in range(1, 6 * 60):
        drift = look(
            watch, minute * 60_000, {"a": 100.0, "b": 100.0, "c": 100.0 * math.exp(crept * min(1, minute / 200))}
        )
    assert drift == Drift(("c",), False)
    assert watch.held["c"].up == 0.0


def test_a_bias_is_not_forgotten_in_a_wild_market() -> None:
    """Off by 48 bp in a quiet market, by 60 in a wild one, where each third gap cannot be told from the market's own
    moves. These say nothing for it: it must not be back in the index after hours of them."""
    watch, prices = DriftWatch(), {"a": 100.0, "b": 100.0, "c": 100.0}
    for minute in range(240):
        drift = look(watch, 60_000 * minute, prices | {"c": 100.0 * math.exp(0.00002 * minute)})
    assert drift == Drift(("c",), False)
    for minute in range(240, 840):
        level = 100.0 if minute % 6 < 3 else 101.0
        drift = look(watch, 60_000 * minute, {"a": level, "b": level, "c": level * 1.006})
        assert drift == Drift(("c",), False)


def test_prints_after_long_pauses_count_as_one_sample_each() -> None:
    """A pause is no evidence: two prints 50 bp off, 55 minutes apart, are two prints."""
    watch = DriftWatch()
    for minute, price in ((1, 100.0), (56, 100.5), (111, 100.5)):
        assert look(watch, minute * 60_000, {"a": 100.0, "b": 100.0, "c": price}) == NOBODY


@pytest.mark.parametrize(("pause_ms", "left_out"), [(3_600_000, ("c",)), (3_601_000, ())])
def test_a_drifting_source_is_forgotten_after_an_hour_of_silence(pause_ms: int, left_out: tuple[str, ...]) -> None:
    """Stopping for a moment must not wash a source clean."""
    watch, honest = DriftWatch(), {"a": 100.0, "b": 100.0}
    for second in range(1, 10):
        look(watch, second * 1_000, honest | {"c": 5_000.0})
    look(watch, 9_000 + pause_ms, honest)
    assert look(watch, 10_000 + pause_ms, honest | {"c": 100.0}).left_out == left_out


def test_two_that_differ_do_not_get_used_to_it() -> None:
    """Dispersion of all excuses each; two sources have no others, so a gap between them excuses neither."""
    found = found_after(lambda _: 30 * BP, honest=1)
    assert found is not None
    assert found[1] == Drift((), True)
    assert 300 < found[0] < 400  # 1 a minute, 5 after 300 s


def test_one_more_than_half_of_half() -> None:
    """A second of four that drifts: both out would leave two against two."""
    watch, honest = DriftWatch(), {"h0": 100.0, "h1": 100.0}
    for second in range(1, 10):
        drift = look(watch, second * 1_000, honest | {"x0": 5_000.0, "x1": 100.0})
    assert drift == Drift(("x0",), False)
    for second in range(10, 20):
        drift = look(watch, second * 1_000, honest | {"x0": 5_000.0, "x1": 5_000.0})
    assert drift == Drift(("x0",), True)
    assert watch.held["h0"].drifting_ms is None


def test_who_is_left_out_is_no_measure_of_the_others() -> None:
    """One of the two that are left follows the liar: that is a split, not the honest one's fault."""
    watch = DriftWatch()
    for second in range(1, 10):
        look(watch, second * 1_000, {"a": 100.0, "b": 100.0, "c": 5_000.0})
    for second in range(10, 85):  # 69 s, as ever
        drift = look(watch, second * 1_000, {"a": 100.0, "b": 101.0, "c": 5_000.0})
    assert drift == Drift(("c",), True)


def test_two_that_part_from_the_rest_do_not_excuse_each_other() -> None:
    """One 1 % above and one 1 % below: the honest two do not disagree, so both are found as fast as one is."""
    watch = DriftWatch()
    for second in range(1, 75):
        drift = look(watch, second * 1_000, {"h0": 100.0, "h1": 100.0, "x0": 101.0, "x1": 99.0})
    assert drift == Drift((), True)


@pytest.mark.parametrize(
    ("inner", "least", "most"),
    [
        pytest.param(0.0, 150, 165, id="50 bp off four that agree: 2 a minute"),
        pytest.param(25.0, 240, 420, id="50 bp off where others are 25 bp off: up to 0.85 a minute, as all is learned"),
    ],
)
def test_dispersion_of_all_excuses_each(inner: float, least: int, most: int) -> None:
    """In a crash venues part; leaving the outer ones out would leave the index to those who move least."""
    watch = DriftWatch()
    for second in range(1, 600):
        prices = {"a": -50.0, "b": -inner, "c": 0.0, "d": inner, "e": 50.0}
        if (
            look(watch, second * 1_000, {source: 100.0 * math.exp(off * BP) for source, off in prices.items()})
            != NOBODY
        ):
            break
    assert least <= second <= most


def test_in_a_crash_all_may_disagree_more() -> None:
    """Thirty times the usual volatility and reads up to 2 s late: nobody is off, everybody is late by turns."""
    chance, watch, market = random.Random(5), DriftWatch(), [0.0] * 3
    for second in range(1, 1_800):
        market = [market[0] + chance.gauss(0, 18 / math.sqrt(365 * 86_400)), *market[:2]]
        assert look(watch, second * 1_000, {source: math.exp(chance.choice(market)) for source in "abcde"}) == NOBODY


def test_who_was_left_out_by_a_majority_stays_out_when_it_is_gone() -> None:
    """One of the honest two stops; the liar must not come back for it."""
    watch = DriftWatch()
    for second in range(1, 10):
        look(watch, second * 1_000, {"a": 100.0, "b": 100.0, "c": 5_000.0})
    assert look(watch, 11_000, {"a": 100.0, "c": 5_000.0}).left_out == ("c",)


def test_off_where_the_rules_say_so() -> None:
    """Symbols without a record leave nobody out."""
    rules = SymbolRules(cusum_h=0.0, bias_max=0.0)
    watch = DriftWatch()
    for second in range(1, 100):
        assert look(watch, second * 1_000, {"a": 100.0, "b": 100.0, "c": 5_000.0}, rules) == NOBODY
    assert watch == DriftWatch()


def test_honest_sources_are_let_be() -> None:
    """Four hours at 60 % volatility, read up to 2 s late, each with a gap of its own of 3 bp that lasts for minutes."""
    chance, watch, market, own = random.Random(5), DriftWatch(), [0.0] * 3, dict.fromkeys("abcde", 0.0)
    for second in range(1, 4 * 3_600):
        market = [market[0] + chance.gauss(0, 0.6 / math.sqrt(365 * 86_400)), *market[:2]]
        own = {source: 0.99 * value + chance.gauss(0, 0.42 * BP) for source, value in own.items()}
        prices = {source: math.exp(market[chance.randrange(3)] + value) for source, value in own.items()}
        assert look(watch, second * 1_000, prices) == NOBODY


def test_who_falls_first_or_last_is_not_off() -> None:
    """In a fall of 3 % a minute each source says so at its own moment: nobody may be left out for being first."""
    watch = DriftWatch()
    for second in range(1, 1_800):
        said = {number: second - (second - 20 * number) % 60 for number in range(3)}
        quotes = [
            Quote("BTC", f"s{number}", 100.0 * 0.97 ** (at // 60), 0.0, at * 1_000) for number, at in said.items()
        ]
        assert watch.look(quotes, second * 1_000, RULES) == NOBODY


def test_who_sees_a_spike_alone_is_not_off() -> None:
    """3 % a minute up and down, seen by each once a minute at its own moment: each sees other spikes than the rest."""
    chance, watch, market = random.Random(5), DriftWatch(), [100.0]
    for second in range(1, 3_600):
        market.append(market[-1] * math.exp(chance.gauss(0, 0.004)))
        said = {number: second - (second - 12 * number) % 60 for number in range(5)}
        quotes = [Quote("BTC", f"s{number}", market[max(0, at)], 0.0, at * 1_000) for number, at in said.items()]
        drift = watch.look(quotes, second * 1_000, RULES)
        assert drift == NOBODY


STEPS = st.lists(
    st.tuples(
        st.integers(0, 5_000), st.dictionaries(st.sampled_from("abcde"), st.sampled_from([99.0, 100.0, 100.1, 130.0]))
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 60))
def test_restored_goes_on_as_if_never_stopped(steps: list[tuple[int, dict[str, float]]], cut: int) -> None:
    """A restart must not bring back a source that was left out."""
    calm, killed, now_ms = DriftWatch(), DriftWatch(), 0
    for number, (elapsed_ms, prices) in enumerate(steps):
        now_ms += elapsed_ms
        if number == cut:
            killed = DriftWatch.restored(json.loads(json.dumps(killed.record())))
        assert look(killed, now_ms, prices) == look(calm, now_ms, prices)
        assert killed.record() == calm.record()


@given(STEPS)
def test_most_sources_are_always_left(steps: list[tuple[int, dict[str, float]]]) -> None:
    """Nobody is newly left out but by more than half of those who are live."""
    watch, now_ms = DriftWatch(), 0
    for elapsed_ms, prices in steps:
        now_ms += elapsed_ms
        before = {source for source, held in watch.held.items() if held.out}
        left_out = look(watch, now_ms, prices).left_out
        assert set(left_out) <= before or 2 * len(left_out) < len(prices)


@settings(deadline=None)
@given(st.integers(-3_000, 3_000), st.integers(-3_000, 3_000), st.integers(0, 3), st.integers(20, 120))
def test_two_of_five_never_get_an_honest_one_left_out(first: int, second: int, rise: int, samples: int) -> None:
    """Whatever two say, alone or together, steady or growing, three that agree within 4 bp stay in."""
    watch = DriftWatch()
    for number in range(1, samples):
        prices = {"h0": 100.0, "h1": 100.0 * (1 + 2 * BP), "h2": 100.0 * (1 + 4 * BP)}
        prices["x0"] = 100.0 * math.exp((first + rise * number) * BP)
        prices["x1"] = 100.0 * math.exp((second + rise * number) * BP)
        assert not {"h0", "h1", "h2"} & set(look(watch, number * 1_000, prices).left_out)
