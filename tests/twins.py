"""One journal folded twice, with the slack index and without: books of every sort, and prices that move them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from streams.engine.judge import judged_now
from streams.engine.shard import Shard
from streams.engine.slack import Slack
from streams.margin.parameters import I64
from tests.builders import Fill, Leg, Market, Rate, T, asset, control, instrument

TIERS = [
    {"notional_from": "0", "initial_margin": "0.05", "maintenance_margin": "0.03"},
    {"notional_from": "4000", "initial_margin": "0.1", "maintenance_margin": "0.06"},
    {"notional_from": "30000", "initial_margin": "0.3", "maintenance_margin": "0.2"},
]
HAIRCUTS = [{"from": "0", "haircut": "0.05"}, {"from": "0.3", "haircut": "0.2"}, {"from": "1", "haircut": "0.6"}]
INTEREST = {"open_interest": "6", "open_interest_lower": "2", "open_interest_upper": "9"}
TERMS = (
    asset("USD"),
    asset("USDC", haircut="0.01", borrow_haircut="0.02"),
    asset("BTC", 8, haircut="0.05", borrow_haircut="0.1", haircut_tiers=HAIRCUTS),
    asset("ETH", 8, haircut="0.15", borrow_haircut="0.1"),
    instrument("BTC-PERP", settlement="USD"),
    instrument("ETH-PERP", price_precision=2, quantity_precision=2, tiers=TIERS, tier_method="marginal"),
    instrument("ETH-WHOLE", price_precision=2, quantity_precision=2, tiers=TIERS, tier_method="whole"),
    instrument("BTC-SIZE", size_premium_factor="0.03", **INTEREST),
    instrument("BTC-COIN", "inverse_perpetual", liquidation_fee="0.005", tiers=TIERS, tier_method="whole"),
    instrument("ETH-COIN", "inverse_perpetual", multiplier="10"),
    instrument("SOL-PERP"),  # no price at first
    instrument("BTC-DEC", "future", expiry=T + 60_000),
)
SIZES = {
    "BTC-PERP": (0.01, 0.2, 1),
    "ETH-PERP": (0.5, 2, 15),
    "ETH-WHOLE": (0.5, 2, 15),
    "BTC-SIZE": (0.05, 0.3),
    "BTC-COIN": (1, 30, 120),
    "ETH-COIN": (10, 300),
    "SOL-PERP": (0.5,),
    "BTC-DEC": (0.05, 0.3),
}
ACCOUNTS = ("alice", "bob", "carol", "dave", "erin")
PRICES = {"USDC": 1.0, "BTC": 50_000.0, "ETH": 2_000.0}
STATES = ("ok", "ok", "degraded", "suspect", "suspect", "stale", "halted")
WIDENINGS = (0.0, 0.0, 0.0025, 0.05, 0.4, 0.9)
#: Levels; those of calls are above 1 as ingest wants them.
LEVELS = (
    {},
    {"margin_call": "1.6", "margin_call_exit": "2"},
    {"liquidation_exit": "1.2", "liquidation_target": "1.3"},
    {"margin_call": "1.05", "margin_call_exit": "1.06"},
)
KINDS = ("marks", "marks", "marks", "line", "line", "line", "fills", "fills", "collateral", "doubt", "rare")


class Everything(Slack):
    """Judges every book at every marks block."""

    def woken(self, shard: Shard) -> I64:
        return np.arange(shard.ledger.books, dtype=np.int64)


class Twins:
    """One journal folded twice: by `swift` with the index, by `full` without."""

    terms: tuple[Any, ...] = TERMS
    sizes: Mapping[str, tuple[float, ...]] = SIZES
    kinds: tuple[str, ...] = KINDS
    halvings = 70  # on the way to a line

    def __init__(self, *terms: Any) -> None:
        self.swift, self.full = Market((), None), Market((), None)
        self.full.shard.slack = Everything()
        self.prices = dict(PRICES)
        self.ratios = dict.fromkeys(self.sizes, 1.0)  # mark / index
        self.trust: dict[str, dict[str, Any]] = {"states": {}, "check": {}, "widening": {}}
        self.number = 0
        self.play("tell", *self.terms, *terms)

    def play(self, kind: str, *rows: Any, **options: Any) -> None:
        """One block on both; they must agree."""
        self.number += 1
        sent = [getattr(market, kind)(*rows, **options) for market in (self.swift, self.full)]
        assert sent[0] == sent[1], f"block {self.number}, {kind}"
        assert self.swift.hash() == self.full.hash(), f"block {self.number}, {kind}"

    def marks(self, after: int = 1_000, mode: str = "live") -> None:
        """A marks block of the prices now."""
        mark = {i: self.prices[u] * self.ratios[i] for i in self.sizes if (u := i.partition("-")[0]) in self.prices}
        self.play("marks", dict(self.prices), mark, after=after, mode=mode, **self.trust)

    def open(self, dice: Random) -> None:
        """Books of every sort, most of them well enough."""
        self.marks(mode="catching_up")
        rows = []
        for at, name in enumerate(ACCOUNTS):
            rows.append(Leg(f"a{at}", name, str(dice.choice((900, 4_000, 20_000))), dice.choice(("USD", "USDC"))))
            if dice.random() < 0.5:
                rows.append(Leg(f"b{at}", name, dice.choice(("0.1", "0.4", "1.5")), "BTC"))
            if dice.random() < 0.3:
                rows.append(Leg(f"c{at}", name, dice.choice(("3", "-0.4")), "ETH"))
        self.play("collateral", *rows)
        self.play("fills", *(self.fill(dice) for _ in range(9)))
        self.marks()

    def fill(self, dice: Random) -> Fill:
        name = dice.choice(tuple(self.sizes))
        terms = self.full.terms[name]
        places, digits = terms["price_precision"], terms["quantity_precision"]
        price = self.prices.get(name.partition("-")[0], 100.0)
        quantity = dice.choice(self.sizes[name]) * dice.choice((1, -1))
        self.number += 1
        return Fill(
            id=f"f{self.number}",
            account=dice.choice(ACCOUNTS),
            instrument=name,
            quantity=f"{quantity:.{digits}f}",
            price=f"{price * dice.choice((0.99, 1.0, 1.004)):.{places}f}",
            mode=dice.choice(("cross", "cross", "isolated")),
        )

    def leg(self, dice: Random) -> Leg:
        coin = dice.choice(("USD", "USDC", "BTC", "ETH"))
        amount = dice.choice({"USD": ("50", "3000"), "USDC": ("10", "2500")}.get(coin, ("0.05", "0.5")))
        sign = dice.choice(("", "", "-"))
        bucket = dice.choice(("cross", "cross", "BTC-PERP", "ETH-WHOLE"))
        self.number += 1
        return Leg(f"d{self.number}", dice.choice(ACCOUNTS), sign + amount, coin, bucket, type="adjustment")

    def step(self, dice: Random) -> None:
        """One block, or a few that walk a line."""
        kind = dice.choice(self.kinds)
        if kind == "marks":
            self.move(dice)
            mode = "live" if dice.random() < 0.93 else "catching_up"
            self.marks(after=dice.choice((0, 500, 3_000, 6_000)), mode=mode)
        elif kind == "line":
            self.walk_a_line(dice)
        elif kind == "fills":
            self.play("fills", *(self.fill(dice) for _ in range(dice.randrange(1, 4))))
        elif kind == "doubt":
            self.doubt(dice)
        elif kind == "collateral":
            self.play("collateral", *(self.leg(dice) for _ in range(dice.randrange(1, 3))))
        else:
            self.rare(dice)

    def move(self, dice: Random) -> None:
        """Mostly small moves, of index and mark together or apart."""
        if dice.random() < 0.1:
            self.prices.setdefault("SOL", 100.0)
        size = dice.choice((1e-9, 0.0005, 0.003, 0.02, 0.1))
        for name in self.prices:
            self.prices[name] *= 1 + dice.uniform(-size, size) * (0.1 if name == "USDC" else 1)
        for name in self.ratios:
            if dice.random() < 0.3:
                self.ratios[name] = 1 + dice.uniform(-size, size)

    def doubt(self, dice: Random) -> None:
        """Other states, check prices and widenings, while no price moves: nothing else wakes a book."""
        for name in ("USDC", "BTC", "ETH", "BTC-PERP", "ETH-WHOLE"):
            if dice.random() < 0.4:
                self.trust["states"][name] = dice.choice(STATES)
        if dice.random() < 0.6:
            self.trust["widening"] = {name: dice.choice(WIDENINGS) for name in self.prices}
        parts = {name: dice.choice((0.8, 0.97, 1.0, 1.03, 1.2)) for name in self.prices if dice.random() < 0.9}
        self.trust["check"] = {name: self.prices[name] * part for name, part in parts.items()}
        self.marks()

    def movers(self) -> list[tuple[dict[str, float], str]]:
        """What may be walked to a line, one by one."""
        prices = [(self.prices, name) for name in ("BTC", "ETH", "USDC")]
        return prices + [(self.ratios, name) for name in self.sizes]

    def walk_a_line(self, dice: Random) -> None:
        """Find where a book's status changes as one price moves, and go to both sides of it, in small steps."""
        table, name = dice.choice(self.movers())
        here = table[name]
        far = here * dice.choice((0.5, 0.8, 0.97, 1.03, 1.2, 2.0))
        start = self.statuses()
        safe, crossed = here, far
        table[name] = far
        if (self.statuses() == start).all():
            table[name] = here
            return
        for _ in range(self.halvings):
            table[name] = (safe + crossed) / 2
            if (self.statuses() == start).all():
                safe = table[name]
            else:
                crossed = table[name]
        path = dice.choice(((safe, crossed, safe), (here * 0.4 + safe * 0.6, crossed), (crossed, here), (safe, safe)))
        for price in path:
            table[name] = price
            self.marks(after=dice.choice((0, 1_000)))

    def statuses(self) -> Any:
        """What judging would find at the prices now, the shard left alone."""
        shard = self.full.shard
        prices = shard.prices
        kept = prices.marks, prices.prices
        terms = shard.terms
        prices.marks = np.array(
            [self.prices.get(i.partition("-")[0], np.nan) * self.ratios[i] for i in terms.instruments]
        )
        prices.prices = np.array([1.0 if a == "USD" else self.prices.get(a, np.nan) for a in terms.assets])
        found = judged_now(shard, np.arange(shard.ledger.books)).status
        prices.marks, prices.prices = kept
        return found

    def rare(self, dice: Random) -> None:
        self.number += 1
        kind = dice.randrange(6)
        if kind == 0:
            name = dice.choice(("BTC-PERP", "ETH-WHOLE", "BTC-COIN", "SOL-PERP"))
            self.play("funding", Rate(name, dice.choice(("0.0004", "-0.01")), T + self.number))
        elif kind == 1:
            setting = {"account": dice.choice(ACCOUNTS), "mode": "cross", "levels": dice.choice(LEVELS)}
            self.play("settings", setting)
        elif kind == 2:
            rate = dice.choice(("0.02", "0.05", "0.12"))
            terms = {"settlement": "USD", "initial_margin": "0.2", "maintenance_margin": rate}
            self.play("tell", instrument("BTC-PERP", version=self.number, **terms))
        elif kind == 3:
            action = dice.choice(("pause_liquidations", "resume_liquidations"))
            self.play("tell", control(action, version=self.number))
        elif kind == 4:
            self.play("tell", control(dice.choice(("halt", "resume")), "ETH", name="eth", version=self.number))
        else:
            self.play("tell", asset("BTC", 8, haircut=dice.choice(("0.05", "0.3")), version=self.number))
