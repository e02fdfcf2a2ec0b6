"""The exchange's answers to liquidation orders."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.demo.exchange import Exchange
from streams.demo.universe import universe
from streams.demo.venue import MAKERS, Message, Venue

PRICES = {"BTC": 50_000.0, "ETH": 2_000.0, "USDC": 1.0}
TIME = 1_760_130_000_000
PERP = "BTC-PERP"


def exchange_with(lots: int, *, seed: int = 0, instrument: str = PERP, bucket: str = "cross") -> Exchange:
    """An exchange on which alice holds a position; a lot is 0.0001 BTC."""
    venue = Venue(universe(PRICES, TIME + 3_600_000))
    ticks = venue.universe.instruments[instrument].ticks(50_000.0, 1)
    venue.trade(account="alice", bucket=bucket, instrument=instrument, lots=lots, ticks=ticks, fee=0, time=TIME)
    exchange = Exchange(venue, seed)
    exchange.begin()
    return exchange


def step(
    quantity: str, limit: str, *, replaces: str | None = None, identity: str = "0-7-alice-cross-liquidation"
) -> dict[str, Any]:
    """A record of `liquidations`, with what the exchange reads of it."""
    order = {"instrument": PERP, "quantity": quantity, "limit_price": limit, "expected_fee": "1"}
    return {
        "kind": "liquidation",
        "id": identity,
        "account": "alice",
        "bucket": "cross",
        "replaces": replaces,
        "orders": [order],
    }


def fills(messages: list[Message]) -> list[dict[str, Any]]:
    return [message.value for message in messages if message.topic == "fills"]


@given(
    st.integers(0, 1000),
    st.integers(-40_000, 40_000).filter(bool),
    st.integers(-60_000, 60_000).filter(bool),
    st.floats(0.9, 1.1),
    st.floats(0.9, 1.1),
)
def test_fills_keep_to_limit_quantity_and_position(
    seed: int, held: int, ordered: int, limit_part: float, price_part: float
) -> None:
    """A fill past the limit costs the account what the engine promised it would keep."""
    exchange = exchange_with(held, seed=seed)
    limit = Decimal(round(50_000 * limit_part))
    prices = {**PRICES, "BTC": 50_000 * price_part}
    exchange.receive(step(str(Decimal(ordered).scaleb(-4)), str(limit)))
    done = 0
    for _ in range(3):
        messages = exchange.answer(prices, TIME)
        exchange.begin()
        for ours, theirs in zip(fills(messages)[::2], fills(messages)[1::2], strict=True):
            lots = int(Decimal(ours["quantity"]).scaleb(4))
            price = Decimal(ours["price"])
            assert lots * ordered > 0
            assert lots * held < 0
            assert price >= limit if ordered < 0 else price <= limit
            assert float(price) <= prices["BTC"] if ordered < 0 else float(price) >= prices["BTC"]
            assert ours["liquidation_id"] == "0-7-alice-cross-liquidation"
            assert theirs["account"] in MAKERS
            assert theirs["liquidation_id"] is None
            assert Decimal(theirs["quantity"]) == -Decimal(ours["quantity"])
            done += lots
    assert abs(done) <= min(abs(ordered), abs(held))
    assert exchange.venue.held("alice", "cross", PERP) == held + done


def test_order_beyond_the_market_rests_and_fills_later() -> None:
    """A limit that the market is past must not fill, and fills when the market comes back."""
    exchange = exchange_with(1000)
    exchange.receive(step("-0.1", "50100"))
    for seed_step in range(5):
        assert exchange.answer(PRICES, TIME + seed_step) == []
        exchange.begin()
    found: list[Message] = []
    for _ in range(5):
        found += exchange.answer({**PRICES, "BTC": 51_000.0}, TIME)
        exchange.begin()
    assert [fill["quantity"] for fill in fills(found)] == ["-0.1000", "0.1000"]


def test_order_is_tried_once_in_a_step() -> None:
    """Depth that comes back within one step would let any size through at the first price."""
    exchange = exchange_with(2_000_000)
    exchange.receive(step("-200", "40000"))
    first = exchange.answer(PRICES, TIME) or exchange.answer(PRICES, TIME)
    assert exchange.answer(PRICES, TIME) == []
    exchange.begin()
    second = exchange.answer(PRICES, TIME)
    assert len(first) + len(second) > 0
    assert exchange.venue.held("alice", "cross", PERP) > 0


def test_newer_step_replaces_the_older() -> None:
    """Two steps filled together would close more than was asked."""
    exchange = exchange_with(10_000)
    exchange.receive(step("-0.3", "40000", identity="0-7-alice-cross-liquidation"))
    exchange.receive(
        step("-0.2", "40000", identity="0-9-alice-cross-liquidation", replaces="0-7-alice-cross-liquidation")
    )
    messages: list[Message] = []
    for _ in range(5):
        messages += exchange.answer(PRICES, TIME)
        exchange.begin()
    ours = fills(messages)[::2]
    assert sum(Decimal(fill["quantity"]) for fill in ours) == Decimal("-0.2")
    assert {fill["liquidation_id"] for fill in ours} == {"0-9-alice-cross-liquidation"}
    assert exchange.misplaced == []


def test_step_that_replaces_another_than_the_last_is_noted() -> None:
    """The summary must fail where steps arrive out of order or one was lost."""
    exchange = exchange_with(10_000)
    exchange.receive(step("-0.3", "40000", identity="first"))
    exchange.receive(step("-0.2", "40000", identity="third", replaces="second"))
    assert exchange.misplaced == ["third"]


@pytest.mark.parametrize("kind", ["liquidation_cleared", "bankrupt"])
def test_cleared_or_bankrupt_withdraws_the_orders(kind: str) -> None:
    """An order left in the market after it was withdrawn closes a position nobody asked to close."""
    exchange = exchange_with(10_000)
    exchange.receive(step("-0.3", "40000"))
    exchange.receive({"kind": kind, "id": "x", "account": "alice", "bucket": "cross", "replaces": "y"})
    assert exchange.answer(PRICES, TIME) == []
    assert exchange.venue.held("alice", "cross", PERP) == (0 if kind == "bankrupt" else 10_000)


def test_expired_instrument_trades_no_more() -> None:
    """A fill after settlement would open a position in something that is over."""
    future = next(
        name for name in universe(PRICES, TIME + 10).instruments if name.startswith("BTC-") and "PERP" not in name
    )
    venue = Venue(universe(PRICES, TIME + 10))
    venue.trade(account="alice", bucket="cross", instrument=future, lots=500, ticks=500_000, fee=0, time=TIME)
    exchange = Exchange(venue, 0)
    order = step("-0.05", "40000")
    order["orders"][0]["instrument"] = future
    exchange.receive(order)
    assert exchange.expire(TIME + 9) == []
    assert future in exchange.expire(TIME + 10)
    assert exchange.expire(TIME + 11) == []
    exchange.receive({**order, "id": "later", "replaces": order["id"]})
    assert exchange.answer(PRICES, TIME + 11) == []
    assert venue.held(MAKERS[1], "cross", future) == 0


@given(st.integers(0, 500), st.floats(1_800, 2_200))
def test_conversion_keeps_to_its_limit_and_has_two_sides(seed: int, limit: float) -> None:
    """A one-sided conversion would make coins out of nothing for the demo's books."""
    venue = Venue(universe(PRICES, TIME + 10))
    exchange = Exchange(venue, seed)
    order = {"sell_asset": "ETH", "amount": "3.5", "buy_asset": "USDC", "limit_price": f"{limit:.2f}"}
    exchange.receive({**step("1", "1"), "orders": [order]})
    sold = Fraction(0)
    for _ in range(3):
        exchange.begin()
        messages = exchange.answer(PRICES, TIME)
        for message, counter in zip(messages[::2], messages[1::2], strict=True):
            ours, theirs = message.value, counter.value
            assert (ours["asset"], ours["to_asset"], ours["type"]) == ("ETH", "USDC", "conversion")
            assert (ours["asset"], ours["amount"]) == (theirs["to_asset"], theirs["to_amount"])
            assert (ours["to_asset"], ours["to_amount"]) == (theirs["asset"], theirs["amount"])
            assert Fraction(ours["to_amount"]) >= Fraction(ours["amount"]) * Fraction(order["limit_price"])
            assert (ours["liquidation_id"], theirs["liquidation_id"]) == ("0-7-alice-cross-liquidation", None)
            assert theirs["account"] in MAKERS
            sold += Fraction(ours["amount"])
    assert sold <= Fraction("3.5")


def test_isolated_bucket_is_answered_in_its_own_mode() -> None:
    """A fill that names the wrong bucket opens a position in the cross book instead of closing the isolated one."""
    exchange = exchange_with(1000, bucket=PERP)
    exchange.receive({**step("-0.1", "40000"), "bucket": PERP})
    messages: list[Message] = []
    for _ in range(5):
        messages += exchange.answer(PRICES, TIME)
        exchange.begin()
    ours, theirs = fills(messages)
    assert (ours["margin_mode"], theirs["margin_mode"]) == ("isolated", "cross")
    assert exchange.venue.held("alice", PERP, PERP) == 0
