"""The exact ledger: what a fill, a transfer or a take-over does to balances, positions and the house's side.

Instruments unless a test says otherwise: BTC-PERP and ETH-PERP settle in USDC, multiplier 1; BTC-COIN is inverse,
100 USD a contract, settles in BTC. Every block is checked for double entry by the builder.
"""

from collections.abc import Iterable

import numpy as np
import pytest

from streams.engine.columns import Positions, empty, position_entry, with_room, with_rows
from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, T, asset, instrument, of, rules


def ledger(terms: Iterable[Json] = STANDARD) -> Market:
    """A shard that never judges: no marks came."""
    return Market(terms, prices=None)


# -- linear positions ------------------------------------------------------------------------------------------------


def fill(market: Market, quantity: str, price: str, fee: str = "0", instrument: str = "BTC-PERP") -> None:
    market.fills(Fill(f"fill-{len(market.journal)}", "alice", instrument, quantity, price, fee))


def test_opening_a_position_moves_no_cash_but_its_fee() -> None:
    """A venue that charged the notional of a perpetual at opening would margin-call every new position."""
    market = ledger()
    market.deposit("alice", "10000")
    fill(market, "0.5", "50000", fee="5")
    assert market.balance("alice") == "9995"
    # cost 0.5 x 50,000
    assert market.position("alice", "BTC-PERP") == ("0.5", "25000")
    assert market.house("~fees") == "5"
    assert market.house("~market:BTC-PERP") == "25000"
    assert market.house_lots("~market", "BTC-PERP") == "-0.5"


def test_adding_to_a_position_adds_up_its_cost() -> None:
    """A wrong average entry price is a wrong P&L for as long as the position lives."""
    market = ledger()
    fill(market, "0.5", "50000")
    fill(market, "0.25", "52000")
    # 25,000 + 0.25 x 52,000 = 38,000: entry 50,666.67
    assert market.position("alice", "BTC-PERP") == ("0.75", "38000")
    assert market.balance("alice") == "0"


def test_reducing_a_position_realises_its_share_of_the_profit() -> None:
    """Profit of the part still open must not be paid out, nor profit of the closed part withheld."""
    market = ledger()
    fill(market, "0.75", "50000")
    fill(market, "-0.25", "53000")
    # received 13,250, released cost 37,500 / 3 = 12,500: profit 750; 25,000 stays
    assert market.balance("alice") == "750"
    assert market.position("alice", "BTC-PERP") == ("0.5", "25000")


def test_flipping_a_position_closes_the_old_and_opens_the_rest_at_the_fill_price() -> None:
    """A flip that averaged both sides would carry the old side's loss into the new entry price."""
    market = ledger()
    fill(market, "0.5", "50000")
    fill(market, "-0.75", "49000")
    # closed 0.5: 24,500 - 25,000 = -500; opened -0.25 at 49,000
    assert market.balance("alice") == "-500"
    assert market.position("alice", "BTC-PERP") == ("-0.25", "-12250")


def test_a_short_gains_when_the_price_falls() -> None:
    """A flipped sign would pay every short the longs' profit."""
    market = ledger()
    fill(market, "-2", "2000", instrument="ETH-PERP")
    fill(market, "2", "1900.5", instrument="ETH-PERP")
    # sold 4,000, bought back 3,801
    assert market.balance("alice") == "199"
    assert market.position("alice", "ETH-PERP") is None


def test_a_closed_position_is_gone() -> None:
    """A flat position that stays would be margined and liquidated for nothing."""
    market = ledger()
    fill(market, "0.5", "50000")
    fill(market, "-0.5", "50000")
    assert market.view("alice")["positions"] == []
    assert market.house_lots("~market", "BTC-PERP") == "0"


def test_the_cost_released_is_rounded_half_even_and_the_rest_stays() -> None:
    """Minor units that rounding drops would leave the books short at the last close."""
    terms = (asset("USDC", 0), instrument("X-PERP", price_precision=0, quantity_precision=0))
    market = ledger(terms)
    market.fills(Fill("a", "alice", "X-PERP", "1", "1"), Fill("b", "alice", "X-PERP", "1", "4"))
    # cost 5 for 2 lots; half of it is 2.5, to even: 2 released, 3 stay
    market.fills(Fill("c", "alice", "X-PERP", "-1", "5"))
    assert (market.balance("alice"), market.position("alice", "X-PERP")) == ("3", ("1", "3"))
    market.fills(Fill("d", "alice", "X-PERP", "-1", "5"))
    # 5 + 5 received - 5 paid
    assert (market.balance("alice"), market.position("alice", "X-PERP")) == ("5", None)


@pytest.mark.parametrize(("fee", "balance", "house"), [("5", "-5", "5"), ("-2.5", "2.5", "-2.5"), ("0", "0", "0")])
def test_a_positive_fee_is_paid_and_a_negative_one_received(fee: str, balance: str, house: str) -> None:
    """Makers must get their rebate, takers must not."""
    market = ledger()
    fill(market, "0.1", "50000", fee=fee)
    assert (market.balance("alice"), market.house("~fees")) == (balance, house)


# -- inverse positions -----------------------------------------------------------------------------------------------


def test_an_inverse_position_gains_in_coins() -> None:
    """Quantity x multiplier x (1/entry - 1/exit): dollars booked as coins would be a factor of the price wrong."""
    market = ledger()
    fill(market, "100", "40000", instrument="BTC-COIN")
    # 10,000 USD / 40,000 = 0.25 BTC; a long's cost is negative
    assert market.position("alice", "BTC-COIN") == ("100", "-0.25")
    fill(market, "-100", "50000", instrument="BTC-COIN")
    # 10,000 x (1/40,000 - 1/50,000) = 0.05
    assert market.balance("alice", "BTC") == "0.05"
    assert market.position("alice", "BTC-COIN") is None


def test_an_inverse_short_loses_when_the_price_rises_and_pays_its_fee_in_coins() -> None:
    """A fee taken in dollars from a coin account would open a debt that the user never made."""
    market = ledger()
    fill(market, "-50", "40000", fee="0.0001", instrument="BTC-COIN")
    fill(market, "50", "50000", instrument="BTC-COIN")
    # 5,000 x (1/50,000 - 1/40,000) = -0.025, fee 0.0001
    assert market.balance("alice", "BTC") == "-0.0251"
    assert market.balance("alice", "USDC") == "0"


def test_inverse_coins_are_rounded_half_even_on_the_magnitude() -> None:
    """Both sides of a trade must round alike, or every trade leaks a satoshi to nobody."""
    market = ledger()
    market.fills(
        Fill("a", "alice", "BTC-COIN", "1", "48000"),
        Fill("b", "bob", "BTC-COIN", "-1", "48000"),
    )
    # 100 / 48,000 = 0.002083333...: 0.00208333
    assert market.position("alice", "BTC-COIN") == ("1", "-0.00208333")
    assert market.position("bob", "BTC-COIN") == ("-1", "0.00208333")
    assert market.house("~market:BTC-COIN", "BTC") == "0"


def test_flipping_an_inverse_position_opens_the_rest_at_the_fill_price() -> None:
    """As for linear ones: the new side starts with no profit and no loss."""
    market = ledger()
    fill(market, "100", "40000", instrument="BTC-COIN")
    fill(market, "-150", "50000", instrument="BTC-COIN")
    # closed: 10,000 x (1/40,000 - 1/50,000) = 0.05; opened: -50 at 50,000 = 5,000 / 50,000 = 0.1
    assert market.balance("alice", "BTC") == "0.05"
    assert market.position("alice", "BTC-COIN") == ("-50", "0.1")


# -- openings and busts ----------------------------------------------------------------------------------------------


def test_opening_balances_and_positions_come_from_outside() -> None:
    """A venue that joins mid-life brings books without their trades: ~market must stay for real trades only."""
    market = ledger()
    market.collateral(Leg("o1", "alice", "1000", type="opening"), Leg("o2", "alice", "-0.5", "BTC", type="opening"))
    market.fills(Fill("o3", "alice", "BTC-PERP", "0.2", "50000", kind="opening"))
    assert (market.balance("alice"), market.balance("alice", "BTC")) == ("1000", "-0.5")
    assert market.position("alice", "BTC-PERP") == ("0.2", "10000")
    # 1,000 of cash from outside, and 10,000 of cost that somebody outside paid
    assert market.house("~external") == "9000"
    assert market.house("~market:BTC-PERP") == "0"
    assert (market.house_lots("~external", "BTC-PERP"), market.house_lots("~market", "BTC-PERP")) == ("-0.2", "0")


def test_a_busted_trade_is_as_if_it_had_not_been() -> None:
    """A trade that the venue annulled must leave no profit, no position and no fee."""
    market = ledger()
    market.deposit("alice", "10000")
    market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "12.5"))
    market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "12.5", kind="bust"))
    assert (market.balance("alice"), market.position("alice", "BTC-PERP")) == ("10000", None)
    assert (market.house("~fees"), market.house("~market:BTC-PERP")) == ("0", "0")


def test_a_bust_after_a_partial_close_leaves_the_close_alone() -> None:
    """The close was a trade of its own: what it sold stays sold, now as a short."""
    market = ledger()
    market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "10"))
    market.fills(Fill("t2", "alice", "BTC-PERP", "-0.2", "51000"))
    # profit 200, fee 10
    assert market.balance("alice") == "190"
    market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "10", kind="bust"))
    # sells 0.5 at 50,000: closes 0.3 without profit, opens -0.2 at 50,000 (cost -10,000); the fee comes back.
    # Together: 200 of profit booked, and the short of 0.2 sold at 51,000 has 200 less to come. Sum as of t2 alone.
    assert market.position("alice", "BTC-PERP") == ("-0.2", "-10000")
    assert market.balance("alice") == "200"
    assert market.house("~fees") == "0"


def test_a_bust_is_told_apart_from_its_trade_and_applied_once() -> None:
    """Both carry the same fill_id: neither may be taken for a repetition of the other."""
    market = ledger()
    trade = Fill("t1", "alice", "BTC-PERP", "0.5", "50000")
    market.fills(trade, trade._replace(kind="bust"), trade._replace(kind="bust"), trade)
    assert market.position("alice", "BTC-PERP") is None
    assert market.shard.ledger.rows == {"applied": 2, "duplicate": 2, "out_of_range": 0, "to_house": 0}


# -- duplicates ------------------------------------------------------------------------------------------------------


def test_ids_of_different_kinds_never_meet() -> None:
    """A bust of fill 0 taken for trade 1, or deposit d1 for fill f1, is money that silently never arrives."""
    market = ledger()
    names = "0123456789abcdefghijklmnopqrstuvwxyz"
    market.fills(*(Fill(f"{name}x", "alice", "BTC-PERP", "0.001", "50000") for name in names))
    market.fills(*(Fill(f"{name}x", "alice", "BTC-PERP", "0.001", "50000", kind="bust") for name in names))
    for leg in (0, 1):
        market.collateral(*(Leg(f"{name}x", "alice", "1", type="transfer", leg=leg) for name in names))
    assert market.shard.ledger.rows["duplicate"] == 0
    assert market.balance("alice") == "72"
    assert market.position("alice", "BTC-PERP") is None


def test_a_repeated_id_is_counted_and_changes_nothing() -> None:
    """A venue that resends after a time-out would double its customers' positions."""
    market = Market()
    market.deposit("alice", "10000")
    sent = market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "1"))
    assert [record["account"] for record in of(sent, "margin-accounts")] == ["alice"]
    before = market.view("alice")["positions"], market.balance("alice")
    assert market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "1")) == []
    assert (market.view("alice")["positions"], market.balance("alice")) == before
    assert market.shard.ledger.rows["duplicate"] == 1


def test_the_same_id_of_another_account_is_no_duplicate() -> None:
    """Both sides of a trade often share an id."""
    market = ledger()
    market.fills(Fill("t1", "alice", "BTC-PERP", "1", "50000"), Fill("t1", "bob", "BTC-PERP", "-1", "50000"))
    assert market.house_lots("~market", "BTC-PERP") == "0"
    assert market.shard.ledger.rows["applied"] == 2


@pytest.mark.parametrize(
    ("window", "later", "applied"),
    [(256, 255, 0), (256, 256, 1), (3, 2, 0), (3, 3, 1), (1, 1, 1), (3000, 2999, 0), (3000, 3000, 1)],
)
def test_an_id_is_remembered_for_as_many_ids_as_the_window_says(window: int, later: int, applied: int) -> None:
    """Last id of the window: still a duplicate; one more: forgotten, as documented."""
    market = ledger((*STANDARD, rules(duplicate_window=window)))
    market.fills(Fill("first", "alice", "BTC-PERP", "0.001", "50000"))
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in range(later)))
    before = market.shard.ledger.rows["applied"]
    market.fills(Fill("first", "alice", "BTC-PERP", "0.001", "50000"))
    assert market.shard.ledger.rows["applied"] - before == applied


@pytest.mark.parametrize("window", [2, 1000])
def test_the_window_is_fixed_once_rows_were_applied(window: int) -> None:
    """A ring that changed its size in use would take new trades for old ones."""
    market = ledger((*STANDARD, rules(duplicate_window=4)))
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in range(6)))
    market.tell(rules(duplicate_window=window, version=2))
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in range(6, 14)))
    assert market.shard.ledger.rows["applied"] == 14
    market.fills(Fill("t10", "alice", "BTC-PERP", "0.001", "50000"), Fill("t9", "alice", "BTC-PERP", "0.001", "50000"))
    # the last four are t10 to t13
    assert market.shard.ledger.rows == {"applied": 15, "duplicate": 1, "out_of_range": 0, "to_house": 0}
    assert market.shard.window == 4


# -- range -----------------------------------------------------------------------------------------------------------

#: 2**62 minor units of USDC (6 decimals) is 4,611,686,018,427.387904.
HALF = "2400000000000"


def test_a_deposit_past_the_range_is_rejected_and_nothing_changes() -> None:
    """A balance that wrapped around would turn the richest account into the poorest."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF))
    market.marks(PRICES)
    sent = market.collateral(Leg("d2", "alice", HALF), Leg("d3", "bob", "7"))
    assert (market.balance("alice"), market.balance("bob")) == (HALF, "7")
    (letter,) = of(sent, "dead-letters")
    assert letter["reason_code"] == "ledger_range"
    assert (letter["source_topic"], letter["source_partition"], letter["source_offset"]) == ("collateral", 0, 0)
    assert letter["journal"] == {"partition": 0, "offset": len(market.journal) - 1}
    assert "alice" in letter["reason"]
    assert [record["account"] for record in of(sent, "margin-accounts")] == ["bob"]
    assert market.house("~external") == "-2400000000007"


def test_of_a_conversion_past_the_range_neither_leg_posts() -> None:
    """Giving the coins without getting the money would take them for nothing."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF), Leg("d2", "alice", "2", "ETH"))
    legs = Leg("c", "alice", "-1", "ETH", type="conversion"), Leg("c", "alice", HALF, type="conversion", leg=1)
    for order in (legs, (legs[0]._replace(amount="1"), legs[1]._replace(amount="7"))):
        sent = market.collateral(*order, Leg(f"d{len(market.journal)}", "bob", "7"))
    assert [market.balance("alice", asset) for asset in ("USDC", "ETH")] == ["2400000000007", "3"]
    assert market.shard.ledger.rows["out_of_range"] == 2
    assert of(sent, "dead-letters") == []
    (letter,) = of(market.collateral(*(leg._replace(id="again") for leg in legs)), "dead-letters")
    assert letter["source_offset"] == 0


def test_a_rejected_id_may_come_again_corrected() -> None:
    """Remembering the id of a row that was not applied would refuse its correction."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF))
    market.collateral(Leg("d2", "alice", HALF))
    market.collateral(Leg("d2", "alice", "5"))
    assert market.balance("alice") == "2400000000005"


@pytest.mark.parametrize(
    ("held", "row"),
    [
        ("2000000", Fill("big", "alice", "BTC-PERP", "2000000", "1500000")),  # cost 3e12 + 3e12
        ("2000000", Fill("big", "alice", "BTC-PERP", "0.001", "1500000", fee="-4611686018427.387903")),  # fee + 1
        ("-2000000", Fill("big", "alice", "BTC-PERP", "2000000", "0.1")),  # profit 3e12 onto a balance of 2.4e12
    ],
)
def test_a_fill_past_the_range_is_rejected_and_nothing_changes(held: str, row: Fill) -> None:
    """Cost, fee and profit each have to fit before any of them is booked."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF))
    market.fills(Fill("first", "alice", "BTC-PERP", held, "1500000"))
    before = market.balance("alice"), market.position("alice", "BTC-PERP")
    sent = market.fills(row)
    assert [letter["reason_code"] for letter in of(sent, "dead-letters")] == ["ledger_range"]
    assert (market.balance("alice"), market.position("alice", "BTC-PERP")) == before
    assert market.shard.ledger.rows["out_of_range"] == 1


# -- collateral ------------------------------------------------------------------------------------------------------


def test_withdrawals_and_adjustments_may_leave_a_debt() -> None:
    """Transfers are facts: the engine books them and margins what is left."""
    market = ledger()
    market.collateral(
        Leg("d", "alice", "100"),
        Leg("w", "alice", "-150", type="withdrawal"),
        Leg("a", "alice", "-25.5", type="adjustment"),
        Leg("b", "alice", "3", type="adjustment"),
    )
    assert (market.balance("alice"), market.house("~external")) == ("-72.5", "72.5")


def test_the_two_legs_of_a_transfer_are_two_postings_of_one_id() -> None:
    """Where both accounts live on one shard, the second leg is no repetition of the first."""
    market = ledger()
    market.deposit("alice", "100")
    market.collateral(Leg("x", "alice", "-40", type="transfer"), Leg("x", "bob", "40", type="transfer", leg=1))
    assert (market.balance("alice"), market.balance("bob"), market.house("~external")) == ("60", "40", "-100")


def test_a_transfer_to_oneself_moves_between_buckets() -> None:
    """Margin given to an isolated position must come out of the cross bucket, to the last unit."""
    market = ledger()
    market.deposit("alice", "100")
    market.collateral(
        Leg("x", "alice", "-40", type="transfer"),
        Leg("x", "alice", "40", type="transfer", leg=1, bucket="BTC-PERP"),
    )
    assert (market.balance("alice"), market.balance("alice", bucket="BTC-PERP")) == ("60", "40")


def test_a_transfer_to_another_shard_shows_on_this_one_as_gone_outside() -> None:
    """Each shard balances by itself; the sum of ~external over all shards is what really came in."""
    here, there = ledger(), ledger()
    here.deposit("alice", "100")
    here.collateral(Leg("x", "alice", "-40", type="transfer"))
    there.collateral(Leg("x", "bob", "40", type="transfer", leg=1))
    assert (here.house("~external"), there.house("~external")) == ("-60", "-40")


def test_a_conversion_gives_one_asset_and_takes_another() -> None:
    """Collateral sold to repay a debt: both legs or the account is charged twice."""
    market = ledger()
    market.collateral(Leg("d", "alice", "2", "ETH"), Leg("w", "alice", "-1000", type="withdrawal"))
    market.collateral(
        Leg("c", "alice", "-0.5", "ETH", type="conversion"), Leg("c", "alice", "999.5", type="conversion", leg=1)
    )
    assert (market.balance("alice", "ETH"), market.balance("alice")) == ("1.5", "-0.5")


# -- buckets ---------------------------------------------------------------------------------------------------------


def test_an_isolated_fill_never_touches_the_cross_bucket() -> None:
    """An isolated loss must end at its own margin."""
    market = ledger()
    market.collateral(Leg("d", "alice", "1000"), Leg("m", "alice", "500", bucket="BTC-PERP"))
    market.fills(Fill("i", "alice", "BTC-PERP", "0.1", "50000", "2.5", mode="isolated"))
    market.fills(Fill("c", "alice", "BTC-PERP", "-0.3", "50000", mode="cross"))
    market.fills(Fill("j", "alice", "BTC-PERP", "-0.1", "49000", mode="isolated"))
    # isolated: 500 - 2.5 - 100; cross: untouched but for its own position
    assert market.balance("alice", bucket="BTC-PERP") == "397.5"
    assert market.position("alice", "BTC-PERP", "BTC-PERP") is None
    assert (market.balance("alice"), market.position("alice", "BTC-PERP")) == ("1000", ("-0.3", "-15000"))


def test_a_fill_without_a_mode_takes_the_accounts_own() -> None:
    """An account set to isolated would otherwise risk its whole collateral on every trade."""
    market = ledger()
    market.fills(Fill("1", "alice", "BTC-PERP", "0.1", "50000"))
    market.settings({"account": "alice", "mode": "isolated", "levels": {}})
    market.fills(
        Fill("2", "alice", "ETH-PERP", "1", "2000"),
        Fill("3", "alice", "BTC-PERP", "0.2", "50000", mode="cross"),
    )
    assert market.position("alice", "BTC-PERP") == ("0.3", "15000")
    assert market.position("alice", "ETH-PERP") is None
    assert market.position("alice", "ETH-PERP", "ETH-PERP") == ("1", "2000")
    market.settings({"account": "alice", "mode": "cross", "levels": {}})
    market.fills(Fill("4", "alice", "ETH-PERP", "1", "2000"))
    assert market.position("alice", "ETH-PERP") == ("1", "2000")


def test_settings_of_an_account_that_is_new_hold_from_its_first_fill() -> None:
    """Accounts are often set up before they trade."""
    market = ledger()
    market.settings({"account": "carol", "mode": "isolated", "levels": {}})
    market.fills(Fill("1", "carol", "BTC-PERP", "0.1", "50000"))
    assert market.position("carol", "BTC-PERP", "BTC-PERP") == ("0.1", "5000")


# -- block boundaries ------------------------------------------------------------------------------------------------


def test_late_fills_of_one_block_settle_row_by_row() -> None:
    """Where a venue's batch ends must not move a satoshi: settled together, two inverse fills round otherwise."""
    late = [Fill("a", "alice", "BTC-MAR", "3", "47777.7"), Fill("b", "alice", "BTC-MAR", "-1", "46666.6")]
    balances = []
    for blocks in ([late], [[row] for row in late]):
        market = ledger((*STANDARD, instrument("BTC-MAR", "inverse_future", expiry=T, settlement_price="44444.4")))
        market.marks({}, mode="catching_up")
        for rows in blocks:
            market.fills(*rows)
        balances.append(market.balance("alice", "BTC"))
    # settled: 300 / 44,444.4 = 0.006750006750 -> 0.00675001; 100 / 44,444.4 = 0.00225000
    # bought: 300 / 47,777.7 = 0.006279080 -> 0.00627908; sold: 100 / 46,666.6 = 0.002142860 -> 0.00214286
    # -(0.00675001 - 0.00627908) + (0.00225000 - 0.00214286): settled in one it would be 0.00450000 for two
    assert balances == ["-0.00036379"] * 2


# -- many entries ----------------------------------------------------------------------------------------------------


def test_tables_grow_and_pack_without_losing_an_entry() -> None:
    """An account with many positions shares its memory with all others: moving it must not move their money."""
    names = [f"C{n:02}" for n in range(40)]
    terms = [asset("USDC"), *(asset(name, 4) for name in names), *(instrument(f"{name}-PERP") for name in names)]
    market = ledger(terms)
    accounts = [f"user-{n}" for n in range(30)]
    for round, name in enumerate([*reversed(names), *names]):
        market.fills(*(Fill(f"f{round}", who, f"{name}-PERP", "1", str(round + 1)) for who in accounts))
        market.collateral(*(Leg(f"d{round}", who, str(n + 1), name) for n, who in enumerate(accounts)))
    for n, who in enumerate(accounts):
        found = market.view(who)
        # instrument k was bought in round 39 - k at 40 - k and in round 40 + k at 41 + k: cost 81
        assert [(row["instrument"], row["quantity"]) for row in found["positions"]] == [
            (f"{name}-PERP", "2") for name in names
        ]
        assert {market.position(who, f"{name}-PERP") for name in names} == {("2", "81")}
        assert found["balances"] == {**dict.fromkeys(names, str(2 * (n + 1))), "USDC": "0"}
    assert market.house_lots("~market", "C07-PERP") == "-60"


def test_a_table_of_mostly_holes_is_packed() -> None:
    """Books that come and go would otherwise eat the worker's memory."""
    rank = np.arange(64, dtype=np.int32)
    table: Positions = with_room(with_rows(empty(Positions), 2), 2, 4096)
    for key in range(32):
        for book in (0, 1):
            entry = position_entry(table, book, 31 - key, rank)
            table.lots[entry] = 100 * book + 31 - key
    # each run moved when it held 1, 2, 4, 8, 16: 2 x (1 + 2 + 4 + 8 + 16 + 32) entries used, 64 of them in use
    assert int(table.top[0]) == 126
    packed = with_room(table, 2, len(table.key))
    assert int(packed.top[0]) == 64
    assert len(packed.key) >= 64 + len(table.key)
    for book in (0, 1):
        run = slice(int(packed.start[book]), int(packed.start[book]) + 32)
        assert packed.key[run].tolist() == list(range(32))
        assert packed.lots[run].tolist() == [100 * book + key for key in range(32)]
