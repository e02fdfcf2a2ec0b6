"""The report of a whole document: its shape, isolated positions, names, exactness, order."""

import json
from typing import Any

import orjson
import pytest

from schemas.codec import decode
from schemas.margin import AccountReport
from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports
from streams.evaluate.warmup import warm_up
from tests.notation import check, evaluated, portfolio, position_of
from tests.test_evaluate_document import GOOD

RATES = "im 0.10 mm 0.05"


def test_the_example() -> None:
    """The document that the interface fixes gives the report that it fixes."""
    assert reports(read_portfolio(orjson.dumps(GOOD))) == {
        "accounts": [
            {
                "account": "alice",
                "status": "ok",
                "equity": "12000",
                "adjusted_equity": "11600",
                "initial_equity": "11600",
                "initial_margin": "5000",
                "maintenance_margin": "2500",
                "margin_ratio": "4.64",
                "free_margin": "6600",
                "positions": [
                    {
                        "instrument": "BTC-PERP",
                        "quantity": "1",
                        "notional": "50000",
                        "unrealized_pnl": "-2000",
                        "initial_margin": "5000",
                        "maintenance_margin": "2500",
                        "liquidation_price": "40421.052631579",
                    }
                ],
                "liquidation": None,
            }
        ]
    }


def test_isolated_positions_are_books_of_their_own() -> None:
    """An isolated loss past its margin never touches cross money (EQ7)."""
    document = portfolio(
        instruments=f"ISO 100 {RATES}; X1 100 {RATES}; X2 100 {RATES}",
        balances="USDC 4000",
        positions="ISO 10 @ 230 margin_mode isolated isolated_margin 1000; X1 10 @ 20; X2 5 @ 200",
    )
    report = evaluated(document)
    # 5000 deposited, 1000 of it moved to the isolated bucket; 4000 + 10 x 80 - 5 x 100
    check(report, "status ok; equity 4300; maintenance_margin 75; margin_ratio 57.3333333333; liquidation none")
    assert [row["instrument"] for row in report["positions"]] == ["ISO", "X1", "X2"]
    # 1000 + 10 x (100 - 230) = -300
    isolated = position_of(report, "ISO", "isolated")
    expected = {
        "status": "bankrupt",
        "equity": "-300",
        "adjusted_equity": "-300",
        "shortfall": "300",
        "maintenance_margin": "50",
        "margin_ratio": "-6",
        "liquidation": None,
    }
    assert {name: isolated[name] for name in expected} == expected
    assert "equity" not in position_of(report, "X1")


def test_cross_money_does_not_save_an_isolated_position() -> None:
    """An isolated position is liquidated by its own margin, and one of the same instrument may be held in cross."""
    document = portfolio(
        instruments=f"P 50000 {RATES}",
        balances="USDC 1000000",
        positions="P 1 @ 50000; P -1 @ 50000 margin_mode isolated isolated_margin 2400 previous_status margin_call",
    )
    report = evaluated(document)
    check(report, "status ok; equity 1000000; maintenance_margin 2500")
    isolated = position_of(report, "P", "isolated")
    assert isolated["status"] == "liquidation"
    # 2400 = 1.1 x 2500 (1 - x)
    (order,) = isolated["liquidation"]["orders"]
    assert order["quantity"].startswith("0.127272727272")
    # 2400 + 50000 - L = 0.05 L
    assert isolated["liquidation_price"] == "49904.7619047619"
    assert position_of(report, "P")["quantity"] == "1"


def test_mode_of_the_account() -> None:
    """An isolated account's positions are isolated unless they say otherwise."""
    document = portfolio(
        instruments=f"A 100 {RATES}; B 100 {RATES}",
        balances="USDC 50",
        positions="A 1 @ 100 isolated_margin 20; B 1 @ 100 margin_mode cross",
        mode="isolated",
    )
    report = evaluated(document)
    check(report, "equity 50; maintenance_margin 5")
    assert position_of(report, "A", "isolated")["equity"] == "20"


def test_each_book_has_its_own_status_before() -> None:
    """A call open in one bucket does not hold another in it."""
    document = portfolio(
        instruments=f"P 50000 {RATES}",
        balances="USDC 3200",
        positions="P 1 @ 50000; P -1 @ 50000 margin_mode isolated isolated_margin 3200",
        previous_status="margin_call",
    )
    report = evaluated(document)
    assert report["status"] == "margin_call"
    assert position_of(report, "P", "isolated")["status"] == "ok"


def test_levels_and_status_before_for_all_accounts() -> None:
    """What the document states holds for every account that states nothing itself."""
    document = portfolio(instruments=f"P 50000 {RATES}", balances="USDC 3200", positions="P 1 @ 50000")
    document |= {"previous_status": "margin_call", "levels": {"margin_call": "1.1", "margin_call_exit": "1.28"}}
    assert evaluated(document)["status"] == "ok"
    document["accounts"][0]["levels"] = {"margin_call_exit": "1.29"}
    assert evaluated(document)["status"] == "margin_call"
    document["accounts"][0]["previous_status"] = "ok"
    assert evaluated(document)["status"] == "ok"


def test_numbers_are_read_exactly() -> None:
    """JSON numbers and strings are the same decimals: 0.1 is a tenth."""
    text = json.dumps(GOOD).replace('"10000"', "10000").replace('"52000"', "5.2e4").replace('"0.10"', "0.10")
    assert reports(read_portfolio(text.encode())) == reports(read_portfolio(orjson.dumps(GOOD)))
    document = portfolio(balances="USDC 0.1")
    assert evaluated(document)["equity"] == "0.1"
    long = portfolio(balances="USDC 123456789012345.678")
    assert evaluated(long)["equity"] == "123456789012346"


@pytest.mark.parametrize(
    ("asset", "instrument"), [("X", "X"), ("BTC-PERP", "USDC"), ("größe", "合约 1"), ("a.b", "[0]"), ("cross", "~")]
)
def test_any_name(asset: str, instrument: str) -> None:
    """Names mean nothing, but that an asset called as an underlying moves with it."""
    document = portfolio(instruments=f"P 50000 {RATES}", balances="USDC 10000", positions="P 1 @ 52000")
    document["assets"] = {asset: document["assets"]["USDC"]}
    terms: dict[str, Any] = document["instruments"].pop("P")
    document["instruments"][instrument] = terms | {"settlement": asset, "underlying": "BTC"}
    account = document["accounts"][0]
    account["balances"] = {asset: "10000"}
    account["positions"][0]["instrument"] = instrument
    report = evaluated(document)
    check(report, "equity 8000; maintenance_margin 2500")
    assert report["positions"][0]["instrument"] == instrument


def test_orders_of_the_document() -> None:
    """Accounts keep their order; the order of assets, instruments and positions changes no digit of a report."""
    accounts = [
        {**GOOD["accounts"][0], "account": name, "balances": {"ETH": "2", "USDC": str(10000 + n)}}
        for n, name in enumerate(["zebra", "ape", "mule"])
    ]
    extra = {"ETH-PERP": {**GOOD["instruments"]["BTC-PERP"], "underlying": "ETH", "mark_price": "2000"}}
    for account in accounts:
        account["positions"] = [
            *account["positions"],
            {"instrument": "ETH-PERP", "quantity": "-3", "entry_price": "1999.9"},
        ]
    forward = {**GOOD, "accounts": accounts, "instruments": {**GOOD["instruments"], **extra}}
    backward = {
        "accounts": [
            {**a, "positions": a["positions"][::-1], "balances": dict(reversed(a["balances"].items()))}
            for a in accounts
        ],
        "instruments": dict(reversed(forward["instruments"].items())),
        "assets": dict(reversed(GOOD["assets"].items())),
    }
    first, second = (reports(read_portfolio(orjson.dumps(document))) for document in (forward, backward))
    assert first == second
    assert [account["account"] for account in first["accounts"]] == ["zebra", "ape", "mule"]


def test_an_account_alone_and_among_others() -> None:
    """What an account is told does not depend on whose document it stands in."""
    liquidated = {**GOOD["accounts"][0], "account": "bob", "balances": {"USDC": "4000"}}
    together = reports(read_portfolio(orjson.dumps({**GOOD, "accounts": [GOOD["accounts"][0], liquidated]})))
    alone = reports(read_portfolio(orjson.dumps({**GOOD, "accounts": [liquidated]})))
    assert together["accounts"][1] == alone["accounts"][0]


def test_without_precision_nothing_is_rounded() -> None:
    """A whole close closes every digit, and small and large books keep ten digits and more."""
    quantity = "0.1234567890123456789"
    # the fee eats what closing frees, so all is closed
    document = portfolio(instruments=f"P 50000 {RATES} fee 0.06", balances="USDC 1", positions=f"P {quantity} @ 50000")
    (order,) = evaluated(document)["liquidation"]["orders"]
    assert order["quantity"] == f"-{quantity}"
    tiny = portfolio(instruments=f"P 0.00000025 {RATES}", balances="USDC 1e-9", positions="P 2 @ 0.00000025")
    check(evaluated(tiny), "maintenance_margin 0.000000025; equity 0.000000001; status liquidation")


def test_precision_rounds_as_the_ledger_does() -> None:
    """Where the asset states a precision, open cost is a whole number of its minor units."""
    document = portfolio(
        assets="BTC 50000 precision 8",
        instruments=f"P 50000 type inverse_perpetual underlying BTC settlement BTC {RATES}",
        balances="BTC 1",
        positions="P 1 @ 30000",
    )
    # opened at 1/30000 = 0.00003333 coins, worth 0.00002 now
    assert evaluated(document)["positions"][0]["unrealized_pnl"] == "0.00001333"


def test_the_report_is_the_contract() -> None:
    """What is printed is what events carry, by the published schema."""
    report = reports(read_portfolio(orjson.dumps(GOOD)))["accounts"][0]
    assert decode(AccountReport, orjson.dumps(report)).margin_ratio == "4.64"


def test_no_accounts() -> None:
    """Nobody is an empty report, not an error."""
    assert reports(read_portfolio(b'{"accounts": []}')) == {"accounts": []}


def test_warming_up_finds_an_order() -> None:
    """Without one of each model the kernels of closing would be compiled at the first liquidation of a set-up."""
    assert warm_up() == 2
