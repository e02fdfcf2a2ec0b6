"""When an account is called, liquidated, cleared or left alone: statuses, their exits, and what is sent.

Unless a test says otherwise alice is long 1 BTC-PERP from 50,000 at a mark of 50,000: maintenance margin 5 % = 2,500,
so her ratio is balance / 2,500. Called below 3,125 (1.25), out at 3,250 (1.30); liquidated below 2,500, out at 2,625
(1.05).
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.builders import (
    PRICES,
    STANDARD,
    Fill,
    Json,
    Leg,
    Market,
    asset,
    events,
    instrument,
    of,
    rules,
)
from tests.long_one import long_one, set_balance, set_equity
from tests.tables import Row, rows

# -- statuses --------------------------------------------------------------------------------------------------------


STATUSES = """
    from ok                           | path             | status      | events
    ratio = call level                | 3125             | ok          |
    ratio < call level                | 3124.999999      | margin_call | called
    ratio = 1                         | 2500             | margin_call | called
    ratio < 1                         | 2499.999999      | liquidation | liquidation
    equity = 0                        | 0                | liquidation | liquidation
    equity < 0                        | -0.000001        | bankrupt    | bankrupt
    called, ratio = call exit         | 3000 3250        | ok          | called cleared
    called, ratio < call exit         | 3000 3249.999999 | margin_call | called
    called, ratio = call level        | 3000 3125        | margin_call | called
    called, ratio = 1                 | 3000 2500        | margin_call | called
    called, ratio < 1                 | 3000 2499.999999 | liquidation | called liquidation
    called, equity < 0                | 3000 -1          | bankrupt    | called bankrupt
    called twice                      | 3000 2900 3000   | margin_call | called
    cleared and called again          | 3000 3250 3124   | margin_call | called cleared called
    liquidated, ratio < its exit      | 2400 2624.999999 | liquidation | liquidation
    liquidated, ratio = its exit      | 2400 2625        | margin_call | liquidation liquidation_cleared called
    liquidated, ratio = call level    | 2400 3125        | margin_call | liquidation liquidation_cleared called
    liquidated, ratio = call exit     | 2400 3250        | ok          | liquidation liquidation_cleared
    liquidated, equity < 0            | 2400 -1          | bankrupt    | liquidation bankrupt
    called, liquidated, half back     | 3000 2400 2625   | margin_call | called liquidation liquidation_cleared
    called, liquidated, all back      | 3000 2400 3250   | ok          | called liquidation liquidation_cleared cleared
    half back, then all back          | 2400 2625 3250   | ok          | liquidation liquidation_cleared called cleared
    half back, liquidated again | 2400 2625 2499 | liquidation | liquidation liquidation_cleared called liquidation
"""


@pytest.mark.parametrize("row", rows(STATUSES))
def test_statuses_and_their_exits(row: Row) -> None:
    """One row of the table: a call too many is an annoyed user, one too few a loss that nobody was warned of."""
    market = long_one("5000")
    sent = [one for balance in str(row["path"]).split() for one in set_balance(market, balance)]
    assert (market.status("alice"), " ".join(one.split()[1] for one in events(sent))) == (
        row["status"],
        row["events"] or "",
    )
    last = of(sent, "margin-accounts")[-1]
    assert (last["account"], last["status"]) == ("alice", row["status"])


@pytest.mark.parametrize("row", rows(STATUSES))
def test_prices_judge_as_transfers_do(row: Row) -> None:
    """The same path walked by the mark: maintenance margin moves with it, so only the first row's lines differ."""
    market = long_one("5000", instrument("BTC-PERP", tiers=flat(2500), version=2))
    sent = [one for equity in str(row["path"]).split() for one in set_equity(market, equity)]
    assert " ".join(one.split()[1] for one in events(sent)) == (row["events"] or "")
    assert market.status("alice") == row["status"]


def flat(margin: int) -> list[Json]:
    """Marginal tiers that require the same margin of every notional from 10,000 up."""
    rate = str(Decimal(margin) / 10_000)
    return [
        {"notional_from": "0", "initial_margin": rate, "maintenance_margin": rate},
        {"notional_from": "10000", "initial_margin": "0", "maintenance_margin": "0"},
    ]


def test_an_account_without_requirement_is_ok_down_to_zero() -> None:
    """Idle collateral has no ratio: it must neither be called nor divide by zero."""
    market = Market()
    market.collateral(Leg("d", "alice", "0.000001"))
    (summary,) = of(market.sent, "margin-accounts")
    assert (summary["status"], summary["margin_ratio"]) == ("ok", None)
    sent = market.collateral(Leg("w", "alice", "-0.000001", type="withdrawal"))
    assert (events(sent), market.status("alice")) == ([], "ok")
    assert events(market.collateral(Leg("x", "alice", "-0.000001", type="withdrawal"))) == ["alice bankrupt"]


def test_a_called_record_is_complete() -> None:
    """Downstream reads these fields and nothing else."""
    market = long_one("5000")
    sent = market.marks({"BTC": 47_900.0}, {"BTC-PERP": 47_990.0}, after=1000)
    (called,) = of(sent, "margin-calls")
    offset = len(market.journal) - 1
    # equity 5,000 - 2,010; maintenance 2,399.5
    assert called["report"]["equity"] == called["report"]["adjusted_equity"] == "2990"
    assert called["report"]["margin_ratio"] == "1.24609293602834"
    assert {name: called[name] for name in called if name != "report"} == {
        "id": f"0-{offset}-alice-cross-called",
        "kind": "called",
        "account": "alice",
        "bucket": "cross",
        "level": "1.25",
        "marks": {
            "BTC-PERP": {
                "mark": "47990",
                "index": "47900",
                "state": "ok",
                "check": None,
                "quote_time": market.time,
            }
        },
        "prices": {
            "USDC": {"index": "1", "state": "ok", "widening": "0", "check": None, "quote_time": market.time - 1000}
        },
        "journal": {"partition": 0, "offset": offset},
        "time": market.time,
    }
    (cleared,) = of(market.deposit("alice", "5000"), "margin-calls")
    assert (cleared["kind"], cleared["level"]) == ("cleared", "1.3")


# -- unpriced --------------------------------------------------------------------------------------------------------


def test_a_position_whose_mark_was_never_seen_is_unpriced_never_ok() -> None:
    """An account that looks safe because its risk is unknown is the worst case of all."""
    market = Market(STANDARD, {"USDC": 1.0})
    market.deposit("alice", "1000000")
    sent = market.fills(Fill("t", "alice", "BTC-PERP", "0.001", "50000"))
    (summary,) = of(sent, "margin-accounts")
    assert (summary["status"], summary["equity"], summary["margin_ratio"]) == ("unpriced", None, None)
    assert events(market.marks({"BTC": 50_000.0})) == []
    assert market.status("alice") == "ok"


def test_collateral_without_a_price_is_unpriced_until_it_is_gone() -> None:
    """Neither worth nothing nor worth something: nobody knows yet."""
    market = Market(STANDARD, {"USDC": 1.0})
    market.deposit("alice", "1", "ETH")
    assert market.status("alice") == "unpriced"
    market.collateral(Leg("w", "alice", "-1", "ETH", type="withdrawal"))
    assert market.status("alice") == "ok"


def test_an_account_called_while_unpriced_goes_on_where_it_was() -> None:
    """Pairing: a called account that was unpriced for a while is not called twice."""
    market = long_one("3000")
    assert events(market.sent) == ["alice called"]
    market.fills(Fill("s", "alice", "SOL-PERP", "1", "100"), terms=[instrument("SOL-PERP")])
    assert market.status("alice") == "unpriced"
    assert events(market.marks({"SOL": 100.0})) == []
    assert market.status("alice") == "margin_call"
    assert events(set_balance(market, "5000")) == ["alice cleared"]


def test_an_unpriced_account_in_liquidation_gets_no_step_and_keeps_its_open_one() -> None:
    """A step sized without prices would close anything; dropping the open one would leave orders nobody withdraws."""
    market = long_one("2400")
    (first,) = of(market.sent, "liquidations")
    market.fills(Fill("s", "alice", "SOL-PERP", "1", "90"), terms=[instrument("SOL-PERP")])
    assert market.marks(after=4_000) == []
    # priced again and no worse: (2,400 + 10) / 2,505; its step has a second left
    sent = market.marks({"SOL": 100.0}, after=1)
    assert [one.record["status"] for one in sent if one.topic == "margin-accounts"] == ["liquidation"]
    assert market.status("alice") == "liquidation"
    (second,) = of(market.marks(after=1_000), "liquidations")
    assert (second["step"], second["replaces"]) == (2, first["id"])


# -- live and catching up --------------------------------------------------------------------------------------------


def test_a_shard_that_catches_up_applies_rows_and_judges_nothing() -> None:
    """Newest marks against half-read books would liquidate accounts whose deposit is still on its way."""
    market = Market(STANDARD, None)
    assert market.marks(PRICES, mode="catching_up") == []
    assert market.fills(Fill("t", "alice", "BTC-PERP", "1", "60000")) == []
    assert market.tell(instrument("BTC-PERP", maintenance_margin="0.06", version=4)) == []
    # equity -10,000 for now
    assert market.status("alice") == "ok"
    assert market.deposit("alice", "12000") == []
    # live: 2,000 against 3,000
    assert events(market.marks()) == ["alice liquidation"]


def test_going_live_judges_every_account() -> None:
    """An account that fell while the shard was blind must not wait for its next trade."""
    market = Market(STANDARD, None)
    market.marks(PRICES, mode="catching_up")
    names = [f"user-{n}" for n in range(5)]
    market.collateral(*(Leg("d", name, str(2300 + 200 * n)) for n, name in enumerate(names)))
    market.fills(*(Fill("t", name, "BTC-PERP", "1", "50000") for name in names))
    sent = market.marks(after=1)
    # 2,300 and 2,500 ... : below 2,500 liquidated, below 3,125 called
    assert events(sent) == ["user-0 liquidation", "user-1 called", "user-2 called", "user-3 called", "user-4 called"]
    assert [record["account"] for record in of(sent, "margin-accounts")] == names


def test_a_shard_is_live_only_when_every_oracle_partition_is() -> None:
    """Half the prices of a book are not its value."""
    market = Market(STANDARD, None)
    market.deposit("alice", "1")
    assert market.marks(PRICES, oracle=(0, 3)) == []
    assert market.marks(oracle=(2, 3)) == []
    assert market.marks(oracle=(1, 3), mode="catching_up") == []
    assert [one.topic for one in market.marks(oracle=(1, 3))] == ["margin-accounts"]
    assert market.marks(oracle=(0, 3), mode="catching_up") == []
    assert market.deposit("alice", "1") == []
    assert [one.topic for one in market.marks(oracle=(0, 3))] == ["margin-accounts"]


def test_fills_never_move_shard_time() -> None:
    """A venue's clock that runs ahead must not time out liquidation steps."""
    market = long_one("5000")
    market.time += 10**9
    market.fills(Fill("x", "alice", "BTC-PERP", "0.001", "50000"))
    assert market.shard.prices.time == market.time - 10**9


def test_shard_time_never_goes_back() -> None:
    """An oracle that restarts with an older clock must not reopen what has timed out."""
    market = long_one("5000")
    before = market.shard.prices.time
    market.marks(after=-5000)
    assert market.shard.prices.time == before


# -- levels and rules ------------------------------------------------------------------------------------------------


def test_an_account_may_have_levels_of_its_own() -> None:
    """A market maker's agreed level must hold for it and for nobody else."""
    market = long_one("5000")
    market.collateral(Leg("d", "bob", "5000"))
    market.fills(Fill("t", "bob", "BTC-PERP", "1", "50000"))
    # ratio 2.0 for both
    sent = market.settings(
        {"account": "bob", "mode": "cross", "levels": {"margin_call": "2.5", "margin_call_exit": "3"}}
    )
    assert events(sent) == ["bob called"]
    (called,) = of(sent, "margin-calls")
    assert called["level"] == "2.5"
    # back to the defaults, as a tombstone says
    sent = market.settings({"account": "bob", "mode": "cross", "levels": {}})
    assert events(sent) == ["bob cleared"]


def test_levels_of_an_account_hold_for_its_isolated_buckets_too() -> None:
    """Also for those that it opens later."""
    market = Market()
    market.settings({"account": "alice", "mode": "cross", "levels": {"margin_call": "3"}})
    market.collateral(Leg("m", "alice", "6000", bucket="BTC-PERP"))
    sent = market.fills(Fill("t", "alice", "BTC-PERP", "1", "50000", mode="isolated"))
    # 6,000 / 2,500 = 2.4
    assert events(sent) == ["alice called"]
    assert of(sent, "margin-calls")[0]["bucket"] == "BTC-PERP"


def test_engine_rules_set_the_levels_of_all_who_have_none() -> None:
    """A venue's own levels come by the journal, so that a replay has them."""
    market = long_one("5000")
    market.collateral(Leg("d", "bob", "5000"))
    market.fills(Fill("t", "bob", "BTC-PERP", "1", "50000"))
    market.settings({"account": "bob", "mode": "cross", "levels": {"margin_call": "1.1"}})
    # both at 2.0
    sent = market.tell(
        rules(margin_call="2.5", margin_call_exit="2.6", liquidation_exit="1.2", liquidation_target="1.4")
    )
    assert events(sent) == ["alice called"]
    # bob kept his own call level, and has the new exits: of a liquidation 1.2, of a call 2.6
    sent = set_balance(market, "2400", "bob") + set_balance(market, "2999", "bob")
    assert events(sent) == ["bob liquidation"]
    assert events(set_balance(market, "3000", "bob")) == ["bob liquidation_cleared", "bob called"]
    assert events(set_balance(market, "6500", "bob")) == ["bob cleared"]


def test_the_reporting_currency_is_an_asset_worth_one() -> None:
    """USD needs no oracle; what it is called is a rule."""
    market = Market((asset("EUR"), rules(reporting_currency="EUR")), {})
    sent = market.deposit("alice", "100", "EUR")
    assert of(sent, "margin-accounts")[0]["equity"] == "100"


# -- buckets ---------------------------------------------------------------------------------------------------------


def test_an_isolated_bucket_is_judged_by_itself() -> None:
    """It neither lends to the cross bucket nor borrows from it."""
    market = Market()
    market.collateral(Leg("d", "alice", "100000"), Leg("m", "alice", "2400", bucket="BTC-PERP"))
    sent = market.fills(Fill("t", "alice", "BTC-PERP", "1", "50000", mode="isolated"))
    assert events(sent) == ["alice liquidation"]
    (record,) = of(sent, "liquidations")
    assert (record["bucket"], record["id"]) == ("BTC-PERP", f"0-{len(market.journal) - 1}-alice-BTC-PERP-liquidation")
    (summary,) = of(sent, "margin-accounts")
    assert (summary["status"], summary["equity"]) == ("ok", "100000")
    (isolated,) = summary["isolated"]
    assert (isolated["bucket"], isolated["status"], isolated["equity"]) == ("BTC-PERP", "liquidation", "2400")


def test_events_of_an_account_come_cross_first_then_its_isolated_buckets() -> None:
    """A total order, the same in every replay."""
    market = Market()
    for name in ("zoe", "alice"):
        market.collateral(
            Leg("d", name, "6000"), Leg("e", name, "600", bucket="ETH-PERP"), Leg("b", name, "6000", bucket="BTC-PERP")
        )
    market.fills(
        *(Fill("c", name, "BTC-PERP", "1", "50000") for name in ("alice", "zoe")),
        *(Fill("e", name, "ETH-PERP", "2", "2000", mode="isolated") for name in ("alice", "zoe")),
        *(Fill("b", name, "BTC-PERP", "1", "50000", mode="isolated") for name in ("alice", "zoe")),
    )
    sent = market.marks({"BTC": 46_000.0, "ETH": 1_780.0}, after=1)
    order = [(one.key, one.record["bucket"]) for one in sent if one.topic == "liquidations"]
    buckets = ("cross", "ETH-PERP", "BTC-PERP")
    assert order == [(name, bucket) for name in ("zoe", "alice") for bucket in buckets]
