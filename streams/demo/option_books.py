"""The seeded accounts with options, most of them on portfolio margin. Pure.

Kinds: `neutral` (a call bought and a put sold at one strike, against perpetuals sold), `spread` (a call sold, a dearer
strike bought), `covered` (a call sold on coins that are there), `writer` (puts sold, half of them hedged by lower
ones), `straddle` (both sides sold at the expiry that comes first), `changer` (small beside its money; goes from one
margin model to the other and back). Of `neutral` and `spread` a twin holds the same on the standard model.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from streams.demo.books import Book
from streams.demo.universe import CASH, Universe
from streams.demo.venue import CROSS

STANDARD, PORTFOLIO = "standard", "portfolio"
KINDS = ("neutral", "writer", "spread", "changer", "straddle", "covered")
TWINS = ("neutral", "spread")
#: One account in so many has options; twins are among them where there are TWINNED_MIN.
ONE_IN, TWINNED_MIN = 20, 2 * len(KINDS)
#: Worth of the coins under the options, as a multiple of the account's money: middle and spread of a lognormal.
SIZES = {"neutral": 1.5, "spread": 1.5, "covered": 0.8, "writer": 4.0, "straddle": 3.0, "changer": 0.05}
SIZE_DEVIATION = 0.15


class OptionDesk:
    """Draws books with options from a seed; `draw` is its one use.

    Parameters
    ----------
    prices : of all coins at the start
    """

    def __init__(self, universe: Universe, prices: Mapping[str, float], seed: int) -> None:
        self._universe = universe
        self._prices = prices
        self._rng = np.random.default_rng((seed, 4))
        self._coins = sorted(universe.options())
        self._plain = next(coin for coin in self._coins if self._soon(coin))

    def draw(self, first: int, last: int) -> list[Book]:
        """Accounts of these numbers; each kind in turn, and twins at the end."""
        makers: dict[str, Callable[[str], list[tuple[str, float]]]] = {
            "neutral": self._neutral,
            "writer": self._writer,
            "spread": self._spread,
            "changer": self._neutral,
            "straddle": self._straddle,
            "covered": self._covered,
        }
        count, width = last - first + 1, len(str(last))
        twins = len(TWINS) if count >= TWINNED_MIN else 0
        books: list[Book] = []
        for number, kind in enumerate(islice(cycle(KINDS), count - twins), start=first):
            coin = self._coins[int(self._rng.integers(len(self._coins)))]
            books.append(self._book(f"{kind}-{number:0{width}}", kind, makers[kind](coin)))
        for number, kind in enumerate(TWINS[:twins], start=last - twins + 1):
            own = next(book for book in books if book.kind == kind)
            settings = {**own.settings, "margin_model": STANDARD}
            books.append(replace(own, account=f"{kind}-{number:0{width}}", settings=settings, twin=own.account))
        return books

    def _book(self, account: str, kind: str, wanted: list[tuple[str, float]]) -> Book:
        """So many positions for each coin that options are held on, sized to the account's money."""
        coin = self._universe.instruments[wanted[0][0]].underlying
        money = float(np.clip(self._rng.lognormal(np.log(40_000), 0.6), 5_000, 500_000))
        units = money * SIZES[kind] * float(self._rng.lognormal(0.0, SIZE_DEVIATION)) / self._prices[coin]
        paid = coin if kind == "covered" else CASH
        positions = []
        for name, each in wanted:
            lots = round(units * each * 10 ** self._universe.instruments[name].quantity_precision)
            positions += [(name, CROSS, lots)] if lots else []
        model = STANDARD if kind == "changer" else PORTFOLIO
        return Book(
            account=account,
            kind=kind,
            settings={"mode": "cross", "margin_model": model},
            deposits=[(paid, self._universe.assets[paid].minor(money / self._prices[paid]))],
            positions=positions,
        )

    def _neutral(self, coin: str) -> list[tuple[str, float]]:
        """A call bought and a put sold at one strike are worth what perpetuals are, of which as many are sold."""
        return [(self._later(coin, "call")[0], 1.0), (self._later(coin, "put")[-1], -1.0), (f"{coin}-PERP", -1.0)]

    def _spread(self, coin: str) -> list[tuple[str, float]]:
        near, far = self._later(coin, "call")
        return [(near, -1.0), (far, 1.0)]

    def _covered(self, coin: str) -> list[tuple[str, float]]:
        return [(self._later(coin, "call")[-1], -1.0)]

    def _writer(self, coin: str) -> list[tuple[str, float]]:
        low, high = self._later(coin, "put")
        return [(high, -1.0), (low, 0.5), (f"{coin}-PERP", 0.1)]

    def _straddle(self, _: str) -> list[tuple[str, float]]:
        return [(name, -1.0) for name in self._soon(self._plain)]

    def _later(self, coin: str, right: str) -> list[str]:
        """The options of one type at the later expiry, by strike."""
        listed = self._universe.options()[coin]
        last = max(one.expiry for one in listed.values())
        found = [name for name, one in listed.items() if one.right == right and one.expiry == last]
        return sorted(found, key=lambda name: float(listed[name].strike))

    def _soon(self, coin: str) -> list[str]:
        """The options that expire before the others, where there are two expiries."""
        listed = self._universe.options()[coin]
        first, last = (side(one.expiry for one in listed.values()) for side in (min, max))
        return [name for name, one in listed.items() if one.expiry == first < last]
