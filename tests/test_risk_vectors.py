"""Worked cases of venues and papers: a portfolio document, or quotes, must give the published number.

The cases are in `reference/risk_cases.json`; where a collection of such cases lies beside the checkout (SHARED), it is
run too. How a kind is said in a document:

- unimmr (EQ1, EQ2): a collateral ratio is one minus a haircut; a futures margin `notional x rate - cum` is a tier of
  rate 0 up to cum / rate; the margin of a loan is a position of the loan's size whose entry is its mark
  (`borrow_haircut` expresses it too, as a charge on equity).
- iso_cross (EQ7), flat (G1), brackets (G2), bracket_liq (G3), oimf (G4), premium (G5), coin_liq (L1): as they are.
- inverse_liq (L2): that venue fixes the margin in coins at entry, so it is set aside: isolated margin less maintenance
  margin, at a rate of 0. With the rate at the mark the price is another, see the tests of the liquidation price.
- drift_partial (Q1): a target of 1, and both fees in one.
- partial_target (Q2): as it is; what else requires margin is a leg that closes later, by its larger fee.
- dydx (Q3), bankruptcy_isolated (Q6): the bankruptcy price is the limit of a whole close without fee. The fillable
  price of Q3 is a venue's own.
- capped_index (O1), pyth_agg (O2), binance_mark (O5): as they are, by the oracle's formulas.
- conf_valuation (O9): haircuts and borrow haircuts of 0, widened by k x confidence / price.

Not covered, because the rule is another or comes later: NOT_COVERED.
"""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.oracle.aggregation import aggregate
from streams.oracle.basis import median_of_three
from streams.oracle.quotes import Quote
from streams.oracle.settings import SourceRule, SymbolRules
from streams.oracle.widening import wanted
from tests.notation import Json, evaluated, position_of

CASES: list[Json] = json.loads((Path(__file__).parent / "reference" / "risk_cases.json").read_text())
SHARED = Path(__file__).parents[2] / "shared" / "vectors" / "risk_cases.json"

NOT_COVERED = {
    "drift_asset_weight": "EQ4: a weight by the square root of the whole holding; haircuts here go by slice",
    "kinked_borrow": "EQ6: interest on loans is a booking of the venue (an adjustment), no margin rule",
    "option_equity": "EQ5: an option's value counts once in equity, in test_evaluate_options",
    "derive_std_option": "G6: a formula, in test_margin_standard_options",
    "deribit_std_option": "G7: a formula, in test_margin_standard_options",
    "status": "L4: a venue's five statuses, each line on its unsafe side; here exactly at a line is safe",
    "delta_gamma_distance": "L5: a screen by delta and gamma, in test_margin_tail",
    "ocr_median": "O3: of an even number the upper of the middle two; here their mean",
    "conf_ema": "O7: a mean of samples, weighted by 1 / confidence; here one of time",
    "vega_disposal": "Q9: steps by the order book's side; a step here is capped by a fraction of the position",
}

#: BTCUSDT of Binance, 24 October 2024 (freqtrade binance_leverage_tiers.json)
BRACKETS = [(0, "0.004"), (50_000, "0.005"), (600_000, "0.0065"), (3_000_000, "0.01"), (12_000_000, "0.02")]
BRACKETS += [(70_000_000, "0.025"), (100_000_000, "0.05"), (230_000_000, "0.10"), (480_000_000, "0.125")]
BRACKETS += [(600_000_000, "0.15"), (800_000_000, "0.25"), (1_200_000_000, "0.5")]

USD = {"USD": {"price": "1"}}


def text(number: float | Decimal) -> str:
    return format(Decimal(str(number)), "f")


def instrument(mark: float, mm: float | str, **fields: Any) -> Json:
    return {
        "type": "perpetual",
        "underlying": "-",
        "settlement": "USD",
        "mark_price": text(mark),
        "initial_margin": "1",
        "maintenance_margin": str(mm),
        **fields,
    }


def report_of(assets: Json, instruments: Json, balances: Json, positions: list[Json], **account: Any) -> Json:
    settings = {"account": "a", "balances": balances, "positions": positions, **account}
    return evaluated({"assets": assets, "instruments": instruments, "accounts": [settings]})


def held(name: str, quantity: float, entry: float, **fields: Any) -> Json:
    return {"instrument": name, "quantity": text(quantity), "entry_price": text(entry), **fields}


def unimmr(case: Json) -> Json:
    assets = dict(USD)
    balances, instruments, positions = {}, {}, []
    for row in case["inputs"]["assets"]:
        haircut = 1 - Decimal(str(row["ratio"]))
        assets[row["asset"]] = {"price": text(row["index"]), "haircut": text(haircut)}
        balances[row["asset"]] = text(row["net"])
    for at, row in enumerate(case["inputs"].get("futures", ())):
        start = Decimal(str(row["cum"])) / Decimal(str(row["mmr"])) if row["cum"] else 0
        tiers = [{"notional_from": text(start), "initial_margin": "1", "maintenance_margin": text(row["mmr"])}]
        if start:
            tiers.insert(0, {"notional_from": "0", "initial_margin": "1", "maintenance_margin": "0"})
        instruments[f"F{at}"] = instrument(1, text(row["mmr"]), tiers=tiers)
        positions.append(held(f"F{at}", row["notional_usd"], 1))
    for at, row in enumerate(case["inputs"].get("loans", ())):
        instruments[f"L{at}"] = instrument(row["index"], text(row["mmr"]))
        positions.append(held(f"L{at}", row["loan"], row["index"]))
    report = report_of(assets, instruments, balances, positions, levels={"margin_call": "1.5"})
    wanted = case["expected"]
    found = {"equity": report["adjusted_equity"], "mm": report["maintenance_margin"], "unimmr": report["margin_ratio"]}
    found |= {"raw": report["equity"], "status": "FREE" if report["status"] == "ok" else report["status"]}
    return {name: found[name] for name in wanted}


def iso_cross(case: Json) -> Json:
    instruments, positions = {}, []
    cash = Decimal(str(case["inputs"]["cash"]))
    for row in case["inputs"]["positions"]:
        entry = 10_000
        instruments[row["id"]] = instrument(entry + row["upnl"], "0.001", underlying=row["id"])
        position = held(row["id"], 1, entry)
        if row["mode"] == "isolated":
            position |= {"margin_mode": "isolated", "isolated_margin": text(row["margin"])}
            cash -= Decimal(str(row["margin"]))
        positions.append(position)
    report = report_of(USD, instruments, {"USD": text(cash)}, positions)
    isolated = {row["id"]: position_of(report, row["id"], "isolated") for row in case["inputs"]["positions"][:1]}
    losses = [Decimal(row.get("shortfall", "0")) for row in isolated.values()]
    return {
        "cross_equity": report["equity"],
        "isolated": {name: row["equity"] for name, row in isolated.items()},
        "loss_to_insurance": sum(losses),
    }


def flat(case: Json) -> Json:
    given = case["inputs"]
    terms = instrument(given["mark"], text(given["mm"]), initial_margin=text(given["im"]))
    report = report_of(USD, {"P": terms}, {"USD": "1e9"}, [held("P", given["qty"], given["mark"])])
    return {"im": report["initial_margin"], "mm": report["maintenance_margin"]}


def bracket_terms(mark: float) -> Json:
    tiers = [
        {"notional_from": str(start), "initial_margin": "1", "maintenance_margin": rate} for start, rate in BRACKETS
    ]
    return instrument(mark, "0.004", tiers=tiers)


def brackets(case: Json) -> Json:
    position = held("P", case["inputs"]["notional"], 1)
    return {"mm": report_of(USD, {"P": bracket_terms(1)}, {"USD": "1e12"}, [position])["maintenance_margin"]}


def bracket_liq(case: Json) -> Json:
    given = case["inputs"]
    position = held("P", given["qty"], given["entry"])
    report = report_of(USD, {"P": bracket_terms(given["entry"])}, {"USD": text(given["wallet"])}, [position])
    return {"price": report["positions"][0]["liquidation_price"]}


def oimf(case: Json) -> Json:
    given = case["inputs"]
    bounds = {
        "open_interest": text(given["open_interest"]),
        "open_interest_lower": text(given["lower"]),
        "open_interest_upper": text(given["upper"]),
    }
    terms = instrument(1, text(given["base"] / 2), initial_margin=text(given["base"]), **bounds)
    return {"imf": report_of(USD, {"P": terms}, {"USD": "1"}, [held("P", 1, 1)])["initial_margin"]}


def premium(case: Json) -> Json:
    given = case["inputs"]
    rate = text(given["weight"])
    terms = instrument(1, rate, initial_margin=rate, size_premium_factor=text(given["imf"]))
    margins = [
        report_of(USD, {"P": terms}, {"USD": "1e9"}, [held("P", size, 1)])["initial_margin"] for size in given["size"]
    ]
    return {"weight": [Decimal(margin) / size for margin, size in zip(margins, given["size"], strict=True)]}


def coin_liq(case: Json) -> Json:
    given = case["inputs"]
    found = {}
    for name, underlying in (("price", "COIN"), ("held", "BTC")):
        assets = USD | {"COIN": {"price": text(given["mark"]), "haircut": text(1 - Decimal(str(given["ratio"])))}}
        terms = instrument(given["mark"], text(given["mmr"]), underlying=underlying)
        balances = {"USD": text(given["cash"]), "COIN": text(given["coin"])}
        report = report_of(assets, {"P": terms}, balances, [held("P", given["qty"], given["entry"])])
        found[name] = report["positions"][0]["liquidation_price"]
    return found


def inverse_terms(mark: float, mm: float | str) -> Json:
    return instrument(mark, mm, type="inverse_perpetual", underlying="BTC", settlement="BTC")


def inverse_liq(case: Json) -> Json:
    given = case["inputs"]
    value = Decimal(str(given["contracts"])) / Decimal(str(given["entry"]))
    margin = value / Decimal(str(given["lev"])) - value * Decimal(str(given["mmr"]))
    found = {}
    for name, side in (("long", 1), ("short", -1)):
        position = held("P", side * given["contracts"], given["entry"], margin_mode="isolated")
        position["isolated_margin"] = text(margin)
        assets = {"BTC": {"price": text(given["entry"])}}
        report = report_of(assets, {"P": inverse_terms(given["entry"], 0)}, {}, [position])
        found[name] = report["positions"][0]["liquidation_price"]
    return found


def drift_partial(case: Json) -> Json:
    given = case["inputs"]
    size = Decimal(1000)
    price = Decimal(str(given["price"]))
    fee = Decimal(str(given["liq_fee"])) + Decimal(str(given["if_fee"]))
    equity = size * price * Decimal(str(given["margin_ratio"])) - Decimal(str(given["shortage"]))
    terms = instrument(given["price"], text(given["margin_ratio"]), liquidation_fee=text(fee))
    levels = {"liquidation_exit": "1", "liquidation_target": "1"}
    report = report_of(
        USD, {"P": terms}, {"USD": text(equity)}, [held("P", float(size), given["price"])], levels=levels
    )
    return {"base": -Decimal(report["liquidation"]["orders"][0]["quantity"])}


def partial_target(case: Json) -> Json:
    """One leg as given; what else requires margin is a leg whose fee is too dear to close first."""
    quantities, healths = [], []
    for row in case["inputs"]["cases"]:
        price, fee = Decimal(str(row["P"])), Decimal(str(row["fee"]))
        others = Decimal(str(row["MM"])) - Decimal(str(row["q"])) * price * Decimal(str(row["mmr"]))
        terms = {
            "P": instrument(row["P"], text(row["mmr"]), liquidation_fee=text(row["fee"])),
            "O": instrument(1, "0.02", liquidation_fee="0.9", underlying="O"),
        }
        other = [held("O", float(others) / 0.02, 1)] if others else []
        levels = {"liquidation_target": text(row["h"])}
        leg = held("P", row["q"], row["P"])
        report = report_of(USD, terms, {"USD": text(row["E"])}, [leg, *other], levels=levels)
        (order,) = [o for o in report["liquidation"]["orders"] if o["instrument"] == "P"]
        closed = -Decimal(order["quantity"])
        quantities.append(closed)
        left = {**leg, "quantity": text(Decimal(str(row["q"])) - closed)}
        cash = Decimal(str(row["E"])) - closed * price * fee
        after = report_of(USD, terms, {"USD": text(cash)}, [left, *other], levels=levels)
        healths.append(after["margin_ratio"])
    return {"qty": quantities, "health_after": healths}


def dydx(case: Json) -> Json:
    given = case["inputs"]
    terms = instrument(given["oracle"], text(given["mmr"]))
    report = report_of(USD, {"P": terms}, {"USD": text(given["tnc"])}, [held("P", given["size"], given["oracle"])])
    return {"bankruptcy": report["liquidation"]["orders"][0]["limit_price"]}


def bankruptcy_isolated(case: Json) -> Json:
    entry, leverage = (Decimal(str(case["inputs"][name])) for name in ("entry", "lev"))
    found = {}
    for name, side in (("long", 1), ("short", -1)):
        position = held(
            "P", side * float(entry), float(entry), margin_mode="isolated", isolated_margin=text(1 / leverage)
        )
        terms = {"P": inverse_terms(float(entry), text(min(Decimal(1), 2 / leverage)))}
        report = report_of({"BTC": {"price": text(entry)}}, terms, {}, [position])
        found[name] = report["positions"][0]["liquidation"]["orders"][0]["limit_price"]
    return found


def quotes_of(rows: list[tuple[float, float]]) -> list[Quote]:
    return [Quote("BTC", f"s{at}", price, confidence, 0) for at, (price, confidence) in enumerate(rows)]


def capped_index(case: Json) -> Json:
    given = case["inputs"]
    names = [f"s{at}" for at in range(len(given["prices"]))]
    rules = SymbolRules(
        clamp=given["band"],
        max_weight=1.0,
        sources={
            name: SourceRule(weight=weight, max_age_ms=1) for name, weight in zip(names, given["weights"], strict=True)
        },
    )
    return {"index": aggregate(quotes_of([(price, 0.0) for price in given["prices"]]), rules).price}


def pyth_agg(case: Json) -> Json:
    found = aggregate(quotes_of(case["inputs"]["publishers"]), SymbolRules(method="confidence"))
    return {"price": found.price, "conf": found.confidence}


def binance_mark(case: Json) -> Json:
    given = case["inputs"]
    mark = median_of_three(
        given["index"],
        funding_rate=given["funding"],
        to_funding_ms=round(given["hours_to_funding"] * 3_600_000),
        funding_interval_ms=round(given["interval"] * 3_600_000),
        basis=given["basis_ma"],
        last=given["contract"],
    )
    return {"mark": mark}


def conf_valuation(case: Json) -> Json:
    given = case["inputs"]
    rules = SymbolRules(confidence_factor=given["k"])
    values = []
    for quantity, price, confidence in zip(given["qty"], given["price"], given["conf"], strict=True):
        widening = text(wanted(confidence, price, degraded=False, age_ms=0, rules=rules))
        assets = USD | {"COIN": {"price": text(price), "haircut": widening, "borrow_haircut": widening}}
        values.append(report_of(assets, {}, {"COIN": text(quantity)}, [])["adjusted_equity"])
    return {"value": values}


COVERED = {
    check.__name__: check
    for check in (
        unimmr,
        iso_cross,
        flat,
        brackets,
        bracket_liq,
        oimf,
        premium,
        coin_liq,
        inverse_liq,
        drift_partial,
        partial_target,
        dydx,
        bankruptcy_isolated,
        capped_index,
        pyth_agg,
        binance_mark,
        conf_valuation,
    )
}


def assert_equal(found: Any, wanted: Any, path: str) -> None:
    """Everything that the case expects, numbers to nine digits; what a covered rule does not say is left out."""
    if isinstance(wanted, dict):
        for name in wanted.keys() & found.keys():
            assert_equal(found[name], wanted[name], f"{path}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), path
        for index, item in enumerate(wanted):
            assert_equal(found[index], item, f"{path}[{index}]")
    elif wanted is None or isinstance(wanted, str):
        assert found == wanted, path
    else:
        assert float(found) == pytest.approx(wanted, rel=1e-9), path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: Json) -> None:
    """A published number comes out of the engine's own rules, told as a document."""
    found = COVERED[case["kind"]](case)
    assert found.keys() & case["expected"].keys()
    assert_equal(found, case["expected"], case["id"])


def test_shared_cases() -> None:
    """Every shared case of these is covered, or it is written down why not."""
    if not SHARED.exists():
        pytest.skip("the shared cases are not beside this checkout")
    cases = [case for case in json.loads(SHARED.read_text()) if re.match("(EQ|G|L|O|Q)[0-9]", case["id"])]
    assert cases
    for case in cases:
        assert (case["kind"] in COVERED) != (case["kind"] in NOT_COVERED), case["id"]
        if case["kind"] in COVERED:
            assert_equal(COVERED[case["kind"]](case), case["expected"], case["id"])
