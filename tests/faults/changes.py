"""Accounts that ask for the other margin model in the middle of a crash, whether they can bear it or not. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from streams.demo.books import Book
from streams.demo.option_books import PORTFOLIO, STANDARD
from streams.demo.venue import MAKERS, Message

#: How likely one of them asks beside a message.
SHARE = 0.04


class Changes:
    """What accounts have asked for so far; market makers never ask."""

    def __init__(self, books: Sequence[Book], rng: random.Random, share: float = SHARE) -> None:
        self._share = share
        settings = {"mode": "cross", "margin_model": STANDARD, "levels": {}}
        self._asked = {book.account: {**settings, **book.settings} for book in books if book.account not in MAKERS}
        self._names = sorted(self._asked)
        self._rng = rng

    def note(self, message: Message) -> None:
        """An account's settings were sent."""
        if message.topic == "accounts" and message.key in self._asked:
            self._asked[message.key] = {name: item for name, item in message.value.items() if name != "account"}

    def next(self) -> list[Message]:
        """Now and then one asks for the other model, and is refused where it cannot bear it."""
        if self._rng.random() >= self._share:
            return []
        account = self._rng.choice(self._names)
        own: dict[str, Any] = self._asked[account]
        own["margin_model"] = STANDARD if own["margin_model"] == PORTFOLIO else PORTFOLIO
        return [Message("accounts", account, {"account": account, **own})]
