"""What a shard does, and leaves undone, while prices are not to be trusted: one table an action, lines by name.

Unless a test says otherwise alice is long 1 BTC-PERP from 50,000 with 5,000 USDC, and 2,500 is required of her at any
mark: called below an equity of 3,125, liquidated below 2,500, taken over below 0.
"""

from __future__ import annotations

from typing import Any

import pytest

from streams.engine import state
from tests.builders import (
    PRICES,
    STANDARD,
    Fill,
    Json,
    Leg,
    Market,
    Sent,
    asset,
    control,
    events,
    instrument,
    of,
    rules,
)
from tests.long_one import long_one
from tests.tables import Row, rows

FLAT = [
    {"notional_from": "0", "initial_margin": "0.25", "maintenance_margin": "0.25"},
    {"notional_from": "10000", "initial_margin": "0", "maintenance_margin": "0"},
]


def flat_one() -> Market:
    return long_one("5000", instrument("BTC-PERP", tiers=FLAT, version=2))


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


# -- what is told ----------------------------------------------------------------------------------------------------

RESTRICTED = """
    state    | restrictions
    ok       |
    degraded |
    suspect  | no_new_risk
    stale    | no_new_risk no_withdrawals
    halted   | no_new_risk no_withdrawals
"""


@pytest.mark.parametrize("row", rows(RESTRICTED))
@pytest.mark.parametrize(
    ("symbol", "account", "bucket"),
    [
        ("BTC", "alice", "cross"),
        ("USDC", "alice", "cross"),
        ("BTC", "bob", "BTC-PERP"),
        ("ETH", "carol", "cross"),
        ("BTC-PERP", "alice", "cross"),
    ],
)
def test_holders_are_told_what_they_should_not_be_let_do(row: Row, symbol: str, account: str, bucket: str) -> None:
    """With the block that changes it, not with the next turn of their summary; and so when it is over."""
    market = flat_one()
    market.collateral(Leg("b", "bob", "5000", bucket="BTC-PERP"), Leg("c", "carol", "1", "ETH"))
    market.fills(Fill("b", "bob", "BTC-PERP", "1", "50000", mode="isolated"))
    market.marks(PRICES, after=1)
    expected = (row["restrictions"] or "").split()
    summaries = of(market.marks(PRICES, after=1, states={symbol: str(row["state"])}), "margin-accounts")
    told = {record["account"]: record for record in summaries}
    if expected:
        assert restrictions_of(told[account], bucket) == expected
        assert ("carol" in told) == (symbol == "ETH")
    assert restrictions_of(market.bucket(account, bucket)) == expected
    over = of(market.marks(PRICES, after=1), "margin-accounts")
    assert [restrictions_of(one, bucket) for one in over if one["account"] == account] == ([[]] if expected else [])


def restrictions_of(record: Json, bucket: str = "cross") -> list[str]:
    isolated = [one for one in record.get("isolated", ()) if one["bucket"] == bucket]
    return list((isolated[0] if bucket != "cross" and isolated else record).get("restrictions", []))


def test_more_holders_than_a_block_may_tell_are_told_in_turn() -> None:
    """A million summaries in one transaction would take longer than it may last."""
    market = Market((*STANDARD, rules(summary_interval_ms=60_000)))
    market.collateral(*(Leg("d", f"user-{n}", "1") for n in range(1_500)))
    for _ in range(3):
        market.marks(PRICES, after=1)
    counts = []
    for _ in range(3):
        sent = market.marks(PRICES, after=1, states={"USDC": "stale"})
        counts.append(sum(one.topic == "margin-accounts" for one in sent))
        assert all(one.record["restrictions"] for one in sent if one.topic == "margin-accounts")
    assert counts == [0, 1_000, 500]


CAUTIOUS = """
    holding                      | quantity | coins | BTC check | ETH check | initial equity | initial margin
    long, check below            | 1        |       | 49000     |           | 9000           | 4900
    long, check above            | 1        |       | 51000     |           | 10000          | 5000
    long, no check               | 1        |       |           |           | 10000          | 5000
    short, check above           | -1       |       | 51000     |           | 9000           | 5100
    short, check below           | -1       |       | 49000     |           | 10000          | 5000
    owned, check below           |          | 2     |           | 1900      | 13420          | 0
    # 10,000 + 2 x 1,900 x 0.9
    owned, check above           |          | 2     |           | 2100      | 13600          | 0
    owed, check above            |          | -2    |           | 2100      | 5380           | 0
    # 10,000 - 2 x 2,100 x 1.1
    owed, check below            |          | -2    |           | 1900      | 5600           | 0
"""


@pytest.mark.parametrize("row", rows(CAUTIOUS))
def test_new_risk_is_measured_at_the_worse_of_two_prices(row: Row) -> None:
    """Else whoever trades on the wrong one could open against it."""
    ether = asset("ETH", 8, haircut="0.1", borrow_haircut="0.1")
    market = Market((asset("USDC"), ether, instrument("BTC-PERP")))
    market.collateral(Leg("u", "bob", "10000"), *([Leg("e", "bob", str(row["coins"]), "ETH")] if row["coins"] else []))
    if row["quantity"]:
        market.fills(Fill("b", "bob", "BTC-PERP", str(row["quantity"]), "50000"))
    checks = {name: float(str(row[f"{name} check"])) for name in ("BTC", "ETH") if row[f"{name} check"]}
    sent = market.marks(PRICES, after=1, states={"BTC": "suspect", "ETH": "suspect"}, check=checks)
    found = market.view("bob")
    expected = (row["initial equity"], row["initial margin"])
    assert (found["initial_equity"], found["initial_margin"]) == expected
    assert sum(float(position["initial_margin"]) for position in found["positions"]) == float(
        str(row["initial margin"])
    )
    for record in of(sent, "margin-accounts"):
        assert (record["initial_equity"], record["initial_margin"]) == expected
    assert len(of(sent, "margin-accounts")) == int(bool(row["quantity"] or row["coins"]))
    # nothing else moves, and nothing once it is trusted again
    plain = market.view("bob")["equity"], market.view("bob")["adjusted_equity"]
    market.marks(PRICES, after=1)
    assert plain == (market.view("bob")["equity"], market.view("bob")["adjusted_equity"])
    assert market.view("bob")["initial_margin"] == ("5000" if row["quantity"] else "0")


def test_a_decision_carries_the_prices_it_was_taken_at_and_their_states() -> None:
    """What it rested on must be seen from the record alone; and how old it was."""
    terms = (asset("USDC"), asset("ETH", 8, haircut="0.1"), instrument("BTC-PERP", tiers=FLAT))
    market = Market(terms)
    market.collateral(Leg("u", "alice", "3200"), Leg("e", "alice", "1", "ETH"))
    market.fills(Fill("b", "alice", "BTC-PERP", "1", "50000"))
    market.marks({"ETH": 2_000.0}, after=1, widening={"ETH": 0.0025}, states={"ETH": "degraded"})
    quoted = market.time
    # 3,200 - 3,000 + 2,000 x 0.8975 = 1,995
    (record,) = of(
        market.marks({"BTC": 47_000.0}, after=100, states={"BTC": "suspect"}, check={"BTC": 47_001.5}), "liquidations"
    )
    assert record["report"]["adjusted_equity"] == "1995"
    assert record["marks"] == {
        "BTC-PERP": {
            "mark": "47000", "index": "47000", "state": "suspect", "check": "47001.5", "quote_time": market.time,
        }
    }  # fmt: skip
    usdc = {"index": "1", "state": "ok", "widening": "0", "check": None, "quote_time": quoted - 1}
    ether = {"index": "2000", "state": "degraded", "widening": "0.0025", "check": None, "quote_time": quoted}
    assert record["prices"] == {"USDC": usdc, "ETH": ether}


# -- widening --------------------------------------------------------------------------------------------------------

WIDENED = """
    widening                     | coins | widening | adjusted equity | initial equity
    none                         | 2     | 0        | 3600            | 3200
    a step                       | 2     | 0.0025   | 3590            | 3190
    # 2 x 2,000 x (1 - 0.1025)
    up to the whole value        | 2     | 0.95     | 0               | 0
    owed                         | -2    | 0.0025   | -4210           | -4410
    # 2 x 2,000 x (1 + 0.0525)
    owed, past the whole value   | -2    | 0.95     | -8000           | -8200
"""


@pytest.mark.parametrize("row", rows(WIDENED))
def test_haircuts_widen_by_what_the_oracle_says(row: Row) -> None:
    """The less a price is known, the less can be borrowed against it."""
    ether = asset("ETH", 8, haircut="0.1", borrow_haircut="0.05", initial_haircut="0.2", initial_borrow_haircut="0.1")
    market = Market((asset("USDC"), ether))
    market.collateral(Leg("u", "bob", "20000"), Leg("e", "bob", str(row["coins"]), "ETH"))
    market.marks(PRICES, after=1, widening={"ETH": float(str(row["widening"]))})
    found = market.view("bob")
    assert float(found["adjusted_equity"]) == 20_000 + float(str(row["adjusted equity"]))
    assert float(found["initial_equity"]) == 20_000 + float(str(row["initial equity"]))


def test_haircut_tiers_widen_alike() -> None:
    """Each slice by the same: 1 at 0.95 - 0.05, the next at 0.80 - 0.05."""
    tiers = [{"from": "0", "haircut": "0.05"}, {"from": "1", "haircut": "0.2"}]
    market = Market((asset("USDC"), asset("ETH", 8, haircut_tiers=tiers)))
    market.collateral(Leg("e", "bob", "2", "ETH"))
    market.marks(PRICES, after=1, widening={"ETH": 0.05})
    assert market.view("bob")["adjusted_equity"] == "3300"


def test_a_changed_widening_is_judged_at_once_and_an_unchanged_one_costs_nothing() -> None:
    """No price has moved: the account that it takes below its line would sleep on; and nobody wakes for nothing."""
    market = Market((asset("USDC"), asset("ETH", 8), instrument("BTC-PERP")))
    market.collateral(Leg("e", "bob", "1.6", "ETH"))
    market.fills(Fill("b", "bob", "BTC-PERP", "1", "50000"))
    for _ in range(2):
        market.marks(PRICES, after=1, widening={"ETH": 0.0})
    # 3,200 x 0.975 = 3,120 < 3,125
    assert events(market.marks(PRICES, after=1, widening={"ETH": 0.025})) == ["bob called"]
    market.marks(PRICES, after=1, widening={"ETH": 0.025})
    parameters = market.shard.parameters
    market.marks({**PRICES, "BTC": 50_000.5}, after=1, widening={"ETH": 0.025})
    assert market.shard.parameters is parameters
    assert market.shard.slack.woken(market.shard).tolist() == []
    assert events(market.marks(PRICES, after=1)) == []
    # 3,200 < 3,250, the exit
    assert market.status("bob") == "margin_call"
    assert not market.shard.prices.widening


def test_the_reporting_currency_is_worth_one_whatever_is_quoted() -> None:
    """Its price is no quote's: there is nothing to doubt or widen."""
    market = Market((asset("USDC"), rules(reporting_currency="USDC")))
    market.deposit("bob", "10")
    doubts: dict[str, Any] = {"states": {"USDC": "halted"}, "widening": {"USDC": 0.5}}
    market.marks({"USDC": 0.5}, after=1, **doubts)
    found = market.view("bob")
    assert (found["adjusted_equity"], restrictions_of(found)) == ("10", [])


# -- rules -----------------------------------------------------------------------------------------------------------


def test_a_shard_keeps_the_highest_rules_it_has_met() -> None:
    """Old journals fold as ever; while workers are replaced one by one their blocks mix: decisions must not flip."""
    market = Market(rules_version=1)
    market.deposit("alice", "5000")
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    doubts: dict[str, Any] = {"states": {"BTC": "suspect"}, "check": {"BTC": 50_000.0}, "widening": {"BTC": 0.5}}
    (record,) = of(market.marks({"BTC": 46_000.0}, after=1, **doubts), "liquidations")
    assert "prices" not in record
    assert (record["marks"]["BTC-PERP"].keys(), "restrictions" in record["report"]) == (
        {"mark", "index", "state"},
        False,
    )
    assert state.TRUST_KEY not in dict(state.records(market.shard))
    market.rules_version = 2
    assert events(market.marks({"BTC": 46_000.0}, after=5_000, **doubts)) == []
    market.rules_version = 1
    assert events(market.marks({"BTC": 46_000.0}, after=5_000, **doubts)) == []
    assert events(market.marks({"BTC": 46_000.0}, after=1)) == ["alice liquidation"]
    restored = state.restore(0, state.records(market.shard))
    assert restored.prices.rules_version == 2


def test_by_rules_1_a_halt_holds_back_the_whole_book() -> None:
    """As journals of that time were decided."""
    market = Market(rules_version=1)
    market.deposit("bob", "3600")
    market.fills(Fill("b", "bob", "BTC-PERP", "1", "50000"), Fill("e", "bob", "ETH-PERP", "10", "2000"))
    market.tell(control("halt", "BTC"))
    assert events(market.collateral(Leg("w", "bob", "-200", type="withdrawal"))) == []
    market.rules_version = 2
    assert events(market.tell(control("halt", "BTC", version=2))) == ["bob liquidation"]


def test_what_is_no_longer_held_restricts_nobody() -> None:
    """Carol sold her BTC: its state is none of her business; alice's perpetual settles in USDC, which is."""
    market = flat_one()
    market.collateral(Leg("a", "carol", "1", "BTC"), Leg("b", "carol", "-1", "BTC"), Leg("c", "carol", "1", "ETH"))
    market.marks(PRICES, after=1, states={"BTC": "halted", "ETH": "suspect"})
    (carol,) = [one for one in of(market.sent, "margin-accounts") if one["account"] == "carol"][-1:]
    assert restrictions_of(carol) == restrictions_of(market.view("carol")) == ["no_new_risk"]
    market.marks(PRICES, after=1, states={"USDC": "suspect"})
    assert (restrictions_of(market.view("carol")), restrictions_of(market.view("alice"))) == ([], ["no_new_risk"])
