"""The demo's options: which are listed, what they are worth by the venue's own Black-76, and the volatilities it tells.

Volatility rises as prices fall. Forwards are the index and interest is zero. Pure.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
#: The later of two expiries, after the start.
TERM_MS = 30 * DAY_MS
#: Strikes of the later expiry as parts of the price at the start, each with its type; the sooner has two at 1.
STRIKES = (("put", 0.85), ("put", 1.0), ("call", 1.0), ("call", 1.15))
SOON = (("put", 1.0), ("call", 1.0))
#: Volatility at the start, and what the part that a price has lost since then adds to it.
CALM, FEAR = 0.55, 1.2
#: A smile of total variance v has the raw SVI parameters a = A v, b = B v, and these.
SVI_A, SVI_B, RHO, MIDDLE, WIDTH = 0.8, 0.8, -0.3, 0.0, 0.25
#: Log-moneyness of quoted points.
POINTS = (-0.4, -0.2, 0.0, 0.2, 0.4)
#: No option is worth less.
LEAST = 1e-9
#: Volatilities are told this often, and before they are old.
TOLD_MS = 60_000
SOURCE = "desk"


class Contract(NamedTuple):
    """What makes an option one; `expiry` in epoch milliseconds, `in_coins`: priced and paid in the underlying."""

    right: str  # call or put
    strike: str
    expiry: int
    in_coins: bool


def contracts(coin: str, price: float, soon: int | None, later: int, *, in_coins: bool) -> dict[str, Contract]:
    """The options on a coin by id, named as venues do.

    >>> list(contracts("BTC", 121_500.0, None, 1_762_722_000_000, in_coins=False))[:2]
    ['BTC-09NOV25-100000-P', 'BTC-09NOV25-120000-P']
    """
    wanted = [] if soon is None else [(soon, *one) for one in SOON]
    wanted += [(later, *one) for one in STRIKES]
    found = {}
    for expiry, right, part in wanted:
        strike = format(Decimal(f"{part * price:.1e}"), "f")
        found[f"{coin}-{day_name(expiry)}-{strike}-{right[0].upper()}"] = Contract(right, strike, expiry, in_coins)
    return found


def day_name(expiry: int) -> str:
    """The day of an expiry, epoch milliseconds, as instruments are named by it.

    >>> day_name(1_760_130_000_000)
    '10OCT25'
    """
    return datetime.fromtimestamp(expiry / 1000, UTC).strftime("%d%b%y").upper()


def value(contract: Contract, price: float, volatility: float, time: int) -> float:
    """What one option is worth, > 0, at a price of its underlying, in what it is priced in: Black-76, forward there.

    >>> month = Contract("call", "50000", TERM_MS, False)
    >>> round(value(month, 50_000.0, 0.5, 0))
    2858
    >>> value(month, 52_000.0, 0.5, TERM_MS)
    2000.0
    """
    strike, deviation = float(contract.strike), volatility * math.sqrt(max(contract.expiry - time, 0) / YEAR_MS)
    sign = 1.0 if contract.right == "call" else -1.0
    if deviation > 0.0:
        first = math.log(price / strike) / deviation + 0.5 * deviation
        worth = sign * (price * _normal(sign * first) - strike * _normal(sign * (first - deviation)))
    else:
        worth = max(sign * (price - strike), 0.0)
    return max(worth / price if contract.in_coins else worth, LEAST)


class Volatilities:
    """The surfaces that the venue tells, and what its options are worth by them.

    Parameters
    ----------
    contracts : by coin, its options by id
    starts : price of each coin at the start
    """

    def __init__(self, contracts: Mapping[str, Mapping[str, Contract]], starts: Mapping[str, float]) -> None:
        self._contracts = contracts
        self._starts = starts
        self._told_ms: int | None = None

    def volatility(self, coin: str, contract: Contract, price: float, time: int) -> float:
        """Of one option: its smile where it has long to go, flat in the last day."""
        level = self._level(coin, price)
        if contract.expiry - time <= DAY_MS:
            return level
        return level * _smile(math.log(float(contract.strike) / price))

    def priced(self, prices: Mapping[str, float], time: int) -> dict[str, float]:
        """The prices, and those of all options by id."""
        worth = {
            name: value(contract, prices[coin], self.volatility(coin, contract, prices[coin], time), time)
            for coin, listed in self._contracts.items()
            for name, contract in listed.items()
        }
        return {**prices, **worth}

    def records(self, prices: Mapping[str, float], time: int) -> list[dict[str, Any]]:
        """The records of `volatilities` of one moment; none where the last ones are young enough."""
        if self._told_ms is not None and time - self._told_ms < TOLD_MS:
            return []
        self._told_ms = time
        return [
            {"source": SOURCE, "time": time, "underlying": coin, "smiles": smiles}
            for coin, listed in self._contracts.items()
            if (smiles := self._smiles(coin, listed.values(), prices[coin], time))
        ]

    def _smiles(self, coin: str, listed: Iterable[Contract], price: float, time: int) -> list[dict[str, Any]]:
        level = self._level(coin, price)
        smiles: list[dict[str, Any]] = []
        for expiry, in_coins in sorted({(one.expiry, one.in_coins) for one in listed if one.expiry > time}):
            years = (expiry - time) / YEAR_MS
            if expiry - time <= DAY_MS:
                flat = f"{level:.4f}"
                told: dict[str, Any] = {"points": [[str(POINTS[0]), flat], [str(POINTS[-1]), flat]]}
            elif in_coins:
                told = {"points": [[str(k), f"{level * _smile(k):.4f}"] for k in POINTS]}
            else:
                variance = level**2 * years
                numbers = {"a": SVI_A * variance, "b": SVI_B * variance, "rho": RHO, "m": MIDDLE, "sigma": WIDTH}
                told = {"svi": {name: f"{number:.12f}" for name, number in numbers.items()}}
            smiles.append({"expiry": expiry, **told})
        return smiles

    def _level(self, coin: str, price: float) -> float:
        return CALM + FEAR * max(0.0, 1.0 - price / self._starts[coin])


def _smile(k: float) -> float:
    """Volatility at log-moneyness k over that at the money: the root of SVI's total variance over v."""
    return math.sqrt(SVI_A + SVI_B * (RHO * (k - MIDDLE) + math.hypot(k - MIDDLE, WIDTH)))


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
