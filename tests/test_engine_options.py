"""Options in a shard: margin as of `evaluate`, premiums as costs, and what an expiry pays."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.judge import judged_now, numbers_of
from streams.engine.shard import Shard
from tests.builders import PRICES, STANDARD, Fill, Leg, Market, T, events
from tests.option_terms import EXPIRY, option
from tests.reference.valuation import valued

CALL = option("BTC-C55", "call", "55000")
PUT = option("BTC-P45", "put", "45000")
COIN = option("BTC-COIN-C40", "call", "40000", settlement="BTC", price_precision=4, quantity_precision=1)
VALUES = {"BTC-C55": 1_000.0, "BTC-P45": 800.0, "BTC-COIN-C40": 0.22}


def market(*terms: Any, **options: Any) -> Market:
    """alice and bob have 20,000 USDC and 1 BTC each; BTC is at 50,000."""
    made = Market((*STANDARD, *(terms or (CALL, PUT, COIN))), None, **options)
    made.marks(PRICES, VALUES)
    for name in ("alice", "bob"):
        made.collateral(Leg(f"{name}-u", name, "20000"), Leg(f"{name}-b", name, "1", "BTC"))
    return made


def trade(made: Market, instrument: str, quantity: str, price: str, id: str = "t") -> None:
    """alice buys of bob."""
    sold = quantity.removeprefix("-") if quantity.startswith("-") else f"-{quantity}"
    made.fills(Fill(id, "alice", instrument, quantity, price), Fill(id, "bob", instrument, sold, price))


def shown(made: Market, account: str, *fields: str) -> list[Any]:
    """Fields of an account's page."""
    view = made.view(account)
    return [view[field] for field in fields]


def test_a_premium_is_the_cost_of_the_position() -> None:
    """No cash moves before the position closes; equity is the same as if it had."""
    made = market()
    trade(made, "BTC-C55", "2", "900")
    assert made.position("alice", "BTC-C55") == ("2", "1800")
    assert made.balance("alice") == "20000"
    # 20,000 + 50,000 + 2 x 100; without 2 x 1,000 that nothing is lent on
    fields = ("equity", "adjusted_equity", "initial_margin", "maintenance_margin", "margin_ratio")
    assert shown(made, "alice", *fields) == ["70200", "68200", "0", "0", None]
    # 10 % out of the money: 0.13 and 0.09 of 100,000
    assert shown(made, "bob", *fields) == ["69800", "69800", "13000", "9000", "7.75555555555556"]


def test_a_seller_is_liquidated_when_the_option_grows_dear() -> None:
    """The mark of the option alone may do it, at the same index."""
    made = market()
    made.collateral(Leg("out", "bob", "-1", "BTC", type="withdrawal"))
    trade(made, "BTC-C55", "2", "1000")
    sent = made.marks({}, {"BTC-C55": 6_600.0})
    # 20,000 - 2 x 5,600 = 8,800 below 9,000
    assert events(sent) == ["bob liquidation"]
    (order,) = sent[0].record["orders"]
    assert (order["instrument"], float(order["quantity"]) > 0) == ("BTC-C55", True)
    assert sent[0].record["report"]["positions"][0]["liquidation_price"] is None


def test_a_seller_is_liquidated_when_the_index_alone_rises() -> None:
    """The charge hangs on the price of the underlying; the book is judged though no mark of its own moved."""
    made = market()
    made.collateral(Leg("out", "bob", "-1", "BTC", type="withdrawal"))
    trade(made, "BTC-C55", "4", "1000")
    # 4 x 0.09 x 60,000 = 21,600
    sent = made.marks({"BTC": 60_000.0}, VALUES)
    assert "bob liquidation" in events(sent)


def test_an_option_bought_for_what_has_no_price_is_unpriced() -> None:
    """Its value and its cost add up to nothing, which hides that nobody knows what either is worth."""
    made = Market((*STANDARD, CALL), None)
    made.marks({"BTC": 50_000.0}, {"BTC-C55": 1_000.0})
    made.deposit("alice", "1", "BTC")
    made.fills(Fill("t", "alice", "BTC-C55", "1", "1000"))
    assert made.status("alice") == "unpriced"
    assert np.isnan(judged_now(made.shard, np.zeros(1, dtype=np.int64)).adjusted[0])
    made.marks(PRICES, VALUES, after=1)
    assert made.status("alice") == "ok"


def test_an_option_sold_whose_index_was_never_seen_is_unpriced() -> None:
    """A charge that cannot be known is not 0."""
    made = Market((*STANDARD, CALL), None)
    made.marks({"USDC": 1.0}, {"BTC-C55": 1_000.0})
    made.collateral(Leg("a", "alice", "20000"), Leg("b", "bob", "20000"))
    trade(made, "BTC-C55", "1", "1000")
    assert (made.status("alice"), made.status("bob")) == ("ok", "unpriced")
    made.marks({"BTC": 50_000.0}, VALUES)
    assert made.status("bob") == "ok"


PAID = [
    # index at expiry, balance of the buyer of one at 1,000 (put: 800; coins: 0.2 of 1 BTC)
    ("BTC-C55", "1000", 56_234.56, "USDC", "20234.56"),
    ("BTC-C55", "1000", 55_000.0, "USDC", "19000"),
    ("BTC-C55", "1000", 54_999.99, "USDC", "19000"),
    ("BTC-P45", "800", 40_000.125, "USDC", "24199.875"),
    ("BTC-P45", "800", 60_000.0, "USDC", "19200"),
    # 20,000 / 60,000 of a coin; a lot of 0.1 is paid 0.03333333
    ("BTC-COIN-C40", "0.2", 60_000.0, "BTC", "1.1333333"),
    ("BTC-COIN-C40", "0.2", 40_000.0, "BTC", "0.8"),
]


@pytest.mark.parametrize(("name", "price", "index", "paid_in", "balance"), PAID)
def test_an_expiry_pays_the_payoff_at_the_index(
    name: str, price: str, index: float, paid_in: str, balance: str
) -> None:
    """Finer than the option's own tick, to a minor unit a lot; what one receives the other pays."""
    made = market()
    trade(made, name, "1", price)
    made.marks({"BTC": index}, VALUES, after=59_999)
    assert made.position("alice", name) is not None
    made.marks({"BTC": index}, VALUES, after=1)
    assert made.position("alice", name) is made.position("bob", name) is None
    assert made.balance("alice", paid_in) == balance
    whole = 2 if paid_in == "BTC" else 40_000
    assert float(balance) + float(made.balance("bob", paid_in)) == whole
    assert made.house_lots("~market", name) == "0"
    assert made.house(f"~market:{name}", paid_in) == "0"
    made.marks({"BTC": 90_000.0}, VALUES, after=1000)
    assert made.balance("alice", paid_in) == balance, "it pays once"


def test_a_stated_price_of_the_underlying_goes_before_the_index() -> None:
    """The venue's delivery price decides, with all its decimals."""
    made = market(option("BTC-C55", "call", "55000", settlement_price="55100.1234567"))
    trade(made, "BTC-C55", "1", "1000")
    made.marks({"BTC": 70_000.0}, VALUES, after=60_000)
    # 100.1234567 for 1,000 lots: 0.100123 each
    assert made.balance("alice") == "19100.123"


def test_a_late_fill_of_a_worthless_option_is_paid_nothing() -> None:
    """A payoff of 0 is a price: whoever bought it late has lost the premium."""
    made = market()
    made.marks({"BTC": 50_000.0}, VALUES, after=60_000)
    trade(made, "BTC-C55", "1", "10")
    assert made.position("alice", "BTC-C55") is None
    assert (made.balance("alice"), made.balance("bob")) == ("19990", "20010")


def test_what_the_house_took_over_is_paid_too() -> None:
    """A bankrupt seller's option still pays its buyer; the house stands for it."""
    made = market()
    made.collateral(Leg("out", "bob", "-1", "BTC", type="withdrawal"))
    trade(made, "BTC-C55", "2", "1000")
    assert events(made.marks({"BTC": 70_000.0}, {"BTC-C55": 15_000.0})) == ["bob bankrupt"]
    assert made.house_lots("~house", "BTC-C55") == "-2"
    made.marks({"BTC": 65_000.0}, VALUES, after=60_000)
    # alice 20,000 - 2,000 + 2 x 10,000; the house 20,000 + 2,000 - 20,000
    assert (made.balance("alice"), made.house("~house")) == ("38000", "2000")
    assert made.house_lots("~house", "BTC-C55") == "0"


NAMES = ("BTC-C55", "BTC-P45", "BTC-COIN-C40", "BTC-PERP")
UNITS = {"BTC-C55": "0.001", "BTC-P45": "0.001", "BTC-COIN-C40": "0.1", "BTC-PERP": "0.001"}


def played(seed: int) -> Market:
    """A hundred fills of four accounts, each with its other side, marks between them, and the expiry."""
    dice = Random(seed)
    made = market()
    accounts = ("alice", "bob", "carol", "dan")
    for name in accounts[2:]:
        made.collateral(Leg(f"{name}-u", name, "20000"))
    for at in range(100):
        name = dice.choice(NAMES)
        lots = dice.randrange(1, 30 if name == "BTC-COIN-C40" else 2_000)
        quantity = f"{lots * float(UNITS[name]):.3f}"
        price = f"{dice.uniform(0.001, 0.3):.4f}" if name == "BTC-COIN-C40" else f"{dice.uniform(1, 3_000):.1f}"
        price = "50000" if name == "BTC-PERP" else price
        buyer, seller = dice.sample(accounts, 2)
        made.fills(Fill(f"{at}", buyer, name, quantity, price), Fill(f"{at}", seller, name, f"-{quantity}", price))
        if dice.random() < 0.2:
            index = dice.uniform(35_000.0, 65_000.0)
            values = {name: value * dice.uniform(0.2, 3.0) for name, value in VALUES.items()}
            made.marks({"BTC": index, "USDC": 1.0}, {**values, "BTC-PERP": index}, after=500)
            agrees(made.shard)
    made.marks({"BTC": dice.uniform(35_000.0, 65_000.0)}, VALUES, after=EXPIRY - T)
    return made


def agrees(shard: Shard) -> None:
    """The kernels' numbers are those of columns of numpy, and no book's status is another than judging it gives."""
    books = np.arange(shard.ledger.books, dtype=np.int64)
    found = numbers_of(shard, books)
    for name, wanted in valued(shard)._asdict().items():
        assert getattr(found, name) == pytest.approx(wanted, rel=1e-11, abs=1e-6, nan_ok=True), name
    judged = judged_now(shard, books)
    for name in ("equity", "adjusted", "maintenance"):
        np.testing.assert_array_equal(getattr(judged, name), getattr(found, name))
    stands = shard.standing.status[books]
    settled = (shard.standing.step[books] == 0) & (stands != 3)
    np.testing.assert_array_equal(judged.status[settled], stands[settled])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 30))
def test_premiums_and_payoffs_add_up(seed: int) -> None:
    """Every asset sums to zero after every block (the builder checks), and an expiry leaves the market with nothing."""
    made = played(seed)
    for name, paid_in in (("BTC-C55", "USDC"), ("BTC-P45", "USDC"), ("BTC-COIN-C40", "BTC")):
        assert made.house_lots("~market", name) == "0"
        assert made.house_lots("~house", name) == "0"
        assert made.house(f"~market:{name}", paid_in) == "0"


def test_a_journal_with_options_folds_the_same_twice() -> None:
    """Options, expiries and take-overs are in the state and in what was sent."""
    made = played(7)
    again = Shard(0)
    sent = [output for at, block in enumerate(made.journal) for output in again.apply(at, block)]
    assert len(sent) == len(made.sent) > 100
    again_hash = made.hash()
    made.shard = again
    assert made.hash() == again_hash
