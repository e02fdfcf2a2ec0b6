"""The job that all peers do, for those in Python: one account, its fills, and whether it is below its maintenance.

Knows records as dicts and numbers as floats; knows nothing of Kafka or of any framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

INITIAL_CASH = 100_000.0
MAINTENANCE_RATE = 0.05


class Fill(NamedTuple):
    """A checked fill: quantity positive where it buys, fee positive where it is paid."""

    account: str
    instrument: str
    quantity: float
    price: float
    fee: float


class Account:
    """Cash and positions of one account.

    Attributes
    ----------
    cash : USDC, fees taken off
    positions : instrument -> [quantity, cost], cost = sum of quantity x price, negative where short
    breached : True once its breach was emitted
    """

    __slots__ = ("breached", "cash", "positions")

    def __init__(
        self, cash: float = INITIAL_CASH, positions: dict[str, list[float]] | None = None, breached: bool = False
    ) -> None:
        self.cash = cash
        self.positions: dict[str, list[float]] = {} if positions is None else positions
        self.breached = breached

    def book(self, fill: Fill) -> None:
        """Add a fill to the position of its instrument, and take its fee off the cash."""
        position = self.positions.get(fill.instrument)
        cost = fill.quantity * fill.price
        if position is None:
            self.positions[fill.instrument] = [fill.quantity, cost]
        else:
            position[0] += fill.quantity
            position[1] += cost
        self.cash -= fill.fee

    def holds(self, symbol: str) -> bool:
        """Say whether a price of the symbol can matter to this account."""
        return any(symbol_of(instrument) == symbol for instrument in self.positions)

    def breach(self, prices: Mapping[str, float]) -> dict[str, float] | None:
        """Value the account, and return its numbers when it is below its maintenance for the first time.

        equity = cash + sum(quantity x price - cost); maintenance = 5% of sum(|quantity| x price). None while a
        price is missing.

        Examples
        --------
        >>> account = Account()
        >>> account.book(Fill("a", "BTC-PERP", 40.0, 50_000.0, 0.0))
        >>> account.breach({"BTC": 50_000.0}), account.breach({"BTC": 49_000.0})
        (None, {'equity': 60000.0, 'maintenance_margin': 98000.0})
        """
        equity, notional = self.cash, 0.0
        for instrument, (quantity, cost) in self.positions.items():
            price = prices.get(symbol_of(instrument))
            if price is None:
                return None
            value = quantity * price
            equity += value - cost
            notional += abs(value)
        maintenance = MAINTENANCE_RATE * notional
        if self.breached or equity >= maintenance:
            return None
        self.breached = True
        return {"equity": equity, "maintenance_margin": maintenance}


def fill_of(record: Any) -> Fill:
    """Return a decoded record of `fills`, checked.

    Raises
    ------
    ValueError
        When it is no object, a field is absent or no number, or a number is not finite.
    """
    try:
        numbers = float(record["quantity"]), float(record["price"]), float(record["fee"])
        fill = Fill(record["account"], record["instrument"], *numbers)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a fill must have account, instrument, quantity, price and fee: {error!r}") from error
    if not (isfinite(fill.quantity) and isfinite(fill.price) and isfinite(fill.fee)):
        raise ValueError(f"numbers of a fill must be finite, found {numbers}")
    return fill


def price_of(record: Any) -> tuple[str, float]:
    """Return the symbol and the price of a decoded record of `oracle-prices`, checked like a fill."""
    try:
        symbol, price = record["symbol"], float(record["price"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"a price must have symbol and price: {error!r}") from error
    if not (isfinite(price) and price > 0):
        raise ValueError(f"a price must be finite and > 0, found {price}")
    return symbol, price


def symbol_of(instrument: str) -> str:
    """Return what an instrument is priced by: BTC for BTC-PERP."""
    return instrument.removesuffix("-PERP")
