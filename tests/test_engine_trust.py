"""What a shard does, and leaves undone, while prices are not to be trusted: one table an action, lines by name.

Unless a test says otherwise alice is as in `tests.long_one.flat_one`: called below an equity of 3,125, liquidated below
2,500, taken over below 0.
"""

from __future__ import annotations

import pytest

from tests.builders import (
    PRICES,
    Fill,
    Leg,
    Market,
    Sent,
    asset,
    control,
    events,
    of,
)
from tests.long_one import flat_one
from tests.tables import Row, rows


def doubted(
    market: Market, equity: str | None, check: str | None, state: str = "suspect", after: int = 1
) -> list[Sent]:
    """BTC where alice has this equity, and this equity by the check oracle."""
    price = 45_000.0 + float(equity or 0)
    checks = {"BTC": 45_000.0 + float(check)} if check else {}
    return market.marks({"BTC": price}, after=after, states={"BTC": state}, check=checks)


def decided(sent: list[Sent]) -> str:
    return " ".join(one.split()[1] for one in events(sent))


# -- suspect ---------------------------------------------------------------------------------------------------------

SUSPECT = """
    equity at index and at check prices  | index   | check   | status      | events
    both in liquidation                  | 2400    | 2400    | liquidation | liquidation
    index < line, check = line           | 2499.99 | 2500    | margin_call | called
    both < line                          | 2499.99 | 2499.99 | liquidation | liquidation
    index = line, check < line           | 2500    | 1000    | margin_call | called
    index ok, check < line               | 3125    | 1000    | ok          |
    index < call level, check ok         | 3124.99 | 5000    | margin_call | called
    index < line, check ok               | 1000    | 5000    | margin_call | called
    index < line, no check price         | 1000    |         | margin_call | called
    both < 0                             | -0.01   | -0.01   | bankrupt    | bankrupt
    index < 0, check = 0                 | -0.01   | 0       | liquidation | liquidation
    index < 0, check = line              | -0.01   | 2500    | margin_call | called
    index = 0, check < 0                 | 0       | -100    | liquidation | liquidation
"""


@pytest.mark.parametrize("row", rows(SUSPECT))
def test_a_suspect_price_closes_nobody_out_on_its_own(row: Row) -> None:
    """On 10 October 2025 accounts were closed at a price that one venue alone had."""
    market = flat_one()
    sent = doubted(market, row["index"], row["check"])
    assert (market.status("alice"), decided(sent)) == (row["status"], row["events"] or "")


@pytest.mark.parametrize("row", rows(SUSPECT))
def test_a_degraded_price_is_a_price(row: Row) -> None:
    """One venue missing of several is no doubt: what the index says is done at once."""
    market, plain = flat_one(), flat_one()
    assert decided(doubted(market, row["index"], row["check"], "degraded")) == decided(
        doubted(plain, row["index"], row["check"], "ok")
    )


PATHS = """
    what follows                                | path                                | events
    trusted again: it goes                      | suspect:1000:5000 ok:1000           | called liquidation
    stale now: liquidations go on               | suspect:1000:5000 stale:1000        | called liquidation
    the check oracle comes to agree             | suspect:1000:5000 suspect:1000:2499 | called liquidation
    recovered at the index                      | suspect:1000:5000 suspect:3250:5000 | called cleared
    still doubted after a minute                | suspect:1000:5000 suspect:1000:5000 | called
    held below zero, then trusted               | suspect:-5:5000 ok:-5               | called bankrupt
    an open step waits, however late it is      | ok:2400 suspect:2300:5000           | liquidation
    and goes on                                 | ok:2400 suspect:2300:5000 ok:2300   | liquidation liquidation
    both agree on the next step                 | ok:2400 suspect:2300:2300           | liquidation liquidation
    the next step at the check's exit: it waits | ok:2400 suspect:2300:2625           | liquidation
    below the check's exit: it comes            | ok:2400 suspect:2300:2624.99        | liquidation liquidation
    an open step, safe at the index             | ok:2400 suspect:3250:1000           | liquidation liquidation_cleared
"""


@pytest.mark.parametrize("row", rows(PATHS))
def test_a_book_held_back_is_looked_at_with_every_marks_block(row: Row) -> None:
    """It must go the moment it may: neither asleep until the price moves nor closed out before."""
    market, sent = flat_one(), []
    for step in str(row["path"]).split():
        word, equity, *check = step.split(":")
        sent += doubted(market, equity, check[0] if check else None, word, after=60_000)
    assert decided(sent) == row["events"]


def test_only_holders_of_the_suspect_symbol_are_held_back() -> None:
    """A doubt about one coin is none about the others."""
    market = flat_one()
    market.deposit("bob", "400")
    market.fills(Fill("b", "bob", "ETH-PERP", "2", "2000"))
    # bob: equity 400 - 220 = 180 against 5 % of 3,780 = 189
    sent = market.marks({"BTC": 46_000.0, "ETH": 1_890.0}, after=1, states={"BTC": "suspect"}, check={"BTC": 50_000.0})
    assert events(sent) == ["alice called", "bob liquidation"]


def test_collateral_is_checked_as_positions_are() -> None:
    """2 ETH cut by a tenth against 3,500 owed: enough at 2,000 (3,600), not at 1,900 (3,420)."""
    terms = (asset("USDC"), asset("ETH", 8, haircut="0.1"))
    market = Market(terms)
    market.collateral(Leg("e", "bob", "2", "ETH"), Leg("u", "bob", "-3500", type="withdrawal"))
    assert events(market.marks({"ETH": 1_900.0}, after=1, states={"ETH": "suspect"}, check={"ETH": 2_000.0})) == [
        "bob called"
    ]
    assert events(market.marks({"ETH": 1_900.0}, after=1, states={"ETH": "suspect"}, check={"ETH": 1_940.0})) == [
        "bob liquidation"
    ]


def test_limits_of_a_book_that_is_bankrupt_by_the_index_alone_are_the_marks() -> None:
    """There is nothing left to lose at the index: a sale below it would make the shortfall larger."""
    market = flat_one()
    (record,) = of(doubted(market, "-10", "100"), "liquidations")
    assert (record["report"]["equity"], record["orders"][0]["limit_price"]) == ("-10", "44990")


# -- stale -----------------------------------------------------------------------------------------------------------


def indebted(*stale: str) -> tuple[Market, list[Sent]]:
    """Bob owes 7,000 USDC against 2 ETH (3,600 after haircuts) and 0.1 BTC (4,500), till ETH falls to 1,300."""
    market = Market((asset("USDC"), asset("ETH", 8, haircut="0.1"), asset("BTC", 8, haircut="0.1")))
    market.collateral(Leg("e", "bob", "2", "ETH"), Leg("b", "bob", "0.1", "BTC"))
    market.collateral(Leg("u", "bob", "-7000", type="withdrawal"))
    return market, market.marks({**PRICES, "ETH": 1_300.0}, after=1, states=dict.fromkeys(stale, "stale"))


STALE_CONVERSIONS = """
    stale            | sold    | withheld | events
    nothing          | ETH BTC |          | bob liquidation
    ETH              | BTC     | ETH      | bob liquidation
    BTC              | ETH     | BTC      | bob liquidation
    ETH BTC          |         |          | bob called
    USDC             |         |          | bob called
"""


@pytest.mark.parametrize("row", rows(STALE_CONVERSIONS))
def test_nothing_is_converted_at_a_stale_price(row: Row) -> None:
    """A coin whose feeds are gone would be sold for whatever its last price was, or bought."""
    market, sent = indebted(*(str(row["stale"]).split() if row["stale"] != "nothing" else ()))
    assert events(sent) == [row["events"]]
    orders = [order for record in of(sent, "liquidations") for order in record["orders"]]
    assert {order["sell_asset"] for order in orders} == set((row["sold"] or "").split())
    left_out = [left["asset"] for record in of(sent, "liquidations") for left in record.get("withheld", ())]
    assert left_out == (row["withheld"] or "").split()
    # fresh prices again: what was held back goes, what was left out comes with the next step
    assert events(market.marks({**PRICES, "ETH": 1_300.0}, after=5_000)) == ["bob liquidation"]


def test_positions_are_closed_at_a_stale_price() -> None:
    """Their orders only reduce: waiting lets the debt grow."""
    market = flat_one()
    (record,) = of(doubted(market, "2400", None, "stale"), "liquidations")
    assert (record["orders"][0]["instrument"], "withheld" in record) == ("BTC-PERP", False)
    assert decided(doubted(market, "-1", None, "stale")) == "bankrupt"


# -- halted ----------------------------------------------------------------------------------------------------------


def two_legs(balance: str) -> Market:
    """Bob is long 1 BTC (2,500 required) and 10 ETH (1,000), both from where they are: his ratio is balance / 3,500."""
    market = Market()
    market.deposit("bob", "10000")
    market.fills(Fill("b", "bob", "BTC-PERP", "1", "50000"), Fill("e", "bob", "ETH-PERP", "10", "2000"))
    market.marks(PRICES, after=1)
    market.tell(control("pause_liquidations"))
    market.collateral(Leg("w", "bob", str(float(balance) - 10_000), type="adjustment"))
    market.marks(PRICES, after=1)
    return market


def halt(market: Market, how: str, *symbols: str) -> list[Sent]:
    """By the oracle's state of the symbol or of the instrument, or by an operator."""
    states = {}
    if how == "operator":
        market.tell(*(control("halt", symbol, name=symbol, version=2) for symbol in symbols))
    elif how == "symbol":
        states = dict.fromkeys(symbols, "halted")
    else:
        states = {f"{symbol}-PERP": "halted" for symbol in symbols}
    market.marks(PRICES, after=1, states=states)
    market.tell(control("resume_liquidations", version=3))
    return market.marks(PRICES, after=1, states=states)


HALTS = """
    balance                                    | balance | halted  | status      | orders        | withheld
    nothing halted: the larger leg reaches it  | 3400    |         | liquidation | BTC-PERP -0.164 |
    # 3,400 / 1.1 - 2,500 = 590.9 left for ETH: 5.90 stay
    BTC halted: ETH reaches it                 | 3400    | BTC     | liquidation | ETH-PERP -4.1 | BTC-PERP
    ETH halted: BTC reaches it                 | 3400    | ETH     | liquidation | BTC-PERP -0.164 | ETH-PERP
    # 3,400 / 1.1 - 1,000 = 2,090.9 left for BTC: 0.836 stay
    BTC halted: ETH cannot, and goes whole     | 2700    | BTC     | liquidation | ETH-PERP -10  | BTC-PERP
    both halted: nothing to order              | 2700    | BTC ETH | margin_call |               |
    exactly at the line                        | 3500    | BTC     | margin_call |               |
    bankrupt, all halted                       | -1      | BTC ETH | margin_call |               |
    bankrupt, BTC halted: the rest is closed   | -1      | BTC     | liquidation | ETH-PERP -10  | BTC-PERP
"""


@pytest.mark.parametrize("how", ["operator", "symbol", "instrument"])
@pytest.mark.parametrize("row", rows(HALTS))
def test_the_rest_of_a_book_is_liquidated_around_what_is_halted(row: Row, how: str) -> None:
    """An account cannot hide behind one halted coin, nor lose it at a price that means nothing."""
    market = two_legs(str(row["balance"]))
    halt(market, how, *(row["halted"] or "").split())
    assert market.status("bob") == row["status"]
    records = of(market.sent, "liquidations")
    orders = [f"{o['instrument']} {o['quantity']}" for record in records for o in record["orders"]]
    assert orders == ([row["orders"]] if row["orders"] else [])
    left_out = [left["instrument"] for record in records for left in record.get("withheld", ())]
    assert left_out == (row["withheld"] or "").split()


def test_nobody_is_taken_over_while_something_of_it_is_halted() -> None:
    """Its shortfall would be fixed at a price that nobody stands by."""
    market = two_legs("-1")
    assert events(halt(market, "operator", "BTC"))[-1:] != ["bob bankrupt"]
    (record,) = of(market.sent, "liquidations")
    # nothing to lose: ETH not below its mark
    assert record["orders"] == [
        {"instrument": "ETH-PERP", "quantity": "-10", "limit_price": "2000", "expected_fee": "0"}
    ]
    assert events(market.tell(control("resume", "BTC", name="BTC", version=4))) == ["bob bankrupt"]


def test_halted_collateral_holds_off_the_take_over_too() -> None:
    """Its value is what the shortfall hangs on."""
    market = Market()
    market.collateral(Leg("e", "bob", "1", "ETH"), Leg("u", "bob", "-1900", type="withdrawal"))
    market.marks({"ETH": 1_800.0}, after=1, states={"ETH": "halted"})
    assert market.status("bob") == "margin_call"
    assert events(market.marks({"ETH": 1_800.0}, after=1)) == ["bob bankrupt"]
