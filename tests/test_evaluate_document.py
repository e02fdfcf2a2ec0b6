"""Bad portfolio documents: one line that says what must hold, what was found, and where.

If one of these failed, a wrong number would be margined as if it were right.
"""

import copy
from typing import Any

import orjson
import pytest

from streams.evaluate.document import BadDocument
from streams.evaluate.portfolio import read_portfolio

GOOD: dict[str, Any] = {
    "time": "2025-10-10T21:15:00Z",
    "assets": {"USDC": {"price": "1"}, "ETH": {"price": "2000", "haircut": "0.10", "borrow_haircut": "0.05"}},
    "instruments": {
        "BTC-PERP": {
            "type": "perpetual",
            "underlying": "BTC",
            "settlement": "USDC",
            "multiplier": "1",
            "mark_price": "50000",
            "initial_margin": "0.10",
            "maintenance_margin": "0.05",
            "tiers": [
                {"notional_from": "0", "initial_margin": "0.10", "maintenance_margin": "0.05"},
                {"notional_from": "1000000", "initial_margin": "0.20", "maintenance_margin": "0.10"},
            ],
            "tier_method": "marginal",
        }
    },
    "accounts": [
        {
            "account": "alice",
            "mode": "cross",
            "margin_model": "standard",
            "balances": {"USDC": "10000", "ETH": "2"},
            "positions": [{"instrument": "BTC-PERP", "quantity": "1", "entry_price": "52000"}],
        }
    ],
}

ABSENT = object()

FAULTS = [
    # numbers
    ("accounts.0.positions.0.quantity", "NaN", "accounts[0].positions[0].quantity must be finite, found 'NaN'"),
    ("accounts.0.positions.0.quantity", "-Infinity", "quantity must be finite, found '-Infinity'"),
    ("accounts.0.positions.0.quantity", "1e999", "quantity must be 0 or between 1e-40 and 1e40"),
    ("accounts.0.positions.0.quantity", "1e99999999", "quantity must be 0 or between 1e-40 and 1e40"),
    ("accounts.0.positions.0.quantity", "one", "quantity must be a decimal number, found 'one'"),
    ("accounts.0.positions.0.quantity", "", "quantity must be a decimal number, found ''"),
    ("accounts.0.positions.0.quantity", " 1", "quantity must be a decimal number, found ' 1'"),
    ("accounts.0.positions.0.quantity", "0x10", "quantity must be a decimal number, found '0x10'"),
    ("accounts.0.positions.0.quantity", "1_000", "quantity must be a decimal number, found '1_000'"),
    ("accounts.0.positions.0.quantity", "9" * 70, "at most 64 characters, found"),
    ("accounts.0.positions.0.quantity", True, "quantity must be a decimal number, found true"),
    ("accounts.0.positions.0.quantity", [1], "quantity must be a decimal number, found an array"),
    ("accounts.0.positions.0.quantity", None, "quantity must be given, found nothing"),
    ("accounts.0.positions.0.quantity", ABSENT, "accounts[0].positions[0].quantity must be given, found nothing"),
    ("accounts.0.positions.0.entry_price", ABSENT, "entry_price must be given, found nothing"),
    ("accounts.0.positions.0.entry_price", "0", "accounts[0].positions[0].entry_price must be above 0, found '0'"),
    ("accounts.0.positions.0.entry_price", "-1", "entry_price must be above 0, found '-1'"),
    ("accounts.0.positions.0.accrued_funding", "nan", "accrued_funding must be finite, found 'nan'"),
    ("accounts.0.balances.USDC", "1,000", "accounts[0].balances.USDC must be a decimal number, found '1,000'"),
    # prices
    ("assets.ETH.price", ABSENT, "assets.ETH.price must be given, found nothing"),
    ("assets.ETH.price", "-2000", "assets.ETH.price must be above 0, found '-2000'"),
    ("assets.ETH.price", 0, "assets.ETH.price must be above 0, found 0"),
    ("instruments.BTC-PERP.mark_price", None, "instruments.BTC-PERP.mark_price must be given, found nothing"),
    ("instruments.BTC-PERP.mark_price", "0.0", "instruments.BTC-PERP.mark_price must be above 0, found '0.0'"),
    # assets
    ("assets.ETH.haircut", "1.01", "assets.ETH.haircut must be 0 to 1, found '1.01'"),
    ("assets.ETH.haircut", "-0.1", "assets.ETH.haircut must be 0 to 1, found '-0.1'"),
    ("assets.ETH.borrow_haircut", "-0.1", "assets.ETH.borrow_haircut must be 0 to 1, found '-0.1'"),
    ("assets.ETH.precision", "1.5", "assets.ETH.precision must be a whole number from 0 to 9, found '1.5'"),
    ("assets.ETH.precision", 10, "assets.ETH.precision must be a whole number from 0 to 9, found 10"),
    ("assets.USDC.precision", 2, None),
    ("assets.ETH.haircut_tiers", {}, "assets.ETH.haircut_tiers must be an array, found an object"),
    (
        "assets.ETH.haircut_tiers",
        [{"from": "1", "haircut": "0"}],
        "assets.ETH.haircut_tiers[0].from must be 0, found 1",
    ),
    (
        "assets.ETH.haircut_tiers",
        [{"from": "0", "haircut": "0"}, {"from": "5", "haircut": "0.1"}, {"from": "5", "haircut": "0.2"}],
        "assets.ETH.haircut_tiers[2].from must be above 5, found 5",
    ),
    ("assets.ETH.haircut_tiers", [{"from": "0"}], "assets.ETH.haircut_tiers[0].haircut must be given, found nothing"),
    ("assets.ETH", "2000", "assets.ETH must be an object, found '2000'"),
    ("assets", [], "assets must be an object, found an array"),
    # instruments
    ("instruments.BTC-PERP.type", ABSENT, "instruments.BTC-PERP.type must be given, found nothing"),
    ("instruments.BTC-PERP.type", "swap", "one of perpetual, inverse_perpetual, future, inverse_future, option, found"),
    ("instruments.BTC-PERP.underlying", ABSENT, "instruments.BTC-PERP.underlying must be given, found nothing"),
    ("instruments.BTC-PERP.underlying", 5, "underlying must be a string that is not empty, found 5"),
    ("instruments.BTC-PERP.settlement", "EUR", "settlement must be one of the document's assets, found 'EUR'"),
    ("instruments.BTC-PERP.multiplier", "0", "instruments.BTC-PERP.multiplier must be above 0, found '0'"),
    (
        "instruments.BTC-PERP.initial_margin",
        "0.04",
        "instruments.BTC-PERP.initial_margin must be at least maintenance_margin 0.05, found 0.04",
    ),
    ("instruments.BTC-PERP.maintenance_margin", "1.5", "maintenance_margin must be 0 to 1, found '1.5'"),
    ("instruments.BTC-PERP.maintenance_margin", ABSENT, "maintenance_margin must be given, found null"),
    ("instruments.BTC-PERP.tiers.1.notional_from", "0", "tiers[1].notional_from must be above 0, found 0"),
    ("instruments.BTC-PERP.tiers.0.notional_from", "5", "tiers[0].notional_from must be 0, found 5"),
    (
        "instruments.BTC-PERP.tiers.1.initial_margin",
        "0.09",
        "instruments.BTC-PERP.tiers[1].initial_margin must be at least maintenance_margin 0.1, found 0.09",
    ),
    (
        "instruments.BTC-PERP.tiers.0.maintenance_margin",
        "Infinity",
        "instruments.BTC-PERP.tiers[0].maintenance_margin must be finite, found 'Infinity'",
    ),
    ("instruments.BTC-PERP.tier_method", "median", "tier_method must be one of marginal, whole, found 'median'"),
    ("instruments.BTC-PERP.liquidation_fee", "2", "liquidation_fee must be 0 to 1, found '2'"),
    ("instruments.BTC-PERP.size_premium_factor", "-1", "size_premium_factor must be at least 0, found '-1'"),
    ("instruments.BTC-PERP.open_interest_lower", "5", "open_interest_lower and open_interest_upper must be given"),
    ("instruments.BTC-PERP.quantity_precision", -1, "quantity_precision must be a whole number from 0 to 9, found -1"),
    # accounts
    ("accounts", ABSENT, "accounts must be given, found nothing"),
    ("accounts", {}, "accounts must be an array, found an object"),
    ("accounts.0", 7, "accounts[0] must be an object, found 7"),
    ("accounts.0.account", ABSENT, "accounts[0].account must be given, found nothing"),
    ("accounts.0.account", 7, "accounts[0].account must be a string that is not empty, found 7"),
    ("accounts.0.mode", "hedge", "accounts[0].mode must be one of cross, isolated, found 'hedge'"),
    ("accounts.0.margin_model", "span", "accounts[0].margin_model must be one of standard, portfolio, found 'span'"),
    ("accounts.0.previous_status", "fine", "accounts[0].previous_status must be one of ok, margin_call"),
    ("accounts.0.levels", {"margin_call": "0.9"}, "accounts[0].levels.margin_call must be 1 to 1000, found '0.9'"),
    (
        "accounts.0.levels",
        {"margin_call": "1.5", "margin_call_exit": "1.4"},
        "accounts[0].levels.margin_call_exit must be at least margin_call 1.5, found 1.4",
    ),
    ("accounts.0.balances.DOGE", "5", "accounts[0].balances.DOGE must be one of the document's assets, found 'DOGE'"),
    ("accounts.0.balances", [], "accounts[0].balances must be an object, found an array"),
    (
        "accounts.0.positions.0.instrument",
        "DOGE-PERP",
        "accounts[0].positions[0].instrument must be one of the document's instruments, found 'DOGE-PERP'",
    ),
    (
        "accounts.0.positions.1",
        {"instrument": "BTC-PERP", "quantity": "1", "entry_price": "1"},
        "accounts[0].positions[1].instrument must be held once in the cross book, found 'BTC-PERP' again",
    ),
    ("accounts.0.positions.0.margin_mode", "isolated", "positions[0].isolated_margin must be given, found nothing"),
    (
        "accounts.0.positions.0.isolated_margin",
        "5",
        "accounts[0].positions[0].isolated_margin must be given for isolated positions only, found '5'",
    ),
    ("accounts.1", GOOD["accounts"][0], "accounts[1].account must be used once, found 'alice' again"),
    # the document
    ("time", "yesterday", "time must be epoch milliseconds or RFC 3339, found 'yesterday'"),
    ("time", -5, "time must be epoch milliseconds or an RFC 3339 string, found -5"),
    ("time", True, "time must be epoch milliseconds or an RFC 3339 string, found true"),
]

BYTES = [
    (b"", "the document must be a JSON object, found nothing"),
    (b"  \n", "the document must be a JSON object, found nothing"),
    (b"{", "the document must be JSON, found a fault at line 1 column 2"),
    (b"{} {}", "the document must be JSON, found a fault at line 1 column 4: Extra data"),
    (b"[]", "the document must be an object, found an array"),
    (b"5", "the document must be an object, found 5"),
    (b"null", "the document must be given, found nothing"),
    (b"\xff\xfe\x00", "the document must be UTF-8 text, found byte 0xff at 0"),
    (b"\x7fELF\x02\x01\x01", "the document must be JSON, found a fault at line 1 column 1"),
    (b"[" * 100_000, "arrays and objects must be nested less deep"),
    (b'{"accounts": [], "accounts": []}', "accounts must be given once, found it again"),
    (b'{"assets": {"A": {"price": NaN}}, "accounts": []}', "assets.A.price must be finite, found 'NaN'"),
    (b'{"assets": {"A": {"price": -1e500}}, "accounts": []}', "assets.A.price must be 0 or between"),
    (b'{"assets": {"": {"price": 1}}, "accounts": []}', 'assets[""] must have a name of visible characters'),
    (b'{"assets": {"a.b\\n": {"price": 1}}, "accounts": []}', 'assets["a.b\\n"] must have a name of visible'),
    (b'{"assets": {"a.b": {"price": -1}}, "accounts": []}', 'assets["a.b"].price must be above 0, found -1'),
]


def changed(path: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    node: Any = document
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node[name]
    if value is ABSENT:
        del node[last]
    elif isinstance(node, list) and int(last) == len(node):
        node.append(value)
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return document


@pytest.mark.parametrize(("path", "value", "line"), FAULTS)
def test_fault(path: str, value: object, line: str | None) -> None:
    """Every fault names the path of the field, what it must be and what stands there."""
    data = orjson.dumps(changed(path, value))
    if line is None:
        read_portfolio(data)
        return
    with pytest.raises(BadDocument) as refusal:
        read_portfolio(data)
    text = str(refusal.value)
    assert line in text
    assert "\n" not in text
    assert len(text) < 400
    assert " must " in text
    assert ", found " in text


@pytest.mark.parametrize(("data", "line"), BYTES)
def test_not_a_document(data: bytes, line: str) -> None:
    """Bytes that are no document are refused by what they are, not by a stack trace."""
    with pytest.raises(BadDocument) as refusal:
        read_portfolio(data)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)


PRECISIONS = [
    ("instruments.BTC-PERP.quantity_precision", 0, "accounts.0.positions.0.quantity", "1.5", "at most 0 decimals"),
    ("assets.USDC.precision", 2, "accounts.0.balances.USDC", "1.005", "at most 2 decimals, found '1.005'"),
    ("instruments.BTC-PERP.quantity_precision", 9, "accounts.0.positions.0.quantity", "9007200", "below 2**53 lots"),
]


@pytest.mark.parametrize(("precision", "places", "path", "value", "line"), PRECISIONS)
def test_precisions_hold(precision: str, places: int, path: str, value: str, line: str) -> None:
    """What could not be in the ledger is refused where the document states the ledger's precision."""
    document = changed(precision, places)
    document["accounts"] = changed(path, value)["accounts"]
    with pytest.raises(BadDocument, match="accounts") as refusal:
        read_portfolio(orjson.dumps(document))
    assert line in str(refusal.value)


def test_unknown_fields_are_told() -> None:
    """A misspelt field is ignored, as an evolution rule must, and named."""
    document = changed("assets.ETH.haircuts", "0.5")
    document["instruments"]["BTC-PERP"]["tiers"][1]["note"] = 1
    portfolio = read_portfolio(orjson.dumps(document))
    assert portfolio.unknown == ["assets.ETH.haircuts", "instruments.BTC-PERP.tiers[1].note"]


def test_fields_of_the_topics_are_known() -> None:
    """A record of the instruments topic may stand in the document as it is."""
    document = changed("assets.ETH.precision", 8)
    document["assets"]["ETH"] |= {"id": "ETH", "kind": "asset", "closed": False, "haircut_tiers": []}
    document["instruments"]["BTC-PERP"] |= {"id": "BTC-PERP", "kind": "instrument", "expiry": None, "closed": False}
    assert read_portfolio(orjson.dumps(document)).unknown == []
