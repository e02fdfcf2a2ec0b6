"""Index price and confidence of one symbol: hand-worked rows, boundaries by name, properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.index import confidence_of, index_of, live_quotes, median
from streams.oracle.marks import mark_price
from streams.oracle.quotes import Quote, refusal

PRICES = st.floats(min_value=1e-9, max_value=1e300)


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        pytest.param([101.0], 101.0, id="one source: its price"),
        pytest.param([100.0, 103.0], 101.5, id="two: the mean"),
        pytest.param([120.0, 100.0, 101.0], 101.0, id="three: one 20 % off moves nothing"),
        pytest.param([100.0, 101.0, 104.0, 5000.0], 102.5, id="four: mean of 101 and 104"),
        pytest.param([3.0, 1.0, 2.0, 5.0, 4.0], 3.0, id="five, unsorted"),
        pytest.param([7.0, 7.0, 7.0, 9.0], 7.0, id="equal prices"),
        pytest.param([1.5e308, 1.7e308], 1.6e308, id="the sum of both would be infinite"),
        pytest.param([0.1, 0.2], (0.1 + 0.2) / 2, id="bits are those of the plain mean"),
    ],
)
def test_median_by_hand(prices: list[float], expected: float) -> None:
    """A wrong middle lets one bad source price every position."""
    assert median(prices) == expected


@pytest.mark.parametrize(
    ("prices", "confidences", "expected"),
    [
        pytest.param([100.0], [0.3], 0.3, id="one source: what it says of itself"),
        pytest.param([100.0], [0.0], 0.0, id="one source, none stated"),
        pytest.param([100.0, 103.0], [0.5, 0.1], 1.5, id="two apart: half the spread, 3 / 2"),
        pytest.param([100.0, 100.0], [0.5, 0.1], 0.3, id="two agree: mean of what they say"),
        pytest.param([100.0, 100.2, 100.4], [0.1, 0.5, 9.0], 0.5, id="three: median 0.5 over half spread 0.2"),
        pytest.param([99.0, 100.0, 101.0], [1.0, 1.0, 1.0], 1.0, id="half spread = median confidence"),
    ],
)
def test_confidence_by_hand(prices: list[float], confidences: list[float], expected: float) -> None:
    """Confidence stated too small would let the engine trust a price that its sources dispute."""
    assert confidence_of(prices, confidences) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("time", "live"),
    [
        pytest.param(90_000, True, id="age = quote_age_ms_max"),
        pytest.param(89_999, False, id="age = quote_age_ms_max + 1"),
        pytest.param(100_000, True, id="age = 0"),
        pytest.param(100_001, True, id="from the future"),
        pytest.param(0, False, id="from long ago"),
    ],
)
def test_when_a_source_counts(time: int, live: bool) -> None:
    """A source left in too long prices the market as it was; one dropped too early makes marks stale."""
    quotes = [Quote("BTC", "a", 100.0, 0.0, time)]
    found = live_quotes(quotes, now_ms=100_000, quote_age_ms_max=10_000)
    assert found == (quotes if live else [])


HELD = Quote("BTC", "a", 100.0, 0.1, 50_000, 7)


@pytest.mark.parametrize(
    ("held", "new", "expected"),
    [
        pytest.param(HELD, HELD._replace(sequence=8, time=50_001), "", id="next sequence"),
        pytest.param(HELD, HELD._replace(sequence=8, time=50_000), "", id="next sequence, equal time"),
        pytest.param(HELD, HELD._replace(sequence=8, time=1), "", id="next sequence, clock of the source went back"),
        pytest.param(HELD, HELD, "repeated", id="same sequence, same quote"),
        pytest.param(HELD, HELD._replace(price=99.0), "repeated", id="same sequence, other price"),
        pytest.param(HELD, HELD._replace(sequence=6, time=50_500), "out_of_order", id="lower sequence, newer time"),
        pytest.param(HELD, HELD._replace(sequence=1, time=60_000), "out_of_order", id="lower, newer by restart_ms"),
        pytest.param(HELD, HELD._replace(sequence=1, time=60_001), "", id="lower, newer by restart_ms + 1: restart"),
        pytest.param(HELD, HELD._replace(sequence=None, time=50_001), "", id="no sequence any more: by time"),
        pytest.param(HELD, HELD._replace(sequence=None, time=49_999), "out_of_order", id="no sequence, older"),
        pytest.param(
            HELD._replace(sequence=None),
            HELD._replace(time=49_999),
            "out_of_order",
            id="first sequence, older",
        ),
        pytest.param(HELD._replace(sequence=None), HELD, "repeated", id="equal time, same quote"),
        pytest.param(HELD._replace(sequence=None), HELD._replace(price=99.0), "", id="equal time, other price"),
        pytest.param(
            HELD._replace(sequence=None), HELD._replace(confidence=9.0), "", id="equal time, other confidence"
        ),
    ],
)
def test_which_quote_is_the_later(held: Quote, new: Quote, expected: str) -> None:
    """A replayed old quote taken for new would liquidate at a price that is gone."""
    assert refusal(held, new, restart_ms=10_000) == expected


def test_mark_is_index_plus_basis() -> None:
    """A perpetual that trades 5 above its index is valued 5 higher; without a measured basis mark = index."""
    assert mark_price(100.0) == 100.0
    assert mark_price(100.0, basis=5.0) == 105.0
    assert mark_price(100.0, basis=-5.0) == 95.0


@given(st.lists(PRICES, min_size=1, max_size=12), st.randoms())
def test_median_is_between_the_sources_and_blind_to_their_order(prices: list[float], random: object) -> None:
    """An index outside what any source said would be a price at which nobody traded."""
    expected = median(prices)
    assert min(prices) <= expected <= max(prices)
    shuffled = list(prices)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert median(shuffled) == expected


@given(st.lists(st.tuples(PRICES, st.floats(min_value=0, max_value=1e300)), min_size=1, max_size=12))
def test_confidence_reaches_every_source(pairs: list[tuple[float, float]]) -> None:
    """Where the sources lie further apart than they admit, the confidence says so."""
    prices, confidences = [price for price, _ in pairs], [confidence for _, confidence in pairs]
    found = confidence_of(prices, confidences)
    assert math.isfinite(found)
    assert found >= (max(prices) - min(prices)) / 2
    assert found >= median(confidences)


@given(st.lists(PRICES, min_size=3, max_size=11), PRICES)
def test_one_source_cannot_carry_the_index_away(prices: list[float], bad: float) -> None:
    """Whatever one of at least three sources says, the index stays among the others."""
    quotes = [Quote("BTC", str(number), price, 0.0, 0) for number, price in enumerate(prices)]
    quotes[0] = quotes[0]._replace(price=bad)
    assert min(prices[1:]) <= index_of(quotes).price <= max(prices[1:])
