"""What a shard tells of prices that are not to be trusted, how its haircuts widen, and whose rules it goes by.

Alice is as in `tests.long_one.flat_one`.
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
    asset,
    control,
    events,
    instrument,
    of,
    rules,
)
from tests.long_one import FLAT, flat_one
from tests.tables import Row, rows

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
