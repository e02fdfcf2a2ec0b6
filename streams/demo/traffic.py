"""Ordinary life beside the crash: trades, deposits, withdrawals, top-ups, funding rates, other margin models. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from streams.demo.books import SLIPPAGE, Book
from streams.demo.option_books import PORTFOLIO, STANDARD
from streams.demo.universe import CASH
from streams.demo.venue import CROSS, TAKER_FEE, Message, Venue

#: Part of the called accounts that bring money, and how much of what they once brought.
TOP_UP_SHARE, TOP_UP_SIZE = 0.4, 0.25
RATE = 0.0001  # middle and deviation of a funding rate
#: How likely a changer goes over to the other margin model at one moment; not in the first ones, in which options may
#: have no volatility yet.
CHANGE_SHARE, CHANGES_FROM = 0.25, 3


class Traffic:
    """Draws what accounts that are well do next.

    Parameters
    ----------
    venue : where they trade
    books : what each brought at the start
    prices : of each asset at the start, dollars
    seed : of every draw
    """

    def __init__(self, venue: Venue, books: list[Book], prices: Mapping[str, float], seed: int) -> None:
        self._venue = venue
        self._rng = np.random.default_rng((seed, 3))
        self._names = [book.account for book in books if book.positions]
        self._savings = {book.account: dict(book.deposits) for book in books if book.kind == "saver"}
        self._savers = list(self._savings)
        self._changers = {book.account: dict(book.settings) for book in books if book.kind == "changer"}
        self._moments = 0
        assets = venue.universe.assets
        self._brought = {
            book.account: sum(assets[name].amount(minor) * prices[name] for name, minor in book.deposits)
            for book in books
        }
        self.troubled: set[str] = set()
        self._due: list[tuple[str, str]] = []

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take one record of `margin-calls` or `liquidations` in: who is in trouble stops trading."""
        kind, account = event["kind"], event["account"]
        if kind in ("cleared", "liquidation_cleared"):
            self.troubled.discard(account)
        else:
            self.troubled.add(account)
        if kind == "called" and self._rng.random() < TOP_UP_SHARE:
            self._due.append((account, event["bucket"]))

    def next(self, prices: Mapping[str, float], time: int, *, trades: int, transfers: int) -> list[Message]:
        """The messages of one moment, at most this many trades and transfers."""
        messages = [message for due in self._due for message in self._top_up(*due, time)]
        self._due.clear()
        for _ in range(min(trades, len(self._names))):
            messages += self._trade(str(self._rng.choice(self._names)), prices, time)
        for _ in range(min(transfers, len(self._savers))):
            messages += self._save(str(self._rng.choice(self._savers)), time)
        self._moments += 1
        if self._moments > CHANGES_FROM:
            for account in self._changers:
                messages += self._change(account)
        return messages

    def funding(self, time: int, expired: set[str]) -> list[Message]:
        """One rate for every perpetual that still trades."""
        listed = [item for item in self._venue.universe.instruments.values() if item.expiry is None]
        return [
            Message(
                "funding-rates",
                item.id,
                {"instrument": item.id, "rate": f"{self._rng.normal(RATE, RATE):.8f}", "time": time},
            )
            for item in listed
            if item.id not in expired
        ]

    def _trade(self, account: str, prices: Mapping[str, float], time: int) -> list[Message]:
        """Close up to half of a position, or add a tenth to it."""
        held = self._venue.lots.get((account, CROSS))
        if account in self.troubled or not held:
            return []
        name = str(self._rng.choice(sorted(held)))
        part = self._rng.uniform(-0.5, -0.05) if self._rng.random() < 0.6 else self._rng.uniform(0.0, 0.1)
        lots = int(held[name] * part)
        if not lots:
            return []
        listed = self._venue.universe.instruments[name]
        side = 1 if lots > 0 else -1
        ticks = listed.ticks(listed.price(prices) * (1 + side * SLIPPAGE), side)
        fee = self._venue.fee(name, lots, ticks, TAKER_FEE)
        return self._venue.trade(
            account=account, bucket=CROSS, instrument=name, lots=lots, ticks=ticks, fee=fee, time=time
        )

    def _save(self, account: str, time: int) -> list[Message]:
        """A saver pays a little in or takes a little out, never more than is there."""
        savings = self._savings[account]
        name = str(self._rng.choice(sorted(savings)))
        minor = int(savings[name] * self._rng.uniform(0.0, 0.2))
        if not minor:
            return []
        kind, sign = ("deposit", 1) if self._rng.random() < 0.5 else ("withdrawal", -1)
        savings[name] += sign * minor
        return [self._venue.transfer(kind, account, name, minor, time)]

    def _change(self, account: str) -> list[Message]:
        """Now and then, to the other margin model."""
        if self._rng.random() >= CHANGE_SHARE:
            return []
        own = self._changers[account]
        own["margin_model"] = STANDARD if own["margin_model"] == PORTFOLIO else PORTFOLIO
        return [Message("accounts", account, {"account": account, "levels": {}, **own})]

    def _top_up(self, account: str, bucket: str, time: int) -> list[Message]:
        minor = self._venue.universe.assets[CASH].minor(self._brought[account] * TOP_UP_SIZE)
        return [self._venue.transfer("deposit", account, CASH, minor, time, bucket=bucket)] if minor else []
