"""The exchange's side of a liquidation: orders against the moving price, filled within their limits. Pure.

An order is reduce-only, has one price limit, pays slippage that grows with its size against the step's depth,
and fills whole, in part or not at all. A newer step replaces the orders of the one before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from streams.demo.universe import MAJOR, Instrument
from streams.demo.venue import Message, Venue

#: Slippage at the top of the book, and what an order as large as the depth pays on top.
SLIPPAGE_MIN, SLIPPAGE_DEPTH = 0.0003, 0.006
#: Dollars that one instrument can take in one step, middle of a lognormal draw.
DEPTH_MAJOR, DEPTH_MINOR = 3_000_000, 600_000
#: Part of the orders that find nobody in a step.
UNANSWERED = 0.04


@dataclass(kw_only=True)
class Order:
    """What is left of one liquidation order on an instrument."""

    instrument: str
    lots: int  # signed, positive buys
    limit: int  # ticks: highest price of a buy, lowest of a sale


@dataclass(kw_only=True)
class Conversion:
    """What is left of one order to sell collateral for a debt's asset; limit: units bought per unit sold."""

    sell: str
    minor: int
    buy: str
    limit: Fraction


@dataclass(kw_only=True)
class Ticket:
    """The orders of the latest liquidation step of one bucket."""

    liquidation_id: str
    orders: list[Order | Conversion]
    tried: bool = False  # in this step of the market


class Exchange:
    """Holds open liquidation orders and answers them.

    Parameters
    ----------
    venue : whose positions the orders reduce
    seed : of slippage, depth and silence

    Attributes
    ----------
    tickets : open orders by (account, bucket)
    expired : instruments that settled; their orders are void
    misplaced : steps whose `replaces` did not name the step before them; a correct engine sends none
    """

    def __init__(self, venue: Venue, seed: int) -> None:
        self.venue = venue
        self.tickets: dict[tuple[str, str], Ticket] = {}
        self.expired: set[str] = set()
        self.misplaced: list[str] = []
        self._rng = np.random.default_rng((seed, 2))
        self._depth: dict[str, float] = {}  # dollars left in this step

    def begin(self) -> None:
        """A new step of the market: fresh depth, and every open order may try again."""
        self._depth.clear()
        for ticket in self.tickets.values():
            ticket.tried = False

    def receive(self, decision: Mapping[str, Any]) -> None:
        """Take one record of `liquidations` in."""
        where = (decision["account"], decision["bucket"])
        if decision["kind"] == "liquidation":
            before = self.tickets.pop(where, None)
            if decision["replaces"] != (before.liquidation_id if before else None):
                self.misplaced.append(decision["id"])
            orders = [order for order in map(self._order, decision["orders"]) if order]
            self.tickets[where] = Ticket(liquidation_id=decision["id"], orders=orders)
        else:
            self.tickets.pop(where, None)
            if decision["kind"] == "bankrupt":
                self.venue.close(*where)

    def expire(self, time: int) -> list[str]:
        """Settle what is due at `time`, epoch milliseconds; return the instruments that were settled now."""
        due = [
            item.id
            for item in self.venue.universe.instruments.values()
            if item.expiry is not None and item.expiry <= time and item.id not in self.expired
        ]
        for instrument in due:
            self.expired.add(instrument)
            self.venue.settle(instrument)
        return due

    def answer(self, prices: Mapping[str, float], time: int) -> list[Message]:
        """Try every order not yet tried in this step; both sides of each fill and conversion."""
        messages: list[Message] = []
        for (account, bucket), ticket in sorted(self.tickets.items()):
            orders, ticket.tried = [] if ticket.tried else ticket.orders, True
            for order in orders:
                if self._rng.random() < UNANSWERED:
                    continue
                identity = ticket.liquidation_id
                if isinstance(order, Conversion):
                    messages += self._convert(account, bucket, order, prices, time, identity)
                else:
                    messages += self._execute(account, bucket, order, prices, time, identity)
        return messages

    def _order(self, order: Mapping[str, Any]) -> Order | Conversion | None:
        universe = self.venue.universe
        if order.get("sell_asset"):
            return Conversion(
                sell=order["sell_asset"],
                minor=int(Decimal(order["amount"]).scaleb(universe.assets[order["sell_asset"]].precision)),
                buy=order["buy_asset"],
                limit=Fraction(order["limit_price"]),
            )
        if order["instrument"] in self.expired:
            return None
        listed = universe.instruments[order["instrument"]]
        return Order(
            instrument=listed.id,
            lots=int(Decimal(order["quantity"]).scaleb(listed.quantity_precision)),
            limit=int(Decimal(order["limit_price"]).scaleb(listed.price_precision)),
        )

    def _execute(
        self,
        account: str,
        bucket: str,
        order: Order,
        prices: Mapping[str, float],
        time: int,
        liquidation_id: str,
    ) -> list[Message]:
        listed = self.venue.universe.instruments[order.instrument]
        held = self.venue.held(account, bucket, order.instrument)
        wanted = min(abs(order.lots), abs(held)) if order.lots * held < 0 else 0
        mark, dollars = listed.price(prices), listed.dollars(prices)
        side = 1 if order.lots > 0 else -1
        room = self._room(listed)
        reach = _reach(mark, order.limit / 10**listed.price_precision, side)
        lots = min(wanted, listed.lots(reach * room, dollars))
        if lots <= 0:
            return []
        slippage = SLIPPAGE_MIN + SLIPPAGE_DEPTH * listed.value(lots, dollars) / room
        ticks = listed.ticks(mark * (1 + side * slippage), side)
        ticks = min(ticks, order.limit) if side > 0 else max(ticks, order.limit)
        if ticks <= 0:
            return []
        self._depth[order.instrument] = max(room - listed.value(lots, dollars), 1.0)
        order.lots -= side * lots
        fee = self.venue.fee(listed.id, lots, ticks, listed.liquidation_fee)
        return self.venue.trade(
            account=account, bucket=bucket, instrument=listed.id, lots=side * lots, ticks=ticks, fee=fee,
            time=time, liquidation_id=liquidation_id,
        )  # fmt: skip

    def _convert(
        self,
        account: str,
        bucket: str,
        order: Conversion,
        prices: Mapping[str, float],
        time: int,
        liquidation_id: str,
    ) -> list[Message]:
        sell, buy = (self.venue.universe.assets[name] for name in (order.sell, order.buy))
        slippage = SLIPPAGE_MIN + SLIPPAGE_DEPTH * self._rng.random()
        price = prices[order.sell] / prices[order.buy] * (1 - slippage)
        sold = order.minor if self._rng.random() < 0.7 else order.minor // 2
        bought = buy.minor(sold / 10**sell.precision * price)
        least = order.limit * Fraction(sold, 10**sell.precision)
        if sold <= 0 or bought <= 0 or Fraction(bought, 10**buy.precision) < least:
            return []
        order.minor -= sold
        return self.venue.convert(
            account=account, bucket=bucket, sell=order.sell, sold=sold, buy=order.buy, bought=bought,
            time=time, liquidation_id=liquidation_id,
        )  # fmt: skip

    def _room(self, instrument: Instrument) -> float:
        """Dollars that the instrument can still take in this step, > 0."""
        if instrument.id not in self._depth:
            middle = DEPTH_MAJOR if instrument.underlying in MAJOR else DEPTH_MINOR
            self._depth[instrument.id] = float(middle * self._rng.lognormal(0.0, 0.5))
        return self._depth[instrument.id]


def _reach(mark: float, limit: float, side: int) -> float:
    """The part of the depth that an order can take before its slippage passes its limit, 0 to 1."""
    allowed = side * (limit - mark) / mark
    return min(1.0, max(0.0, (allowed - SLIPPAGE_MIN) / SLIPPAGE_DEPTH))
