"""What marks, funding rates and expiries do to the ledger of a shard.

BTC-PERP settles in USDC: 0.5 of it at a mark of 50,000 and a rate of 0.0001 pays 0.5 x 50,000 x 0.0001 = 2.5.
"""

from decimal import Decimal
from typing import Any

import pytest

from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, Rate, T, asset, events, instrument, of


def market(prices: dict[str, float] | None = PRICES, *terms: Json) -> Market:
    """alice long 0.5 BTC-PERP, bob short 0.5, both with plenty of collateral."""
    made = Market((*STANDARD, *terms), prices)
    made.collateral(Leg("d", "alice", "100000"), Leg("d", "bob", "100000"))
    made.fills(Fill("t", "alice", "BTC-PERP", "0.5", "50000"), Fill("t", "bob", "BTC-PERP", "-0.5", "50000"))
    return made


def close(made: Market, account: str, quantity: str, price: str = "50000", instrument: str = "BTC-PERP") -> None:
    made.fills(Fill(f"close-{len(made.journal)}", account, instrument, quantity, price))


# -- funding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "alice", "bob", "house"), [("0.0001", "-2.5", "2.5", "0"), ("-0.0001", "2.5", "-2.5", "0")]
)
def test_longs_pay_a_positive_rate_and_receive_a_negative_one(rate: str, alice: str, bob: str, house: str) -> None:
    """The wrong sign pays funding to those who owe it, every eight hours."""
    made = market()
    made.funding(Rate("BTC-PERP", rate, T))
    # it accrues: part of equity at once, settled with the next fill
    assert made.balance("alice") == "100000"
    assert made.view("alice")["equity"] == str(100_000 + float(alice))
    close(made, "alice", "-0.5")
    close(made, "bob", "0.5")
    assert float(made.balance("alice")) == 100_000 + float(alice)
    assert float(made.balance("bob")) == 100_000 + float(bob)
    assert made.house("~funding") == house


def test_several_rates_with_a_partial_close_in_between() -> None:
    """Each rate is paid on what was held when it came, not on what is left at the end."""
    made = market()
    made.funding(Rate("BTC-PERP", "0.0001", T))
    close(made, "alice", "-0.2")
    # settled on 0.5: 2.5
    assert made.balance("alice") == "99997.5"
    made.marks({"BTC": 52_000.0}, after=1000)
    made.funding(Rate("BTC-PERP", "0.0003", T + 1))
    made.funding(Rate("BTC-PERP", "-0.0001", T + 2))
    # on 0.3 at 52,000: 15,600 x 0.0002 = 3.12
    assert made.view("alice")["equity"] == "100594.38"  # 99,997.5 + 0.3 x 2,000 - 3.12
    close(made, "alice", "-0.3")
    assert made.balance("alice") == "99994.38"


def test_a_position_opened_after_the_rate_owes_nothing() -> None:
    """Whoever trades right after the funding time must not pay for the interval before."""
    made = market()
    made.funding(Rate("BTC-PERP", "0.01", T))
    made.fills(Fill("late", "carol", "BTC-PERP", "1", "50000"))
    made.deposit("carol", "10000")
    assert made.view("carol")["equity"] == "10000"


def test_adding_to_and_flipping_a_position_settles_its_funding_first() -> None:
    """The new size must not pay the old interval."""
    made = market()
    made.funding(Rate("BTC-PERP", "0.0001", T))
    close(made, "alice", "1.5")
    assert made.balance("alice") == "99997.5"
    made.funding(Rate("BTC-PERP", "0.0001", T + 1))
    # 2 x 50,000 x 0.0001 = 10, then short 1
    close(made, "alice", "-3")
    assert made.balance("alice") == "99987.5"
    made.funding(Rate("BTC-PERP", "0.0001", T + 2))
    close(made, "alice", "1")
    assert made.balance("alice") == "99992.5"


def test_inverse_funding_is_paid_in_coins() -> None:
    """100 contracts of 100 USD at 50,000 are 0.2 BTC: a rate of 0.0001 is 0.00002 BTC."""
    made = market()
    made.deposit("alice", "1", "BTC")
    made.fills(Fill("i", "alice", "BTC-COIN", "100", "50000"))
    made.funding(Rate("BTC-COIN", "0.0001", T))
    close(made, "alice", "-100", instrument="BTC-COIN")
    assert made.balance("alice", "BTC") == "0.99998"


def test_a_price_given_with_the_rate_is_used_instead_of_the_mark() -> None:
    """A venue that publishes the exact funding price must be reproduced to the unit."""
    made = market()
    made.funding(Rate("BTC-PERP", "0.0001", T, price="49000"))
    close(made, "alice", "-0.5")
    # 0.5 x 49,000 x 0.0001
    assert made.balance("alice") == "99997.55"


@pytest.mark.parametrize("time", [T, T - 1])
def test_a_rate_not_newer_than_the_last_is_a_repetition(time: int) -> None:
    """A rate sent twice would be paid twice."""
    made = market()
    made.funding(Rate("BTC-PERP", "0.0001", T), Rate("BTC-PERP", "0.0001", T))
    made.funding(Rate("BTC-PERP", "0.0001", time))
    close(made, "alice", "-0.5")
    assert made.balance("alice") == "99997.5"
    assert made.shard.ledger.rows["duplicate"] == 2


def test_a_rate_waits_for_the_first_mark() -> None:
    """Without a price there is no payment to compute, and none may be lost."""
    made = market(None)
    made.funding(Rate("BTC-PERP", "0.0001", T), Rate("BTC-PERP", "0.0001", T))
    made.funding(Rate("BTC-PERP", "0.0002", T + 1))
    made.marks({"USDC": 1.0, "BTC": 50_000.0})
    close(made, "alice", "-0.5")
    # 25,000 x 0.0003
    assert made.balance("alice") == "99992.5"


def test_a_rate_with_a_price_waits_behind_one_without() -> None:
    """Applied at once it would be the newest, and the one that waits would count as a repetition: lost."""
    made = market(None)
    made.funding(Rate("BTC-PERP", "0.0001", T))
    made.funding(Rate("BTC-PERP", "0.0001", T + 1, price="40000"))
    made.funding(Rate("ETH-PERP", "0.0001", T + 1, price="2000"))
    assert made.shard.prices.funding_time == {made.shard.terms.instrument_index["ETH-PERP"]: T + 1}
    made.marks({"USDC": 1.0, "BTC": 50_000.0})
    close(made, "alice", "-0.5")
    # 2.5 + 0.5 x 40,000 x 0.0001
    assert made.balance("alice") == "99995.5"


@pytest.mark.parametrize("name", ["BTC-PERP", "ETH-PERP", "BTC-COIN"])
def test_funding_at_an_absurd_mark_is_a_dead_letter(name: str) -> None:
    """A source gone mad may quote 1e18: the shard must say so and go on, not stop for good."""
    made = market()
    made.marks({}, {name: 1e18})
    sent = made.funding(Rate(name, "1", T))
    assert [letter["reason_code"] for letter in of(sent, "dead-letters")] == ["ledger_range"]
    made.marks(PRICES)
    made.funding(Rate("BTC-PERP", "0.0001", T + 1))
    close(made, "alice", "-0.5")
    assert made.balance("alice") == "99997.5"


def test_a_funding_index_stays_in_range() -> None:
    """Rate after rate at a huge price would wrap the index around and turn payers into receivers."""
    made = market()
    made.marks({}, {"BTC-PERP": 1e11})
    sent = [made.funding(Rate("BTC-PERP", "1", T + n)) for n in range(6)]
    # a lot is 1e12 ticks x 100 minor units; in ten thousandths 1e18 a rate: four fit below 2**62 = 4.6e18
    assert [len(of(one, "dead-letters")) for one in sent] == [0, 0, 0, 0, 1, 1]
    assert made.shard.prices.funding_index == {0: 4 * 10**18}


def test_inverse_funding_at_a_mark_below_a_tick_counts_one_tick() -> None:
    """A mark that rounds to nothing must not be divided by."""
    terms = instrument("BTC-TINY", "inverse_perpetual", multiplier="0.001")
    made = market(PRICES, terms)
    made.marks({}, {"BTC-TINY": 1e-9}, mode="catching_up")
    made.deposit("alice", "1", "BTC")
    made.funding(Rate("BTC-TINY", "0.0001", T))
    made.fills(Fill("i", "alice", "BTC-TINY", "10", "50000"))
    made.funding(Rate("BTC-TINY", "0.0001", T + 1))
    close(made, "alice", "-10", instrument="BTC-TINY")
    # ten contracts of 0.001 USD at 0.1 are 0.1 BTC, x 0.0001
    assert made.balance("alice", "BTC") == "0.99999"


@pytest.mark.parametrize(
    ("terms", "price", "quantity", "paid"),
    [
        # ten USD a contract at 0.00001234: 810,372.77 coins each; 100 of them x 0.0001
        (
            instrument("S-COIN", "inverse_perpetual", multiplier="10", price_precision=8),
            0.00001234,
            "100",
            "8103.727715",
        ),
        # 9 decimals of price use up all of the coin's: 50,000 x 1 x 0.0001
        (instrument("S-PERP", settlement="S", price_precision=9, quantity_precision=0), 50_000.0, "1", "5"),
    ],
)
def test_funding_of_any_scale_fits(terms: Json, price: float, quantity: str, paid: str) -> None:
    """A coin of many small units, or a price of many decimals, must not put funding out of the index's range."""
    precision = 6 if terms["type"].startswith("inverse") else 9
    made = Market((asset("S", precision), terms), {"S": price})
    made.deposit("alice", "10000000", "S")
    name = terms["id"]
    made.fills(Fill("a", "alice", name, quantity, str(f"{price:.9f}").rstrip("0").rstrip(".")))
    assert of(made.funding(Rate(name, "0.0001", T)), "dead-letters") == []
    made.fills(Fill("b", "alice", name, f"-{quantity}", f"{price:.9f}".rstrip("0").rstrip(".")))
    assert Decimal(made.balance("alice", "S")) == 10_000_000 - Decimal(paid)


def test_funding_owed_past_the_range_rejects_the_fill() -> None:
    """A payment clamped to the largest number would be booked as if it were owed."""
    made = market()
    big = Fill("big", "whale", "BTC-PERP", "2000000", "0.1", mode="isolated")
    for n in range(4):
        made.fills(big._replace(id=f"big{n}"))
    made.marks({"BTC": 50_000.0}, mode="catching_up")
    for n in range(12):
        # 8,000,000 x 50,000 x 1 = 4e11 a rate
        made.funding(Rate("BTC-PERP", "1", T + n))
    assert made.shard.ledger.rows["out_of_range"] == 0
    sent = made.fills(Fill("one", "whale", "BTC-PERP", "-0.001", "50000", mode="isolated"))
    # 4.8e12 owed: past 4.6e12
    assert [letter["reason_code"] for letter in of(sent, "dead-letters")] == ["ledger_range"]
    assert made.position("whale", "BTC-PERP", "BTC-PERP") == ("8000000", "800000")
    # a take-over moves it whole: the house has no range
    made.marks({"BTC": 50_000.0})
    assert made.status("whale", "BTC-PERP") == "bankrupt"
    # 4.8e12, and 12 x 25,000 of alice's short side of 100,000: she is bankrupt as well
    assert made.house("~funding") == "4800000300000"


# -- expiry ----------------------------------------------------------------------------------------------------------

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


# -- terms while running ---------------------------------------------------------------------------------------------


def test_new_terms_remargin_what_they_touch_at_once() -> None:
    """A raised requirement that waited for the next price would leave the venue exposed until then."""
    made = market()
    made.collateral(Leg("w", "alice", "-95000", type="withdrawal"))
    # 5,000 on 25,000: ratio 4; at 18 % the requirement is 4,500, ratio 1.11
    assert made.status("alice") == "ok"
    sent = made.tell(instrument("BTC-PERP", initial_margin="0.2", maintenance_margin="0.18", version=7))
    assert events(sent) == ["alice called"]


@pytest.mark.parametrize("version", [6, 7])
def test_older_terms_change_nothing(version: int) -> None:
    """Two producers may tell the same record late; the newest terms must stand."""
    made = market()
    made.tell(instrument("BTC-PERP", initial_margin="0.2", maintenance_margin="0.18", version=7))
    before = made.view("alice")["maintenance_margin"]
    made.tell(instrument("BTC-PERP", initial_margin="0.9", maintenance_margin="0.9", version=version))
    assert made.view("alice")["maintenance_margin"] == before == "4500"


def test_terms_in_a_block_of_rows_hold_for_its_rows() -> None:
    """A producer tells an instrument with the first row that uses it."""
    made = market()
    sol = instrument("SOL-PERP", price_precision=3, quantity_precision=0)
    made.fills(Fill("s", "alice", "SOL-PERP", "10", "200.125"), terms=[sol])
    assert made.position("alice", "SOL-PERP") == ("10", "2001.25")
    assert made.status("alice") == "unpriced"
    made.marks({"SOL": 200.0})
    assert made.status("alice") == "ok"


def test_an_instrument_listed_later_keeps_the_books_in_order_of_id() -> None:
    """Sums in another order differ in their last bit: a replay would decide otherwise."""
    made = market()
    rows = Fill("a", "alice", "AAA-PERP", "1", "10"), Fill("b", "alice", "ETH-PERP", "1", "2000")
    made.fills(*rows, terms=[instrument("AAA-PERP")])
    assert [row["instrument"] for row in made.view("alice")["positions"]] == ["AAA-PERP", "BTC-PERP", "ETH-PERP"]


def test_a_closed_instrument_is_still_margined() -> None:
    """Closed means no new positions: those that are there keep their risk."""
    made = market()
    made.tell(instrument("BTC-PERP", closed=True, version=8))
    assert made.view("alice")["maintenance_margin"] == "1250"
