"""alice, long 1 BTC-PERP from 50,000 at a mark of 50,000, and ways to set what she has.

Maintenance margin is 5 % = 2,500, so her ratio is balance / 2,500.
"""

from __future__ import annotations

from decimal import Decimal

from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, Sent, instrument


def long_one(balance: str, *terms: Json, **prices: float) -> Market:
    market = Market((*STANDARD, *terms), {**PRICES, **prices})
    market.collateral(Leg("first", "alice", "5000"))
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    assert market.status("alice") == "ok"
    if balance != "5000":
        set_balance(market, balance)
    return market


FLAT = [
    {"notional_from": "0", "initial_margin": "0.25", "maintenance_margin": "0.25"},
    {"notional_from": "10000", "initial_margin": "0", "maintenance_margin": "0"},
]


def flat_one() -> Market:
    """As `long_one` with 5,000 USDC, but 2,500 is required of her at any mark."""
    return long_one("5000", instrument("BTC-PERP", tiers=FLAT, version=2))


def set_balance(market: Market, balance: str, account: str = "alice") -> list[Sent]:
    """A deposit or withdrawal that leaves this balance."""
    change = Decimal(balance) - Decimal(market.balance(account))
    return market.collateral(Leg(f"set-{len(market.journal)}", account, format(change, "f"), type="adjustment"))


def set_equity(market: Market, equity: str) -> list[Sent]:
    """Move the mark so that alice's long of 1 has this equity."""
    mark = 50_000.0 + float(equity) - float(market.balance("alice"))
    return market.marks({"BTC": mark}, after=1)
