"""Options in a portfolio document: what they are worth, what they require, what is lent on them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.evaluate.document import BadDocument
from tests.notation import Json, check, evaluated, portfolio, position_of

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "reference" / "option_cases.json").read_text())
}
COIN = "USDC 1; BTC 60000 haircut 0.1"
C66 = "C66 1200 type option underlying BTC option_type call strike 66000"
P54 = "P54 900 type option underlying BTC option_type put strike 54000"


def test_an_option_sold_requires_its_charge_and_owes_its_value() -> None:
    """Margin and value counted twice would close out sellers at half of what the rules ask."""
    report = evaluated(portfolio(assets=COIN, instruments=C66, balances="USDC 20000", positions="C66 -2 @ 1000"))
    # equity 20,000 + 2 x 1,000 - 2 x 1,200; 6,000 out of the money are 0.10 of the index: max(0.15 - 0.10, 0.13)
    check(
        report,
        "equity 19600; adjusted_equity 19600; initial_equity 19600; initial_margin 15600; maintenance_margin 10800;"
        "C66.unrealized_pnl -400; C66.notional 2400; C66.liquidation_price none",
    )


def test_nothing_is_lent_on_an_option_bought() -> None:
    """A long may be worth nothing tomorrow: it is equity, and no margin for anything else."""
    report = evaluated(portfolio(assets=COIN, instruments=C66, balances="USDC 3000", positions="C66 2 @ 1000"))
    # 3,000 less 2,000 paid, and 2,400 of value
    check(
        report,
        "status ok; equity 3400; adjusted_equity 1000; initial_equity 1000; initial_margin 0; maintenance_margin 0;"
        "margin_ratio none; free_margin 1000",
    )


def test_options_lend_each_other_nothing() -> None:
    """The standard model has no spreads: what is bought does not lower what is sold requires."""
    spread = portfolio(
        assets=COIN, instruments=f"{C66}; {P54}", balances="USDC 30000", positions="C66 -1 @ 1200; P54 1 @ 900"
    )
    check(evaluated(spread), "equity 30000; adjusted_equity 29100; initial_margin 7800; maintenance_margin 5400")


def test_an_option_in_coins_is_worth_coins() -> None:
    """Its value is cut with the coin, its charge is the coin's price."""
    terms = "C66 0.02 type option underlying BTC settlement BTC option_type call strike 66000"
    report = evaluated(portfolio(assets=COIN, instruments=terms, balances="BTC 1", positions="C66 -2 @ 0.01"))
    # 1 + 0.02 - 0.04 coins; 2 x 0.13 and 2 x 0.09 coins
    check(
        report,
        "equity 58800; adjusted_equity 52920; initial_margin 15600; maintenance_margin 10800; C66.unrealized_pnl -0.02",
    )


def test_the_underlying_may_be_priced_by_the_option_itself_or_a_perpetual() -> None:
    """A document need not hold the coin as an asset."""
    perpetual = "BTC-PERP 60000 underlying BTC im 0.1 mm 0.05"
    sold = {"balances": "USDC 20000", "positions": "C66 -1 @ 1200"}
    by_perpetual = portfolio(instruments=f"{C66}; {perpetual}", **sold)
    by_itself = portfolio(instruments=f"{C66} index_price 60000", **sold)
    check(evaluated(by_perpetual), "maintenance_margin 5400")
    check(evaluated(by_itself), "maintenance_margin 5400")
    with pytest.raises(BadDocument, match=r"instruments\.C66\.index_price must be given, found nothing"):
        evaluated(portfolio(instruments=C66, **sold))


@pytest.mark.parametrize("row", range(4))
def test_published_cases_of_derive(row: int) -> None:
    """G6: the signed cash value is the value less the charge."""
    given, wanted = CASES["G6"]["inputs"], CASES["G6"]["expected"]
    names = {"max_spot": "most", "min_spot": "least", "mm_call": "call", "mm_put": "put", "mm_put_mtm": "put_value"}
    rates = {ours: given["params"][theirs] for theirs, ours in {**names, "mm_offset": "put_offset"}.items()}
    case = given["cases"][row]
    report = evaluated(_sold(case["S"], case["K"], case["mark"], case["n"], case["call"], "USDC", rates))
    value = Decimal(str(case["mark"])) * Decimal(str(case["n"]))
    assert -value - Decimal(report["initial_margin"]) == Decimal(str(wanted["im"][row]))
    assert -value - Decimal(report["maintenance_margin"]) == Decimal(str(wanted["mm"][row]))


@pytest.mark.parametrize("row", range(3))
def test_published_cases_of_deribit(row: int) -> None:
    """G7: the same in coins, at Deribit's rates."""
    case, wanted = CASES["G7"]["inputs"]["cases"][row], CASES["G7"]["expected"]
    rates = {"most": 0.15, "least": 0.10, "call": 0.075, "put": 0.075, "put_value": 0.075, "put_offset": 1.0}
    strike = 50_000 * (1 + case["otm_ratio"] * (1 if case["call"] else -1))
    report = evaluated(_sold(50_000, strike, case["mark"], 1, case["call"], "BTC", rates))
    for name, field in (("im", "initial_margin"), ("mm", "maintenance_margin")):
        assert float(report[field]) / 50_000 + case["mark"] == pytest.approx(wanted[name][row], rel=1e-12)


def _sold(index: float, strike: float, mark: float, quantity: float, call: bool, paid_in: str, rates: Json) -> Json:
    document = portfolio(
        assets=f"USDC 1; BTC {index:.0f}",
        instruments=f"O {mark} type option underlying BTC settlement {paid_in} strike {strike:.0f}",
        balances="USDC 1000000",
        positions=f"O {-quantity} @ {mark}",
    )
    own: dict[str, Any] = {"option_type": "call" if call else "put", "option_margin": rates}
    document["instruments"]["O"] |= own
    return document


def test_a_book_is_closed_from_what_frees_margin_and_then_from_what_can_be_sold() -> None:
    """Selling an option bought makes money of it: where buying back what is sold is not enough, it goes too."""
    document = portfolio(
        assets=COIN,
        instruments=f"{C66}; P54 9000 type option underlying BTC option_type put strike 54000 fee 0.01",
        balances="USDC 12900",
        positions="C66 -1 @ 1200; P54 1 @ 9000",
    )
    # equity 12,900, of which 9,000 is the put: 3,900 against 5,400; with 0.278 of the call closed 1.10 x 0.722 x 5,400
    report = evaluated(document)
    assert report["status"] == "liquidation"
    (order,) = report["liquidation"]["orders"]
    assert order["instrument"] == "C66"
    assert 3_900 / (5_400 * (1 - float(order["quantity"]))) == pytest.approx(1.10)

    document["accounts"][0]["balances"]["USDC"] = "8000"
    # -1,000 after the put: the call is bought back whole, and 1,000 / 0.99 worth of the put sold
    report = evaluated(document)
    orders = {order["instrument"]: float(order["quantity"]) for order in report["liquidation"]["orders"]}
    assert orders["C66"] == 1
    assert orders["P54"] == pytest.approx(-1_000 / (0.99 * 9_000))
    assert position_of(report, "P54")["maintenance_margin"] == "0"


@pytest.mark.parametrize(
    ("terms", "fault"),
    [
        ("option_type straddle strike 1", "option_type must be one of call, put"),
        ("strike 1", "option_type must be given with type option, found null"),
        ("option_type call", "strike must be given with type option, found null"),
        ("option_type call strike 0", "strike must be above 0, found 0"),
        ("option_type call strike 1 im 0.1", "initial_margin must be null with type option"),
    ],
)
def test_what_is_no_option_is_refused(terms: str, fault: str) -> None:
    """The path and the rule, in one line."""
    document = portfolio(assets=COIN, instruments=f"C66 1200 type option underlying BTC {terms}", balances="USDC 1")
    with pytest.raises(BadDocument, match=rf"instruments\.C66\.{fault}"):
        evaluated(document)
