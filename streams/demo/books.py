"""The seeded accounts: varied books, each within its initial margin at the start. Pure.

Kinds: `cross` (one to three positions on USDC), `isolated`, `hedged` (one coin long, another short), `coin`
(coins as collateral), `borrowed` (dollars owed against coins) and `saver` (collateral only).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.demo.universe import CASH, STABLE, Universe
from streams.demo.venue import CROSS, MAKERS, TAKER_FEE, Message, Venue

KINDS = {"cross": 0.27, "isolated": 0.15, "hedged": 0.20, "coin": 0.18, "borrowed": 0.12, "saver": 0.08}
LONG_SHARE = 0.6
#: Initial margin at the start is at most this part of the collateral, so every account starts well.
USE_MAX = 0.6
#: What each market maker brings, in dollars, of cash and of each coin that settles an instrument.
MAKER_CASH, MAKER_COIN = 400_000_000, 400_000_000
SLIPPAGE = 0.0004


@dataclass(frozen=True, kw_only=True)
class Book:
    """What one account brings and takes at the start; amounts in minor units, positions in lots."""

    account: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    deposits: list[tuple[str, int]] = field(default_factory=list)  # (asset, amount)
    moved: list[tuple[str, int]] = field(default_factory=list)  # (isolated instrument, cash moved there)
    borrowed: list[tuple[str, int]] = field(default_factory=list)  # (asset, amount owed)
    positions: list[tuple[str, str, int]] = field(default_factory=list)  # (instrument, bucket, lots)
    twin: str | None = None  # account that holds the same on the other margin model


class Desk:
    """Draws books from a seed; `draw` is its one use."""

    def __init__(self, universe: Universe, prices: Mapping[str, float], seed: int) -> None:
        self._universe = universe
        self._prices = prices
        self._rng = np.random.default_rng((seed, 1))
        listed = {name: item for name, item in universe.instruments.items() if item.option is None}
        self._linear = [name for name, item in listed.items() if not item.inverse]
        self._inverse = [name for name, item in listed.items() if item.inverse]
        self._coins = [name for name in universe.assets if name in prices and name not in STABLE]

    def draw(self, count: int) -> list[Book]:
        """`count` accounts, and the market makers before them."""
        makers: dict[str, Callable[[str], Book]] = {
            "cross": self._cross,
            "isolated": self._isolated,
            "hedged": self._hedged,
            "coin": self._coin,
            "borrowed": self._borrowed,
            "saver": self._saver,
        }
        kinds = self._rng.choice(list(KINDS), count, p=list(KINDS.values()))
        width = len(str(count))
        books = [makers[str(kind)](f"{kind}-{number:0{width}}") for number, kind in enumerate(kinds, start=1)]
        return [self._maker(name) for name in MAKERS] + books

    def _maker(self, account: str) -> Book:
        coins = sorted({self._universe.instruments[name].settlement.id for name in self._inverse})
        deposits = [(CASH, self._minor(CASH, MAKER_CASH)), *((c, self._minor(c, MAKER_COIN)) for c in coins)]
        return Book(account=account, kind="maker", settings={"mode": "cross"}, deposits=deposits)

    def _cross(self, account: str) -> Book:
        equity = self._wealth()
        names = self._some(self._linear, 1 + int(self._rng.integers(3)))
        total = equity * self._leverage(1.6)
        wanted = [(name, self._side() * total / len(names)) for name in names]
        return Book(
            account=account,
            kind="cross",
            settings={"mode": "cross", "levels": self._levels()},
            deposits=[(CASH, self._minor(CASH, equity))],
            positions=self._sized(wanted, equity, CROSS),
        )

    def _isolated(self, account: str) -> Book:
        equity = self._wealth()
        names = self._some(self._linear, 1 + int(self._rng.integers(2)))
        share = equity * 0.8 / len(names)
        positions, moved = [], []
        for name in names:
            wanted = [(name, self._side() * share * self._leverage(4.0))]
            positions += self._sized(wanted, share, name)
            moved.append((name, self._minor(CASH, share)))
        return Book(
            account=account,
            kind="isolated",
            settings={"mode": "isolated"},
            deposits=[(CASH, self._minor(CASH, equity))],
            moved=moved,
            positions=positions,
        )

    def _hedged(self, account: str) -> Book:
        equity = self._wealth()
        total = equity * self._leverage(3.0)
        names = self._some(self._linear, 2)
        wanted = [(name, side * total / 2) for name, side in zip(names, (1, -1), strict=False)]
        return Book(
            account=account,
            kind="hedged",
            settings={"mode": "cross"},
            deposits=[(CASH, self._minor(CASH, equity))],
            positions=self._sized(wanted, equity, CROSS),
        )

    def _coin(self, account: str) -> Book:
        """Coins as collateral; one account in three is short its coin, which hedges it, the rest are long."""
        equity = self._wealth()
        coins = self._some(self._coins, 1 + int(self._rng.integers(2)))
        pool = self._inverse if self._rng.random() < 0.4 else self._linear
        side = -0.9 if self._rng.random() < 1 / 3 else self._leverage(1.2)
        name = self._some(pool, 1)[0]
        if side < 0:
            coins = [self._universe.instruments[name].underlying]
        return Book(
            account=account,
            kind="coin",
            settings={"mode": "cross", "levels": self._levels()},
            deposits=[(coin, self._minor(coin, equity / len(coins))) for coin in coins],
            positions=self._sized([(name, side * equity)], 0.8 * equity, CROSS),
        )

    def _borrowed(self, account: str) -> Book:
        """Dollars taken out against coins, most of them against half their worth, and perhaps a position."""
        equity = self._wealth()
        coin = self._some(self._coins, 1)[0]
        haircut = float(self._universe.assets[coin].haircut)
        debt = equity * (1 - haircut) * float(self._rng.uniform(0.25, 0.8))
        wanted = [(self._some(self._linear, 1)[0], self._side() * equity * 0.5)]
        if self._rng.random() < 0.5:
            wanted = []
        return Book(
            account=account,
            kind="borrowed",
            settings={"mode": "cross"},
            deposits=[(coin, self._minor(coin, equity))],
            borrowed=[(CASH, self._minor(CASH, debt))],
            positions=self._sized(wanted, equity * (1 - haircut) - debt, CROSS),
        )

    def _saver(self, account: str) -> Book:
        equity = self._wealth()
        assets = self._some(sorted({CASH, *self._coins}), 2)
        deposits = [(name, self._minor(name, equity / len(assets))) for name in assets]
        return Book(account=account, kind="saver", settings={"mode": "cross"}, deposits=deposits)

    def _sized(self, wanted: list[tuple[str, float]], collateral: float, bucket: str) -> list[tuple[str, str, int]]:
        """Signed lots worth the wanted dollars, all scaled down to leave room under initial margin."""
        listed = self._universe.instruments
        need = sum(abs(value) * listed[name].margin_rate(abs(value)) for name, value in wanted)
        scale = min(1.0, USE_MAX * collateral / need) if need else 1.0
        sized = []
        for name, value in wanted:
            lots = listed[name].lots(scale * value, self._prices[listed[name].underlying])
            sized += [(name, bucket, lots)] if lots else []
        return sized

    def _levels(self) -> dict[str, str]:
        """Levels of the account's own, for one in twenty."""
        return {"margin_call": "1.5", "margin_call_exit": "1.6"} if self._rng.random() < 0.05 else {}

    def _wealth(self) -> float:
        return float(np.clip(self._rng.lognormal(np.log(20_000), 1.1), 500, 2_000_000))

    def _leverage(self, middle: float) -> float:
        return float(self._rng.lognormal(np.log(middle), 0.6))

    def _side(self) -> int:
        return 1 if self._rng.random() < LONG_SHARE else -1

    def _some(self, names: list[str], count: int) -> list[str]:
        return [str(name) for name in self._rng.choice(names, min(count, len(names)), replace=False)]

    def _minor(self, asset: str, dollars: float) -> int:
        return self._universe.assets[asset].minor(dollars / self._prices.get(asset, 1.0))


def opening(books: list[Book], venue: Venue, prices: Mapping[str, float], time: int) -> list[list[Message]]:
    """The messages that bring the books about, in waves; each must be applied before the next is sent."""
    deposits: list[Message] = []
    moves: list[Message] = []
    trades: list[Message] = []
    for book in books:
        settings = {"account": book.account, "mode": "cross", "margin_model": "standard", "levels": {}}
        deposits.append(Message("accounts", book.account, {**settings, **book.settings}))
        deposits += [venue.transfer("deposit", book.account, name, minor, time) for name, minor in book.deposits]
        moves += [
            venue.transfer("transfer", book.account, CASH, minor, time, to_account=book.account, to_bucket=bucket)
            for bucket, minor in book.moved
        ]
        moves += [venue.transfer("withdrawal", book.account, name, minor, time) for name, minor in book.borrowed]
        trades += [m for position in book.positions for m in _open(venue, book.account, *position, prices, time)]
    return [deposits, moves, trades]


def _open(
    venue: Venue,
    account: str,
    instrument: str,
    bucket: str,
    lots: int,
    prices: Mapping[str, float],
    time: int,
) -> list[Message]:
    listed = venue.universe.instruments[instrument]
    side = 1 if lots > 0 else -1
    ticks = listed.ticks(listed.price(prices) * (1 + side * SLIPPAGE), side)
    fee = venue.fee(instrument, lots, ticks, TAKER_FEE)
    return venue.trade(
        account=account, bucket=bucket, instrument=instrument, lots=lots, ticks=ticks, fee=fee, time=time
    )
