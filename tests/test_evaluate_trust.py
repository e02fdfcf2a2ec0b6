"""States of prices in a portfolio document: what is reported, and what is left undone."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from streams.evaluate.command import evaluate_command
from tests.tables import Row, rows

Json = dict[str, Any]

BTC = {"type": "perpetual", "underlying": "BTC", "settlement": "USDC", "mark_price": "50000", "initial_margin": "0.10",
       "maintenance_margin": "0.05"}  # fmt: skip
ETH = {"price": "2000", "haircut": "0.10", "borrow_haircut": "0.05"}


def evaluate(document: Json) -> Any:
    return CliRunner().invoke(evaluate_command, ["-"], input=json.dumps(document))


def report(balances: Json, *, btc: Json | None = None, eth: Json | None = None, **account: Any) -> Json:
    """One account, long 1 BTC from 50,000 at 50,000 where `btc` is given."""
    held = [{"instrument": "P", "quantity": "1", "entry_price": "50000"}] if btc is not None else []
    document = {
        "assets": {"USDC": {"price": "1"}, "ETH": ETH | (eth or {})},
        "instruments": {"P": BTC | (btc or {})},
        "accounts": [{"account": "a", "balances": balances, "positions": held, **account}],
    }
    result = evaluate(document)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)["accounts"]
    return dict(found)


STATES = """
    state of the mark                   | usdc    | state    | check | previous    | status      | orders
    ok                                  | 2499.99 | ok       |       |             | liquidation | P
    degraded                            | 2499.99 | degraded |       |             | liquidation | P
    suspect, check on the line          | 2499.99 | suspect  | 50000.010526315790 |    | margin_call |
    # 2,499.99 + d = 0.05 x (50,000 + d) at d = 0.01 / 0.95
    suspect, check as low               | 2499.99 | suspect  | 50000 |             | liquidation | P
    suspect, check safe                 | 2499.99 | suspect  | 51000 |             | margin_call |
    suspect, check safe, liquidating    | 2499.99 | suspect  | 51000 | liquidation | liquidation |
    suspect, no check price             | 2499.99 | suspect  |       |             | margin_call |
    suspect, bankrupt on both           | -1      | suspect  | 50000 |             | bankrupt    |
    suspect, bankrupt at the index      | -1      | suspect  | 50001 |             | liquidation | P
    stale                               | 2499.99 | stale    |       |             | liquidation | P
    halted, nothing else to order       | 2499.99 | halted   |       |             | margin_call |
    halted and bankrupt                 | -1      | halted   |       |             | margin_call |
"""


@pytest.mark.parametrize("row", rows(STATES))
def test_a_state_holds_back_what_the_engine_holds_back(row: Row) -> None:
    """A what-if that liquidates where the engine would not is no what-if."""
    mark = {"state": row["state"], **({"check_price": row["check"]} if row["check"] else {})}
    previous = {"previous_status": row["previous"]} if row["previous"] else {}
    found = report({"USDC": row["usdc"]}, btc=mark, **previous)
    orders = [order["instrument"] for order in (found["liquidation"] or {}).get("orders", ())]
    assert (found["status"], orders) == (row["status"], [row["orders"]] if row["orders"] else [])


RESTRICTIONS = """
    state    | restrictions
    ok       |
    degraded |
    suspect  | no_new_risk
    stale    | no_new_risk no_withdrawals
    halted   | no_new_risk no_withdrawals
"""


@pytest.mark.parametrize("row", rows(RESTRICTIONS))
def test_restrictions_are_reported(row: Row) -> None:
    """For a position, and for collateral; none for what the account does not have."""
    expected = (row["restrictions"] or "").split()
    for found in (
        report({"USDC": "9000"}, btc={"state": row["state"]}),
        report({"USDC": "9000", "ETH": "1"}, btc={}, eth={"state": row["state"]}),
    ):
        assert found.get("restrictions", []) == expected
    assert "restrictions" not in report({"USDC": "9000", "ETH": "0"}, btc={}, eth={"state": row["state"]})


def test_initial_numbers_are_those_of_the_worse_price() -> None:
    """Long 1 BTC, check 49,000: 9,000 against 4,900; and 2 ETH at 1,900 x 0.9."""
    doubts = {"btc": {"state": "suspect", "check_price": "49000"}, "eth": {"state": "suspect", "check_price": "1900"}}
    found = report({"USDC": "10000", "ETH": "2"}, **doubts)
    assert (found["initial_equity"], found["initial_margin"], found["free_margin"]) == ("12420", "4900", "7520")
    assert (found["equity"], found["adjusted_equity"], found["maintenance_margin"]) == ("14000", "13600", "2500")
    assert found["positions"][0]["initial_margin"] == "4900"


def test_haircuts_widen() -> None:
    """2 ETH at 2,000 x (1 - 0.1025); owed, x (1 + 0.0525)."""
    assert report({"ETH": "2"}, eth={"widening": "0.0025"})["adjusted_equity"] == "3590"
    assert report({"USDC": "9000", "ETH": "-2"}, eth={"widening": "0.0025"})["adjusted_equity"] == "4790"
    assert report({"ETH": "2"}, eth={"widening": "5"})["adjusted_equity"] == "0"


def test_nothing_stale_is_converted() -> None:
    """3,700 owed against 2 ETH: the only collateral cannot be sold."""
    assert report({"USDC": "-3700", "ETH": "2"})["liquidation"]["orders"][0]["sell_asset"] == "ETH"
    found = report({"USDC": "-3700", "ETH": "2"}, eth={"state": "stale"})
    assert (found["status"], found["liquidation"]) == ("margin_call", None)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("state", "shaky", "assets.ETH.state must be one of ok, degraded, suspect, stale, halted, found 'shaky'"),
        ("check_price", "0", "assets.ETH.check_price must be above 0, found '0'"),
        ("widening", "-0.1", "assets.ETH.widening must be 0 or more, found '-0.1'"),
    ],
)
def test_what_is_no_state_is_refused(field: str, value: str, line: str) -> None:
    result = evaluate({"assets": {"ETH": ETH | {field: value}}, "instruments": {}, "accounts": []})
    assert result.exit_code == 2
    assert line in result.output
