"""One price out of several sources: hand-worked rows, and what no single source can do to it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.aggregation import aggregate, capped_weights, clamped_mean, three_votes, weighted_median
from streams.oracle.index import index_of, median
from streams.oracle.quotes import Quote
from streams.oracle.settings import METHODS, SourceRule, SymbolRules, rules_of

PRICES = st.floats(min_value=1e-9, max_value=1e12)
WEIGHTS = st.floats(min_value=1e-3, max_value=1e3)


def quotes(*prices: float, confidence: float = 0.0) -> list[Quote]:
    return [Quote("BTC", f"s{at:02}", price, confidence, at) for at, price in enumerate(prices)]


@pytest.mark.parametrize(
    ("weights", "cap", "expected"),
    [
        pytest.param([1.0, 1.0, 1.0], 0.4, [1 / 3] * 3, id="equal parts, below the cap"),
        pytest.param([8.0, 1.0, 1.0], 0.4, [0.4, 0.3, 0.3], id="one is cut, the rest shared alike"),
        pytest.param([6.0, 3.0, 1.0], 0.4, [0.4, 0.4, 0.2], id="what is cut lifts another above the cap: 0.45"),
        pytest.param([9.0, 0.5, 0.25, 0.25], 0.4, [0.4, 0.3, 0.15, 0.15], id="shared in proportion"),
        pytest.param([5.0, 1.0], 0.4, [0.5, 0.5], id="two cannot both be below 0.4"),
        pytest.param([5.0, 1.0], 0.5, [0.5, 0.5], id="cap = an equal part"),
        pytest.param([7.0], 0.4, [1.0], id="one alone"),
        pytest.param([3.0, 1.0], 1.0, [0.75, 0.25], id="no cap"),
    ],
)
def test_weights_by_hand(weights: list[float], cap: float, expected: list[float]) -> None:
    """A source that weighs more than the cap prices the market nearly alone."""
    assert capped_weights(weights, cap) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("prices", "weights", "expected"),
    [
        pytest.param([101.0, 120.0, 100.0], [1.0, 1.0, 1.0], 101.0, id="equal weights: the median"),
        pytest.param([100.0, 103.0], [1.0, 1.0], 101.5, id="two that share the middle: their mean"),
        pytest.param([100.0, 101.0, 102.0, 103.0], [0.1, 0.4, 0.4, 0.1], 101.5, id="half on either side of both"),
        pytest.param([100.0, 101.0, 120.0], [0.2, 0.2, 0.6], 120.0, id="more than half: its price"),
        pytest.param([100.0, 101.0, 120.0], [0.25, 0.25, 0.5], 110.5, id="just half: the mean with the next"),
        pytest.param([7.0], [1.0], 7.0, id="one alone"),
    ],
)
def test_weighted_median_by_hand(prices: list[float], weights: list[float], expected: float) -> None:
    """The price that has half of the trust on either side."""
    assert weighted_median(prices, weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("prices", "clamp", "expected"),
    [
        pytest.param([100.0, 101.0, 102.0], 0.01, 101.0, id="all inside: the mean"),
        pytest.param([100.0, 100.0, 100_000.0], 0.005, 100 + 0.5 / 3, id="one off by 1000x: counts as +0.5 %"),
        pytest.param([100.0, 100.0, 0.1], 0.005, 100 - 0.5 / 3, id="one off by 1/1000"),
        pytest.param([100.0, 110.0], 0.02, 105.0, id="two: clamped about their mean"),
        pytest.param([100.0, 101.0, 150.0], 0.0, 101.0, id="clamp 0: the median"),
    ],
)
def test_clamped_mean_by_hand(prices: list[float], clamp: float, expected: float) -> None:
    """A mean uses all sources, and none may pull it further than the clamp."""
    assert clamped_mean(prices, [1 / len(prices)] * len(prices), clamp) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([(100.0, 1.0)], (100.0, 1.0), id="one: its own interval"),
        pytest.param([(100.0, 1.0), (102.0, 1.0)], (101.0, 1.0), id="two that touch: 99 100 101 101 102 103"),
        # 99.9 100 100.1, 99 100 101, 70 100 130: votes 70 99 99.9 100 100 100 100.1 101 130; quarters 99.9 and 100.1
        pytest.param([(100.0, 0.1), (100.0, 1.0), (100.0, 30.0)], (100.0, 0.1), id="an unsure one says little"),
    ],
)
def test_three_votes_by_hand(rows: list[tuple[float, float]], expected: tuple[float, float]) -> None:
    """A source that admits it is unsure must count for less, in price and in confidence."""
    found = three_votes([price for price, _ in rows], [confidence for _, confidence in rows])
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("prices", "confidence", "expected"),
    [
        pytest.param([100.0, 100.2, 100_000.0], 0.1, 0.2, id="one wild source does not stretch it"),
        pytest.param([100.0, 110.0], 0.1, 5.0, id="two that disagree: half of what lies between"),
        pytest.param([100.0, 100.0, 100.0], 0.3, 0.3, id="all agree: what they say of themselves"),
    ],
)
@pytest.mark.parametrize("method", ["median", "weighted_median"])
def test_confidence_by_hand(prices: list[float], confidence: float, expected: float, method: str) -> None:
    """Confidence widens haircuts: one bad source must not cost every holder his collateral."""
    found = aggregate(quotes(*prices, confidence=confidence), SymbolRules(method=method))
    assert found.confidence == pytest.approx(expected, rel=1e-9)


def test_weights_of_the_live_ones_only() -> None:
    """Weights are parts of what is there: where the heavy source is gone, the others price alone."""
    rules = SymbolRules(
        method="weighted_median",
        max_weight=0.6,
        sources={f"s{at:02}": SourceRule(weight=weight, max_age_ms=1) for at, weight in enumerate((6.0, 2.0, 2.0))},
    )
    live = quotes(100.0, 102.0, 104.0)
    assert aggregate(live, rules).price == 100.0
    assert aggregate(live[1:], rules).price == 103.0


def test_without_rules_it_is_what_it_always_was() -> None:
    """Bit for bit: journals of installations without oracle records go on as they were."""
    live = quotes(100.1, 103.3, 99.7, confidence=0.2)
    assert aggregate(live, rules_of(None, 10_000)) == index_of(live)


def rules(method: str) -> SymbolRules:
    return SymbolRules(method=method, clamp=0.005)


@given(st.lists(PRICES, min_size=1, max_size=12), st.sampled_from(METHODS), st.randoms())
def test_index_is_between_the_sources_and_blind_to_their_order(
    prices: list[float], method: str, random: object
) -> None:
    """An index outside what any source said would be a price at which nobody traded."""
    live = quotes(*prices)
    found = aggregate(live, rules(method))
    assert min(prices) <= found.price <= max(prices)
    random.shuffle(live)  # type: ignore[attr-defined]
    again = aggregate(live, rules(method))
    assert again.price == pytest.approx(found.price, rel=1e-12)


@given(st.lists(PRICES, min_size=3, max_size=11), PRICES, st.sampled_from(["median", "weighted_median"]))
def test_one_source_cannot_carry_a_median_away(prices: list[float], bad: float, method: str) -> None:
    """Whatever one of at least three equal sources says, the index stays among the others."""
    found = aggregate(quotes(bad, *prices[1:]), rules(method))
    assert min(prices[1:]) <= found.price <= max(prices[1:])
    assert found.confidence <= (max(prices[1:]) - min(prices[1:])) * (1 + 1e-12)


@given(st.lists(PRICES, min_size=3, max_size=11), PRICES)
def test_one_source_cannot_carry_a_clamped_mean_further_than_its_weight(prices: list[float], bad: float) -> None:
    """It moves the index by at most weight x clamp beyond the others."""
    found = aggregate(quotes(bad, *prices[1:]), rules("clamped_median"))
    room = 0.005 * min(0.4, 1 / len(prices)) + 1e-12
    assert min(prices[1:]) * (1 - room) <= found.price <= max(prices[1:]) * (1 + room)


@given(st.lists(WEIGHTS, min_size=1, max_size=20), st.floats(min_value=0.01, max_value=1.0))
def test_weights_add_up_and_keep_the_cap(weights: list[float], cap: float) -> None:
    """No source above the cap, nothing lost, and the heavier never below the lighter."""
    found = capped_weights(weights, cap)
    assert sum(found) == pytest.approx(1.0, rel=1e-9)
    assert max(found) <= max(cap, 1 / len(weights)) + 1e-12
    by_weight = [part for _, part in sorted(zip(weights, found, strict=True))]
    assert all(low <= high + 1e-12 for low, high in pairwise(by_weight))


@given(st.lists(PRICES, min_size=1, max_size=12))
def test_weighted_median_of_equal_weights_is_the_median(prices: list[float]) -> None:
    """Two ways to say the same must give the same."""
    assert weighted_median(prices, [1 / len(prices)] * len(prices)) == pytest.approx(median(prices), rel=1e-12)
