"""What the demo's exchange lists: collateral assets and instruments with their risk parameters. Pure.

Conversions between human numbers and the exchange's own integers (lots, ticks, minor units) live here too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from streams.demo.options import TERM_MS, Contract, contracts, day_name

#: Coins worth one dollar, and coins that stand for another: collateral, no instrument of their own.
STABLE = ("USDC", "USDT", "BUSD", "FDUSD", "TUSD", "DAI", "UST", "USTC")
WRAPPED = ("WBTC", "WBETH")
CASH = "USDC"  # settles linear instruments
CASH_PRECISION = 6
COIN_PRECISION = 8
PERPETUALS_MAX = 12
PRICE_MIN = 0.0001  # cheaper coins have no tick that USDC can pay
MAJOR = ("BTC", "ETH")

#: (notional from, initial margin, maintenance margin)
MAJOR_TIERS = ((0, "0.04", "0.02"), (1_000_000, "0.06", "0.03"), (10_000_000, "0.10", "0.05"))
MINOR_TIERS = ((0, "0.10", "0.05"), (250_000, "0.15", "0.075"), (2_000_000, "0.25", "0.125"))
#: Haircut by asset; others as OTHER_HAIRCUT. The second tier starts at the quantity worth TIER_VALUE dollars.
HAIRCUTS = {"USDC": "0", "USDT": "0.01", "BTC": "0.05", "ETH": "0.08"}
OTHER_HAIRCUT, BORROW_HAIRCUT, CASH_BORROW_HAIRCUT, TIER_VALUE = "0.15", "0.05", "0.02", 5_000_000
#: Options settle in cash, but those on this coin in coins.
PAID_IN_COINS = "ETH"
#: How portfolio margin sees the coins that have options: range of prices, and how far their losses offset.
PRICE_RANGE, GROUP, CORRELATIONS = "0.16", "majors", ("0.6", "0.95")
#: The premium adds a fifth of the initial rate where a position is worth this many dollars.
PREMIUM_VALUE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A collateral asset; amounts are integers of 10^-precision."""

    id: str
    precision: int
    haircut: str
    haircut_tiers: tuple[tuple[str, str], ...] = ()

    def minor(self, amount: float) -> int:
        """Whole minor units in an amount, rounded down."""
        return math.floor(amount * 10**self.precision)

    def amount(self, minor: int) -> float:
        """Minor units as a number, for what need not be exact."""
        return minor / 10**self.precision

    def text(self, minor: int) -> str:
        """An amount of minor units as a plain decimal string."""
        return scaled_text(minor, self.precision)

    def message(self) -> dict[str, Any]:
        """Its record on `instruments`."""
        return {
            "id": self.id,
            "kind": "asset",
            "precision": self.precision,
            "haircut": self.haircut,
            "borrow_haircut": CASH_BORROW_HAIRCUT if self.id == CASH else BORROW_HAIRCUT,
            "haircut_tiers": [{"from": start, "haircut": rate} for start, rate in self.haircut_tiers],
        }


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """An instrument; quantities are lots, prices ticks, cash minor units of the settlement asset, all int."""

    id: str
    type: str  # perpetual, inverse_perpetual, future or option
    underlying: str
    settlement: Asset
    multiplier: int
    price_precision: int
    quantity_precision: int
    tiers: tuple[tuple[int, str, str], ...]
    size_premium_factor: str = "0"
    liquidation_fee: Fraction = Fraction(1, 200)
    expiry: int | None = None  # epoch milliseconds
    option: Contract | None = None

    @property
    def inverse(self) -> bool:
        """Whether it settles in its own underlying."""
        return self.type == "inverse_perpetual"

    def price(self, prices: Mapping[str, float]) -> float:
        """What it trades at: that of its underlying, or of an option its own, in what it settles in."""
        return prices[self.underlying if self.option is None else self.id]

    def dollars(self, prices: Mapping[str, float]) -> float:
        """The same in dollars."""
        in_coins = self.option is not None and self.option.in_coins
        return self.price(prices) * (prices[self.underlying] if in_coins else 1.0)

    def lots(self, value: float, price: float) -> int:
        """Whole lots in a position worth `value` dollars at `price`, rounded toward zero."""
        quantity = value / self.multiplier if self.inverse else value / price / self.multiplier
        return int(quantity * 10**self.quantity_precision)

    def value(self, lots: int, price: float) -> float:
        """What a position is worth in dollars, not negative."""
        quantity = abs(lots) / 10**self.quantity_precision * self.multiplier
        return quantity if self.inverse else quantity * price

    def quantity_text(self, lots: int) -> str:
        """A quantity of lots as a plain decimal string."""
        return scaled_text(lots, self.quantity_precision)

    def price_text(self, ticks: int) -> str:
        """A price in ticks as a plain decimal string."""
        return scaled_text(ticks, self.price_precision)

    def ticks(self, price: float, side: int) -> int:
        """A price in ticks, at least 1, rounded against who trades: up for a buyer (side 1), down for a seller (-1)."""
        exact = price * 10**self.price_precision
        return max(1, math.ceil(exact) if side > 0 else math.floor(exact))

    def fee(self, lots: int, ticks: int, rate: Fraction) -> int:
        """Fee of a trade in minor units of the settlement asset: rate x notional, rounded down.

        >>> usdc = Asset(id="USDC", precision=6, haircut="0")
        >>> Instrument(id="BTC-PERP", type="perpetual", underlying="BTC", settlement=usdc, multiplier=1,
        ...     price_precision=1, quantity_precision=3, tiers=()).fee(-500, 500_000, Fraction(5, 10_000))
        12500000
        """
        quantity = Fraction(abs(lots) * self.multiplier, 10**self.quantity_precision)
        price = Fraction(ticks, 10**self.price_precision)
        notional = quantity / price if self.inverse else quantity * price
        return math.floor(notional * rate * 10**self.settlement.precision)

    def margin_rate(self, value: float) -> float:
        """Rate of initial margin of the tier that a position of `value` dollars reaches: never too low."""
        return max(float(initial) for start, initial, _ in self.tiers if value >= start)

    def message(self) -> dict[str, Any]:
        """Its record on `instruments`."""
        record = {
            "id": self.id,
            "kind": "instrument",
            "type": self.type,
            "underlying": self.underlying,
            "settlement": self.settlement.id,
            "multiplier": str(self.multiplier),
            "price_precision": self.price_precision,
            "quantity_precision": self.quantity_precision,
            "liquidation_fee": str(float(self.liquidation_fee)),
        }
        if self.expiry is not None:
            record["expiry"] = self.expiry
        if self.option is not None:
            return record | {"option_type": self.option.right, "strike": self.option.strike}
        return record | {
            "initial_margin": self.tiers[0][1],
            "maintenance_margin": self.tiers[0][2],
            "tiers": [
                {"notional_from": str(start), "initial_margin": initial, "maintenance_margin": maintenance}
                for start, initial, maintenance in self.tiers
            ],
            "tier_method": "marginal",
            "size_premium_factor": self.size_premium_factor,
        }


@dataclass(frozen=True, kw_only=True)
class Universe:
    """All that is listed, by id."""

    assets: dict[str, Asset] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)

    def options(self) -> dict[str, dict[str, Contract]]:
        """By coin, the options on it by id."""
        found: dict[str, dict[str, Contract]] = {}
        for name, listed in self.instruments.items():
            if listed.option is not None:
                found.setdefault(listed.underlying, {})[name] = listed.option
        return found

    def messages(self) -> list[dict[str, Any]]:
        """The records for `instruments`, assets first, then instruments, then how portfolio margin sees coins."""
        assets = [asset.message() for asset in self.assets.values()]
        low, high = CORRELATIONS
        units = [
            {"id": f"~risk_unit:{coin}", "kind": "risk_unit", "price_range": PRICE_RANGE, "group": GROUP}
            for coin in self.options()
        ]
        groups = [{"id": f"~correlations:{GROUP}", "kind": "correlations", "low": low, "high": high}] if units else []
        return [*assets, *(instrument.message() for instrument in self.instruments.values()), *units, *groups]


def universe(prices: dict[str, float], expiry: int, *, options: bool = False) -> Universe:
    """Collateral in every priced asset, a perpetual in each coin, inverse ones, a dated future, and options if wanted.

    Parameters
    ----------
    prices : of each asset at the start, in dollars; USDC and USDT are listed whether priced or not
    expiry : of the future and of the options on its coin that expire first, epoch milliseconds
    """
    assets = {name: _asset(name, prices.get(name, 1.0)) for name in sorted({*prices, CASH, "USDT"})}
    apart = (*STABLE, *WRAPPED)
    coins = [name for name in sorted(prices) if name not in apart and prices[name] >= PRICE_MIN]
    listed = [_linear(f"{coin}-PERP", "perpetual", coin, prices[coin], assets[CASH]) for coin in coins[:PERPETUALS_MAX]]
    majors = [coin for coin in MAJOR if coin in coins] or coins[:1]
    for coin, contract in zip(majors, (100, 10), strict=False):
        listed.append(_inverse(coin, prices[coin], contract, assets[coin]))
    coin = majors[0]
    listed.append(_linear(f"{coin}-{day_name(expiry)}", "future", coin, prices[coin], assets[CASH], expiry=expiry))
    for coin in majors if options else ():
        soon, in_coins = expiry if coin == majors[0] else None, coin == PAID_IN_COINS
        chain = contracts(coin, prices[coin], soon, expiry + TERM_MS, in_coins=in_coins)
        settlement = assets[coin if in_coins else CASH]
        listed += [_option(name, coin, prices[coin], settlement, one) for name, one in chain.items()]
    return Universe(assets=assets, instruments={item.id: item for item in listed})


def scaled_text(number: int, decimals: int) -> str:
    """An integer of 10^-decimals as a plain decimal string.

    >>> scaled_text(-1500, 3), scaled_text(7, 0)
    ('-1.500', '7')
    """
    return format(Decimal(number).scaleb(-decimals), "f")


def _asset(name: str, price: float) -> Asset:
    haircut = HAIRCUTS.get(name, OTHER_HAIRCUT)
    start = format(Decimal(f"{TIER_VALUE / price:.1g}"), "f")
    tiers = () if name in STABLE else (("0", haircut), (start, str(2 * Decimal(haircut))))
    return Asset(
        id=name,
        precision=CASH_PRECISION if name in STABLE else COIN_PRECISION,
        haircut=haircut,
        haircut_tiers=tiers,
    )


def _linear(identity: str, kind: str, coin: str, price: float, cash: Asset, expiry: int | None = None) -> Instrument:
    """Lots worth one to ten dollars, ticks of about 1/1,000,000 of the price, as far as cash is exact."""
    size = math.floor(math.log10(price))
    quantity_precision = min(max(size, 0), 4)
    minor = coin not in MAJOR
    premium = 0.0 if coin in ("BTC", "ETH", "BNB") else 0.02 / math.sqrt(PREMIUM_VALUE / price)
    return Instrument(
        id=identity,
        type=kind,
        underlying=coin,
        settlement=cash,
        multiplier=1,
        price_precision=min(max(6 - size, 0), cash.precision - quantity_precision),
        quantity_precision=quantity_precision,
        tiers=MINOR_TIERS if minor else MAJOR_TIERS,
        size_premium_factor=f"{premium:.8f}",
        liquidation_fee=Fraction(1, 100) if minor else Fraction(1, 200),
        expiry=expiry,
    )


def _inverse(coin: str, price: float, contract: int, settlement: Asset) -> Instrument:
    """Contracts of `contract` dollars each, settled in the coin."""
    return Instrument(
        id=f"{coin}USD",
        type="inverse_perpetual",
        underlying=coin,
        settlement=settlement,
        multiplier=contract,
        price_precision=min(max(6 - math.floor(math.log10(price)), 0), 6),
        quantity_precision=0,
        tiers=MAJOR_TIERS if coin in MAJOR else MINOR_TIERS,
    )


def _option(identity: str, coin: str, price: float, settlement: Asset, contract: Contract) -> Instrument:
    """As large as a linear lot; a tick is about 1/1,000,000 of the price of the coin, in coins 1/100,000 of a coin."""
    size = math.floor(math.log10(price))
    quantity_precision = min(max(size, 0), 3)
    return Instrument(
        id=identity,
        type="option",
        underlying=coin,
        settlement=settlement,
        multiplier=1,
        price_precision=5 if contract.in_coins else min(max(6 - size, 0), settlement.precision - quantity_precision),
        quantity_precision=quantity_precision,
        tiers=(),
        expiry=contract.expiry,
        option=contract,
    )
