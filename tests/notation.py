"""Portfolio documents written short, for tables, and their reports.

    assets       "USDC 1; ETH 2000 haircut 0.10 borrow_haircut 0.05"
    instruments  "BTC-PERP 50000 initial_margin 0.10 maintenance_margin 0.05 tiers 0:0.10:0.05,1000000:0.20:0.10"
    balances     "USDC 10000; ETH 2"
    positions    "BTC-PERP 1 @ 52000 accrued_funding 3"

An instrument is a perpetual on itself that settles in USDC unless it says otherwise; `im`, `mm` and `fee` are short for
its initial margin, maintenance margin and liquidation fee.
"""

from decimal import Decimal
from typing import Any

import orjson

from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports

Json = dict[str, Any]
SHORT = {"im": "initial_margin", "mm": "maintenance_margin", "fee": "liquidation_fee"}


def portfolio(
    *,
    assets: str = "USDC 1",
    instruments: str = "",
    balances: str = "",
    positions: str = "",
    levels: str = "",
    **account: Any,
) -> Json:
    """A document with one account."""
    settings = {"account": "alice", **{name: value for name, value in account.items() if value is not None}}
    if levels:
        words = levels.split()
        settings["levels"] = dict(zip(words[::2], words[1::2], strict=True))
    settings["balances"] = {words[0]: words[1] for words in _parts(balances)}
    settings["positions"] = [_position(words) for words in _parts(positions)]
    return {
        "assets": {words[0]: _asset(words) for words in _parts(assets)},
        "instruments": {words[0]: _instrument(words) for words in _parts(instruments)},
        "accounts": [settings],
    }


def _parts(text: str) -> list[list[str]]:
    return [part.split() for part in text.split(";") if part.strip()]


def _fields(words: list[str]) -> Json:
    return dict(zip(words[::2], words[1::2], strict=True))


def _asset(words: list[str]) -> Json:
    record = {"price": words[1], **_fields(words[2:])}
    if "haircut_tiers" in record:
        pairs = [tier.split(":") for tier in record["haircut_tiers"].split(",")]
        record["haircut_tiers"] = [{"from": start, "haircut": haircut} for start, haircut in pairs]
    return record


def _instrument(words: list[str]) -> Json:
    record: Json = {"type": "perpetual", "underlying": words[0], "settlement": "USDC", "mark_price": words[1]}
    record |= {SHORT.get(name, name): value for name, value in _fields(words[2:]).items()}
    if "tiers" in record:
        rows = [tier.split(":") for tier in record["tiers"].split(",")]
        names = ("notional_from", "initial_margin", "maintenance_margin")
        record["tiers"] = [dict(zip(names, row, strict=True)) for row in rows]
    for name in ("price_precision", "quantity_precision"):
        if name in record:
            record[name] = int(record[name])
    return record


def _position(words: list[str]) -> Json:
    name, quantity, at, entry = words[:4]
    assert at == "@"
    return {"instrument": name, "quantity": quantity, "entry_price": entry, **_fields(words[4:])}


def evaluated(document: Json) -> Json:
    """The report of the document's first account, as `crossmargin evaluate` prints it."""
    printed: Json = orjson.loads(orjson.dumps(reports(read_portfolio(orjson.dumps(document)))))
    return printed["accounts"][0]


def position_of(report: Json, instrument: str, margin_mode: str | None = None) -> Json:
    """The report's row of one position."""
    (found,) = [
        row for row in report["positions"] if row["instrument"] == instrument and row.get("margin_mode") == margin_mode
    ]
    return found


def found(report: Json, path: str) -> Any:
    """What stands at a path such as `equity`, `P.notional` (a position) or `order.P.quantity` (an order)."""
    parts = path.split(".")
    if parts[0] == "order":
        (order,) = [
            row for row in report["liquidation"]["orders"] if parts[1] in (row.get("instrument"), row.get("sell_asset"))
        ]
        return order[parts[2]]
    if len(parts) == 2:
        (row,) = [row for row in report["positions"] if row["instrument"] == parts[0]]
        return row[parts[1]]
    return report[path]


def check(report: Json, expected: str, *, digits: int = 10) -> None:
    """Assert `path value` pairs such as `equity 12000; P.liquidation_price none`, to `digits` significant digits."""
    for path, text in _parts(expected):
        value = found(report, path)
        if text == "none" or value is None or not _is_number(text):
            assert value == (None if text == "none" else text), path
            continue
        wanted, printed = Decimal(text), Decimal(value)
        assert abs(printed - wanted) <= abs(wanted) * Decimal(1).scaleb(1 - digits) / 2, (path, value, text)


def _is_number(text: str) -> bool:
    return text.lstrip("-")[:1].isdigit()
