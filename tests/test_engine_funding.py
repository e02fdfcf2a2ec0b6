"""What funding rates do to the ledger of a shard.

BTC-PERP settles in USDC: 0.5 of it at a mark of 50,000 and a rate of 0.0001 pays 0.5 x 50,000 x 0.0001 = 2.5.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, Rate, T, asset, instrument, of


def market(prices: dict[str, float] | None = PRICES, *terms: Json) -> Market:
    """alice long 0.5 BTC-PERP, bob short 0.5, both with plenty of collateral."""
    made = Market((*STANDARD, *terms), prices)
    made.collateral(Leg("d", "alice", "100000"), Leg("d", "bob", "100000"))
    made.fills(Fill("t", "alice", "BTC-PERP", "0.5", "50000"), Fill("t", "bob", "BTC-PERP", "-0.5", "50000"))
    return made


def close(made: Market, account: str, quantity: str, price: str = "50000", instrument: str = "BTC-PERP") -> None:
    made.fills(Fill(f"close-{len(made.journal)}", account, instrument, quantity, price))


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
