"""What fills do to positions, cost and cash.

Instruments unless a test says otherwise: BTC-PERP and ETH-PERP settle in USDC, multiplier 1; BTC-COIN is inverse,
100 USD a contract, settles in BTC. Every block is checked for double entry by the builder.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.builders import STANDARD, Fill, Json, Leg, Market, asset, instrument


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
