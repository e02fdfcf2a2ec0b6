"""What holds of symbols with oracle records for any quotes, legs, orders, clocks and restarts."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.oracle.marks import CATCHING_UP, HALTED, STALE, SUSPECT, MarksUpdate
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote

T = 1_760_130_900_000
QUICK = {"max_age_ms": 500, "stale_ms": 1_000, "recovery_ticks": 2, "recovery_ms": 300, "drift_interval_ms": 100}
SMOOTH = {"index_half_life_ms": 200, "marks": {"BTC-PERP": {"method": "median_of_three", "basis_max": "0.05"}}}
BOOKISH = {"twap_ms": 600, "marks": {"BTC-PERP": {"method": "smoothed_basis", "basis_half_life_ms": 100}}}
RECORDS: list[dict[str, dict[str, Any]]] = [
    {"BTC": QUICK | SMOOTH, "USDT": QUICK | {"method": "median"}},
    {"BTC": QUICK | {"method": "confidence", "check_source": "c", "check_ms": 200, "version": 7}},
    {"BTC": QUICK | BOOKISH | {"redemption": {"of": "USDT", "rate_source": "c", "method": "min"}}},
    {"BTC": QUICK | BOOKISH | {"redemption": {"of": "USDT", "rate_source": "c", "method": "check"}}},
    {"BTC": QUICK | {"sources": {"a": {"weight": "3"}, "b": {}}, "method": "weighted_median"}, "USDT": QUICK},
    {},
]

PRICES = st.floats(min_value=90.0, max_value=110.0) | st.floats(min_value=1e-3, max_value=1e6)
QUOTES = st.builds(
    Quote,
    st.sampled_from(["BTC", "BTC", "USDT", "WBTC"]),
    st.sampled_from(["a", "b", "c"]),
    PRICES,
    st.sampled_from([0.0, 0.25]),
    st.integers(T - 100, T + 3_000),
    st.none() | st.integers(0, 50),
    st.sampled_from([None, None, "USDT", "BTC", "EUR"]),
    st.sampled_from([None, None, "BTC-PERP"]),
    st.none() | PRICES,
    st.none() | st.floats(-0.01, 0.01),
    st.none() | st.integers(T, T + 100_000),
    st.just(1_000_000),
)
Step = tuple[str, Any]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("quotes"), st.lists(QUOTES, max_size=6)),
        st.tuples(st.just("rules"), st.tuples(st.sampled_from(RECORDS), st.sampled_from([(), ("BTC",)]))),
        st.tuples(st.just("rates"), st.tuples(st.sampled_from(["EUR", "USDT"]), PRICES, st.integers(0, 4))),
        st.tuples(st.just("due"), st.tuples(st.integers(-50, 600), st.none() | st.integers(-50, 600))),
    ),
    max_size=25,
)


class Run:
    """A partition that is given steps, with the rules and rates that it was last given, as a restart gives them."""

    def __init__(self) -> None:
        self.rules: tuple[Any, ...] = (RECORDS[0].get, ())
        self.rates: dict[str, tuple[Any, ...]] = {}
        self.restarted([])

    def restarted(self, records: Any) -> None:
        self.oracle = OraclePartition(2, 3, heartbeat_ms=100, quote_age_ms_max=500, max_source_skew_ms=200)
        self.oracle.rules(*self.rules)
        self.oracle.restore(records)
        self.oracle.terms([("BTC-PERP", "BTC")])
        self.oracle.rates(self.rates.values())

    def take(self, step: Step, now_ms: int) -> MarksUpdate | None:
        kind, value = step
        if kind == "quotes":
            self.oracle.quotes(value)
        elif kind == "rules":
            self.rules = (value[0].get, value[1])
            self.oracle.rules(*self.rules)
        elif kind == "rates":
            self.rates[value[0]] = (value[0], value[1], 0.0, value[2], now_ms)
            self.oracle.rates([self.rates[value[0]]])
        else:
            return self.oracle.due(now_ms, None if value[1] is None else now_ms - value[1])
        return None


def clocked(steps: list[Step]) -> Iterator[tuple[Step, int]]:
    now_ms = T
    for step in steps:
        if step[0] == "due":
            now_ms += step[1][0]
        yield step, now_ms


@settings(max_examples=150)
@given(STEPS, st.sets(st.integers(0, 24)))
def test_restart_anywhere_changes_nothing(steps: list[Step], restarts: set[int]) -> None:
    """States, means and statistics of a worker that was killed go on as if nothing had happened."""
    calm, killed = Run(), Run()
    calm_log: dict[bytes, bytes] = {}
    killed_log: dict[bytes, bytes] = {}
    for number, (step, now_ms) in enumerate(clocked(steps)):
        assert killed.take(step, now_ms) == calm.take(step, now_ms)
        calm_log |= calm.oracle.dirty()
        killed_log |= killed.oracle.dirty()
        assert killed_log == calm_log
        if number in restarts:
            killed.restarted(killed_log.items())


@settings(max_examples=100)
@given(STEPS)
def test_what_every_row_keeps(steps: list[Step]) -> None:
    """Prices are positive, doubts have reasons, a second opinion is there only with a doubt."""
    run = Run()
    for step, now_ms in clocked(steps):
        update = run.take(step, now_ms)
        for row in update.rows if update else ():
            assert row.index_price > 0
            assert all(mark > 0 for _, mark in row.marks)
            assert row.confidence >= 0
            assert 0.0 <= row.widening <= 1.0
            assert row.widening * 400 == round(row.widening * 400)
            assert row.reasons == tuple(sorted(set(row.reasons)))
            assert (row.check is None) or row.state >= SUSPECT
            if row.state not in (0, STALE):
                assert row.reasons
        if update and update.mode != CATCHING_UP:
            assert [row.symbol for row in update.rows] == sorted(row.symbol for row in update.rows)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from(["a", "b", "c", "d"]), st.floats(50.0, 200.0)), max_size=30
    ),
    st.sampled_from(["median", "weighted_median", "clamped_median"]),
)
def test_index_is_between_least_and_greatest_live_source(rows: list[tuple[int, str, float]], method: str) -> None:
    """Without band and means the index told is one that the live sources enclose."""
    record = QUICK | {"method": method, "band_sigmas": "0", "cusum_h": "0", "bias_max": "0", "stale_ms": 10**7}
    oracle = OraclePartition(0, 1, heartbeat_ms=100, quote_age_ms_max=500, max_source_skew_ms=200)
    oracle.rules({"BTC": record}.get)
    now, latest = T, {}
    for elapsed, source, price in rows:
        now += elapsed
        oracle.quotes([Quote("BTC", source, price, 0.0, now)])
        latest[source] = (price, now)
        update = oracle.due(now, None)
        live = {name: price for name, (price, time) in latest.items() if now - time <= 500}
        for row in update.rows if update else ():
            assert min(live.values()) <= row.index_price <= max(live.values())
            assert set(row.sources) <= live.keys()
            assert row.state != HALTED
