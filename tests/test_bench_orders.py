"""Liquidation orders in a measurement: what is filled of steps that were decided before earlier fills were heard of."""

import json
from typing import Any

from streams.bench.orders import Orders


def step(number: int, seen: str, asked: str, mark: str = "50000.25") -> dict[str, Any]:
    """A liquidation of one instrument as the engine tells it."""
    return {
        "id": f"step-{number}",
        "account": "alice",
        "report": {"positions": [{"instrument": "BTC-PERP", "quantity": seen}]},
        "marks": {"BTC-PERP": {"mark": mark}},
        "orders": [{"instrument": "BTC-PERP", "quantity": asked}],
    }


def filled(orders: Orders, event: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Quantity, price and liquidation of each fill."""
    told = [json.loads(value) for _, value, _ in orders.fills(event)]
    return [(row["quantity"], row["price"], row["liquidation_id"]) for row in told]


def test_what_was_filled_and_not_yet_heard_of_is_not_filled_again() -> None:
    """Seen 1, asked to sell 0.4, then 0.5, then 0.45: 0.4, 0.1 and nothing; heard of the 0.5 left: 0.2 more."""
    orders = Orders()
    assert filled(orders, step(1, "1", "-0.4")) == [("-0.4", "50000.2500", "step-1")]
    assert filled(orders, step(2, "1", "-0.5", "49999")) == [("-0.1", "49999.0000", "step-2")]
    assert filled(orders, step(3, "1", "-0.45")) == []
    assert filled(orders, step(4, "0.5", "-0.2")) == [("-0.2", "50000.2500", "step-4")]


def test_short_is_bought_back() -> None:
    """Minus 2, asked to buy 1.5, then all of it: 1.5 and 0.5."""
    orders = Orders()
    assert filled(orders, step(1, "-2", "1.5")) == [("1.5", "50000.2500", "step-1")]
    assert filled(orders, step(2, "-2", "2")) == [("0.5", "50000.2500", "step-2")]
