"""Rules at their extremes, prices of any size and a clock that jumps: nothing stops the oracle."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode
from schemas.dead_letters import Refused
from streams.ingest.terms import Terms
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote

T = 1_760_130_900_000
SYMBOLS = ("BTC", "ETH")
ID = "~oracle:BTC"

#: What no rule may be; each is refused in one line.
NOT_A_RULE: dict[str, tuple[dict[str, Any], str]] = {
    "negative half-life": ({"index_half_life_ms": -1}, "index_half_life_ms must be 0 to 86400000, found -1"),
    "half-life of a month too many": ({"bias_half_life_ms": 10**30}, "bias_half_life_ms must"),
    "nan": ({"clamp": "NaN"}, "clamp must be finite, found 'NaN'"),
    "huge": ({"band_sigmas": "1e308"}, "band_sigmas must"),
    "as a float": ({"confidence_factor": 1e308}, "confidence_factor must"),
    "tiny": ({"max_weight": "1e-400"}, "max_weight must"),
    "no weight": ({"sources": {"a": {"weight": "0"}}}, "sources.a.weight must be above 0, found 0"),
    "negative weight": ({"sources": {"a": {"weight": "-1"}}}, "sources.a.weight must be"),
    "more sources wanted than named": (
        {"sources": {"a": {}}},
        "sources_min must be at most the 1 sources named, found 2",
    ),
}


@pytest.mark.parametrize(("fields", "reason"), NOT_A_RULE.values(), ids=NOT_A_RULE)
def test_what_is_no_rule(fields: dict[str, Any], reason: str) -> None:
    """Who mistypes a rule must read what is wrong with it, and the rules before must hold on."""
    terms = Terms(10_000)
    terms.add(0, ID.encode(), encode({"kind": "oracle", "id": ID}))
    with pytest.raises(Refused, match=reason) as refused:
        terms.add(1, ID.encode(), json.dumps({"kind": "oracle", "id": ID} | fields).encode())
    assert "\n" not in refused.value.reason
    assert terms.oracle_record("BTC") is not None


DAY_MS = 86_400_000
#: Least and greatest of each rule.
BOUNDS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("sources_min", "band_sources"), (1, 64)),
    **dict.fromkeys(("max_age_ms", "stale_ms", "drift_interval_ms", "bias_half_life_ms"), (1, DAY_MS)),
    **dict.fromkeys(("check_ms", "recovery_ms", "index_half_life_ms", "twap_ms"), (0, 1, DAY_MS)),
    **dict.fromkeys(("recovery_ticks", "flaps_max"), (0, 1, 1_000)),
    **dict.fromkeys(("clamp", "check_deviation", "band_min", "band_max", "bias_max"), ("0", "1e-18", "1")),
    **dict.fromkeys(("band_sigmas", "cusum_k", "cusum_h", "confidence_factor"), ("0", "1e-18", "100")),
    **dict.fromkeys(("degraded_haircut", "age_haircut"), ("0", "1")),
    "max_weight": ("1e-18", "1"),
    "band_volatility": ("1e-18", "100"),
    "band_ticks": (1, 1_000),
}
EXTREMES: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.sampled_from(values) for name, values in BOUNDS.items()},
    "method": st.sampled_from(["median", "weighted_median", "confidence", "clamped_median"]),
    "check_source": st.just("c"),
    "sources": st.just({"a": {"weight": "1e-18"}, "b": {"weight": "1000000"}, "never": {}}),
    "redemption": st.sampled_from([{"of": "ETH", "rate_source": "r", "method": name} for name in ("min", "check")]),
    "marks": st.sampled_from(
        [{"BTC-PERP": {"method": name, "basis_max": "1"}} for name in ("median_of_three", "smoothed_basis")]
    ),
}
RULES = st.fixed_dictionaries({}, optional=EXTREMES)
SIZES = st.sampled_from([1e-18, 1.0, 99.0, 100.0, 101.0, 1e18])
QUOTES = st.builds(
    Quote,
    symbol=st.sampled_from(SYMBOLS),
    source=st.sampled_from(["a", "b", "c", "r"]),
    price=SIZES,
    confidence=st.sampled_from([0.0, 1e-18, 1.0, 1e18]),
    time=st.sampled_from([0, 0, 0, -5_000, 5_000, -(10**9)]),
    sequence=st.sampled_from([None, None, 1, 2**63 - 1]),
    quote_asset=st.sampled_from([None, None, "ETH", "USD", "NOBODY"]),
    instrument=st.sampled_from([None, None, "BTC-PERP"]),
    last=SIZES,
    funding_rate=st.sampled_from([None, -1.0, 1.0]),
    next_funding_time=st.sampled_from([None, T + 60_000]),
    funding_interval_ms=st.just(60_000),
)
JUMPS = st.sampled_from([0, 50, 1_000, 60_000, 10**7, -1, -5_000, -(10**7)])


def taken(terms: Terms, rules: dict[str, Any]) -> bool:
    try:
        terms.add(terms.next_offset, ID.encode(), encode({"kind": "oracle", "id": ID} | rules))
    except Refused:  # of two rules that contradict each other
        return False
    return True


@given(st.lists(st.tuples(RULES, st.lists(QUOTES, max_size=6), JUMPS), min_size=1, max_size=8))
@settings(max_examples=25)
def test_nothing_stops_the_oracle(steps: list[tuple[dict[str, Any], list[Quote], int]]) -> None:
    """All other symbols wait behind one that cannot be priced. And what is told must be a price: the shards of all
    accounts stop at another."""
    terms, now = Terms(10_000), T
    oracle = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=10_000, max_source_skew_ms=2_000)
    oracle.terms([("BTC-PERP", "BTC")])
    for rules, quotes, jump in steps:
        if taken(terms, rules):
            oracle.rules(terms.oracle_record)
        at = now
        oracle.quotes(one._replace(time=at + one.time) for one in quotes if one.quote_asset != one.symbol)
        for moment in (now, now + 250, now + jump):
            now, update = moment, oracle.due(moment, None)
            oracle.dirty()
            for row in update.rows if update else ():
                prices = [
                    row.index_price,
                    *(mark for _, mark in row.marks),
                    *([] if row.check is None else [row.check]),
                ]
                assert all(0 < price < math.inf for price in prices), row
                assert 0 <= row.confidence < math.inf
                assert 0 <= row.widening <= 1


def test_no_price_is_zero() -> None:
    """A book, and a mean, so far below the index that rounding leaves nothing: no shard values anything at 0."""
    terms = Terms(10_000)
    mark = {"BTC-PERP": {"method": "smoothed_basis", "basis_half_life_ms": 1, "basis_max": "1"}}
    assert taken(terms, {"index_half_life_ms": DAY_MS, "band_sigmas": "0", "marks": mark})
    oracle = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=10_000, max_source_skew_ms=2_000)
    oracle.rules(terms.oracle_record)
    oracle.terms([("BTC-PERP", "BTC")])
    for time, price in ((T, 1e-18), (T + 1, 100.0)):
        spot = [Quote("BTC", source, price, 0.0, time) for source in "ab"]
        oracle.quotes([*spot, Quote("BTC", "a", 1e-18, 0.0, time, instrument="BTC-PERP")])
        update = oracle.due(time, None)
    assert update is not None
    assert [row.index_price for row in update.rows] == [1e-18]
    update = oracle.due(T + 1_000, None)
    assert update is not None
    assert [row.marks for row in update.rows] == [(("BTC-PERP", 1e-18),)]


def test_a_source_of_two_symbols_is_two_sources() -> None:
    """The sequence that a source counts for one symbol says nothing of another."""
    oracle = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=10_000, max_source_skew_ms=2_000)
    quotes = [Quote("BTC", "a", 100.0, 0.0, T, 9), Quote("ETH", "a", 10.0, 0.0, T - 1, 3)]
    assert oracle.quotes(quotes) == 2
    update = oracle.due(T, None)
    assert update is not None
    assert [(row.symbol, row.index_price) for row in update.rows] == [("BTC", 100.0), ("ETH", 10.0)]
