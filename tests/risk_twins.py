"""Twins whose accounts hold options and are, most of them, on portfolio margin: of every kind of unit and of leg.

Beside prices, volatilities, forwards and time move; options expire on the way.
"""

from __future__ import annotations

from math import sqrt
from random import Random
from typing import Any, ClassVar

import numpy as np

from schemas.risk_terms import Correlations, ExpiryRules, RiskUnit
from streams.engine.judge import judged_now
from streams.ingest.term_rules import normalised
from streams.margin.black76 import option_value
from tests.builders import Fill, Leg, T, asset, instrument
from tests.option_terms import option
from tests.twins import ACCOUNTS, Twins

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
COIN = {"settlement": "BTC", "price_precision": 4}
OPTIONS = {
    "BTC-SOON": option("BTC-SOON", "call", "50500", expiry=T + 90_000),
    "BTC-C52": option("BTC-C52", "call", "52000", expiry=T + 7 * DAY_MS),
    "BTC-P48": option("BTC-P48", "put", "48000", expiry=T + 7 * DAY_MS),
    "BTC-P50": option("BTC-P50", "put", "50000", expiry=T + 60 * DAY_MS, settlement="USD"),
    "BTC-KC": option("BTC-KC", "call", "55000", expiry=T + 30 * DAY_MS, **COIN),
    "BTC-KP": option("BTC-KP", "put", "45000", expiry=T + 30 * DAY_MS, **COIN),
    "ETH-C22": option("ETH-C22", "call", "2200", expiry=T + 14 * DAY_MS, multiplier="10", price_precision=2),
}
UNIT = RiskUnit(id="~risk_unit:BTC", group="g", spread="0.001", minimum="0.01", impact="0.5", daily_volume="2000000")
SHAPES = (
    RiskUnit(id="~risk_unit:ETH", price_range="0.2", group="g"),
    RiskUnit(id="~risk_unit:ETH", tails=(), skew=False, steps=2),
    RiskUnit(
        id="~risk_unit:ETH",
        expiries=ExpiryRules(long_base="0.9", short_base="1.05", long_add="0.1", short_add="0.1"),
        minimum="0.02",
    ),
)
CORRELATED = Correlations(id="~correlations:g", low="0.4", high="0.9")


class RiskTwins(Twins):
    """As Twins, with a volatility of each option; half of what is played are marks, many at the same prices."""

    terms = (
        asset("USD"),
        asset("USDC", haircut="0.01", borrow_haircut="0.02"),
        asset("BTC", 8, haircut="0.05", borrow_haircut="0.1"),
        asset("ETH", 8, haircut="0.15", borrow_haircut="0.1"),
        instrument("BTC-PERP", settlement="USD"),
        instrument("BTC-COIN", "inverse_perpetual"),
        instrument("BTC-DEC", "future", expiry=T + 40 * DAY_MS),
        instrument("ETH-PERP", price_precision=2, quantity_precision=2),
        instrument("ETH-WHOLE", price_precision=2, quantity_precision=2),
        instrument("SOL-PERP"),  # of no unit, and no price at first
        *OPTIONS.values(),
    )
    sizes: ClassVar = {
        "BTC-PERP": (0.05, 0.2, 0.5),
        "BTC-COIN": (20, 100),
        "BTC-DEC": (0.05, 0.3),
        "ETH-PERP": (0.5, 4),
        "ETH-WHOLE": (0.5, 4),
        "SOL-PERP": (0.5,),
        **dict.fromkeys(OPTIONS, (0.1, 0.5)),
    }
    halvings = 30
    kinds = ("marks", "marks", "marks", "marks", "line", "line", "line", "fills", "collateral", "doubt", "rare")

    def __init__(self, dice: Random) -> None:
        self.volatility = dict.fromkeys(OPTIONS, 0.6)
        self.discount = dict.fromkeys(OPTIONS, 1.0)
        units = UNIT, dice.choice(SHAPES), CORRELATED
        super().__init__(*({**normalised(one), "version": 5 + at} for at, one in enumerate(units)))
        for at, name in enumerate(ACCOUNTS[:4]):
            setting = {"account": name, "mode": "cross", "margin_model": "portfolio", "levels": {}, "source_offset": at}
            self.play("settings", setting)

    def marks(self, after: int = 1_000, mode: str = "live") -> None:
        """A marks block of the prices and volatilities now."""
        time = self.full.time + after
        mark, made_of = self.marked(time)
        self.play("marks", dict(self.prices), mark, after=after, mode=mode, made_of=made_of, **self.trust)

    def marked(self, time: int) -> tuple[dict[str, float], dict[str, tuple[float, float, float]]]:
        """The mark of every instrument, and what those of options are made of."""
        mark, made_of = {}, {}
        for name in self.sizes:
            if (symbol := name.partition("-")[0]) in self.prices:
                mark[name] = forward = self.prices[symbol] * self.ratios[name]
                if name in OPTIONS:
                    made_of[name] = self.volatility[name], forward, self.discount[name]
                    mark[name] = self.worth(name, forward, time)
        return mark, made_of

    def worth(self, name: str, forward: float, time: int) -> float:
        """An option's value, in coins where it pays in them; as the oracle has it, in whole minutes and above 0."""
        terms = OPTIONS[name]
        minutes = max((terms["expiry"] - time) // 60_000, 0)
        deviation = self.volatility[name] * sqrt(minutes * 60_000 / YEAR_MS)
        right = 1.0 if terms["option_type"] == "call" else -1.0
        value = option_value(right, forward, float(terms["strike"]), deviation, self.discount[name])
        return max(value / forward if terms["settlement"] == "BTC" else value, 1e-8)

    def move(self, dice: Random) -> None:
        """Prices, volatilities, or neither."""
        if dice.random() < 0.8:
            super().move(dice)
        if dice.random() < 0.5:
            size = dice.choice((0.0001, 0.01, 0.1))
            for name in OPTIONS:
                self.volatility[name] *= 1 + dice.uniform(-size, size)
                self.discount[name] = 1 - abs(dice.uniform(-size, size)) / 10

    def fill(self, dice: Random) -> Fill:
        """At the mark, more or less."""
        found = super().fill(dice)
        mark, _ = self.marked(self.full.time)
        places = self.full.terms[found.instrument]["price_precision"]
        price = max(mark.get(found.instrument, 100.0) * dice.choice((0.99, 1.0, 1.004)), 10.0**-places)
        return found._replace(price=f"{price:.{places}f}", mode=dice.choice(("cross", "cross", "cross", "isolated")))

    def open(self, dice: Random) -> None:
        """Books of every sort, most of them well enough."""
        self.marks(mode="catching_up")
        rows = [Leg(f"a{at}", name, str(dice.choice((15_000, 40_000, 120_000)))) for at, name in enumerate(ACCOUNTS)]
        rows += [
            Leg(f"b{at}", name, dice.choice(("0.1", "0.5", "-0.05", "0")), "BTC") for at, name in enumerate(ACCOUNTS)
        ]
        self.play("collateral", *rows)
        for name in ACCOUNTS:
            own = [self.fill(dice)._replace(account=name, mode="cross") for _ in range(dice.randrange(1, 5))]
            self.play("fills", *own)
        self.marks()

    def movers(self) -> list[tuple[dict[str, float], str]]:
        """Volatilities too."""
        return super().movers() + [(self.volatility, name) for name in OPTIONS]

    def walk_a_line(self, dice: Random) -> None:
        """And then a minute in which only time passes."""
        super().walk_a_line(dice)
        self.marks(after=dice.choice((0, 59_000)))

    def statuses(self) -> Any:
        """What judging would find at the prices and volatilities now, the shard left as it was."""
        shard = self.full.shard
        prices, terms = shard.prices, shard.terms
        kept = prices.index, prices.mark, prices.made_of
        mark, made_of = self.marked(prices.time)
        prices.index, prices.mark, prices.made_of = dict(self.prices), kept[1] | mark, kept[2] | made_of
        prices.arrange(terms)
        shard.parameters = shard._at_prices()
        found = judged_now(shard, np.arange(shard.ledger.books)).status
        prices.index, prices.mark, prices.made_of = kept
        prices.arrange(terms)
        shard.parameters = shard._at_prices()
        return found
