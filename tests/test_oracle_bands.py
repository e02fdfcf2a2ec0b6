"""The price band: what is held, what is let through and when, by hand; and that one source never moves it alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.bands import CONFIRMED, HELD, IN_BAND, Band, half_width
from streams.oracle.index import median
from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules

T = 1_760_130_900_000
RULES = SymbolRules()
Print = tuple[str, float, int]  # source, price, its time after T

STEPS = st.lists(
    st.tuples(
        st.integers(1, 20_000),
        st.dictionaries(st.sampled_from("abc"), st.floats(1.0, 1e4), min_size=1, max_size=3),
    ),
    max_size=25,
)


def quotes(prints: list[Print]) -> list[Quote]:
    return [Quote("BTC", source, price, 0.0, T + time) for source, price, time in prints]


def accepted(band: Band, time: int, prints: list[Print]) -> float:
    """What the band makes of the median of these prints at T + time."""
    found = quotes(prints)
    return band.accept(median([quote.price for quote in found]), found, T + time, RULES)


def at_100() -> Band:
    """A band around 100: it lets 99 to 101 pass."""
    band = Band()
    accepted(band, 0, [("a", 100.0, 0), ("b", 100.0, 0), ("c", 100.0, 0)])
    return band


@pytest.mark.parametrize(
    ("sigmas", "volatility", "elapsed_ms", "expected"),
    [
        pytest.param(6.0, 0.6, 10_000, 0.01, id="10 s at 60 %: 0.2 %, so the least"),
        pytest.param(6.0, 0.6, 315_360_000, 0.05, id="0.01 years: 6 x 0.6 x 0.1 = 36 %, so the most"),
        pytest.param(1.0, 0.2, 315_360_000, 0.02, id="1 x 0.2 x 0.1 = 2 %"),
        pytest.param(6.0, 0.6, -5, 0.01, id="clock went back"),
    ],
)
def test_width_by_hand(sigmas: float, volatility: float, elapsed_ms: int, expected: float) -> None:
    """Too narrow a band holds back honest moves, too wide a one lets bad prints through."""
    assert half_width(sigmas, volatility, elapsed_ms, least=0.01, most=0.05) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(1_000, [("a", 100.9, 900)], 100.9, IN_BAND)], 100.9, id="inside: let through"),
        pytest.param([(1_000, [("a", 60.0, 900)], 99.0, HELD)], 100.0, id="one source 40 % down: the edge, 99"),
        pytest.param(
            [(time, [("a", 60.0, time)], 99.0, HELD) for time in range(1_000, 60_000, 1_000)],
            100.0,
            id="one source, 59 prints in a minute: still the edge",
        ),
        pytest.param(
            [(1_000, [("a", 60.0, 900)], 99.0, HELD), (2_000, [("a", 100.2, 1_900)], 100.2, IN_BAND)],
            100.2,
            id="a bad print and the next good one: as if it had not been",
        ),
        pytest.param(
            [(1_000, [("a", 97.0, 900), ("b", 97.2, 900), ("c", 97.1, 900)], 97.1, CONFIRMED)],
            97.1,
            id="three fall together: at once, even if each quotes once a minute",
        ),
        pytest.param(
            [
                (1_000, [("a", 97.0, 900), ("b", 97.2, 900)], 99.0, HELD),
                (1_500, [("a", 97.0, 900), ("b", 97.2, 900)], 99.0, HELD),
                (2_000, [("a", 97.0, 1_900), ("b", 97.2, 900)], 97.2, CONFIRMED),
            ],
            97.2,
            id="two fall: third print a second later; median 97.1, both are at 97.2 or beyond",
        ),
        pytest.param(
            [
                (1_000, [("a", 97.0, 900), ("b", 97.0, 900)], 99.0, HELD),
                (10_999, [("a", 97.0, 900), ("b", 97.0, 900)], 99.0, HELD),
                (11_000, [("a", 97.0, 900), ("b", 97.0, 900)], 97.0, CONFIRMED),
            ],
            97.0,
            id="two that quote once a minute: after 10 s",
        ),
        pytest.param(
            [
                (1_000, [("a", 60.0, 900), ("b", 98.5, 900)], 99.0, HELD),
                (2_000, [("a", 60.0, 1_900), ("b", 98.5, 1_900)], 98.5, HELD),
                (3_000, [("a", 60.0, 2_900), ("b", 98.5, 2_900)], 97.515, HELD),
            ],
            98.5,
            id="a bad one beside a real fall of 1.5 %: as far as both went; then 98.5 x 0.99",
        ),
        pytest.param(
            [
                (1_000, [("a", 105.0, 900), ("b", 105.0, 900)], 101.0, HELD),
                (2_000, [("a", 95.0, 1_900), ("b", 95.0, 1_900)], 99.0, HELD),
                (3_000, [("a", 95.0, 2_900), ("b", 95.0, 1_900)], 95.0, CONFIRMED),
            ],
            95.0,
            id="other side: counted anew",
        ),
        pytest.param(
            [
                (1_000, [("a", 97.0, 900), ("b", 97.0, 900)], 99.0, HELD),
                (2_000, [("a", 97.0, 900), ("b", 100.0, 1_900)], 99.0, HELD),
                (3_000, [("a", 97.0, 900), ("b", 97.0, 2_900)], 99.0, HELD),
                (12_999, [("a", 97.0, 900), ("b", 97.0, 2_900)], 99.0, HELD),
                (13_000, [("a", 97.0, 900), ("b", 97.0, 2_900)], 97.0, CONFIRMED),
            ],
            97.0,
            id="b came back inside (median 98.5 is still out): its print counts no more, agreement begins anew",
        ),
        pytest.param(
            [(1_000, [("a", 98.7, 900), ("b", 98.9, 900)], 99.0, IN_BAND)],
            100.0,
            id="20 bp past the edge (median 98.8): the edge, and nothing is held back",
        ),
        pytest.param(
            [(1_000, [("a", 98.7, 900), ("b", 98.7, 900)], 99.0, HELD)],
            100.0,
            id="30 bp past the edge: held back",
        ),
        pytest.param(
            [(1_000, [("a", 90.0, 900), ("b", 100.0, 900), ("c", 100.5, 900)], 100.0, IN_BAND)],
            100.0,
            id="one of three: the median never leaves",
        ),
    ],
)
def test_what_passes_by_hand(steps: list[tuple[int, list[Print], float, str]], expected: float) -> None:
    """A bad print let through liquidates wrongly; a crash held back leaves debts."""
    band = at_100()
    for time, prints, price, verdict in steps:
        assert accepted(band, time, prints) == pytest.approx(price, rel=1e-12)
        assert band.verdict == verdict
    assert band.price == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cadence_ms", [100, 1_000, 5_000, 60_000])
@pytest.mark.parametrize("sources", [2, 3, 5])
def test_a_crash_gets_through_in_under_30_s(cadence_ms: int, sources: int) -> None:
    """30 % in one step, each source quoting at its own moment of the cadence, looked at each 100 ms."""
    band, names = Band(), "abcde"[:sources]
    fall_ms, seen_by_two_ms, through_ms = 600_000, None, None
    for time in range(0, fall_ms + 3 * cadence_ms + 30_000, 100):
        prints = []
        for number, name in enumerate(names):
            at = (time - number * cadence_ms // sources) // cadence_ms * cadence_ms + number * cadence_ms // sources
            prints.append((name, 70.0 if at >= fall_ms else 100.0, at))
        price = accepted(band, time, prints)
        if seen_by_two_ms is None and sum(price == 70.0 for _, price, _ in prints) >= sources // 2 + 1:
            seen_by_two_ms = time
        if through_ms is None and price == 70.0:
            through_ms = time
    assert seen_by_two_ms is not None
    assert through_ms is not None
    assert 0 <= through_ms - seen_by_two_ms <= 10_000


def test_a_sole_source_confirms_itself_where_the_rules_let_it() -> None:
    """With sources_min = 1 nobody else could ever confirm a fall, and debts would grow at a frozen price."""
    rules = SymbolRules(sources_min=1)
    band = Band()
    for time, price in ((0, 100.0), (1_000, 90.0), (2_000, 90.0)):
        band.accept(price, quotes([("a", price, time)]), T + time, rules)
    assert band.price == 100.0
    assert band.accept(90.0, quotes([("a", 90.0, 3_000)]), T + 3_000, rules) == 90.0


def test_no_band_where_sigmas_are_0() -> None:
    """Symbols without a record keep the prices they always had."""
    band, rules = Band(), SymbolRules(band_sigmas=0.0)
    assert [band.accept(price, [], T, rules) for price in (100.0, 1.0, 5_000.0)] == [100.0, 1.0, 5_000.0]
    assert band.verdict == IN_BAND


def test_volatility_follows_the_market() -> None:
    """2 % each minute is 1,450 % a year; half of it is learned in half an hour, and the band widens."""
    band, price = at_100(), 100.0
    for minute in range(1, 31):
        price *= 1.02 if minute % 2 else 1 / 1.02
        prints = [(name, price, minute * 60_000) for name in "abc"]
        assert accepted(band, minute * 60_000, prints) == price
    learned = 0.5 * 0.6**2 + 0.5 * (0.0198026**2 * 525_600)
    assert band.variance == pytest.approx(learned, rel=1e-4)


@given(STEPS)
def test_one_source_never_moves_the_index_out_of_the_band(steps: list[tuple[int, dict[str, float]]]) -> None:
    """Whatever it says and however often, beyond the edge the index goes only where two sources are."""
    band, now_ms = Band(), 0
    for elapsed_ms, prices in steps:
        now_ms += elapsed_ms
        centre = band.price
        found = accepted(band, now_ms, [(source, price, now_ms) for source, price in sorted(prices.items())])
        if centre is None or abs(found / centre - 1) <= RULES.band_max * (1 + 1e-9):
            continue
        beyond = [price for price in prices.values() if abs(price - centre) >= abs(found - centre) * (1 - 1e-12)]
        assert len([price for price in beyond if (price > centre) == (found > centre)]) >= 2


@given(STEPS, st.integers(0, 25))
def test_restored_goes_on_as_if_never_stopped(steps: list[tuple[int, dict[str, float]]], cut: int) -> None:
    """A worker killed while a move waits for confirmation must not let it through sooner, or lose it."""
    calm, killed, now_ms = Band(), Band(), 0
    for number, (elapsed_ms, prices) in enumerate(steps):
        now_ms += elapsed_ms
        prints = [(source, price, now_ms) for source, price in sorted(prices.items())]
        if number == cut:
            killed = Band.restored(json.loads(json.dumps(killed.record())))
        assert accepted(killed, now_ms, prints) == accepted(calm, now_ms, prints)
        assert killed.record() == calm.record()
        assert killed.due_ms() == calm.due_ms()
