"""One margined book seen whole: exact amounts for orders, float arrays for the kernels, names for the reader.

The shard and the `evaluate` command both make this and nothing else of a book, so that what they print of it is the
same by construction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from streams.engine.book_details import Details, book_details
from streams.engine.trust import Trust
from streams.margin.equity import Book
from streams.margin.parameters import F64, I64, Parameters
from streams.margin.rational import Rational, rational

if TYPE_CHECKING:
    from streams.engine.risk_model import RiskView

MarginModel = Literal["standard", "portfolio"]


@lru_cache(maxsize=4096)
def exact(number: float) -> Rational:
    """The decimal that a float64 prints as; remembered, since all books of a block meet the same marks."""
    return rational(Decimal(repr(number)))


@lru_cache(maxsize=64)
def decimals_of(scale: float) -> int:
    """Decimals of lots, of which a unit is so many: a power of ten."""
    return round(np.log10(scale))


@dataclass(frozen=True, kw_only=True)
class InstrumentNames:
    """What a report needs of an instrument besides its parameters."""

    id: str
    multiplier: Rational
    liquidation_fee: Rational
    price_precision: int | None  # decimals of a tick; None: prices are not rounded
    quantity_precision: int | None


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One position, exact. `cost` and `accrued` are in units of the settlement asset."""

    index: int
    names: InstrumentNames
    quantity: Decimal
    cost: Rational
    accrued: Rational


@dataclass(frozen=True, kw_only=True)
class BookView:
    """Parameters
    ----------
    legs : in order of instrument id
    balances : exact units by asset index, in order of asset id
    marks, prices : of all instruments and assets, nan where never seen
    trust : how far they are to be trusted; None: wholly
    margin_model : by which the book is margined
    risk : what portfolio margin reads; None: no risk unit is published
    """

    parameters: Parameters
    legs: Sequence[Leg]
    balances: Mapping[int, Rational]
    asset_names: Sequence[str]
    marks: Sequence[float]
    prices: Sequence[float]
    trust: Trust | None = None
    margin_model: MarginModel = "standard"
    risk: "RiskView | None" = None

    def book(self) -> Book:
        """The kernels' arrays, which nobody writes to."""
        return self._book

    @cached_property
    def _book(self) -> Book:
        assets, legs = list(self.balances), self.legs
        settlement = self.parameters.settlement
        amounts = [
            [float(leg.quantity) for leg in legs],
            [float(leg.cost) for leg in legs],
            [float(leg.accrued) for leg in legs],
            [self.marks[leg.index] for leg in legs],
        ]
        slots = [assets.index(int(settlement[leg.index])) for leg in legs]
        quantity, cost, accrued, mark = np.array(amounts, dtype=np.float64)
        instrument, slot = np.array([[leg.index for leg in legs], slots], dtype=np.int32)
        balance, price = np.array([[*map(float, self.balances.values())], [self.prices[a] for a in assets]], np.float64)
        return Book(instrument, quantity, cost, accrued, mark, slot, np.array(assets, np.int32), balance, price)

    def lots(self) -> I64:
        """Signed lots of each leg."""
        return np.array([int(leg.quantity.scaleb(self.decimals(leg))) for leg in self.legs], dtype=np.int64)

    def decimals(self, leg: Leg) -> int:
        """Decimals of a leg's lots."""
        return decimals_of(float(self.parameters.lot_scale[leg.index]))

    def price(self, asset: int) -> Rational:
        """Exact price of an asset: the decimal that its float64 prints as."""
        return exact(float(self.prices[asset]))

    def mark(self, leg: Leg) -> Rational:
        """Exact mark of a leg: the decimal that its float64 prints as."""
        return exact(float(self.marks[leg.index]))

    def unrealized_pnl(self, leg: Leg) -> Rational:
        """Exact value at the mark less open cost of a leg whose mark is known, settlement asset."""
        return self._pnl[leg.index]

    @cached_property
    def _pnl(self) -> dict[int, Rational]:
        found = {}
        for leg in self.legs:
            if self.marks[leg.index] == self.marks[leg.index]:
                size = rational(leg.quantity) * leg.names.multiplier
                inverse = bool(self.parameters.inverse[leg.index])
                found[leg.index] = (-size / self.mark(leg) if inverse else size * self.mark(leg)) - leg.cost
        return found

    def net_assets(self) -> dict[int, Rational]:
        """Exact balance plus unrealised P&L and funding of each asset of a priced book."""
        return dict(self._net)

    @cached_property
    def _net(self) -> dict[int, Rational]:
        net = dict(self.balances)
        for leg in self.legs:
            net[int(self.parameters.settlement[leg.index])] += self.unrealized_pnl(leg) + leg.accrued
        return net

    def net_array(self) -> F64:
        """Net assets by slot, each rounded once; nan where a mark is missing."""
        return self._net_array

    @cached_property
    def _net_array(self) -> F64:
        if len(self._pnl) < len(self.legs):
            return np.full(len(self.balances), np.nan)
        return np.array([*map(float, self._net.values())], dtype=np.float64)

    def details(self) -> Details:
        """Numbers of the book and its positions by the standard model."""
        return self._details

    @cached_property
    def _details(self) -> Details:
        found: Details = book_details(self.parameters, self.book(), self.net_array())
        return found

    def equity(self) -> Rational:
        """Exact equity of a priced book, reporting currency."""
        return sum((net * self.price(a) for a, net in self._net.items() if net), Rational(0))
