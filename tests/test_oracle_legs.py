"""Prices stated in other symbols: by what they are converted, and in what order symbols are made."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.legs import ONE, Rate, converted, ranks
from streams.oracle.marks import DEGRADED, OK, STALE, SUSPECT, MarksUpdate
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote

T = 1_760_130_900_000


def quote(symbol: str, price: float, *, asset: str | None = None, time: int = T, source: str = "a") -> Quote:
    return Quote(symbol, source, price, 0.0, time, None, asset)


def partition(records: dict[str, dict[str, object]] | None = None) -> OraclePartition:
    found = OraclePartition(0, 2, heartbeat_ms=1_000, quote_age_ms_max=10_000, max_source_skew_ms=2_000)
    found.rules((records or {}).get, (), "USD")
    return found


def prices(update: MarksUpdate | None) -> dict[str, tuple[float, int]]:
    assert update is not None
    return {row.symbol: (row.index_price, row.state) for row in update.rows}


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        pytest.param({}, {}, id="no legs at all"),
        pytest.param({"BTC": ["USDT"]}, {"BTC": 1}, id="one leg"),
        pytest.param(
            {"WBTC": ["BTC"], "BTC": ["USDT"], "USDT": ["USDC"]}, {"USDT": 1, "BTC": 2, "WBTC": 3}, id="chain"
        ),
        pytest.param(
            {"BTC": ["USDT", "USDC"], "USDC": ["USDT"]}, {"USDC": 1, "BTC": 2}, id="two legs, one in the other"
        ),
        pytest.param({"A": ["B"], "B": ["A"]}, {"A": 1, "B": 2}, id="circle of two: the first by name is cut"),
        pytest.param({"A": ["A"]}, {"A": 1}, id="itself"),
    ],
)
def test_ranks_by_hand(needs: dict[str, list[str]], expected: dict[str, int]) -> None:
    """A symbol made before its leg would be a moment behind it, every time."""
    assert ranks(needs) == expected


@given(st.dictionaries(st.sampled_from("ABCDE"), st.sets(st.sampled_from("ABCDEF")), max_size=5))
def test_ranks_leave_no_circle(needs: dict[str, set[str]]) -> None:
    """Along the legs that are used ranks only fall, so that every price rests on quotes in the end."""
    found = ranks(needs)
    assert found.keys() == {symbol for symbol, legs in needs.items() if legs}
    used = {
        symbol: {leg for leg in legs if found.get(leg, 0) < found[symbol]} for symbol, legs in needs.items() if legs
    }
    for symbol, legs in used.items():
        assert all(found.get(leg, 0) < found[symbol] for leg in legs)
        if all(leg not in needs or not needs[leg] for leg in needs[symbol]):
            assert legs == needs[symbol]
    assert {tuple(ranks(dict(order)).items()) for order in permutations(needs.items())} == {tuple(found.items())}


def test_confidence_adds_up() -> None:
    """BTC/USDT known to 0.1 % times USDT known to 1 % is known to 1.1 %."""
    found = converted(Quote("BTC", "a", 50_000.0, 50.0, T, 1, "USDT"), Rate(0.9, 0.009, OK))
    assert found.price == pytest.approx(45_000.0)
    assert found.confidence / found.price == pytest.approx(0.011)
    assert converted(quote("BTC", 50_000.0), ONE) == quote("BTC", 50_000.0)


class TestPartition:
    def test_a_depegged_stablecoin_is_never_one(self) -> None:
        """On 11 March 2023 BTC rose in USDC because USDC fell: in dollars it did not."""
        oracle = partition()
        oracle.quotes([quote("USDC", 1.0), quote("BTC", 20_000.0, asset="USDC")])
        assert prices(oracle.due(T, None)) == {"BTC": (20_000.0, OK), "USDC": (1.0, OK)}
        oracle.quotes([quote("USDC", 0.9, time=T + 1), quote("BTC", 22_222.0, asset="USDC", time=T + 1)])
        assert prices(oracle.due(T + 1, None)) == {"BTC": (pytest.approx(19_999.8), OK), "USDC": (0.9, OK)}

    def test_a_price_moves_with_its_leg_alone(self) -> None:
        """The peg breaks while BTC/USDC stands still: in dollars BTC fell, in the same update."""
        oracle = partition()
        oracle.quotes([quote("WBTC", 1.0, asset="BTC"), quote("USDC", 1.0), quote("BTC", 20_000.0, asset="USDC")])
        oracle.due(T, None)
        oracle.quotes([quote("USDC", 0.9, time=T + 1)])
        found = prices(oracle.due(T + 1, None))
        assert found == {"BTC": (18_000.0, OK), "USDC": (0.9, OK), "WBTC": (18_000.0, OK)}

    def test_an_unknown_leg_prices_nothing(self) -> None:
        """Without a price of USDC nobody knows what 20,000 of it are worth."""
        oracle = partition()
        oracle.quotes([quote("BTC", 20_000.0, asset="USDC")])
        assert prices(oracle.due(T, None)) == {}
        oracle.quotes([quote("BTC", 19_000.0, source="b")])
        assert prices(oracle.due(T + 1, None)) == {"BTC": (19_000.0, OK)}

    def test_a_stale_leg_is_left_out(self) -> None:
        """An old rate must not price a present quote."""
        oracle = partition()
        oracle.quotes([quote("USDC", 1.0), quote("BTC", 20_000.0, asset="USDC", time=T + 9_000)])
        oracle.quotes([quote("BTC", 19_000.0, source="b", time=T + 9_000)])
        assert prices(oracle.due(T + 9_000, None)) == {"BTC": (19_500.0, OK), "USDC": (1.0, OK)}
        assert prices(oracle.due(T + 10_001, None)) == {"BTC": (19_000.0, OK), "USDC": (1.0, STALE)}

    @pytest.mark.parametrize("price", [1e18, 1e-18], ids=["largest", "smallest"])
    @pytest.mark.parametrize("judged", [False, True], ids=["no record", "a record"])
    def test_a_chain_of_legs_stays_in_range(self, price: float, judged: bool) -> None:
        """Prices beyond float64 would stop every worker for good, and anybody who may publish could send them."""
        record = {"sources_min": 1, "band_sigmas": "0"}
        book = partition({f"S{at:02}": record for at in range(20)} if judged else None)
        book.quotes(
            [
                quote(f"S{at:02}", price, asset=f"S{at - 1:02}" if at else None)._replace(confidence=1e18)
                for at in range(20)
            ]
        )
        assert prices(book.due(T, None)) == {"S00": (price, OK)}
        assert all(record for _, record in book.dirty())

    def test_reporting_currency_is_one(self) -> None:
        """A quote may name the reporting currency; it needs no price."""
        oracle = partition()
        oracle.quotes([quote("BTC", 20_000.0, asset="USD")])
        assert prices(oracle.due(T, None)) == {"BTC": (20_000.0, OK)}

    def test_a_circle_prices_nothing(self) -> None:
        """Two symbols stated in each other rest on nothing."""
        oracle = partition()
        oracle.quotes([quote("A", 2.0, asset="B"), quote("B", 0.5, asset="A")])
        assert prices(oracle.due(T, None)) == {}

    def test_a_circle_feeds_nothing_back(self) -> None:
        """A rests on dollars, B on A; A in B would be A itself again, and every error in it twice."""
        oracle = partition()
        oracle.quotes([quote("A", 100.0), quote("A", 3.0, asset="B", source="b"), quote("B", 0.5, asset="A")])
        assert prices(oracle.due(T, None)) == {"A": (100.0, OK), "B": (50.0, OK)}
        oracle.quotes([quote("A", 101.0, time=T + 1)])
        assert prices(oracle.due(T + 1, None)) == {"A": (101.0, OK), "B": (50.5, OK)}

    def test_rates_of_other_partitions(self) -> None:
        """USDC may be quoted on another partition of the topic: what its oracle told converts here."""
        oracle = partition()
        oracle.quotes([quote("BTC", 20_000.0, asset="USDC")])
        oracle.due(T, None)
        assert oracle.foreign_legs() == ["USDC"]
        oracle.rates([("USDC", 0.9, 0.001, OK, T)])
        assert prices(oracle.due(T + 1, None)) == {"BTC": (18_000.0, OK)}
        oracle.rates([("USDC", 0.9, 0.001, OK, T + 2), ("ETH", 1.0, 0.0, OK, T)])
        assert oracle.due(T + 2, None) is None
        oracle.rates([("USDC", 0.8, 0.001, DEGRADED, T + 3)])
        assert prices(oracle.due(T + 3, None)) == {"BTC": (16_000.0, OK)}
        oracle.rates([("USDC", 0.8, 0.001, SUSPECT, T + 4)])
        assert prices(oracle.due(T + 4, None)) == {"BTC": (16_000.0, STALE)}

    def test_a_silent_partition(self) -> None:
        """The oracle that made the rate died: what it told last must not price for ever."""
        oracle = partition()
        oracle.rates([("USDC", 0.9, 0.001, OK, T)])
        oracle.quotes([quote("BTC", 20_000.0, asset="USDC", time=T + 15_000)])
        assert prices(oracle.due(T + 15_000, None)) == {"BTC": (18_000.0, OK)}
        oracle.quotes([quote("BTC", 20_000.0, asset="USDC", time=T + 15_001)])
        assert prices(oracle.due(T + 15_001, None)) == {"BTC": (18_000.0, STALE)}

    def test_what_is_quoted_here_is_not_taken_from_elsewhere(self) -> None:
        """After a change of partitions the topic of marks still holds what the old ones told."""
        oracle = partition()
        oracle.quotes([quote("USDC", 1.0), quote("BTC", 20_000.0, asset="USDC")])
        oracle.rates([("USDC", 0.5, 0.0, OK, T)])
        assert prices(oracle.due(T, None))["BTC"] == (20_000.0, OK)
        assert oracle.foreign_legs() == []

    def test_rates_survive_a_restart(self) -> None:
        """A worker that was restarted must not lose the price until the other partition speaks again."""
        oracle = partition()
        oracle.quotes([quote("BTC", 20_000.0, asset="USDC")])
        oracle.rates([("USDC", 0.9, 0.001, OK, T), ("ETH", 1.0, 0.0, OK, T)])
        oracle.due(T, None)
        records = oracle.dirty()
        assert [key for key, _ in records] == [b"symbol:BTC", b"rate:USDC", b"partition"]
        again = partition()
        again.restore(records)
        again.quotes([quote("BTC", 30_000.0, asset="USDC", time=T + 1)])
        assert prices(again.due(T + 1, None)) == {"BTC": (27_000.0, OK)}
