"""The messages of a measurement: eight perpetuals in USDC, accounts, fills and quotes, as JSON bytes.

Strings are put together by hand because making a message must cost less than reading it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

#: Underlying -> price.
PRICES = {
    "BTC": 50_000.0,
    "ETH": 2_000.0,
    "SOL": 100.0,
    "XRP": 0.5,
    "ADA": 0.4,
    "DOGE": 0.1,
    "LTC": 80.0,
    "DOT": 6.0,
}
SYMBOLS = tuple(PRICES)
POSITIONS = 4
CASH = 100_000.0

#: key, value, timestamp (epoch ms; None: when it is sent)
Row = tuple[bytes, bytes, int | None]


def terms() -> list[Row]:
    """Records of `instruments`: USDC and a perpetual of each symbol, 10% initial and 5% maintenance margin."""
    records: list[dict[str, Any]] = [{"id": "USDC", "kind": "asset", "precision": 6}]
    for symbol in SYMBOLS:
        records.append(
            {
                "id": f"{symbol}-PERP",
                "kind": "instrument",
                "type": "perpetual",
                "underlying": symbol,
                "settlement": "USDC",
                "price_precision": 4,
                "quantity_precision": 2,
                "initial_margin": "0.10",
                "maintenance_margin": "0.05",
                "liquidation_fee": "0.005",
            }
        )
    return [(record["id"].encode(), json.dumps(record).encode(), None) for record in records]


def deposit(account: str, amount: float) -> Row:
    """A deposit of USDC, now."""
    now = int(time.time() * 1000)
    value = (
        f'{{"transfer_id":"d","type":"deposit","account":"{account}","asset":"USDC",'
        f'"amount":"{amount:.2f}","time":{now}}}'
    )
    return account.encode(), value.encode(), now


def fill(id: str, account: str, symbol: str, quantity: str, price: float, more: str = "") -> Row:
    """A fill of a symbol's perpetual, now; `more` is further fields, beginning with a comma."""
    now = int(time.time() * 1000)
    value = (
        f'{{"fill_id":"{id}","account":"{account}","instrument":"{symbol}-PERP","quantity":"{quantity}",'
        f'"price":"{price:.4f}","fee":"0.01","time":{now}{more}}}'
    )
    return account.encode(), value.encode(), now


def quote(symbol: str, price: float, source: str = "one") -> Row:
    """A quote of an underlying, now."""
    now = int(time.time() * 1000)
    value = f'{{"symbol":"{symbol}","source":"{source}","price":"{price:.6f}","time":{now}}}'
    return symbol.encode(), value.encode(), now


def quotes() -> list[Row]:
    """One quote of everything, at the prices of PRICES."""
    return [quote("USDC", 1.0), *(quote(symbol, price) for symbol, price in PRICES.items())]


def deposits(accounts: int) -> Iterator[Row]:
    """CASH for each of the accounts a0, a1, ..."""
    return (deposit(f"a{number}", CASH) for number in range(accounts))


def book(number: int) -> tuple[str, ...]:
    """The symbols that account number `number` holds."""
    return tuple(SYMBOLS[(number + step) % len(SYMBOLS)] for step in range(POSITIONS))


def positions(accounts: int) -> Iterator[Row]:
    """Fills that give each account its book: 1,000 USDC of each symbol, long and short, far from any call."""
    for number in range(accounts):
        for at, symbol in enumerate(book(number)):
            quantity = 1_000.0 / PRICES[symbol] * (1 if (number + at) % 2 else -1)
            yield fill(f"o{at}", f"a{number}", symbol, f"{quantity:.2f}", PRICES[symbol])


def trades(count: int, accounts: int, first: int = 0) -> Iterator[Row]:
    """Fills number `first` and on, of one unit, spread over the accounts, which buy and sell by turns."""
    for number in range(first, first + count):
        symbol = SYMBOLS[number % 8]
        quantity = "1" if number // 8 % 2 else "-1"
        yield fill(f"t{number}", f"a{number * 7 % accounts}", symbol, quantity, PRICES[symbol])
