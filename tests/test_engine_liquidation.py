"""Liquidation as a closed loop: steps, what answers them, the end of it, and the take-over of a bankrupt bucket.

alice is long 1 BTC-PERP at 50,000 without fees and has 2,400 where 2,500 is required. Target 1.10: 2,400 / 1.1 carries
43,636.36 of notional, 0.872 BTC; so 0.128 has to go.
"""

from typing import Any

import pytest

from tests.builders import (
    PRICES,
    STANDARD,
    Fill,
    Json,
    Leg,
    Market,
    Rate,
    Sent,
    T,
    asset,
    events,
    instrument,
    of,
    rules,
)


def liquidated(*terms: Json, balance: str = "2400") -> tuple[Market, Json]:
    """alice as above, and her first step."""
    market = Market((*STANDARD, *terms))
    market.deposit("alice", "5000")
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    change = str(float(balance) - 5000)
    (first,) = of(market.collateral(Leg("w", "alice", change, type="withdrawal")), "liquidations")
    return market, first


def steps(sent: list[Sent]) -> list[tuple[int, str]]:
    """Step number and quantity of the first order of each liquidation sent."""
    return [(record["step"], record["orders"][0]["quantity"]) for record in of(sent, "liquidations")]


def sell(market: Market, quantity: str, step: Json, price: str = "50000", fee: str = "0") -> list[Sent]:
    """A fill of alice that answers a step."""
    return market.fills(
        Fill(f"sell-{len(market.journal)}", "alice", "BTC-PERP", f"-{quantity}", price, fee, answers=step["id"])
    )


# -- steps -----------------------------------------------------------------------------------------------------------


def test_the_first_step_closes_just_enough() -> None:
    """Closing more than needed takes a user's position away for nothing; less leaves the venue exposed."""
    market, step = liquidated()
    offset = len(market.journal) - 1
    assert step["id"] == f"0-{offset}-alice-cross-liquidation"
    assert {name: step[name] for name in ("kind", "account", "bucket", "step", "replaces", "target")} == {
        "kind": "liquidation",
        "account": "alice",
        "bucket": "cross",
        "step": 1,
        "replaces": None,
        "target": "1.1",
    }
    # the only leg has all the equity: 2,400 a coin below the mark
    order = {"instrument": "BTC-PERP", "quantity": "-0.128", "limit_price": "47600", "expected_fee": "0"}
    assert step["orders"] == [order]
    assert step["report"]["status"] == "liquidation"
    assert step["journal"] == {"partition": 0, "offset": offset}


def test_a_step_is_given_its_time() -> None:
    """Replacing orders that are being worked, at every tick, would never get any of them filled."""
    market, first = liquidated()
    assert steps(market.marks(after=4_999)) == []
    (second,) = of(market.marks(after=1), "liquidations")
    assert (second["step"], second["replaces"], second["orders"]) == (2, first["id"], first["orders"])
    (third,) = of(market.marks(after=5_000), "liquidations")
    assert (third["step"], third["replaces"]) == (3, second["id"])


def test_the_time_out_is_a_rule() -> None:
    """A venue with slower execution needs longer."""
    market, _ = liquidated(rules(liquidation_timeout_ms=60_000))
    assert steps(market.marks(after=59_999)) == []
    assert steps(market.marks(after=1)) == [(2, "-0.128")]


def test_the_next_step_counts_the_fills_received() -> None:
    """Ordering the filled part again would close the position twice."""
    market, first = liquidated()
    # 0.95 is left: 2,400 / 2,375 = 1.01
    assert steps(sell(market, "0.05", first)) == []
    assert market.status("alice") == "liquidation"
    # 0.95 - 0.872
    assert steps(market.marks(after=5_000)) == [(2, "-0.078")]


def test_a_worse_ratio_gives_the_next_step_at_once() -> None:
    """In a crash five seconds are too long."""
    market, first = liquidated()
    assert steps(market.marks({"BTC": 50_010.0}, after=1)) == []
    assert steps(market.marks({"BTC": 50_000.0}, after=1)) == []
    (second,) = of(market.marks({"BTC": 49_999.9}, after=1), "liquidations")
    assert (second["step"], second["replaces"]) == (2, first["id"])
    # back to where the first step was: better than the last one
    assert steps(market.marks({"BTC": 50_000.0}, after=1)) == []


def test_a_fill_that_costs_more_than_it_frees_gives_the_next_step_at_once() -> None:
    """A close at a terrible price leaves the account worse off: the rest is to be resized."""
    market, first = liquidated()
    # 0.001 closed at 30,000 costs 20 and frees 2.5
    (second,) = of(sell(market, "0.001", first, price="30000"), "liquidations")
    assert (second["step"], second["replaces"]) == (2, first["id"])


def test_the_answer_that_heals_ends_the_liquidation() -> None:
    """The venue must be told to withdraw what is left of the orders."""
    market, first = liquidated()
    sent = sell(market, "0.128", first)
    assert events(sent) == ["alice liquidation_cleared", "alice called"]
    (cleared,) = of(sent, "liquidations")
    assert cleared["replaces"] == first["id"]
    assert cleared["id"] == f"0-{len(market.journal) - 1}-alice-cross-liquidation_cleared"
    # 2,400 / 2,180
    assert cleared["report"]["margin_ratio"] == "1.10091743119266"
    assert market.bucket("alice")["liquidation_step"] == 0


def test_the_next_liquidation_begins_anew() -> None:
    """It has nothing to do with the orders of the last one."""
    market, first = liquidated()
    sell(market, "0.128", first)
    (again,) = of(market.collateral(Leg("w2", "alice", "-300", type="withdrawal")), "liquidations")
    assert (again["step"], again["replaces"]) == (1, None)


def test_a_step_cap_closes_a_part_at_a_time() -> None:
    """A venue may prefer many small steps: each is at most this part of the position, rounded up to a lot."""
    market, first = liquidated(rules(liquidation_step_cap="0.0335"))
    # 0.0335 of 1 is 0.034 in lots of 0.001
    assert first["orders"][0]["quantity"] == "-0.034"
    sell(market, "0.034", first)
    # 0.0335 x 0.966 = 0.0324
    assert steps(market.marks(after=5_000)) == [(2, "-0.033")]


def test_an_account_has_the_target_of_its_levels() -> None:
    """As agreed with it."""
    market = Market()
    market.settings({"account": "alice", "mode": "cross", "levels": {"liquidation_target": "2"}})
    market.deposit("alice", "5000")
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    (first,) = of(market.collateral(Leg("w", "alice", "-2600", type="withdrawal")), "liquidations")
    # 2,400 / 2 = 1,200 carries 0.48
    assert (first["target"], first["orders"][0]["quantity"]) == ("2", "-0.52")


def test_a_position_closed_by_its_owner_ends_the_liquidation() -> None:
    """Whoever closes it: the risk is gone."""
    market, first = liquidated()
    sent = market.fills(Fill("own", "alice", "BTC-PERP", "-1", "50000"))
    assert events(sent) == ["alice liquidation_cleared"]
    assert of(sent, "liquidations")[0]["replaces"] == first["id"]
    assert market.status("alice") == "ok"


# -- conversions -----------------------------------------------------------------------------------------------------


def test_where_only_debt_is_left_collateral_is_sold_to_repay_it() -> None:
    """A loan against a falling coin has no position to close, and must not be left to go bankrupt."""
    market = Market((*STANDARD, asset("ETH", 8, haircut="0.1", borrow_haircut="0.05", version=2)))
    market.collateral(Leg("d", "alice", "2", "ETH"), Leg("w", "alice", "-3500", type="withdrawal"))
    assert market.status("alice") == "ok"
    # adjusted: 0.9 x 2 x 1,900 = 3,420 against 3,500
    (step,) = of(market.marks({"ETH": 1_900.0}, after=1), "liquidations")
    (order,) = step["orders"]
    # 3,500 / 1,900 = 1.84210526 ETH, rounded up
    assert (order["sell_asset"], order["buy_asset"], order["amount"]) == ("ETH", "USDC", "1.84210527")
    market.collateral(
        Leg("c", "alice", "-1.84210527", "ETH", type="conversion", answers=step["id"]),
        Leg("c", "alice", "3500.000013", type="conversion", leg=1, answers=step["id"]),
    )
    assert events(market.sent)[-1] == "alice liquidation_cleared"
    assert (market.status("alice"), market.balance("alice")) == ("ok", "0.000013")


# -- take-over -------------------------------------------------------------------------------------------------------


def bankrupt() -> tuple[Market, Json, Json]:
    """alice, liquidated and then 100 under water: her step and the end of her."""
    market, first = liquidated()
    market.collateral(Leg("e", "alice", "0.05", "ETH"))
    # 2,400 + 100 - 2,600
    (end,) = of(market.marks({"BTC": 47_400.0}, after=1), "liquidations")
    return market, first, end


def test_all_that_a_bankrupt_bucket_held_moves_to_the_house_unchanged() -> None:
    """Whoever handles the loss needs the book as it was: every balance, every position, every entry price."""
    market, first, end = bankrupt()
    assert {name: end[name] for name in ("kind", "account", "bucket", "replaces", "shortfall")} == {
        "kind": "bankrupt",
        "account": "alice",
        "bucket": "cross",
        "replaces": first["id"],
        "shortfall": "100",
    }
    assert end["report"]["equity"] == "-100"
    assert end["report"]["positions"][0]["quantity"] == "1"
    # cash 2,400, less the 50,000 that the position cost
    assert (market.house("~house"), market.house("~house", "ETH")) == ("-47600", "0.05")
    assert market.house_lots("~house", "BTC-PERP") == "1"
    assert market.house("~external") == "-2400"
    found = market.view("alice")
    assert (found["status"], found["positions"], found["balances"]) == ("bankrupt", [], {})


def test_the_summary_after_a_take_over_is_empty() -> None:
    """A dashboard must not show money that is no longer there."""
    market, _, _ = bankrupt()
    summary = of(market.sent, "margin-accounts")[-1]
    assert (summary["status"], summary["equity"], summary["balances"]) == ("bankrupt", "0", {})


def test_accrued_funding_is_settled_by_the_take_over() -> None:
    """What the account owed of it is owed by the house."""
    market, _ = liquidated()
    # 50,000 x 0.06 = 3,000 owed: 600 under water
    (end,) = of(market.funding(Rate("BTC-PERP", "0.06", T)), "liquidations")
    assert end["shortfall"] == "600"
    assert (market.house("~funding"), market.house("~house")) == ("3000", "-50600")


@pytest.mark.parametrize(
    ("sats", "price", "shortfall"),
    [("-0.00000001", 50_000.0, "0.0005"), ("-0.00000001", 50_000.3, "0.000501"), ("-0.00000001", 1.5, "0.000001")],
)
def test_a_shortfall_is_rounded_up(sats: str, price: float, shortfall: str) -> None:
    """The insurance fund must never be told less than it has to cover."""
    market = Market(STANDARD, {**PRICES, "BTC": price})
    (end,) = of(market.collateral(Leg("w", "alice", sats, "BTC", type="withdrawal")), "liquidations")
    assert end["shortfall"] == shortfall
    assert market.house("~house", "BTC") == sats


def test_a_bankrupt_account_is_left_alone() -> None:
    """It has nothing left to call or to close."""
    market, _, _ = bankrupt()
    assert events(market.marks({"BTC": 20_000.0}, after=60_000)) == []
    assert market.status("alice") == "bankrupt"


def test_a_deposit_opens_a_bankrupt_account_anew() -> None:
    """It starts with what was paid in: the old loss is the house's."""
    market, _, _ = bankrupt()
    sent = market.deposit("alice", "70")
    assert (events(sent), market.status("alice"), market.balance("alice")) == ([], "ok", "70")
    (summary,) = of(sent, "margin-accounts")
    assert (summary["status"], summary["equity"]) == ("ok", "70")


def test_a_reopened_account_is_judged_as_a_new_one() -> None:
    """No call or step of its former life is left."""
    market, _, _ = bankrupt()
    market.deposit("alice", "2400")
    # 2,400 against 2,370 at 47,400, and profit of 400
    assert events(market.fills(Fill("new", "alice", "BTC-PERP", "1", "47000"))) == ["alice called"]
    (step,) = of(market.marks({"BTC": 46_900.0}, after=1), "liquidations")
    assert (step["step"], step["replaces"]) == (1, None)


def test_a_call_of_the_former_life_is_over() -> None:
    """Else the new account would be cleared of a call that it never had, or never be called."""
    market = Market()
    market.deposit("alice", "5000")
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    # 3,000 against 2,400; then 1,000 under water
    assert events(market.marks({"BTC": 47_900.0}, after=1)) == ["alice called"]
    assert events(market.marks({"BTC": 44_000.0}, after=1)) == ["alice bankrupt"]
    assert events(market.deposit("alice", "2500")) == []
    # 2,500 against 2,200
    assert events(market.fills(Fill("new", "alice", "BTC-PERP", "1", "44000"))) == ["alice called"]


def test_a_late_fill_of_the_liquidation_posts_to_the_house() -> None:
    """The order was out when the book was taken over: its fill belongs to whoever has the book."""
    market, first, _ = bankrupt()
    sent = sell(market, "0.4", first, price="47000", fee="2")
    assert sent == []
    assert market.shard.ledger.rows["to_house"] == 1
    # -47,600 + 18,800 - 2
    assert (market.house("~house"), market.house_lots("~house", "BTC-PERP")) == ("-28802", "0.6")
    assert market.house("~fees") == "2"
    assert (market.status("alice"), market.view("alice")["positions"]) == ("bankrupt", [])


def test_a_late_fill_posts_to_the_house_even_after_the_account_was_opened_anew() -> None:
    """Else a new deposit would be eaten by the old position."""
    market, first, _ = bankrupt()
    market.deposit("alice", "70")
    sell(market, "0.4", first, price="47000")
    assert (market.balance("alice"), market.position("alice", "BTC-PERP")) == ("70", None)
    assert market.house_lots("~house", "BTC-PERP") == "0.6"


def test_a_late_fill_is_applied_once() -> None:
    """Repetitions are recognised there too, and its bust takes it back."""
    market, first, _ = bankrupt()
    row = Fill("late", "alice", "BTC-PERP", "-0.4", "47000", answers=first["id"])
    market.fills(row)
    market.fills(row, row._replace(kind="bust"), row._replace(kind="bust"))
    assert market.house_lots("~house", "BTC-PERP") == "1"
    assert market.shard.ledger.rows["duplicate"] == 2


def test_a_fill_of_a_later_liquidation_posts_to_the_account() -> None:
    """The account's new life is its own."""
    market, _, _ = bankrupt()
    market.deposit("alice", "2400")
    market.fills(Fill("new", "alice", "BTC-PERP", "1", "47000"))
    (step,) = of(market.marks({"BTC": 46_900.0}, after=1), "liquidations")
    sell(market, "0.5", step, price="46900")
    assert market.position("alice", "BTC-PERP") == ("0.5", "23500")
    assert market.house_lots("~house", "BTC-PERP") == "1"


def test_a_late_conversion_posts_to_the_house() -> None:
    """Collateral sold for a book that is already taken over was the house's."""
    market = Market()
    market.collateral(Leg("d", "alice", "2", "ETH"), Leg("w", "alice", "-3500", type="withdrawal"))
    market.tell(asset("ETH", 8, haircut="0.2", version=2))
    (step,) = of(market.sent, "liquidations")
    (end,) = of(market.marks({"ETH": 1_700.0}, after=1), "liquidations")
    assert (end["kind"], end["shortfall"]) == ("bankrupt", "100")
    market.collateral(
        Leg("c", "alice", "-1", "ETH", type="conversion", answers=step["id"]),
        Leg("c", "alice", "1700", type="conversion", leg=1, answers=step["id"]),
    )
    assert (market.house("~house"), market.house("~house", "ETH")) == ("-1800", "1")
    assert market.status("alice") == "bankrupt"


def test_an_isolated_bucket_goes_bankrupt_alone() -> None:
    """That is what isolated means; its late fills go to the house, the cross bucket's don't."""
    market = Market()
    market.collateral(Leg("d", "alice", "5000"), Leg("m", "alice", "2400", bucket="BTC-PERP"))
    opened = market.fills(Fill("i", "alice", "BTC-PERP", "1", "50000", mode="isolated"))
    (step,) = of(opened, "liquidations")
    (end,) = of(market.marks({"BTC": 47_000.0}, after=1), "liquidations")
    assert (end["bucket"], end["shortfall"]) == ("BTC-PERP", "600")
    late: dict[str, Any] = {"mode": "isolated", "answers": step["id"], "bucket": "BTC-PERP"}
    market.fills(Fill("late", "alice", "BTC-PERP", "-1", "47000", **late))
    market.fills(Fill("cross", "alice", "BTC-PERP", "0.1", "47000"))
    assert market.house("~house") == "-600"
    assert (market.status("alice"), market.position("alice", "BTC-PERP")) == ("ok", ("0.1", "4700"))
    assert market.status("alice", "BTC-PERP") == "bankrupt"


def test_an_account_that_skips_liquidation_goes_bankrupt_at_once() -> None:
    """A gap over the weekend leaves nothing to close in time: one event, and no order that nobody could fill."""
    market = Market()
    market.deposit("alice", "5000")
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    sent = market.marks({"BTC": 40_000.0}, after=1)
    assert events(sent) == ["alice bankrupt"]
    assert of(sent, "liquidations")[0]["replaces"] is None


def test_a_late_fill_of_an_expired_future_settles_in_the_house() -> None:
    """The house's book ends at the expiry as all others do."""
    market = Market((*STANDARD, instrument("BTC-DEC", "future", expiry=T + 1000)))
    market.deposit("alice", "5000")
    market.fills(Fill("open", "alice", "BTC-DEC", "1", "50000"))
    (step,) = of(market.collateral(Leg("w", "alice", "-2600", type="withdrawal")), "liquidations")
    market.marks({"BTC": 47_000.0}, after=500)
    market.marks({"BTC": 47_500.0}, after=500)
    # 2,400 - 50,000 + 47,500
    assert (market.house("~house"), market.house_lots("~house", "BTC-DEC")) == ("-100", "0")
    market.fills(Fill("late", "alice", "BTC-DEC", "-0.5", "47400", answers=step["id"]))
    # sold at 47,400, settled at 47,500
    assert (market.house("~house"), market.house_lots("~house", "BTC-DEC")) == ("-150", "0")
    # the other side of 50,000 - 47,500 and of 0.5 x 100
    assert market.house("~market:BTC-DEC") == "2550"
