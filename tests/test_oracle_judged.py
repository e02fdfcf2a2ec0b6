"""Symbols with an oracle record, moment by moment: what is told of them, and why."""

import json

import pytest

from streams.oracle.marks import DEGRADED, HALTED, OK, STALE, SUSPECT, MarksUpdate, SymbolMark
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote

T = 1_760_130_900_000
#: Two sources at least, no watch over drift, no band: each test adds what it is about.
PLAIN = {"method": "median", "cusum_h": "0", "bias_max": "0", "band_sigmas": "0", "confidence_factor": "0"}
Record = dict[str, object]


def quote(price: float, *, source: str = "a", time: int = T, symbol: str = "BTC", asset: str | None = None) -> Quote:
    return Quote(symbol, source, price, 0.0, time, None, asset)


class Market:
    """An oracle partition whose sources quote each second; the rows told are kept."""

    def __init__(self, records: dict[str, Record], *, halted: tuple[str, ...] = ()) -> None:
        self._records = records
        self.oracle = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=10_000, max_source_skew_ms=2_000)
        self.oracle.rules(records.get, halted)
        self.oracle.terms([("BTC-PERP", "BTC")])
        self.now = T
        self.told: dict[str, SymbolMark] = {}
        self.changelog: dict[bytes, bytes] = {}

    def at(self, step_ms: int, *quotes: Quote) -> SymbolMark | None:
        """The quotes come and the oracle looks, `step_ms` after T; what it told of BTC by then."""
        self.now = T + step_ms
        self.oracle.quotes([quote._replace(time=self.now) if quote.time == T else quote for quote in quotes])
        update: MarksUpdate | None = self.oracle.due(self.now, None)
        self.told |= {row.symbol: row for row in update.rows} if update else {}
        self.changelog |= self.oracle.dirty()
        return self.told.get("BTC")

    def restarted(self) -> "Market":
        """The same after a restart from its changelog."""
        found = Market(self._records)
        found.oracle.restore(self.changelog.items())
        found.told, found.changelog = self.told, self.changelog
        return found

    def sampled(self) -> dict[str, int]:
        """By source of BTC the time of the quote that it was last held against the others with."""
        held = json.loads(self.changelog[b"symbol:BTC"])["judged"]["drift"][3]
        return {source: values[0] for source, values in held.items()}

    def over(self, from_ms: int, to_ms: int, **prices: float) -> SymbolMark | None:
        """The same prices by source once a second, to the end; what was told of BTC last."""
        row = None
        for step_ms in range(from_ms, to_ms + 1, 1_000):
            row = self.at(step_ms, *[quote(price, source=source) for source, price in prices.items()])
        return row


def told(row: SymbolMark | None) -> SymbolMark:
    assert row is not None
    return row


def judged(row: SymbolMark | None) -> tuple[float, int, tuple[str, ...]]:
    return told(row).index_price, told(row).state, told(row).reasons


class TestSources:
    def test_all_there(self) -> None:
        """Two sources that agree: nothing to add."""
        row = told(Market({"BTC": PLAIN}).at(0, quote(100.0), quote(102.0, source="b")))
        assert judged(row) == (101.0, OK, ())
        assert (row.check, row.widening, row.marks) == (None, 0.0, (("BTC-PERP", 101.0),))

    def test_one_of_three_goes_silent(self) -> None:
        """It is out once its quote is too old. None is left to spare: haircuts widen by 2 pp until it has been back for
        a while."""
        market = Market({"BTC": PLAIN})
        market.over(0, 5_000, a=100.0, b=100.0, c=100.0)
        assert judged(market.over(6_000, 8_000, a=90.0, b=90.0)) == (90.0, OK, ())
        row = told(market.over(9_000, 9_000, a=90.0, b=90.0))
        assert judged(row) == (90.0, DEGRADED, ("source_missing:c",))
        assert (row.widening, row.check) == (0.02, None)
        row = told(market.over(10_000, 19_000, a=90.0, b=90.0, c=90.0))
        assert (judged(row), row.widening) == ((90.0, DEGRADED, ("recovering",)), 0.02)
        row = told(market.over(20_000, 20_000, a=90.0, b=90.0, c=90.0))
        assert (judged(row), row.widening) == ((90.0, OK, ()), 0.0)

    def test_one_of_four_goes_silent(self) -> None:
        """The price is as well known as before, since three can outvote one: nobody is to be liquidated for it."""
        market = Market({"BTC": PLAIN})
        market.over(0, 5_000, a=100.0, b=100.0, c=100.0, d=100.0)
        row = told(market.over(6_000, 9_000, a=100.0, b=100.0, c=100.0))
        assert judged(row) == (100.0, DEGRADED, ("source_missing:d",))
        assert row.widening == 0.0

    def test_too_few_sources(self) -> None:
        """One of two is left: suspect at once, stale after a minute, and then it stands still."""
        market = Market({"BTC": PLAIN})
        market.over(0, 5_000, a=100.0, b=100.0)
        row = told(market.over(6_000, 9_000, a=99.0))
        assert judged(row) == (99.0, SUSPECT, ("few_sources", "source_missing:b"))
        assert row.check == pytest.approx(99.5)  # the index last trusted
        assert judged(market.over(10_000, 68_000, a=99.0))[1] == SUSPECT
        assert judged(market.over(69_000, 69_000, a=80.0)) == (99.0, STALE, ("few_sources", "source_missing:b"))
        assert told(market.at(70_000)).marks == (("BTC-PERP", 99.0),)

    def test_all_sources_gone(self) -> None:
        """The last price stands, told as suspect and then as stale, by the passing of time alone."""
        market = Market({"BTC": PLAIN})
        market.over(0, 5_000, a=100.0, b=100.0)
        row = told(market.over(6_000, 9_000))
        assert judged(row) == (100.0, SUSPECT, ("few_sources", "source_missing:a", "source_missing:b"))
        assert row.check == 100.0
        row = told(market.over(10_000, 69_000))
        assert (row.index_price, row.state, row.sources) == (100.0, STALE, ())
        assert row.widening == 0.12  # 2 pp, and 10 pp of age
        assert judged(market.over(70_000, 79_000, a=50.0, b=50.0)) == (100.0, STALE, ("recovering",))
        assert judged(market.over(80_000, 80_000, a=50.0, b=50.0)) == (50.0, OK, ())

    def test_a_source_ahead_of_the_clock_is_left_out(self) -> None:
        """A clock that runs fast must not keep a dead source alive."""
        market = Market({"BTC": PLAIN})
        row = market.at(0, quote(100.0), quote(100.0, source="b"), quote(50.0, source="c", time=T + 3_001))
        assert told(row).sources == ("a", "b")
        assert told(market.at(1_000, quote(100.0), quote(100.0, source="b"))).sources == ("a", "b", "c")

    def test_named_sources_only(self) -> None:
        """Where the record names them, nobody else prices the symbol; and one named is missed from the start."""
        market = Market({"BTC": PLAIN | {"sources": {"a": {}, "b": {"max_age_ms": 60_000}, "c": {}}}})
        row = market.at(0, quote(100.0), quote(102.0, source="b"), quote(500.0, source="x"))
        assert judged(row) == (101.0, DEGRADED, ("source_missing:c",))
        assert market.oracle.refused["unlisted_source"] == 1
        assert judged(market.over(1_000, 50_000, a=100.0))[0] == 101.0  # b may be a minute old

    def test_record_comes_and_goes(self) -> None:
        """Rules hold from the moment they are read; a source that they do not name is forgotten."""
        market = Market({})
        market.at(0, quote(100.0), quote(104.0, source="b"), quote(109.0, source="c"))
        assert judged(market.at(1)) == (104.0, OK, ())
        market.oracle.rules({"BTC": PLAIN | {"sources": {"a": {}, "b": {}}}}.get)
        assert judged(market.at(2)) == (102.0, OK, ())
        market.oracle.rules({}.get)
        assert told(market.at(3)).sources == ("a", "b")

    def test_record_that_knows_none_of_the_sources(self) -> None:
        """A slip in the record must not leave the price of its moment standing as a good one."""
        market = Market({})
        market.at(0, quote(100.0), quote(104.0, source="b"))
        market.oracle.rules({"BTC": PLAIN | {"sources": {"x": {}, "y": {}}}}.get)
        market.at(1, quote(90.0), quote(90.0, source="x", time=T - 5_000))
        row = told(market.at(2))
        assert judged(row) == (102.0, SUSPECT, ("few_sources", "source_missing:x", "source_missing:y"))


class TestBreakers:
    def test_a_bad_print_is_held_back_and_a_crash_gets_through(self) -> None:
        """One source prints -10 %: held at the band's edge, suspect. Three print it: a crash, let through at once."""
        band = PLAIN | {"band_sigmas": "6", "method": "clamped_median"}
        market = Market({"BTC": band})
        market.over(0, 30_000, a=100.0, b=100.0)
        row = told(market.at(31_000, quote(80.0), quote(100.0, source="b")))
        assert (row.index_price, row.state, row.reasons) == (99.0, SUSPECT, ("band",))
        assert (row.check, row.confidence) == (100.0, 0.0)  # not the 10 that lie between the two
        crash = Market({"BTC": band})
        crash.over(0, 30_000, a=100.0, b=100.0, c=100.0)
        assert judged(crash.over(31_000, 31_000, a=80.0, b=80.0, c=80.0)) == (80.0, OK, ())

    def test_a_source_off_by_a_thousand(self) -> None:
        """It moves nothing at first, is found out, left out, and the haircut widens by no more than 2 pp."""
        market = Market({"BTC": {"confidence_factor": "0"}})
        market.over(0, 60_000, a=100.0, b=100.0, c=100.0)
        found = [told(market.over(step, step, a=100.0, b=100.0, c=100_000.0)) for step in range(61_000, 80_000, 1_000)]
        assert max(row.index_price for row in found) <= 100.0 * (1 + 0.005 / 3)
        assert found[-1].sources == ("a", "b")
        assert judged(found[-1]) == (100.0, DEGRADED, ("drift:c",))
        assert max(row.widening for row in found) <= 0.02

    def test_a_breaker_opens_by_time_alone(self) -> None:
        """Two sources print a crash once, then nothing: after 10 s of agreeing it is through, without a third print."""
        market = Market({"BTC": PLAIN | {"band_sigmas": "6", "max_age_ms": 60_000, "band_ticks": 9}})
        market.over(0, 30_000, a=100.0, b=100.0)
        market.at(31_050, quote(80.0), quote(80.0, source="b"))
        found = {step: told(market.at(step)).index_price for step in range(31_100, 42_000, 50)}
        assert found[41_000] == 99.0
        assert found[41_050] == 80.0

    def test_check_source(self) -> None:
        """It is in no index; 1 % off for 10 s makes the price suspect, and it is what to check against."""
        market = Market({"BTC": PLAIN | {"check_source": "chk"}})
        assert judged(market.over(0, 5_000, a=100.0, b=100.0, chk=100.9)) == (100.0, OK, ())
        assert judged(market.over(6_000, 15_000, a=100.0, b=100.0, chk=102.0)) == (100.0, OK, ())
        row = told(market.over(16_000, 16_000, a=100.0, b=100.0, chk=102.0))
        assert judged(row) == (100.0, SUSPECT, ("check",))
        assert (row.check, row.sources) == (102.0, ("a", "b"))

    def test_halt_by_hand(self) -> None:
        """The last prices stand from the moment of the order to its end, with a record and without."""
        for records in ({"BTC": PLAIN}, {}):
            market = Market(records)
            market.over(0, 1_000, a=100.0, b=100.0)
            market.oracle.rules(records.get, ["BTC"])
            row = told(market.over(2_000, 3_000, a=90.0, b=90.0))
            assert judged(row) == (100.0, HALTED, ("halted",))
            assert row.marks == (("BTC-PERP", 100.0),)
            market.oracle.rules(records.get, [])
            assert judged(market.over(4_000, 15_000, a=90.0, b=90.0)) == (90.0, OK, ())


class TestLegs:
    RECORDS = {"BTC": PLAIN, "USDT": PLAIN}  # noqa: RUF012

    def quotes(self, usdt: float, btc_usdt: float, *btc: float) -> list[Quote]:
        found = [quote(btc_usdt, source="x", asset="USDT")]
        found += [quote(usdt, symbol="USDT"), quote(usdt, symbol="USDT", source="b")]
        return found + [quote(price, source=f"d{at}") for at, price in enumerate(btc)]

    def test_a_sure_leg(self) -> None:
        """A depegged quote asset converts at what it is worth."""
        row = Market(self.RECORDS).at(0, *self.quotes(0.9, 111.0, 99.0, 101.0))
        assert judged(row) == (pytest.approx(99.9), OK, ())

    def test_a_leg_in_doubt_is_left_out_where_the_others_are_enough(self) -> None:
        """USDT is suspect: the sources in dollars price BTC, the one in USDT is missing."""
        market = Market(self.RECORDS)
        market.at(0, *self.quotes(1.0, 100.0, 99.0, 101.0))
        quotes = [one for one in self.quotes(1.0, 50.0, 99.0, 101.0) if one.symbol == "BTC"]
        row = market.at(3_500, *quotes)
        assert market.told["USDT"].state == SUSPECT
        assert judged(row) == (100.0, DEGRADED, ("source_missing:x",))

    def test_a_leg_in_doubt_makes_the_price_suspect(self) -> None:
        """Where nothing else is left the price rests on the leg, and is trusted no more than that."""
        market = Market(self.RECORDS)
        market.at(0, *self.quotes(1.0, 100.0, 100.0))
        quotes = [one for one in self.quotes(1.0, 100.0, 100.0) if one.symbol == "BTC"]
        row = market.at(3_500, *quotes)
        assert judged(row) == (100.0, SUSPECT, ("leg:USDT",))


class TestRedemption:
    WRAPPED = PLAIN | {"redemption": {"of": "ETH", "rate_source": "lido", "method": "min"}}

    def market(self, price: float, rate: float | None, eth: float = 2_000.0) -> SymbolMark:
        oracle = Market({"BTC": self.WRAPPED, "ETH": PLAIN})
        rates = [] if rate is None else [quote(rate, source="lido")]
        quotes = [
            quote(price),
            quote(price, source="b"),
            quote(eth, symbol="ETH"),
            quote(eth, symbol="ETH", source="b"),
        ]
        return told(oracle.at(0, *quotes, *rates))

    @pytest.mark.parametrize(
        ("price", "rate", "expected"),
        [
            pytest.param(2_300.0, 1.1, (2_200.0, OK, ()), id="market above redemption"),
            pytest.param(2_100.0, 1.1, (2_100.0, OK, ()), id="market below redemption"),
            pytest.param(2_100.0, None, (2_100.0, DEGRADED, ("source_missing:lido",)), id="rate never seen"),
        ],
    )
    def test_lower_of_both(
        self, price: float, rate: float | None, expected: tuple[float, int, tuple[str, ...]]
    ) -> None:
        """A thin market pushed up must not lend more than redemption pays; the rate is no price of the market."""
        row = self.market(price, rate)
        assert judged(row) == (pytest.approx(expected[0]), *expected[1:])
        assert row.sources == ("a", "b")

    @pytest.mark.parametrize(
        ("rate", "eth", "expected"),
        [
            pytest.param(1.1, 2_000.0, (1_400.0, SUSPECT, ("check",), 2_200.0), id="market far below redemption"),
            pytest.param(0.705, 2_000.0, (1_400.0, OK, (), None), id="less than 1 % below"),
            pytest.param(
                None,
                2_000.0,
                (1_400.0, DEGRADED, ("check_missing", "source_missing:lido"), None),
                id="rate never seen",
            ),
            pytest.param(
                1.1, None, (1_400.0, DEGRADED, ("check_missing",), None), id="what it is redeemed for unknown"
            ),
        ],
    )
    def test_redemption_as_check(
        self, rate: float | None, eth: float | None, expected: tuple[float, int, tuple[str, ...], float | None]
    ) -> None:
        """A stablecoin or staked coin crashes on thin books while it is redeemed at par, as on 10 October 2025: its
        holders borrow by the market, and are liquidated only if they would be by its redemption too."""
        by_check = {"redemption": {"of": "ETH", "rate_source": "lido", "method": "check"}, "check_ms": 0}
        market = Market({"BTC": PLAIN | by_check, "ETH": PLAIN})
        rates = [] if rate is None else [quote(rate, source="lido")]
        ether = [] if eth is None else [quote(eth, symbol="ETH", source=source) for source in "ab"]
        row = told(market.at(0, quote(1_400.0), quote(1_400.0, source="b"), *ether, *rates))
        assert (*judged(row), row.check) == expected

    def test_check_is_no_more_than_redemption(self) -> None:
        """A check source that sees a higher market must not hold a liquidation back: redemption is less by either."""
        market = Market({"BTC": self.WRAPPED | {"check_source": "c", "check_ms": 0}, "ETH": PLAIN})
        eth = [quote(2_000.0, symbol="ETH", source=source) for source in "ab"]
        btc = [quote(2_300.0, source=source) for source in "ab"]
        row = told(market.at(0, *eth, *btc, quote(1.1, source="lido"), quote(2_400.0, source="c")))
        assert (row.state, row.index_price, row.check) == (SUSPECT, pytest.approx(2_200.0), row.index_price)

    def test_no_price_of_the_underlying(self) -> None:
        """Whether redemption is lower cannot be known: the market price counts, and is suspect."""
        market = Market({"BTC": self.WRAPPED})
        row = market.at(0, quote(2_300.0), quote(2_300.0, source="b"), quote(1.1, source="lido"))
        assert judged(row) == (2_300.0, SUSPECT, ("leg:ETH",))


class TestMeansAndMarks:
    def test_assets_at_the_mean_and_marks_at_the_spot(self) -> None:
        """Collateral follows a spike slowly, positions at once; and the mean is told on its way by itself."""
        market = Market({"BTC": PLAIN | {"index_half_life_ms": 5_000}})
        market.over(0, 3_000, a=100.0, b=100.0)
        row = told(market.over(4_000, 4_000, a=110.0, b=110.0))
        assert (row.index_price, row.marks) == (100.0, (("BTC-PERP", 110.0),))
        assert told(market.at(6_500)).index_price == pytest.approx(110 - 10 * 0.5**0.5)
        assert told(market.at(6_749)).index_price == pytest.approx(110 - 10 * 0.5**0.5)
        assert told(market.at(6_750)).index_price == pytest.approx(110 - 10 * 0.5**0.55)

    def test_window_mean(self) -> None:
        """The same by a window of a minute."""
        market = Market({"BTC": PLAIN | {"twap_ms": 60_000}})
        market.over(0, 30_000, a=100.0, b=100.0)
        assert told(market.over(31_000, 60_000, a=110.0, b=110.0)).index_price == pytest.approx(104.833, abs=0.02)

    @pytest.mark.parametrize("mean", ["index_half_life_ms", "twap_ms"])
    def test_check_of_a_mean(self, mean: str) -> None:
        """The market fell by 10 %, the mean has hardly begun to follow, and the check is 2 % above the market. Beside
        the mean it must say 2 %: by its bare price collateral would be judged 9 % too low, and marks as much."""
        market = Market({"BTC": PLAIN | {"check_source": "c", "check_ms": 0, mean: 60_000}})
        market.over(0, 60_000, a=100.0, b=100.0, c=100.0)
        row = told(market.over(61_000, 61_000, a=90.0, b=90.0, c=91.8))
        assert (row.state, row.index_price, row.marks) == (SUSPECT, 100.0, (("BTC-PERP", 90.0),))
        assert row.check == pytest.approx(102.0)
        row = told(market.over(62_000, 200_000 if mean == "twap_ms" else 1_600_000, a=90.0, b=90.0, c=91.8))
        assert (row.index_price, row.check) == (90.0, 91.8)

    def test_mark_from_the_book_of_the_instrument(self) -> None:
        """Quotes of an instrument move its mark and nothing else."""
        rules = PLAIN | {"marks": {"BTC-PERP": {"method": "smoothed_basis", "basis_half_life_ms": 1_000}}}
        market = Market({"BTC": rules})
        perp = Quote("BTC", "a", 102.0, 0.0, T, None, None, "BTC-PERP")
        row = told(market.at(0, quote(100.0), quote(100.0, source="b"), perp))
        assert (row.index_price, row.marks) == (100.0, (("BTC-PERP", 102.0),))
        other = perp._replace(instrument="ETH-PERP")
        assert market.oracle.quotes([other]) == 0
        assert market.oracle.refused["unknown_instrument"] == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_sources_are_compared_whoever_looks_in_between(restarted: bool) -> None:
    """A quote waits for the next second to be held against the others. A look between the two, here for a quote of a
    clock that is a little behind, must not have it forgotten until the next quote: so long a drift would go unseen."""
    market = Market({"BTC": PLAIN | {"cusum_h": "5"}})
    market.at(0, quote(100.0), quote(100.0, source="b"))
    market.at(100, quote(101.0))
    market.at(200, quote(101.0, source="b", time=T + 50))
    if restarted:
        market = market.restarted()
    market.at(999)
    assert market.sampled() == {"a": T, "b": T}
    market.at(1_000)
    assert market.sampled() == {"a": T + 100, "b": T + 50}


def test_old_changelog_records_restore() -> None:
    """A worker of this release takes over from one of the release before, in the middle of a day."""
    market = Market({"BTC": PLAIN})
    quotes = {"a": [100.0, 0.0, T, None], "b": [100.0, 0.0, T, 3]}
    sent = [100.0, 0.0, 0, T, ["a", "b"], [["BTC-PERP", 100.0]]]
    old = {"quotes": quotes, "instruments": ["BTC-PERP"], "sent": sent}
    market.oracle.restore([(b"symbol:BTC", json.dumps(old).encode())])
    assert judged(market.at(1, quote(101.0))) == (100.5, OK, ())


def test_settled_symbols_cost_nothing() -> None:
    """A thousand quiet symbols must not be judged twenty times a second."""
    market = Market({"BTC": PLAIN})
    market.over(0, 0, a=100.0, b=100.0)
    market.at(1_000)
    before = dict(market.changelog)
    assert [market.at(step) is not None for step in range(1_050, 1_900, 50)]
    assert market.changelog[b"symbol:BTC"] == before[b"symbol:BTC"]
    assert market.oracle.dirty() == []
