"""What if, on two hours of 2021-05-19: three accounts recomputed with fractions, from the messages that went in.

Nothing of the engine is used: the rules are those of docs/margin.md and docs/replay.md, written down once more. All
three accounts hold dollars and longs, are filled at the marks less a thousandth, and share the minute's closes.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from streams.replay.fold import Stretch
from streams.replay.raw import RawFold, RawRules
from streams.replay.raw_files import file_sources
from streams.replay.run import Plan, Run, raw_items, replay
from streams.replay.whatif.command import whatif_command
from tests.replay.recordings import MemoryRecording, to_files

Json = dict[str, Any]

DAY = Path(__file__).parents[3] / "shared" / "data" / "crash_2021-05-19_binance_spot_1m.csv.gz"  # beside the checkout
START, END = "2021-05-19T12:00:00Z", "2021-05-19T14:00:00Z"
MINUTE_MS = 60_000
SLIPPAGE, FEE, TARGET = Fraction(1, 1000), Fraction(1, 200), Fraction(11, 10)
CALL, CALL_EXIT, LIQUIDATION_EXIT = Fraction(5, 4), Fraction(13, 10), Fraction(21, 20)
CASH = {"alice": 223_000, "bob": 105_000, "carol": 250_000}
HELD = {"alice": {"BTC": 60}, "bob": {"ETH": 450}, "carol": {"BTC": 30, "ETH": 400}}
LOTS = {"BTC": 10, "ETH": 1}  # a unit
#: From which notional on, and the maintenance margin of what is above.
TIERS = {
    "BTC": ((0, Fraction("0.03")), (1_000_000, Fraction("0.05"))),
    "ETH": ((0, Fraction("0.04")), (500_000, Fraction("0.06"))),
}
FLAT = {"BTC": Fraction("0.03"), "ETH": Fraction("0.04")}

pytestmark = pytest.mark.skipif(not DAY.exists(), reason="the folder of real market data is not here")


def closes() -> dict[int, dict[str, Fraction]]:
    """Prices by the end of each minute."""
    found: dict[int, dict[str, Fraction]] = {}
    with gzip.open(DAY, "rt") as file:
        for row in csv.DictReader(file):
            if row["asset"] in LOTS and START <= row["ts"] < END:
                began = round(datetime.fromisoformat(row["ts"]).timestamp() * 1000)
                found.setdefault(began + MINUTE_MS, {})[row["asset"]] = Fraction(row["close"])
    return found


# -- the rules, once more --------------------------------------------------------------------------------------------


class Rates:
    """Maintenance margin: each slice of a notional at its own rate, times a factor; flat without tiers."""

    def __init__(self, factor: Fraction = Fraction(1), *, flat: bool = False) -> None:
        rates = {asset: ((0, rate),) for asset, rate in FLAT.items()} if flat else TIERS
        self._slices = {asset: [(start, rate * factor) for start, rate in tiers] for asset, tiers in rates.items()}

    def margin(self, asset: str, notional: Fraction) -> Fraction:
        """Of a position."""
        slices = self._slices[asset]
        ends = [*(start for start, _ in slices[1:]), notional]
        charged = (max(min(end, notional) - start, 0) * rate for (start, rate), end in zip(slices, ends, strict=True))
        return Fraction(sum(charged))


@dataclass
class Account:
    """Dollars and longs; `cash` has what the longs cost taken out, so equity is cash + what they are worth."""

    cash: Fraction
    held: dict[str, Fraction]
    rates: Rates
    called: bool = False
    step_ratio: Fraction | None = None  # margin ratio at the open liquidation step
    step_time: int = 0
    orders: dict[str, tuple[Fraction, Fraction]] = field(default_factory=dict)  # quantity to sell, lowest price
    fate: dict[str, int] = field(default_factory=dict)
    shortfall: Fraction = Fraction(0)

    def equity(self, prices: dict[str, Fraction]) -> Fraction:
        return self.cash + sum(quantity * prices[asset] for asset, quantity in self.held.items())

    def margins(self, prices: dict[str, Fraction]) -> dict[str, Fraction]:
        return {asset: self.rates.margin(asset, self.held[asset] * prices[asset]) for asset in sorted(self.held)}

    def judge(self, prices: dict[str, Fraction], time: int) -> None:
        """The new status, and what follows from it."""
        equity, maintenance = self.equity(prices), sum(self.margins(prices).values(), Fraction(0))
        if equity < 0:
            self.fate.setdefault("bankrupt", time)
            self.shortfall += Fraction(ceil(-equity * 10**6), 10**6)
            self.cash, self.held, self.orders, self.step_ratio, self.called = Fraction(0), {}, {}, None, False
            return
        liquidated = equity < maintenance * (1 if self.step_ratio is None else LIQUIDATION_EXIT)
        if liquidated:
            ratio = equity / maintenance
            if self.step_ratio is None or time - self.step_time >= 5_000 or ratio < self.step_ratio:
                if self.step_ratio is None:
                    self.fate.setdefault("liquidation", time)
                self.step_ratio, self.step_time, self.orders = ratio, time, self.closing(prices)
            return
        self.step_ratio, self.orders = None, {}
        self.called = maintenance > 0 and equity < maintenance * (CALL_EXIT if self.called else CALL)
        if self.called:
            self.fate.setdefault("called", time)

    def closing(self, prices: dict[str, Fraction]) -> dict[str, tuple[Fraction, Fraction]]:
        """The least that reaches the target: legs of the highest margin for their size first, whole where they must."""
        margins, equity, left = self.margins(prices), self.equity(prices), set(self.held)
        orders = {}
        for asset in sorted(margins, key=lambda asset: -margins[asset] / (self.held[asset] * prices[asset])):
            left.remove(asset)
            others = sum((margins[other] for other in left), Fraction(0))
            lots = self.fewest(asset, prices[asset], equity, others)
            whole = self.held[asset]
            orders[asset] = (lots or whole, self.limit(asset, prices, margins))
            if lots is not None:
                break
            equity -= whole * prices[asset] * FEE
        return orders

    def fewest(self, asset: str, price: Fraction, equity: Fraction, others: Fraction) -> Fraction | None:
        """The least whose sale reaches the target, with the other margins as they are; None where all is too little."""
        lots = int(self.held[asset] * LOTS[asset])
        for sold in (Fraction(number, LOTS[asset]) for number in range(1, lots + 1)):
            need = others + self.rates.margin(asset, (self.held[asset] - sold) * price)
            if equity - sold * price * FEE >= TARGET * need:
                return sold
        return None

    def limit(self, asset: str, prices: dict[str, Fraction], margins: dict[str, Fraction]) -> Fraction:
        """Selling all of it there, fee included, costs its share of the equity; rounded up to the cent."""
        share = self.equity(prices) * margins[asset] / sum(margins.values())
        lowest = (prices[asset] - share / self.held[asset]) / (1 - FEE)
        return Fraction(max(ceil(lowest * 100), 1), 100)

    def fill(self, prices: dict[str, Fraction], time: int) -> None:
        """Sell what the limits allow at the marks less slippage; then judge."""
        sold = False
        for asset, (quantity, limit) in list(self.orders.items()):
            price = Fraction(round(prices[asset] * (1 - SLIPPAGE) * 100), 100)
            if price >= limit:
                fee = Fraction(round(quantity * price * FEE * 10**6), 10**6)
                self.cash += quantity * price - fee
                self.held[asset] -= quantity
                if not self.held[asset]:
                    del self.held[asset]
                del self.orders[asset]
                sold = True
        if sold:
            self.judge(prices, time)


def recomputed(rates: Rates, *, sampled_after_fills: bool) -> tuple[dict[str, Account], list[Fraction]]:
    """The accounts after the two hours, and the maintenance margin of all of them minute by minute."""
    market = closes()
    first = market[min(market)]
    accounts = {
        name: Account(CASH[name] - sum(quantity * first[asset] for asset, quantity in held.items()),
                      {asset: Fraction(quantity) for asset, quantity in held.items()}, rates)
        for name, held in HELD.items()
    }  # fmt: skip
    locked = []
    for time, prices in sorted(market.items()):
        for account in accounts.values():
            account.judge(prices, time)
        before = sum(sum(account.margins(prices).values()) for account in accounts.values())
        for account in accounts.values():
            account.fill(prices, time)
        after = sum(sum(account.margins(prices).values()) for account in accounts.values())
        locked.append(Fraction(after if sampled_after_fills else before))
    return accounts, locked


# -- the messages, and what the project makes of them ------------------------------------------------------------------


def messages() -> dict[str, list[Json]]:
    """By topic; the longs are opened at the first minute's closes."""
    market = closes()
    time, first = min(market), market[min(market)]
    instruments: list[Json] = [{"id": "USDC", "kind": "asset", "precision": 6}]
    for asset, tiers in TIERS.items():
        rates = [{"initial_margin": str(float(2 * rate)), "maintenance_margin": str(float(rate))} for _, rate in tiers]
        instruments.append({
            "id": f"{asset}-PERP", "kind": "instrument", "type": "perpetual", "underlying": asset,
            "settlement": "USDC", "price_precision": 2, "quantity_precision": len(str(LOTS[asset])) - 1,
            "liquidation_fee": str(float(FEE)), "tier_method": "marginal", **rates[0],
            "tiers": [{"notional_from": str(start), **rate} for (start, _), rate in zip(tiers, rates, strict=True)],
        })  # fmt: skip
    return {
        "instruments": instruments,
        "collateral": [
            {"transfer_id": f"d-{name}", "type": "deposit", "account": name, "asset": "USDC", "amount": str(cash),
             "time": time} for name, cash in CASH.items()
        ],
        "fills": [
            {"fill_id": f"f-{name}-{asset}", "account": name, "instrument": f"{asset}-PERP", "quantity": str(quantity),
             "price": str(float(first[asset])), "time": time}
            for name, held in HELD.items() for asset, quantity in held.items()
        ],
        "oracle-prices": [
            {"symbol": asset, "source": "spot", "price": str(float(price)), "time": at}
            for at, prices in sorted(market.items()) for asset, price in {**prices, "USDC": Fraction(1)}.items()
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording: the messages as ingest and oracle take them, liquidations filled as an exchange would."""
    raw = tmp_path_factory.mktemp("raw")
    for topic, rows in messages().items():
        (raw / f"{topic}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    plan = Plan(stretch=Stretch(), wait=lambda _: None, slippage=Decimal("0.001"))
    runs = {0: Run(0, plan, None)}
    items = replay(raw_items(RawFold(file_sources(raw), RawRules()), runs), runs, plan.stretch, "raw")
    journal = [record for _, record in items]
    return to_files(MemoryRecording({"journal": {0: journal}}), tmp_path_factory.mktemp("day") / "recording")


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        pytest.param({"*": {"maintenance_margin": "x1.5"}}, Rates(Fraction(3, 2)), id="rates x1.5"),
        pytest.param({"*": {"tiers": []}}, Rates(flat=True), id="flat instead of tiers"),
    ],
)
def test_three_accounts_recomputed(folder: Path, tmp_path: Path, changes: Json, rates: Rates) -> None:
    params, out = tmp_path / "params.json", tmp_path / "report.json"
    params.write_bytes(orjson.dumps({"instruments": changes, "slippage": str(float(SLIPPAGE))}))
    result = CliRunner().invoke(whatif_command, ["--params", str(params), "--json", str(out), str(folder)])
    assert result.exit_code == 0, result.output
    report = orjson.loads(out.read_bytes())
    # the recorded fills are the journal's next record, the changed side's are made with the marks
    sides = {
        "recorded": recomputed(Rates(), sampled_after_fills=False),
        "changed": recomputed(rates, sampled_after_fills=True),
    }
    for side, (accounts, locked) in sides.items():
        found = report["sides"][side]
        assert found["maintenance_margin"] == pytest.approx([float(margin) for margin in locked], rel=1e-12)
        assert Fraction(found["shortfall"]) == sum(account.shortfall for account in accounts.values())
        for row in report["accounts"]:
            account = accounts[row["account"]]
            told = row[side] or {"called": None, "liquidation": None, "bankrupt": None, "shortfall": "0"}
            assert Fraction(told.pop("shortfall")) == account.shortfall, (side, row["account"])
            assert told == {kind: account.fate.get(kind) for kind in told}, (side, row["account"])
    assert {row["account"] for row in report["accounts"]} == set(CASH)
    assert Fraction(report["sides"]["changed"]["shortfall"]) < Fraction(report["sides"]["recorded"]["shortfall"])
