"""A small market of trades, and what every account must own in the end by plain arithmetic. Pure.

Each trade is undone by a later one at another price, so that in the end nobody holds a position and all that an
account owns is cash: what it brought, less what it paid for its trades, less fees. Every second account is on portfolio
margin.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, NamedTuple

import orjson

from streams.demo.universe import scaled_text

#: Price of a coin in dollars, and instrument -> price around which it trades.
COINS = {"BTC": 50_000, "ETH": 2_000}
OPTION = "BTC-60000-C"
LISTED = {"BTC-PERP": 50_000, "ETH-PERP": 2_000, OPTION: 500}
#: The option expires so long after the first message; it is worth its price at this volatility.
TERM_MS, VOLATILITY = 30 * 86_400_000, "0.55"
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
    terms, settings, deposits, opens, closes : the messages, in this order
    volatilities : what the option is marked by
    owned : account -> minor units of cash once all is closed
    """

    def __init__(self, seed: int, *, accounts: int, trades: int, cash: int, now_ms: int) -> None:
        self._rng = random.Random(seed)
        self._names = [f"t{number}" for number in range(accounts)]
        self._time = now_ms
        self._fills = 0
        self.owned: defaultdict[str, int] = defaultdict(int)
        self.terms = [_row("instruments", "id", record) for record in _terms(now_ms + TERM_MS)]
        hedged = [{"account": name, "mode": "cross", "margin_model": "portfolio"} for name in self._names[::2]]
        self.settings = [_row("accounts", "account", setting) for setting in hedged]
        smile = {"expiry": now_ms + TERM_MS, "points": [["-0.5", VOLATILITY], ["0.5", VOLATILITY]]}
        surface = {"source": "desk", "time": now_ms, "underlying": "BTC", "smiles": [smile]}
        self.volatilities = [_row("volatilities", "underlying", surface)]
        self.deposits = [self._deposit(name, cash) for name in self._names]
        drawn = [self._draw() for _ in range(trades)]
        self.opens = [row for trade in drawn for row in self._trade(*trade)]
        self._rng.shuffle(drawn)
        self.closes = [row for buyer, seller, name, lots in drawn for row in self._trade(seller, buyer, name, lots)]

    def quotes(self, shares: dict[str, float], time_ms: int) -> list[Row]:
        """Quotes of everything, of some coins at a share of their price."""
        prices = {"USDC": 1.0} | {coin: price * shares.get(coin, 1.0) for coin, price in COINS.items()}
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

    def _trade(self, buyer: str, seller: str, name: str, lots: int) -> list[Row]:
        ticks = round(LISTED[name] * 10**PRICE_PRECISION * self._rng.uniform(0.99, 1.01))
        return [self._fill(buyer, name, lots, ticks), self._fill(seller, name, -lots, ticks)]

    def _fill(self, account: str, name: str, lots: int, ticks: int) -> Row:
        self._fills += 1
        fee = self._rng.randint(0, 10**CASH_PRECISION)
        self.owned[account] -= lots * ticks * UNIT + fee
        value = {
            "fill_id": f"f{self._fills}",
            "account": account,
            "instrument": name,
            "quantity": scaled_text(lots, QUANTITY_PRECISION),
            "price": scaled_text(ticks, PRICE_PRECISION),
            "fee": scaled_text(fee, CASH_PRECISION),
            "time": self._time,
        }
        return _row("fills", "account", value)


def _row(topic: str, key: str, value: dict[str, Any]) -> Row:
    return Row(topic, value[key].encode(), orjson.dumps(value))


def _terms(expiry: int) -> list[dict[str, Any]]:
    margins = {"initial_margin": "0.10", "maintenance_margin": "0.05"}
    listed = {"kind": "instrument", "settlement": "USDC"}
    listed |= {"price_precision": PRICE_PRECISION, "quantity_precision": QUANTITY_PRECISION}
    option = {"type": "option", "option_type": "call", "strike": "60000", "expiry": expiry}
    return [
        {"id": "USDC", "kind": "asset", "precision": CASH_PRECISION},
        *({"id": f"{coin}-PERP", "underlying": coin, "type": "perpetual", **listed, **margins} for coin in COINS),
        {"id": OPTION, "underlying": "BTC", **option, **listed},
        *({"id": f"~risk_unit:{coin}", "kind": "risk_unit", "group": "majors"} for coin in COINS),
        {"id": "~correlations:majors", "kind": "correlations", "low": "0.6", "high": "0.95"},
    ]
