"""A small market of trades, and what every account must own in the end by plain arithmetic. Pure.

Each trade is undone by a later one at another price, so that in the end nobody holds a position and all that an
account owns is cash: what it brought, less what it paid for its trades, less fees.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, NamedTuple

import orjson

from streams.demo.universe import scaled_text

#: Instrument -> price in dollars around which it trades.
LISTED = {"BTC": 50_000, "ETH": 2_000}
PRICE_PRECISION, QUANTITY_PRECISION, CASH_PRECISION = 1, 2, 6
#: Minor units of cash in a lot at a tick.
UNIT = 10 ** (CASH_PRECISION - PRICE_PRECISION - QUANTITY_PRECISION)


class Row(NamedTuple):
    """One message to send; `topic` is logical."""

    topic: str
    key: bytes
    value: bytes


class Trades:
    """Parameters
    ----------
    accounts, trades : how many; each trade is four fills, two to open and two to close
    cash : what each account brings, units
    now_ms : time of the first message, epoch ms

    Attributes
    ----------
    terms, deposits, opens, closes : the messages, in this order
    owned : account -> minor units of cash once all is closed
    """

    def __init__(self, seed: int, *, accounts: int, trades: int, cash: int, now_ms: int) -> None:
        self._rng = random.Random(seed)
        self._names = [f"t{number}" for number in range(accounts)]
        self._time = now_ms
        self._fills = 0
        self.owned: defaultdict[str, int] = defaultdict(int)
        self.terms = [_row("instruments", "id", record) for record in _terms()]
        self.deposits = [self._deposit(name, cash) for name in self._names]
        drawn = [self._draw() for _ in range(trades)]
        self.opens = [row for trade in drawn for row in self._trade(*trade)]
        self._rng.shuffle(drawn)
        self.closes = [row for buyer, seller, coin, lots in drawn for row in self._trade(seller, buyer, coin, lots)]

    def quotes(self, shares: dict[str, float], time_ms: int) -> list[Row]:
        """Quotes of everything, of some coins at a share of their price."""
        prices = {"USDC": 1.0} | {coin: price * shares.get(coin, 1.0) for coin, price in LISTED.items()}
        return [
            _row("oracle-prices", "symbol", {"symbol": s, "source": "one", "price": f"{price:.2f}", "time": time_ms})
            for s, price in prices.items()
        ]

    def _draw(self) -> tuple[str, str, str, int]:
        buyer, seller = self._rng.sample(self._names, 2)
        return buyer, seller, self._rng.choice(list(LISTED)), self._rng.randint(1, 20)

    def _deposit(self, account: str, cash: int) -> Row:
        self.owned[account] += cash * 10**CASH_PRECISION
        value = {"transfer_id": "d", "type": "deposit", "account": account, "asset": "USDC", "amount": str(cash)}
        return _row("collateral", "account", {**value, "time": self._time})

    def _trade(self, buyer: str, seller: str, coin: str, lots: int) -> list[Row]:
        ticks = round(LISTED[coin] * 10**PRICE_PRECISION * self._rng.uniform(0.99, 1.01))
        return [self._fill(buyer, coin, lots, ticks), self._fill(seller, coin, -lots, ticks)]

    def _fill(self, account: str, coin: str, lots: int, ticks: int) -> Row:
        self._fills += 1
        fee = self._rng.randint(0, 10**CASH_PRECISION)
        self.owned[account] -= lots * ticks * UNIT + fee
        value = {
            "fill_id": f"f{self._fills}",
            "account": account,
            "instrument": f"{coin}-PERP",
            "quantity": scaled_text(lots, QUANTITY_PRECISION),
            "price": scaled_text(ticks, PRICE_PRECISION),
            "fee": scaled_text(fee, CASH_PRECISION),
            "time": self._time,
        }
        return _row("fills", "account", value)


def _row(topic: str, key: str, value: dict[str, Any]) -> Row:
    return Row(topic, value[key].encode(), orjson.dumps(value))


def _terms() -> list[dict[str, Any]]:
    margins = {"initial_margin": "0.10", "maintenance_margin": "0.05"}
    precisions = {"price_precision": PRICE_PRECISION, "quantity_precision": QUANTITY_PRECISION}
    perpetual = {"kind": "instrument", "type": "perpetual", "settlement": "USDC", **precisions, **margins}
    listed = [{"id": f"{coin}-PERP", "underlying": coin, **perpetual} for coin in LISTED]
    return [{"id": "USDC", "kind": "asset", "precision": CASH_PRECISION}, *listed]
