"""Hypothesis strategies for journals: a small market in trouble, told as steps of `tests.builders.Market`.

Few accounts, few instruments, few ids and wild prices of every state, so that calls, liquidations, bankruptcies, late
fills, repetitions and expiries all happen within a dozen blocks. With options there is portfolio margin, too.
"""

from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.journal import liquidation_id
from schemas.risk_terms import Correlations, RiskUnit
from streams.ingest.term_rules import normalised
from streams.margin.black76 import option_greeks
from tests.builders import Fill, Json, Leg, Rate, T, asset, control, instrument
from tests.option_terms import option

ACCOUNTS = ("alice", "bob", "carol")
TIERS = [
    {"notional_from": "0", "initial_margin": "0.05", "maintenance_margin": "0.03"},
    {"notional_from": "4000", "initial_margin": "0.1", "maintenance_margin": "0.06"},
]
TERMS = (
    asset("USDC"),
    asset("BTC", 8, haircut="0.1", borrow_haircut="0.05"),
    asset("ETH", 8, haircut="0.15", borrow_haircut="0.1"),
    instrument("BTC-PERP"),
    instrument("ETH-PERP", price_precision=2, quantity_precision=2, tiers=TIERS, tier_method="marginal"),
    instrument("BTC-COIN", "inverse_perpetual", liquidation_fee="0.005"),
    instrument("SOL-PERP"),  # no price at first
    instrument("BTC-DEC", "future", expiry=T + 9_000),
    instrument("BTC-MAR", "inverse_future", expiry=T + 14_000, settlement_price="48123.4"),
)
INSTRUMENTS = tuple(record["id"] for record in TERMS if record["kind"] == "instrument")
SIZES = {
    "BTC-PERP": ("0.001", "0.1", "0.234", "1"),
    "ETH-PERP": ("0.01", "2", "7.5"),
    "BTC-COIN": ("1", "33", "120"),
    "SOL-PERP": ("0.001", "2"),
    "BTC-DEC": ("0.001", "0.1", "0.3"),
    "BTC-MAR": ("1", "33", "100"),
}
MONTH = {"expiry": T + 30 * 86_400_000}
IN_COINS = {"settlement": "ETH", "price_precision": 4, "quantity_precision": 2}
OPTIONS = (
    option("BTC-C52", "call", "52000", expiry=T + 12_000),
    option("BTC-P48", "put", "48000", **MONTH),
    option("ETH-C21", "call", "2100", **MONTH, **IN_COINS),
)
MODELS = ("standard", "portfolio")
PORTFOLIO = {"mode": "cross", "margin_model": "portfolio", "levels": {}}
#: With options and all that portfolio margin needs.
ALL_TERMS = (
    *TERMS,
    *OPTIONS,
    {**normalised(RiskUnit(id="~risk_unit:BTC", group="g")), "version": 1},
    {**normalised(RiskUnit(id="~risk_unit:ETH", price_range="0.2", group="g")), "version": 1},
    {**normalised(Correlations(id="~correlations:g", low="0.5", high="0.9")), "version": 1},
)
SIZES |= {"BTC-C52": ("0.1", "0.5"), "BTC-P48": ("0.1", "0.7"), "ETH-C21": ("1", "4")}
VOLATILITY = 0.6
STATES = ("ok", "ok", "degraded", "suspect", "suspect", "stale", "halted")
WIDENINGS = (0.0, 0.0025, 0.02, 0.1, 0.95)
FACTORS = (0.85, 0.95, 0.98, 0.995, 1.0, 1.005, 1.02, 1.05, 1.15)


class Step(NamedTuple):
    """One block: the method of Market that makes it, and its arguments."""

    kind: str
    rows: tuple[Any, ...]
    options: dict[str, Any]

    def play(self, market: Any) -> Any:
        return getattr(market, self.kind)(*self.rows, **self.options)


def step(kind: str, *rows: Any, **options: Any) -> Step:
    return Step(kind, rows, options)


#: A block is a list of numbers, each the seed of one row (the first also of what the block is). So a failure shrinks
#: by leaving out blocks and rows, and drawing is cheap.
SEEDS = st.lists(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=6), min_size=6, max_size=20)
KINDS = ("fills", "fills", "fills", "marks", "marks", "marks", "collateral", "rare")


def journals(*, live: bool = True) -> st.SearchStrategy[list[Step]]:
    """Steps of a market that knows TERMS; `live` False: the shard never judges."""
    return SEEDS.map(lambda seeds: journal(seeds, live=live))


def mixed_journals(*, live: bool = True) -> st.SearchStrategy[list[Step]]:
    """Steps of a market that knows ALL_TERMS; every second one trades options, with accounts on portfolio margin."""
    return SEEDS.map(lambda seeds: journal(seeds, live=live, options=len(seeds) % 2 == 0))


def journal(seeds: list[list[int]], *, live: bool = True, options: bool = False) -> list[Step]:
    """The steps that these numbers stand for."""
    prices = {"USDC": 1.0, "BTC": 50_000.0, "ETH": 2_000.0}
    mode = "live" if live else "catching_up"
    trust: dict[str, dict[str, Any]] = {"states": {}, "check": {}, "widening": {}}
    opening = [
        Leg("a", "alice", "5000"),
        Leg("b", "bob", "1500"),
        Leg("coin", "bob", "0.2", "BTC"),
        Leg("c", "carol", "15000"),
    ]
    steps = [step("marks", dict(prices), mode=mode, **valued(prices, options)), step("collateral", *opening)]
    if options:
        steps.append(step("settings", *({**PORTFOLIO, "account": name} for name in ACCOUNTS[:2])))
    for at, block in enumerate(seeds):
        dice = Random(-1 - block[0])
        kind = dice.choice(KINDS)
        if kind == "fills":
            steps.append(step("fills", *(fill(Random(seed), prices, options) for seed in block)))
        elif kind == "collateral":
            steps.append(step("collateral", *(leg(Random(seed)) for seed in block)))
        elif kind == "marks":
            if dice.random() < 0.2:
                prices.setdefault("SOL", 100.0)
            for name in ("BTC", "ETH"):
                prices[name] = round(prices[name] * dice.choice(FACTORS), 2)
            moment = mode if dice.random() < 0.9 else "catching_up"
            after = dice.choice((0, 1_000, 4_000, 7_000))
            told = doubt(dice, trust, prices) | valued(prices, options)
            steps.append(step("marks", dict(prices), after=after, mode=moment, **told))
        else:
            steps.append(rare(dice, at, options))
    return steps


def valued(prices: dict[str, float], options: bool) -> dict[str, Any]:
    """Marks of the options and what they are made of, time standing still; nothing where there are none."""
    if not options:
        return {}
    mark, made_of = {}, {}
    for record in OPTIONS:
        price, years = prices[record["underlying"]], max(record["expiry"] - T, 0) / (365 * 86_400_000)
        right = 1.0 if record["option_type"] == "call" else -1.0
        worth = option_greeks(right, price, float(record["strike"]), years, VOLATILITY, 1.0).value
        mark[record["id"]] = worth / price if record["settlement"] == "ETH" else worth
        made_of[record["id"]] = (VOLATILITY, price, 1.0)
    return {"mark": mark, "made_of": made_of}


def doubt(dice: Random, trust: dict[str, dict[str, Any]], prices: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Now and then another state of a symbol or instrument, another widening; mostly check prices, always new ones."""
    if dice.random() < 0.4:
        trust["states"][dice.choice(("BTC", "ETH", "USDC", "BTC", "BTC-PERP", "ETH-PERP"))] = dice.choice(STATES)
    if dice.random() < 0.2:
        trust["widening"][dice.choice(("BTC", "ETH", "USDC"))] = dice.choice(WIDENINGS)
    told = dice.random() < 0.8
    trust["check"] = {name: price * dice.choice(FACTORS) for name, price in prices.items()} if told else {}
    return {name: dict(found) for name, found in trust.items()}


def fill(dice: Random, prices: dict[str, float], options: bool) -> Fill:
    listed = tuple(record["id"] for record in OPTIONS) if options and dice.random() < 0.4 else INSTRUMENTS
    name = dice.choice(listed)
    places = {"ETH-PERP": 2, "ETH-C21": 4}.get(name, 1)
    price = prices.get(name.partition("-")[0], 100.0) * dice.choice((0.99, 1.0, 1.004))
    if listed is not INSTRUMENTS:
        price = {"BTC-C52": 300.0, "BTC-P48": 2_200.0, "ETH-C21": 0.04}[name] * dice.choice((0.5, 1.0, 1.5))
    mode = dice.choice((None, "cross", "cross", "isolated"))
    account = dice.choice(ACCOUNTS)
    bucket = name if mode == "isolated" else "cross"
    return Fill(
        id=f"f{dice.randrange(60)}",
        account=account,
        instrument=name,
        quantity=dice.choice(("", "-")) + dice.choice(SIZES[name]),
        price=f"{price:.{places}f}",
        fee=dice.choice(("0", "0.00001", "-0.00002", "0.0005")),
        mode=mode,
        kind=dice.choice(("trade", "trade", "trade", "opening", "bust")),
        answers=answers(dice, account, bucket) if mode else None,
        bucket=bucket,
    )


def leg(dice: Random) -> Leg:
    coin = dice.choice(("USDC", "USDC", "BTC", "ETH"))
    amounts = {"USDC": ("10", "999.999999", "3500"), "BTC": ("0.1",), "ETH": ("0.5", "3")}
    account, bucket = dice.choice(ACCOUNTS), dice.choice(("cross", "cross", *INSTRUMENTS))
    return Leg(
        id=f"d{dice.randrange(20)}",
        account=account,
        amount=dice.choice(("", "", "-")) + dice.choice(amounts[coin]),
        asset=coin,
        bucket=bucket,
        type="transfer",
        leg=dice.choice((0, 1)),
        answers=answers(dice, account, bucket),
    )


def answers(dice: Random, account: str, bucket: str) -> str | None:
    """Mostly none; else the id of some liquidation of the bucket, whether there was one or not."""
    if dice.random() < 0.6:
        return None
    return liquidation_id(0, dice.randrange(2, 16), account, bucket, "liquidation")


def rare(dice: Random, at: int, options: bool) -> Step:
    """Funding, settings and terms."""
    if options and dice.random() < 0.5:
        return step("settings", {**PORTFOLIO, "account": dice.choice(ACCOUNTS), "margin_model": dice.choice(MODELS)})
    kind = dice.choice(("funding", "funding", "settings", "tell", "halt"))
    if kind == "funding":
        name = dice.choice(("BTC-PERP", "ETH-PERP", "BTC-COIN", "SOL-PERP"))
        rate = dice.choice(("0.0001", "-0.00037", "0.01"))
        return step("funding", Rate(name, rate, T + dice.randrange(6), dice.choice((None, None, "4900"))))
    if kind == "settings":
        called = {"margin_call": "1.6", "margin_call_exit": "2"}
        levels = dice.choice(({}, called, {"liquidation_exit": "1.2", "liquidation_target": "1.3"}))
        settings: Json = {"account": dice.choice(ACCOUNTS), "levels": levels}
        return step("settings", {**settings, "mode": dice.choice(("cross", "isolated"))})
    if kind == "halt":
        action, symbol = dice.choice(("halt", "resume")), dice.choice(("BTC", "ETH"))
        return step("tell", control(action, symbol, name=symbol, version=at + 1))
    maintenance = dice.choice(("0.02", "0.05", "0.12"))
    version = dice.randrange(at + 2)
    return step("tell", instrument("BTC-PERP", initial_margin="0.2", maintenance_margin=maintenance, version=version))
