"""Dated futures: when and at what they settle, and what that does to the books."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.engine import judge, state
from tests.builders import PRICES, STANDARD, Fill, Leg, Market, T, events, instrument, of

EXPIRY = T + 60_000


def dated(price: float = 50_000.0, **terms: Any) -> Market:
    """alice long 2 BTC-DEC at 50,000, bob short 2; it expires a minute after the first mark."""
    made = Market((*STANDARD, instrument("BTC-DEC", "future", expiry=EXPIRY, **terms)), {**PRICES, "BTC": price})
    made.collateral(Leg("d", "alice", "100000"), Leg("d", "bob", "100000"))
    made.fills(Fill("t", "alice", "BTC-DEC", "2", "50000"), Fill("t", "bob", "BTC-DEC", "-2", "50000"))
    return made


def test_a_future_lives_until_shard_time_reaches_its_expiry() -> None:
    """One millisecond early would settle at a price that the contract doesn't know."""
    made = dated()
    made.marks({"BTC": 51_000.0}, after=59_999)
    assert made.position("alice", "BTC-DEC") == ("2", "100000")


@pytest.mark.parametrize("after", [60_000, 60_001])
def test_a_future_settles_at_the_first_mark_at_or_after_its_expiry(after: int) -> None:
    """The mark in the very block that brings the expiry counts, and no later one."""
    made = dated()
    sent = made.marks({"BTC": 51_000.0}, after=after)
    # 2 x 1,000
    assert (made.balance("alice"), made.balance("bob")) == ("102000", "98000")
    assert made.position("alice", "BTC-DEC") is made.position("bob", "BTC-DEC") is None
    assert made.house_lots("~market", "BTC-DEC") == made.house("~market:BTC-DEC") == "0"
    summaries = {record["account"]: record["balances"]["USDC"] for record in of(sent, "margin-accounts")}
    assert summaries == {"alice": "102000", "bob": "98000"}
    made.marks({"BTC": 90_000.0}, after=1000)
    assert made.balance("alice") == "102000"


def test_a_heartbeat_that_reaches_the_expiry_settles_at_the_standing_mark() -> None:
    """In a quiet market no price changes at the expiry; the contract still ends."""
    made = dated(50_500.0)
    made.marks(after=60_000)
    assert made.balance("alice") == "101000"


def test_a_stated_settlement_price_goes_before_the_mark() -> None:
    """The venue's official price decides, not our oracle's last tick."""
    made = dated(settlement_price="49999.5")
    made.marks({"BTC": 51_000.0}, after=60_000)
    assert (made.balance("alice"), made.balance("bob")) == ("99999", "100001")


def test_a_settlement_price_may_come_after_the_expiry_where_no_mark_ever_came() -> None:
    """Without any price the position waits; it is unpriced, never ok."""
    made = Market((*STANDARD, instrument("BTC-DEC", "future", expiry=T - 1)), {"USDC": 1.0})
    made.deposit("alice", "100000")
    made.fills(Fill("t", "alice", "BTC-DEC", "2", "50000"))
    assert made.status("alice") == "unpriced"
    made.tell(instrument("BTC-DEC", "future", expiry=T - 1, settlement_price="50250", version=9))
    assert (made.balance("alice"), made.status("alice")) == ("100500", "ok")


def test_a_settlement_price_that_comes_after_settlement_changes_nothing() -> None:
    """Paid is paid: a late record must not pay again."""
    made = dated()
    made.marks({"BTC": 51_000.0}, after=60_000)
    made.tell(instrument("BTC-DEC", "future", expiry=EXPIRY, settlement_price="1", version=9))
    made.marks({"BTC": 52_000.0}, after=1000)
    assert made.balance("alice") == "102000"


def test_late_fills_settle_at_once_at_the_same_price() -> None:
    """A trade reported after the expiry is still a trade; it must not stay open for ever."""
    made = dated()
    made.marks({"BTC": 51_000.0}, after=60_000)
    made.marks({"BTC": 60_000.0}, after=1000)
    sent = made.fills(
        Fill("late", "alice", "BTC-DEC", "1", "50800", "3"),
        Fill("late", "bob", "BTC-DEC", "-1", "50800"),
        Fill("iso", "bob", "BTC-DEC", "-1", "50900", mode="isolated"),
    )
    # alice: 102,000 + 200 - 3; bob: 98,000 - 200, isolated -100
    assert made.balance("alice") == "102197"
    assert made.balance("bob") == "97800"
    assert made.position("bob", "BTC-DEC", "BTC-DEC") is None
    # without a margin of its own the isolated bucket is bankrupt, and only that one
    assert events(sent) == ["bob bankrupt"]
    assert made.house("~house") == "-100"


def test_expiry_settles_while_catching_up_and_judges_nothing() -> None:
    """The ledger goes on in a backlog; decisions wait for the truth to be whole."""
    made = dated()
    sent = made.marks({"BTC": 10_000.0}, after=60_000, mode="catching_up")
    assert (sent, made.balance("alice")) == ([], "20000")


def test_an_absurd_mark_settles_nothing() -> None:
    """A single mad quote at the expiry must not pay out the world, nor stop the shard: the next mark settles."""
    made = dated()
    made.marks({}, {"BTC-DEC": 1e18}, after=60_000)
    assert made.position("alice", "BTC-DEC") == ("2", "100000")
    made.marks({}, {"BTC-DEC": 51_000.0}, after=1000)
    assert made.balance("alice") == "102000"


def test_a_position_whose_settlement_is_past_the_range_stays_open() -> None:
    """The shard goes on for everybody else, and the position waits for the operator."""
    made = dated()
    made.marks({}, {"BTC-DEC": 4e12}, after=60_000)
    # 2 x 4e12 is past 4.6e12; both legs of bob and alice
    assert made.position("alice", "BTC-DEC") == ("2", "100000")
    assert made.shard.ledger.rows["out_of_range"] == 2


def test_a_refused_fill_may_settle_what_was_past_the_range() -> None:
    """The book is worth afterwards what it is worth after a restart: the perpetual moved into the future's place."""
    market = Market((*STANDARD, instrument("BTC-FUT", "future", expiry=T + 60_000, settlement_price="60000")), PRICES)
    market.deposit("alice", str(2**62 // 10**6 - 10_000))
    market.fills(Fill("f", "alice", "BTC-FUT", "10", "50000"), Fill("g", "alice", "ETH-PERP", "1", "2000"))
    market.marks(PRICES, after=120_000)
    assert market.position("alice", "BTC-FUT") is not None
    market.collateral(Leg("w", "alice", "-1000000", type="withdrawal"))
    sent = market.fills(Fill("h", "alice", "BTC-FUT", "9007199254", "50000"))
    assert market.position("alice", "BTC-FUT") is None
    assert [letter["reason_code"] for letter in of(sent, "dead-letters")] == ["ledger_range"]
    assert [float(told["maintenance_margin"]) for told in of(sent, "margin-accounts")] == [100.0], "and all are told"
    shards = market.shard, state.restore(0, state.records(market.shard))
    found = [judge.judged_now(shard, np.zeros(1, dtype=np.int64)) for shard in shards]
    assert found[0].maintenance[0] == found[1].maintenance[0] == pytest.approx(100.0)


def test_what_the_house_took_over_settles_too() -> None:
    """Else ~market never comes back to zero, and nobody can tell a leak from a left-over."""
    made = dated()
    made.collateral(Leg("w", "bob", "-99000", type="withdrawal"))
    made.marks({"BTC": 51_000.0}, after=1000)
    assert made.status("bob") == "bankrupt"
    # bob's 1,000 and the 100,000 that his short had sold for
    assert (made.house("~house"), made.house_lots("~house", "BTC-DEC")) == ("101000", "-2")
    made.marks({"BTC": 52_000.0}, after=59_000)
    # bought back at 2 x 52,000
    assert (made.house("~house"), made.house_lots("~house", "BTC-DEC")) == ("-3000", "0")
    assert made.house("~market:BTC-DEC") == made.house_lots("~market", "BTC-DEC") == "0"
    assert made.balance("alice") == "104000"


def test_inverse_futures_settle_in_coins() -> None:
    """Both types expire."""
    made = Market((*STANDARD, instrument("BTC-MAR", "inverse_future", expiry=EXPIRY)), PRICES)
    made.deposit("alice", "1", "BTC")
    made.fills(Fill("t", "alice", "BTC-MAR", "100", "40000"))
    made.marks({"BTC": 50_000.0}, after=60_000)
    # 10,000 x (1/40,000 - 1/50,000)
    assert made.balance("alice", "BTC") == "1.05"


def test_late_fills_of_one_block_settle_row_by_row() -> None:
    """Where a venue's batch ends must not move a satoshi: settled together, two inverse fills round otherwise."""
    late = [Fill("a", "alice", "BTC-MAR", "3", "47777.7"), Fill("b", "alice", "BTC-MAR", "-1", "46666.6")]
    balances = []
    for blocks in ([late], [[row] for row in late]):
        market = Market(
            (*STANDARD, instrument("BTC-MAR", "inverse_future", expiry=T, settlement_price="44444.4")), prices=None
        )
        market.marks({}, mode="catching_up")
        for rows in blocks:
            market.fills(*rows)
        balances.append(market.balance("alice", "BTC"))
    # settled: 300 / 44,444.4 = 0.006750006750 -> 0.00675001; 100 / 44,444.4 = 0.00225000
    # bought: 300 / 47,777.7 = 0.006279080 -> 0.00627908; sold: 100 / 46,666.6 = 0.002142860 -> 0.00214286
    # -(0.00675001 - 0.00627908) + (0.00225000 - 0.00214286): settled in one it would be 0.00450000 for two
    assert balances == ["-0.00036379"] * 2


def inverse_future() -> Market:
    """BTC-MAR settles at 44,444.4: a contract of 100 USD is 225,000.225 satoshis."""
    return Market((*STANDARD, instrument("BTC-MAR", "inverse_future", expiry=EXPIRY)), PRICES)


def settle(*markets: Market) -> None:
    for market in markets:
        market.marks({"BTC": 44_444.4}, after=60_000)


def satoshis(market: Market, name: str) -> int:
    return round(float(market.house(name, "BTC")) * 1e8)


def test_what_settling_coins_rounds_goes_to_the_rounding_account() -> None:
    """A satoshi left with the market cannot be told from a trade of which one side is missing."""
    market = inverse_future()
    market.deposit("alice", "1", "BTC")
    market.fills(
        *(Fill(f"long-{n}", "alice", "BTC-MAR", size, "50000") for n, size in enumerate(("1", "2"))),
        Fill("short-1", "bob", "BTC-MAR", "-1", "50000"),
        Fill("short-2", "carol", "BTC-MAR", "-2", "50000"),
    )
    settle(market)
    # 3 contracts in one are 675,000.675 -> 675,001 satoshis, 1 and 2 apart 225,000 and 450,000 (450,000.45); each
    # contract was 200,000. The long pays 75,001, the shorts get 25,000 and 50,000.
    assert [market.balance(who, "BTC") for who in ("alice", "bob", "carol")] == ["0.99924999", "0.00025", "0.0005"]
    assert (satoshis(market, "~market:BTC-MAR"), satoshis(market, "~rounding")) == (0, 1)


def test_the_market_is_flat_over_all_shards_once_coins_have_settled() -> None:
    """Each shard settles its own side alone; what they round must not show as a trade between them."""
    here, there = inverse_future(), inverse_future()
    here.fills(*(Fill(str(n), f"user-{n}", "BTC-MAR", "3", "47777.7") for n in range(7)))
    there.fills(*(Fill(str(n), "maker", "BTC-MAR", "-3", "47777.7") for n in range(7)))
    settle(here, there)
    assert satoshis(here, "~market:BTC-MAR") + satoshis(there, "~market:BTC-MAR") == 0
    # the longs pay 7 x 675,001, the maker gets 21 x 225,000.225 = 4,725,004.725 -> 4,725,005
    assert satoshis(here, "~rounding") + satoshis(there, "~rounding") == 2


def test_late_fills_and_what_the_house_took_over_leave_no_residue_either() -> None:
    """Whoever holds a position at the end, one lot settles at the same number of satoshis."""
    market = inverse_future()
    market.collateral(Leg("d", "alice", "1", "BTC"), Leg("d", "bob", "0.0025", "BTC"), Leg("d", "carol", "1", "BTC"))
    market.fills(
        Fill("t", "alice", "BTC-MAR", "-100", "50000"),
        Fill("t", "bob", "BTC-MAR", "98", "50000"),
        Fill("u", "carol", "BTC-MAR", "2", "50000"),
    )
    (order, *_) = [sent.record for sent in market.marks({"BTC": 49_500.0}) if sent.key == "bob"]
    market.marks({"BTC": 49_000.0})
    assert market.status("bob") == "bankrupt"
    settle(market)
    assert (market.house_lots("~house", "BTC-MAR"), satoshis(market, "~market:BTC-MAR")) == ("0", 0)
    market.fills(
        Fill("v", "bob", "BTC-MAR", "-7", "48765.4", answers=order["id"]),
        Fill("v", "alice", "BTC-MAR", "7", "48765.4"),
    )
    assert market.shard.ledger.rows["to_house"] == 1
    assert satoshis(market, "~market:BTC-MAR") == 0
    # the longs pay 22,050,022 (22,050,022.05) and 450,000, the short gets 22,500,023 (22,500,022.5 and a bit)
    assert satoshis(market, "~rounding") == -1


def test_what_settles_in_quote_currency_leaves_nothing_to_round() -> None:
    """Lots x ticks x unit is exact."""
    made = dated()
    made.fills(Fill("u", "carol", "BTC-DEC", "0.003", "50123.4"), Fill("u", "alice", "BTC-DEC", "-0.003", "50123.4"))
    made.marks({"BTC": 51_234.5}, after=60_000)
    assert (made.house("~market:BTC-DEC"), made.house("~rounding")) == ("0", "0")
