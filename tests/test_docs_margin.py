"""The worked numbers of docs/margin.md, through `crossmargin evaluate`: a rule that drifts from its page fails here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli import main

PERP = {
    "type": "perpetual", "underlying": "BTC", "settlement": "USDC", "mark_price": "50000",
    "initial_margin": "0.10", "maintenance_margin": "0.05",
}  # fmt: skip
ASSETS = {"USDC": {"price": "1"}, "ETH": {"price": "2000", "haircut": "0.10"}}


def evaluate(instrument: dict[str, Any], balances: dict[str, str], quantity: str, entry: str) -> dict[str, Any]:
    position = {"instrument": "X", "quantity": quantity, "entry_price": entry}
    account = {"account": "a", "balances": balances, "positions": [position]}
    document = {"assets": ASSETS, "instruments": {"X": PERP | instrument}, "accounts": [account]}
    return reports(document)[0]


def reports(document: dict[str, Any]) -> list[dict[str, Any]]:
    result = CliRunner().invoke(main, ["evaluate", "-"], input=json.dumps(document))
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.output)["accounts"]
    return found


def test_equity_e1_e2_e3_m1_and_liquidation_price_l1() -> None:
    report = evaluate({}, {"USDC": "10000", "ETH": "2"}, "1", "52000")
    assert (report["equity"], report["adjusted_equity"]) == ("12000", "11600")
    position = report["positions"][0]
    assert (position["unrealized_pnl"], position["notional"]) == ("-2000", "50000")
    assert float(position["liquidation_price"]) == pytest.approx(40421.0526315789, rel=1e-13)


@pytest.mark.parametrize(("method", "maintenance"), [("marginal", "100000"), ("whole", "150000")])
def test_tiers_m2(method: str, maintenance: str) -> None:
    tiers = [
        {"notional_from": "0", "initial_margin": "0.10", "maintenance_margin": "0.05"},
        {"notional_from": "1000000", "initial_margin": "0.20", "maintenance_margin": "0.10"},
    ]
    report = evaluate({"tiers": tiers, "tier_method": method}, {"USDC": "1000000"}, "30", "50000")
    assert report["maintenance_margin"] == maintenance


def test_size_premium_m3() -> None:
    instrument = {"mark_price": "1", "size_premium_factor": "0.00045"}
    report = evaluate(instrument, {"USDC": "1000000"}, "200000", "1")
    assert float(report["initial_margin"]) / 200000 == pytest.approx(0.08 + 0.00045 * 200000**0.5, rel=1e-12)
    assert float(report["initial_margin"]) / 200000 == pytest.approx(0.28125, abs=1e-5)


def test_open_interest_m4() -> None:
    bounds = {"open_interest": "35000000", "open_interest_lower": "20000000", "open_interest_upper": "50000000"}
    report = evaluate(bounds, {"USDC": "100000"}, "1", "50000")
    assert report["initial_margin"] == "27500"


def test_size_q1() -> None:
    instrument = {"mark_price": "60000", "maintenance_margin": "0.02", "liquidation_fee": "0.005"}
    report = evaluate(instrument, {"USDC": "2800"}, "2.5", "60000")
    assert report["status"] == "liquidation"
    order = report["liquidation"]["orders"][0]
    assert -float(order["quantity"]) == pytest.approx(0.4901960784313729, rel=1e-9)


def portfolio_report(balances: dict[str, str], held: dict[str, tuple[str, str]], **more: Any) -> dict[str, Any]:
    assets = {"USDC": {"price": "1"}, "BTC": {"price": "50000", "haircut": "0.10"}, "ETH": {"price": "2000"}}
    instruments = {"X": PERP, "Y": PERP | {"underlying": "ETH", "mark_price": "2000"}}
    positions = [{"instrument": name, "quantity": q, "entry_price": entry} for name, (q, entry) in held.items()]
    account = {"account": "a", "margin_model": "portfolio", "balances": balances, "positions": positions}
    document = {"assets": assets, "instruments": instruments, "risk_units": {"BTC": {}}, "accounts": [account], **more}
    return reports(document)[0]


def test_portfolio_p1_p2_p3_p8() -> None:
    report = portfolio_report({"USDC": "30000"}, {"X": ("-2", "52000")})
    assert (report["initial_margin"], report["maintenance_margin"]) == ("18000", "14800")
    (unit,) = report["portfolio"]["units"]
    assert (unit["scan"], unit["worst"]["move"], unit["minimum_delta"]) == ("16000", "0.16", "2000")
    assert float(unit["liquidation_prices"]["above"]) == pytest.approx(58362.3693, abs=1e-4)


def test_value_at_risk_p3() -> None:
    rules = {"horizon_ms": 9 * 86_400_000, "buffer": 0}
    for move, binds, required in (("0.02", "grid", ("18000", "14800")), ("0.08", "value_at_risk", ("26000", "21200"))):
        past = rules | {"returns": {"BTC": [move, "-" + move] * 50}}
        report = portfolio_report({"USDC": "100000"}, {"X": ("-2", "50000")}, risk_history=past)
        assert report["portfolio"]["binds"] == binds
        assert float(report["portfolio"]["value_at_risk"]) == pytest.approx(float(move) * 300_000)
        found = float(report["initial_margin"]), float(report["maintenance_margin"])
        assert found == pytest.approx(tuple(map(float, required)))


def test_offsets_p4() -> None:
    bare = {"delta_net": 0, "delta_hedged": 0, "group": "g"}
    units = {"BTC": bare, "ETH": bare | {"price_range": "0.2"}}
    groups = {"g": {"low": "0.5", "high": "0.9"}}
    held = {"X": ("-2", "50000"), "Y": ("10", "2000")}
    report = portfolio_report({"USDC": "30000"}, held, risk_units=units, correlations=groups)
    assert float(report["portfolio"]["core"]) == pytest.approx(14422.2, abs=0.05)


def test_coins_p5() -> None:
    report = portfolio_report({"BTC": "2"}, {"X": ("-2", "50000")})
    assert (report["adjusted_equity"], report["initial_margin"]) == ("100000", "2000")


def test_liquidation_p7() -> None:
    (order,) = portfolio_report({"USDC": "8000"}, {"X": ("-2", "52000")})["liquidation"]["orders"]
    assert float(order["quantity"]) == pytest.approx(0.5257985258, rel=1e-9)


def test_widening_t1() -> None:
    document = {"assets": {"ETH": ASSETS["ETH"] | {"widening": "0.0025"}}, "instruments": {}}
    (report,) = reports(document | {"accounts": [{"account": "a", "balances": {"ETH": "2"}}]})
    assert report["adjusted_equity"] == "3590"


def test_suspect_t2() -> None:
    assert evaluate({}, {"USDC": "2499.99"}, "1", "50000")["status"] == "liquidation"
    suspect = {"state": "suspect", "check_price": "51000"}
    assert evaluate(suspect, {"USDC": "2499.99"}, "1", "50000")["status"] == "margin_call"


def test_caution_t3() -> None:
    report = evaluate({"state": "suspect", "check_price": "49000"}, {"USDC": "10000"}, "1", "50000")
    assert (report["initial_equity"], report["initial_margin"]) == ("9000", "4900")


def test_halted_t5_t6() -> None:
    ether = PERP | {"underlying": "ETH", "mark_price": "2000", "quantity_precision": 2}
    held = [
        {"instrument": "X", "quantity": "1", "entry_price": "50000"},
        {"instrument": "Y", "quantity": "10", "entry_price": "2000"},
    ]
    document = {"assets": ASSETS, "instruments": {"X": PERP | {"state": "halted"}, "Y": ether}}
    account = {"account": "a", "balances": {"USDC": "3400"}, "positions": held}
    (report,) = reports(document | {"accounts": [account]})
    assert [(order["instrument"], order["quantity"]) for order in report["liquidation"]["orders"]] == [("Y", "-4.1")]
    assert report["liquidation"]["withheld"] == [{"instrument": "X", "state": "halted"}]
    assert report["restrictions"] == ["no_new_risk", "no_withdrawals"]


def test_limit_q2() -> None:
    report = evaluate({}, {"USDC": "1500"}, "1", "50000")
    assert float(report["liquidation"]["orders"][0]["limit_price"]) == 48500


def test_options_e4_and_m5() -> None:
    call = {"type": "option", "underlying": "BTC", "option_type": "call", "strike": "66000", "index_price": "60000"}
    terms = call | {"mark_price": "1200", "initial_margin": None, "maintenance_margin": None}
    bought = evaluate(terms, {"USDC": "3000"}, "2", "1000")
    assert (bought["equity"], bought["adjusted_equity"]) == ("3400", "1000")
    sold = evaluate(terms, {"USDC": "100000"}, "-2", "1000")
    assert (sold["initial_margin"], sold["maintenance_margin"]) == ("15600", "10800")
