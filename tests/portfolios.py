"""Hypothesis strategies for portfolio documents: varied books whose numbers are decimals of few digits."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

ASSETS = {"USDC": "1", "BTC": "60000", "ETH": "2500.5", "XRP": "0.613"}
MARKS = {"BTC": "60012.5", "ETH": "2499.1", "XRP": "0.6131"}


def decimals(low: str, high: str, places: int) -> st.SearchStrategy[str]:
    """Decimal strings between two bounds."""
    scale = 10**places
    first, last = int(Decimal(low) * scale), int(Decimal(high) * scale)
    return st.integers(first, last).map(lambda n: format(Decimal(n).scaleb(-places), "f"))


@st.composite
def assets(draw: st.DrawFn) -> Json:
    found = {}
    for name, price in ASSETS.items():
        record: Json = {"price": price}
        haircuts = sorted(draw(st.lists(decimals("0", "1", 2), min_size=3, max_size=3)), key=Decimal)
        record["haircut"] = haircuts[0]
        record["borrow_haircut"] = draw(decimals("0", "0.5", 2))
        if draw(st.booleans()):
            record["initial_haircut"] = haircuts[1]
        if draw(st.booleans()):
            starts = [0, *sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=2)))]
            unit = {"USDC": 1000, "BTC": 1, "ETH": 1, "XRP": 1000}[name]
            record["haircut_tiers"] = [
                {"from": str(start * unit), "haircut": haircut}
                for start, haircut in zip(starts, haircuts, strict=False)
            ]
        found[name] = record
    return found


@st.composite
def instrument(draw: st.DrawFn, underlying: str, *, inverse: bool, precise: bool) -> Json:
    high = sorted(draw(st.lists(decimals("0.02", "0.5", 3), min_size=3, max_size=3)), key=Decimal)
    part = draw(decimals("0.3", "1", 1))
    tiers = []
    for start, rate in zip((0, 20_000, 100_000), high, strict=True):
        low = format(Decimal(rate) * Decimal(part), "f")
        tiers.append({"notional_from": str(start), "initial_margin": rate, "maintenance_margin": low})
    record: Json = {
        "type": "inverse_perpetual" if inverse else "perpetual",
        "underlying": underlying,
        "settlement": underlying if inverse else "USDC",
        "multiplier": draw(st.sampled_from(["100", "1"] if inverse else ["1", "0.1"])),
        "mark_price": MARKS[underlying],
        "liquidation_fee": draw(st.sampled_from(["0", "0.0025", "0.005", "0.02"])),
    }
    if precise:
        record |= {"price_precision": 4, "quantity_precision": 3}
    if draw(st.booleans()):
        record |= {"tiers": tiers, "tier_method": draw(st.sampled_from(["marginal", "whole"]))}
    else:
        record |= {name: tiers[0][name] for name in ("initial_margin", "maintenance_margin")}
    if draw(st.booleans()):
        record["size_premium_factor"] = draw(st.sampled_from(["0.001", "0.01", "0.0005"]))
    if draw(st.booleans()):
        record |= {"open_interest": "35000000", "open_interest_lower": "20000000", "open_interest_upper": "50000000"}
    return record


@st.composite
def portfolios(draw: st.DrawFn, *, precise: bool = False) -> Json:
    """A document with one account: a few linear and inverse positions, collateral and debts."""
    instruments = {}
    for underlying in MARKS:
        instruments[f"{underlying}-PERP"] = draw(instrument(underlying, inverse=False, precise=precise))
        instruments[f"{underlying}-COIN"] = draw(instrument(underlying, inverse=True, precise=precise))
    chosen = draw(st.lists(st.sampled_from(sorted(instruments)), unique=True, max_size=4))
    positions = []
    for name in chosen:
        mark = Decimal(instruments[name]["mark_price"])
        worth = draw(st.integers(-60_000, 60_000).filter(bool))
        unit = Decimal(instruments[name]["multiplier"]) * (1 if name.endswith("COIN") else mark)
        quantity = (worth / unit).quantize(Decimal("0.001"))
        if not quantity:
            continue
        entry = (mark * draw(st.integers(70, 140)) / 100).quantize(Decimal("0.0001"))
        held = {"instrument": name, "quantity": str(quantity), "entry_price": str(entry)}
        if draw(st.booleans()):
            held["accrued_funding"] = draw(decimals("-50", "50", 2)) if name.endswith("PERP") else "-0.00013"
        positions.append(held)
    balances = {
        name: draw(decimals(f"-{most}", str(2 * most), 3))
        for name, most in (("USDC", 20_000), ("BTC", 1), ("ETH", 8), ("XRP", 20_000))
        if draw(st.booleans())
    }
    account = {"account": "alice", "balances": balances, "positions": positions}
    account["previous_status"] = draw(st.sampled_from(["ok", "margin_call", "liquidation"]))
    return {"assets": draw(assets()), "instruments": instruments, "accounts": [account]}
