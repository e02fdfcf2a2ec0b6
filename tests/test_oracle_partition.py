"""One oracle partition, moment by moment: when it speaks, what it says, what it holds back."""

import pytest

from schemas.journal import COLUMNS, PRICE_STATES, Block
from streams.oracle.marks import CATCHING_UP, LIVE, OK, STALE, MarksUpdate
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import REFUSALS, SOURCES_MAX, Quote

T = 1_760_130_900_000
AGE = 10_000
SKEW = 2_000
HEARTBEAT = 1_000


def new_partition(partition: int = 0, of: int = 1) -> OraclePartition:
    return OraclePartition(partition, of, heartbeat_ms=HEARTBEAT, quote_age_ms_max=AGE, max_source_skew_ms=SKEW)


def live_partition(*quotes: Quote) -> OraclePartition:
    """A partition that told these quotes at T, live."""
    partition = new_partition()
    partition.terms([("BTC-PERP", "BTC")])
    partition.quotes(quotes)
    assert told(partition.due(T, None)).mode == LIVE
    return partition


def quote(price: float, *, source: str = "a", time: int = T, symbol: str = "BTC", sequence: int | None = None) -> Quote:
    return Quote(symbol, source, price, 0.5, time, sequence)


def told(update: MarksUpdate | None) -> MarksUpdate:
    assert update is not None
    return update


def prices(update: MarksUpdate | None) -> dict[str, tuple[float, int]]:
    """symbol -> (index price, state) of an update."""
    return {row.symbol: (row.index_price, row.state) for row in told(update).rows}


class TestPrices:
    def test_new_price_is_told_at_once_and_once(self) -> None:
        """A price held back until the heartbeat would liquidate up to a second late."""
        partition = live_partition(quote(100.0))
        partition.quotes([quote(90.0, time=T + 1)])
        assert prices(partition.due(T + 1, None)) == {"BTC": (90.0, OK)}
        assert partition.due(T + 2, None) is None

    def test_only_the_latest_state_of_changed_symbols(self) -> None:
        """Quotes that came while a transaction was open are conflated; other symbols are not told again."""
        partition = live_partition(quote(100.0), quote(2_000.0, symbol="ETH"))
        partition.quotes([quote(90.0 + step, time=T + step) for step in range(1, 4)])
        assert prices(partition.due(T + 5, None)) == {"BTC": (93.0, OK)}

    def test_price_that_comes_and_goes_between_two_updates_is_not_told(self) -> None:
        """Conflation means the state when asked."""
        partition = live_partition(quote(100.0))
        partition.quotes([quote(50.0, time=T + 1), quote(100.0, time=T + 2)])
        assert partition.due(T + 3, None) is None

    def test_newer_quote_of_the_same_price_goes_with_the_heartbeat(self) -> None:
        """A pegged coin quoted 50 times a second must not fill the journal."""
        partition = live_partition(quote(1.0))
        partition.quotes([quote(1.0, time=T + 500)])
        assert partition.due(T + 999, None) is None
        assert told(partition.due(T + 1_000, None)).rows[0].quote_time == T + 500

    def test_two_sources(self) -> None:
        """Index is the mean, confidence half of what lies between them, time that of the newer."""
        partition = live_partition(quote(100.0), quote(104.0, source="b", time=T - 70))
        partition.quotes([quote(102.0, time=T + 10)])
        row = told(partition.due(T + 10, None)).rows[0]
        assert (row.index_price, row.confidence, row.quote_time, row.sources) == (
            103.0,
            1.0,
            T + 10,
            ("a", "b"),
        )
        assert row.marks == (("BTC-PERP", 103.0),)

    def test_refused_quotes_are_counted_and_change_nothing(self) -> None:
        """A replayed quote must neither move the price nor look like life."""
        partition = live_partition(quote(100.0, sequence=5))
        assert partition.quotes([quote(100.0, sequence=5), quote(1.0, time=T + 1, sequence=4)]) == 0
        assert partition.refused == dict.fromkeys(REFUSALS, 0) | {"repeated": 1, "out_of_order": 1}
        assert partition.due(T + 1, None) is None

    def test_invented_sources_are_bounded(self) -> None:
        """One publisher with endless source names must not grow a symbol beyond a record's size."""
        partition = new_partition()
        crowd = [quote(100.0, source=f"s{number:03}", time=T + number) for number in range(SOURCES_MAX)]
        assert partition.quotes([*crowd, quote(1.0, source="new", time=T + AGE)]) == SOURCES_MAX
        assert partition.refused["too_many_sources"] == 1
        assert partition.quotes([quote(100.0, source="new", time=T + AGE + 1)]) == 1  # s000 is too old beside it


class TestTimePassing:
    def test_one_source_frozen_leaves_the_index(self) -> None:
        """A source that fell silent in a crash would hold the index up: after its last moment it is out."""
        partition = live_partition(quote(100.0), quote(80.0, source="b"))
        partition.quotes([quote(80.0, source="b", time=T + 5_000)])
        assert partition.due(T + 5_000, None) is not None
        assert told(partition.due(T + AGE, None)).rows == []  # at quote_age_ms_max it still counts
        assert prices(partition.due(T + AGE + 1, None)) == {"BTC": (80.0, OK)}

    def test_only_source_gone_is_told_stale_once_with_the_last_mark(self) -> None:
        """Nobody may take the last price for a present one; and it is said once, not every second."""
        partition = live_partition(quote(100.0))
        assert told(partition.due(T + AGE, None)).rows == []
        row = told(partition.due(T + AGE + 1, None)).rows[0]
        assert (row.index_price, row.confidence, row.state, row.quote_time) == (100.0, 0.5, STALE, T)
        assert (row.sources, row.marks) == ((), (("BTC-PERP", 100.0),))
        later = [partition.due(T + AGE + step, None) for step in range(2, 30_000, 250)]
        assert all(update.rows == [] for update in later if update)

    def test_stale_then_quoted_again(self) -> None:
        """A source that comes back makes the price good at once."""
        partition = live_partition(quote(100.0))
        partition.due(T + 20_000, None)
        partition.quotes([quote(100.0, time=T + 21_000)])
        assert prices(partition.due(T + 21_000, None)) == {"BTC": (100.0, OK)}

    def test_two_sources_gone_together_keep_the_mark_told(self) -> None:
        """The mark kept is the one told, not that of the source which happened to speak last."""
        partition = live_partition(quote(100.0), quote(104.0, source="b", time=T - 1))
        assert prices(partition.due(T + AGE + 500, None)) == {"BTC": (102.0, STALE)}

    def test_two_sources_gone_one_after_the_other_keep_the_mark_told_last(self) -> None:
        """A mark worked out anew for the newest quote's moment would bring back the source that went first."""
        partition = live_partition(quote(100.0), quote(104.0, source="b", time=T - 5_000))
        assert prices(partition.due(T + AGE - 4_999, None)) == {"BTC": (100.0, OK)}
        assert prices(partition.due(T + AGE + 1, None)) == {"BTC": (100.0, STALE)}

    def test_quotes_are_young_again_where_the_clock_goes_back(self) -> None:
        """A symbol marked stale by a clock that ran ahead must not stay so until it is quoted again."""
        partition = live_partition(quote(100.0))
        assert prices(partition.due(T + AGE + 1, None)) == {"BTC": (100.0, STALE)}
        assert prices(partition.due(T + 5, None)) == {"BTC": (100.0, OK)}

    def test_quote_that_arrives_too_old(self) -> None:
        """A first price that is old already is a price, flagged; the account is not called ok on it."""
        partition = live_partition()
        partition.quotes([quote(100.0, time=T - 60_000)])
        assert prices(partition.due(T + 1, None)) == {"BTC": (100.0, STALE)}

    def test_never_quoted_is_never_told(self) -> None:
        """A symbol known only from an instrument's terms has no mark: its holders stay unpriced."""
        partition = live_partition()
        assert told(partition.due(T + HEARTBEAT, None)).rows == []

    def test_heartbeat_at_its_moment(self) -> None:
        """Shard time moves at least once a second; without it liquidation time-outs would never run out."""
        partition = live_partition(quote(100.0))
        assert partition.due(T + HEARTBEAT - 1, None) is None
        beat = told(partition.due(T + HEARTBEAT, None))
        assert (beat.rows, beat.time, beat.mode) == ([], T + HEARTBEAT, LIVE)
        assert partition.due(T + HEARTBEAT, None) is None

    def test_clock_runs_backwards(self) -> None:
        """Shard time waits, heartbeats and prices go on."""
        partition = live_partition(quote(100.0))
        back = T - 3_600_000
        assert told(partition.due(back, None)).time == T
        assert partition.due(back + HEARTBEAT - 1, None) is None
        partition.quotes([quote(90.0, time=T + 1)])
        update = told(partition.due(back + HEARTBEAT - 1, None))
        assert (update.time, prices(update)) == (T, {"BTC": (90.0, OK)})
        assert told(partition.due(back + 2 * HEARTBEAT, None)).rows == []
        assert told(partition.due(T + 5, None)).time == T + 5


class TestInstruments:
    def test_instrument_listed_later_gets_its_mark_at_once(self) -> None:
        """A position opened right after the listing must not stay unpriced until the price moves."""
        partition = live_partition(quote(100.0))
        partition.terms([("BTC-FUT", "BTC"), ("BTC-PERP", "BTC")])
        assert told(partition.due(T + 1, None)).rows[0].marks == (("BTC-FUT", 100.0), ("BTC-PERP", 100.0))
        assert partition.due(T + 2, None) is None

    def test_underlying_never_changes(self) -> None:
        """Hanging an instrument on another symbol is refused by ingest; nor is it taken here."""
        partition = live_partition(quote(100.0), quote(2_000.0, symbol="ETH"))
        partition.terms([("BTC-PERP", "ETH")])
        partition.quotes([quote(2_100.0, symbol="ETH", time=T + 1)])
        assert [row.marks for row in told(partition.due(T + 1, None)).rows] == [()]


class TestCatchingUp:
    def test_first_word_of_a_new_partition(self) -> None:
        """Shards wait for every oracle partition; one without a symbol must say live too."""
        update = told(new_partition(3, 8).due(T, None))
        assert (update.partition, update.of, update.mode, update.time, update.rows) == (3, 8, LIVE, T, [])

    @pytest.mark.parametrize(
        ("lag", "mode"),
        [
            pytest.param(SKEW // 2, LIVE, id="lag = skew / 2: caught up"),
            pytest.param(SKEW // 2 + 1, CATCHING_UP, id="lag = skew / 2 + 1: not yet"),
            pytest.param(-5_000, LIVE, id="record from the future"),
            pytest.param(3_600_000, CATCHING_UP, id="an hour of backlog"),
            pytest.param(T, CATCHING_UP, id="unknown: 0"),
        ],
    )
    def test_first_mode_and_the_way_back(self, lag: int, mode: str) -> None:
        """Judging before the books are read gives margin calls that the inputs in order would not give."""
        new = new_partition()
        assert told(new.due(T, T - lag)).mode == mode
        behind = live_partition()
        behind.due(T + 1, T - SKEW)
        assert told(behind.due(T + HEARTBEAT + 1, T + HEARTBEAT + 1 - lag)).mode == mode

    def test_a_backlog_is_caught_up_with_whatever_the_times_say(self) -> None:
        """Quotes half read set an old clock, and a mirror's records are young: the books may be of another hour."""
        partition = new_partition()
        assert told(partition.due(T, None, backlog=True)).mode == CATCHING_UP
        assert told(partition.due(T + 1, None)).mode == LIVE
        assert told(partition.due(T + 2, T + 2, backlog=True)).mode == CATCHING_UP

    def test_live_before_any_time_is_known(self) -> None:
        """By the event clock a partition without a symbol has no time; the shards wait for its word all the same."""
        update = told(new_partition(1, 2).due(0, None))
        assert (update.mode, update.time) == (LIVE, 0)

    @pytest.mark.parametrize(
        ("lag", "mode"),
        [
            pytest.param(SKEW, LIVE, id="lag = max_source_skew_ms"),
            pytest.param(SKEW + 1, CATCHING_UP, id="lag = max_source_skew_ms + 1"),
        ],
    )
    def test_when_a_live_partition_falls_behind(self, lag: int, mode: str) -> None:
        """The limit itself is still live."""
        partition = live_partition(quote(100.0))
        assert told(partition.due(T + HEARTBEAT, T + HEARTBEAT - lag)).mode == mode

    def test_falling_behind_is_a_block_of_its_own(self) -> None:
        """Marks in the same block could be judged as if the books were read."""
        partition = live_partition(quote(100.0))
        partition.quotes([quote(50.0, time=T + 3_000)])
        update = told(partition.due(T + 3_000, T + 500))
        assert (update.mode, update.rows, update.time) == (CATCHING_UP, [], T + 500)
        assert partition.due(T + 3_001, T + 501) is None

    def test_marks_newer_than_progress_are_withheld_until_live(self) -> None:
        """The crash must not meet an account whose deposit of an hour ago is still unread."""
        partition = live_partition(quote(100.0), quote(2_000.0, symbol="ETH"))
        partition.due(T + 3_000, T + 500)
        partition.quotes([quote(50.0, time=T + 2_000), quote(1_900.0, symbol="ETH", time=T + 1_000)])
        assert prices(partition.due(T + 3_001, T + 1_000)) == {"ETH": (1_900.0, OK)}
        assert partition.due(T + 3_002, T + 1_001) is None
        update = partition.due(T + 3_003, T + 2_500)
        assert told(update).mode == LIVE
        assert prices(update) == {"BTC": (50.0, OK), "ETH": (1_900.0, OK)}

    def test_shard_time_waits_for_the_slowest_source(self) -> None:
        """A future that expired during the outage settles only after the fills from before its expiry."""
        partition = new_partition()
        times = [told(partition.due(T + step * 1_000, T - 60_000 + step * 10_000)).time for step in range(5)]
        assert times == [T - 60_000 + step * 10_000 for step in range(5)]

    def test_progress_that_goes_back_does_not_take_time_back(self) -> None:
        """Shard time never decreases, whatever the sources report."""
        partition = new_partition()
        assert told(partition.due(T, T - 5_000)).time == T - 5_000
        assert told(partition.due(T + HEARTBEAT, T - 9_000)).time == T - 5_000

    def test_live_again_tells_all_symbols(self) -> None:
        """Every account is evaluated on `live`; the block that says so holds all marks."""
        partition = live_partition(quote(100.0), quote(2_000.0, symbol="ETH"))
        partition.due(T + 1_000, T - 5_000)
        assert set(prices(partition.due(T + 1_001, None))) == {"BTC", "ETH"}

    def test_price_that_grew_old_while_withheld(self) -> None:
        """In order, its holders would have seen that price before it went stale; so they do now."""
        partition = live_partition(quote(100.0))
        partition.due(T + 3_000, T)
        partition.quotes([quote(90.0, time=T + 3_000)])
        assert partition.due(T + 3_001, T) is None
        assert prices(partition.due(T + 60_000, None)) == {"BTC": (90.0, STALE)}

    def test_lag_about_the_limit_does_not_flip_the_mode(self) -> None:
        """Each turn to live has every account evaluated: a lag swinging about the limit turns it once."""
        partition = live_partition()
        lags = [SKEW - 1, SKEW + 1] * 20
        for step, lag in enumerate(lags):
            partition.due(T + step * 100, T + step * 100 - lag)
        assert partition.mode == CATCHING_UP


class TestBlock:
    def test_update_becomes_a_marks_block(self) -> None:
        """Names, columns, types and states are those of the contract."""
        partition = live_partition()
        partition.terms([("ETH-PERP", "ETH"), ("BTC-FUT", "BTC")])
        partition.quotes([quote(100.0), quote(2_000.0, symbol="ETH", time=T - 5)])
        names, columns, extra = told(partition.due(T + 1, None)).block()
        assert [(name, column.dtype) for name, column in columns.items()] == [*COLUMNS["marks"].items()][:10]
        block = Block.decode(Block(kind="marks", names=names, columns=columns, extra=extra).encode())
        assert block.names == {"symbols": ["BTC", "ETH"], "instruments": ["BTC-FUT", "BTC-PERP", "ETH-PERP"]}
        assert block.extra == {"time": T + 1, "oracle": {"partition": 0, "of": 1, "mode": "live"}}
        assert {name: column.tolist() for name, column in block.columns.items() if name != "check"} == {
            "symbol": [0, 1],
            "index": [100.0, 2_000.0],
            "confidence": [0.5, 0.5],
            "symbol_state": [0, 0],
            "quote_time": [T, T - 5],
            "instrument": [0, 1, 2],
            "mark": [100.0, 100.0, 2_000.0],
            "mark_state": [0, 0, 0],
            "widening": [0.0, 0.0],
        }
        assert all(value != value for value in block.columns["check"])
        assert (PRICE_STATES[OK], PRICE_STATES[STALE]) == ("ok", "stale")

    def test_heartbeat_is_an_empty_block(self) -> None:
        """Empty columns keep their types."""
        _, columns, _ = told(new_partition().due(T, None)).block()
        assert [(name, column.dtype) for name, column in columns.items()] == [*COLUMNS["marks"].items()][:10]
        assert {len(column) for column in columns.values()} == {0}


class TestChangelog:
    def test_only_what_changed_is_written(self) -> None:
        """A tick in one of a thousand symbols writes that symbol, not all."""
        partition = live_partition(quote(100.0), quote(2_000.0, symbol="ETH"))
        assert [key for key, _ in partition.dirty()] == [b"symbol:BTC", b"symbol:ETH", b"partition"]
        assert partition.dirty() == []
        partition.quotes([quote(101.0, time=T + 1)])
        assert [key for key, _ in partition.dirty()] == [b"symbol:BTC"]
        partition.due(T + HEARTBEAT, None)
        assert [key for key, _ in partition.dirty()] == [b"symbol:BTC", b"partition"]

    def test_restart_tells_nothing_twice(self) -> None:
        """After a restart the next update is the one that would have come anyway."""
        before = live_partition(quote(100.0))
        after = new_partition()
        after.restore(before.dirty())
        assert after.due(T + 1, None) is None
        assert told(after.due(T + HEARTBEAT, None)).rows == []
        assert after.dirty() != []

    @pytest.mark.parametrize(
        ("partition", "of", "error"),
        [
            pytest.param(1, 4, r"^partition must be 1, found 0 \(oracle changelog, partition 1\)$", id="another"),
            pytest.param(0, 8, r"^of must be 4, found 8 \(", id="grown topic"),
        ],
    )
    def test_changelog_of_another_partition_is_refused(self, partition: int, of: int, error: str) -> None:
        """With another number of partitions two of them would tell the same symbol."""
        writer = new_partition(0, of)
        writer.due(T, None)
        reader = new_partition(partition, 4)
        with pytest.raises(ValueError, match=error):
            reader.restore(writer.dirty())


#: A record that knows one source alone.
OF_B: dict[str, object] = {"sources": {"b": {}}, "sources_min": 1, "stale_ms": 1_000}


class TestRulesThatNameOtherSources:
    """A record may come at any moment, and quotes of sources that it does not know go on."""

    def test_a_price_told_before_goes_stale(self) -> None:
        """Forgotten, it would stand in every shard as good for ever."""
        partition = new_partition()
        partition.quotes([quote(1.0, symbol="USDC")])
        assert prices(partition.due(T, None)) == {"USDC": (1.0, OK)}
        partition.rules({"USDC": OF_B}.get)
        partition.quotes([quote(1.0, symbol="USDC", time=T + 1)])
        assert partition.refused["unlisted_source"] == 1
        partition.due(T + 1, None)
        assert prices(partition.due(T + 1_001, None)) == {"USDC": (1.0, STALE)}

    def test_nothing_is_held_of_a_symbol_of_unlisted_sources(self) -> None:
        """Of a wrapped asset a partition would look for its legs, find no book, and stop the worker each time anew."""
        partition = new_partition()
        partition.rules({"WETH": OF_B | {"redemption": {"of": "ETH", "rate_source": "lido"}}}.get)
        partition.quotes([quote(1.0, symbol="WETH")])
        assert prices(partition.due(T, None)) == {}
        assert [key for key, _ in partition.dirty()] == [b"partition"]

    def test_restored_under_other_rules(self) -> None:
        """Whom the rules do not know any more is forgotten by a restart as it is without one."""
        before = new_partition()
        before.quotes([quote(1.0, symbol="USDC")])
        before.due(T, None)
        records = before.dirty()
        after = new_partition()
        after.rules({"USDC": OF_B}.get)
        after.restore(records)
        before.rules({"USDC": OF_B}.get)
        assert before.quotes([quote(1.0, symbol="USDC", time=T + 1)]) == 0
        assert after.quotes([quote(1.0, symbol="USDC", time=T + 1)]) == 0
