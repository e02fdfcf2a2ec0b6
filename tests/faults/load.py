"""Fills beside the market: accounts with more than enough money trade to and fro at a steady rate. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction

from streams.demo.books import Book
from streams.demo.universe import CASH
from streams.demo.venue import CROSS, Message, Venue

ACCOUNTS = 64
#: What each account brings, in units of the cash asset, and what a trade is worth.
CASH_UNITS, TRADE_VALUE = 100_000_000, 2_000.0
#: Between two helpings.
LOAD_SECONDS = 0.1
FEE = Fraction(1, 10_000)


class Load:
    """Parameters
    ----------
    venue : where they trade, against its market makers
    fills_s : both sides of a trade counted
    """

    def __init__(self, venue: Venue, seed: int, fills_s: int) -> None:
        self.fills_s = fills_s
        self._venue = venue
        self._rng = random.Random(seed)
        listed = venue.universe.instruments.values()
        self._listed = [item for item in listed if item.type == "perpetual" and item.settlement.id == CASH]
        self._names = [f"load-{number}" for number in range(ACCOUNTS)] if fills_s else []

    def books(self) -> list[Book]:
        """The accounts, with nothing but cash."""
        minor = self._venue.universe.assets[CASH].minor(CASH_UNITS)
        return [
            Book(account=name, kind="load", settings={"mode": CROSS}, deposits=[(CASH, minor)]) for name in self._names
        ]

    def next(self, prices: Mapping[str, float], time: int) -> list[Message]:
        """The fills of one helping: an account's position is opened by one trade and closed by the next."""
        messages: list[Message] = []
        for _ in range(round(self.fills_s * LOAD_SECONDS / 2)):
            account, listed = self._rng.choice(self._names), self._rng.choice(self._listed)
            price = prices[listed.underlying]
            lots = -self._venue.held(account, CROSS, listed.id) or listed.lots(TRADE_VALUE, price)
            ticks = listed.ticks(price, 1)
            fee = self._venue.fee(listed.id, lots, ticks, FEE)
            messages += self._venue.trade(
                account=account, bucket=CROSS, instrument=listed.id, lots=lots, ticks=ticks, fee=fee, time=time
            )
        return messages
