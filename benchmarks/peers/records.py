"""Records for checking peers, and by exact arithmetic which accounts must breach, when, and with what numbers.

Which accounts breach does not depend on when a price arrives among the fills: an account only ever adds to one side.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

CASH = Decimal(100_000)
START = Decimal(50_000)
#: The prices after the fills: a fall that breaches some, then two so far off that all that hold anything breach.
LATER = (Decimal(48_000), Decimal(1), Decimal(5_000_000))
#: Shares of accounts, and the leverage they end at: safe, breached by the fall where long, breached by their fills.
LEVERAGES = ((0.6, 2.0, 8.0), (0.9, 12.0, 17.0), (1.0, 24.0, 40.0))


@dataclass(slots=True)
class Book:
    """One account, exact."""

    cash: Decimal = CASH
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    breach: Breach | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """When an account must breach (0: by a fill, 1...: by that one of LATER), and with what."""

    phase: int
    equity: Decimal
    maintenance: Decimal


@dataclass
class Expected:
    """The fold of everything sent so far."""

    books: dict[str, Book] = field(default_factory=dict)

    def add(self, fill: dict[str, str | int]) -> None:
        """Book a fill under the first price."""
        book = self.books.setdefault(str(fill["account"]), Book())
        quantity = Decimal(fill["quantity"])
        book.quantity += quantity
        book.cost += quantity * Decimal(fill["price"])
        book.cash -= Decimal(fill["fee"])
        _value(book, START, 0)

    def later(self) -> None:
        """Value all accounts at each of LATER, in order."""
        for phase, price in enumerate(LATER, start=1):
            for book in self.books.values():
                _value(book, price, phase)


def _value(book: Book, price: Decimal, phase: int) -> None:
    equity = book.cash + book.quantity * price - book.cost
    maintenance = abs(book.quantity) * price * Decimal("0.05")
    if book.breach is None and equity < maintenance:
        book.breach = Breach(phase, equity, maintenance)


def fills_of(accounts: int, count: int, seed: int) -> Iterator[dict[str, str | int]]:
    """Yield about ``count`` fills: each account as many, all on its own side, up to its leverage."""
    chance = random.Random(seed)
    rounds = max(1, count // accounts)
    steps = []
    for number in range(accounts):
        drawn = chance.random()
        low, high = next((low, high) for share, low, high in LEVERAGES if drawn < share)
        quantity = chance.uniform(low, high) * float(CASH / START) / rounds
        steps.append(quantity * (1 if number % 2 else -1))
    for at in range(rounds):
        for number, step in enumerate(steps):
            quantity, price = step * chance.uniform(0.98, 1.02), float(START) * chance.uniform(0.999, 1.001)
            yield fill(f"a{number}", f"{at}-{number}", f"{quantity:.4f}", f"{price:.4f}")


def done_fills(run: str, partitions: int) -> Iterable[dict[str, str | int]]:
    """Return the last fill of each partition, which takes its account below its maintenance at once."""
    return [fill(f"~done-{run}-{number}", f"done-{run}-{number}", "1000", f"{START}") for number in range(partitions)]


def fill(account: str, name: str, quantity: str, price: str) -> dict[str, str | int]:
    """Return one record of `fills`."""
    terms: dict[str, str | int] = {"quantity": quantity, "price": price, "fee": "0.01", "time": 1_700_000_000_000}
    return {"fill_id": name, "account": account, "instrument": "BTC-PERP", **terms}


def price(value: Decimal) -> dict[str, str | int]:
    """Return one record of `oracle-prices`."""
    return {"symbol": "BTC", "source": "check", "price": f"{value:.4f}", "time": 1_700_000_000_000}
