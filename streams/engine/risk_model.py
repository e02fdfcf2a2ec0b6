"""The portfolio model as terms state it: risk units, the rows of their instruments and coins, and what those are worth.

A row of the risk table is an instrument, by its index, or after those the coin of a unit. Rows are ordered by what
they are (unit, expiry, strike), units by their underlying, so nothing depends on the order in which terms came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from streams.engine.terms import TermsTable
from streams.margin.elementary import log
from streams.margin.offsets import Correlations
from streams.margin.parameters import F64, I32
from streams.margin.portfolio_tail import Tails
from streams.margin.risk_table import (
    DAILY_VOLATILITY,
    DAILY_VOLUME,
    MARK,
    ExpiryRules,
    Holding,
    RiskTable,
    empty_table,
    expiry_factors,
    lines_of,
    write_rows,
)
from streams.margin.risk_units import RiskUnits, grid_of_unit, risk_units
from streams.margin.scenarios import (
    ABSOLUTE_SKEW,
    ASSET,
    DOWN,
    FUTURE,
    LINEAR_SKEW,
    OPTION,
    SAME,
    UP,
    Grid,
    Instruments,
    SkewShock,
    VolatilityShock,
    grid,
    grid_of,
)
from streams.margin.unit_risk import ChargeRates

#: Names of the volatility shocks of scenarios, by their number.
SHOCKS = ("same", "up", "down", "linear_skew", "absolute_skew")
_SHOCK_NUMBERS = dict(zip(SHOCKS, (SAME, UP, DOWN, LINEAR_SKEW, ABSOLUTE_SKEW), strict=True))
#: Initial margin is core risk and add-ons, maintenance margin 0.8 of core risk and add-ons.
COMMON = ChargeRates(
    initial_factor=1.0,
    maintenance_factor=0.8,
    factor_on_charges=False,
    basis_floors=False,
    delta_floors=False,
    calendar=0.0,
    naked_initial=0.0,
    naked_maintenance=0.0,
    delta_net=0.0,
    delta_hedged=0.0,
    unsure_below=0.0,
    unsure=0.0,
    impact=0.0,
)
_MINUTE_MS = 60_000
_MINUTES_A_YEAR = 365 * 24 * 60


class UnitRules(NamedTuple):
    """Rules of one unit that its rows are written by; fractions of notional are `spread` and `minimum`."""

    shock: VolatilityShock
    skew: SkewShock
    expiries: ExpiryRules
    spread: float
    minimum: float
    daily_volatility: float
    daily_volume: float


class RiskMarket(NamedTuple):
    """What rows are valued at; nan where not known.

    `volatility`, `forward` and `discount` are of options, by instrument; `marks` by instrument, `prices` by asset,
    `index_price` of the underlying by unit; `time` is epoch ms.
    """

    marks: F64
    prices: F64
    volatility: F64
    forward: F64
    discount: F64
    index_price: F64
    time: int


class RiskView(NamedTuple):
    """What a book's view needs beside marks and prices: the model, and what only portfolio margin reads.

    Fields are those of `RiskMarket`; `widening` is by asset what haircuts widen by, `tails` is of the market's past.
    """

    model: RiskModel
    volatility: F64
    forward: F64
    discount: F64
    index_price: F64
    time: int
    widening: F64
    tails: Tails


class Rows(NamedTuple):
    """What the rows of a market are, what holding them is charged, and how many years there are to their expiry, which
    settling at a mean does not shorten."""

    of: Instruments
    index_price: F64
    holding: Holding
    years: F64


@dataclass(frozen=True, kw_only=True)
class RiskModel:
    """Parameters
    ----------
    symbols : underlying of each unit, ascending
    rules : of each unit
    unit, kind, right, strike, multiplier, coin_settled, expires, settlement : by row; `unit` -1 where the instrument
        belongs to none, `expires` epoch ms, inf where never, `settlement` the asset it pays in (of a coin itself)
    window : by row, ms before expiry over whose mean it settles; 0: at one price
    expiry, line : by row, see `streams.margin.risk_table.RiskTable`
    coin : by asset, its row; -1 where it is no unit's coin
    by_legs : by unit, whether books are closed leg by leg
    """

    symbols: Sequence[str]
    units: RiskUnits
    rules: Sequence[UnitRules]
    correlations: Correlations
    unit: I32
    kind: I32
    right: F64
    strike: F64
    multiplier: F64
    coin_settled: Any
    expires: F64
    settlement: I32
    window: F64
    expiry: I32
    line: I32
    coin: I32
    by_legs: Any

    def rows(self, market: RiskMarket) -> Rows:
        """All rows at a market."""
        n = len(market.marks)
        known = np.maximum(self.unit, 0)
        option = self.kind == OPTION
        no_option = np.full(len(self.symbols), np.nan)

        def column(values: F64) -> F64:
            return np.concatenate([values, no_option])

        coins = np.full(len(self.symbols), np.nan)
        for asset in np.nonzero(self.coin >= 0)[0]:
            coins[self.coin[asset] - n] = market.prices[asset]
        paid_in = np.where(self.settlement >= 0, market.prices[np.maximum(self.settlement, 0)], np.nan)
        index_price = np.where(self.unit >= 0, market.index_price[known], np.nan)
        index_price[n:] = coins
        price = np.where(option, column(market.forward), np.concatenate([market.marks, coins]))
        fixed, years = self._settling(price, index_price, column(market.volatility), market.time)
        of = Instruments(
            kind=self.kind,
            coin_settled=self.coin_settled,
            price=price - fixed,
            fixed=fixed,
            right=self.right,
            strike=self.strike,
            years=years,
            volatility=np.where(option, column(market.volatility), 0.0),
            discount=np.where(option, column(market.discount), 1.0),
            multiplier=self.multiplier,
            settlement_price=np.where(self.kind == ASSET, 1.0, paid_in),
        )
        minimum, spread = (
            np.array([getattr(rules, name) for rules in self.rules])[known] for name in ("minimum", "spread")
        )
        nothing = np.zeros(len(self.kind))
        holding = Holding(minimum * self.multiplier * index_price, nothing, nothing, spread)
        return Rows(of, index_price, holding, self.years(market.time))

    def years(self, time: int) -> F64:
        """Years of 365 days to each row's expiry, in whole minutes so that time alone seldom changes a row; >= 0."""
        minutes = np.floor((self.expires - time) / _MINUTE_MS)
        years: F64 = np.maximum(minutes, 0.0) / _MINUTES_A_YEAR
        return years

    def _settling(self, forward: F64, index_price: F64, volatility: F64, time: int) -> tuple[F64, F64]:
        """The part of each row's forward that is settled and moves no more, and the years that its rest moves for.

        Of an option that settles at the mean of a window the rest is the part of the window to come, at the index, in
        whole minutes begun; `years` as `streams.margin.black76.settlement_forward` has them. One that has expired
        without a settlement price (at a volatility of 0) moves whole.
        """
        fixed, years = np.zeros(len(self.kind)), self.years(time)
        own = self.window > 0.0
        if not own.any():
            return fixed, years
        minutes = np.maximum(np.ceil((self.expires - time) / _MINUTE_MS), 0.0)
        rest = np.minimum(minutes[own] * _MINUTE_MS / self.window[own], 1.0)
        rest[(rest == 0.0) & (volatility[own] != 0.0)] = 1.0
        moving = np.where(rest < 1.0, np.minimum(rest * index_price[own], forward[own]), forward[own])
        fixed[own] = forward[own] - moving
        length = self.window[own] / (_MINUTE_MS * _MINUTES_A_YEAR)
        share = moving / forward[own]
        inside = rest * length / 3.0 * share * share
        years[own] = np.where(rest < 1.0, inside, np.maximum(years[own] - length * 2.0 / 3.0, length / 3.0))
        return fixed, years

    def table(self, rows: Rows, which: I32, *, curves: bool) -> RiskTable:
        """Risk table in which the rows `which` are written, all others unknown; `curves`: with profit curves."""
        columns = self.kind, self.unit, self.expiry, self.line
        table = empty_table(*columns, grid_of_unit(self.units, 0), curves=curves)
        table.amounts[:, MARK] = np.nan
        for unit, rules in enumerate(self.rules):
            table.by_unit[unit, DAILY_VOLATILITY] = rules.daily_volatility
            table.by_unit[unit, DAILY_VOLUME] = rules.daily_volume
        self.write(table, rows, which)
        return table

    def write(self, table: RiskTable, rows: Rows, which: I32) -> None:
        """Write the rows `which` of a table anew."""
        for unit, rules in enumerate(self.rules):
            own = which[self.unit[which] == unit]
            if not own.size:
                continue
            self._write_expiries(table, rows, rules.expiries, own)
            written = grid_of_unit(self.units, unit), rules.shock, rules.skew
            write_rows(table, own, rows.of, rows.index_price, rows.holding, *written)

    def _write_expiries(self, table: RiskTable, rows: Rows, rules: ExpiryRules, own: I32) -> None:
        """Discounts and basis rates of the expiries of these rows, which are as far away for all rows of each.

        The discount of an expiry is that of its first option, of all rows, that has one (else 1): it must depend
        neither on which rows are written nor on an option that has no mark yet.
        """
        known = np.nonzero((self.kind == OPTION) & ~np.isnan(rows.of.discount))[0]
        told, first = np.unique(self.expiry[known], return_index=True)
        discount = np.ones(len(table.by_expiry))
        discount[told] = rows.of.discount[known[first]]
        expiries, first = np.unique(self.expiry[own], return_index=True)
        years = rows.years[own[first]]
        dated = (years > 0.0) & (years < np.inf)
        rate = np.zeros(len(expiries))
        rate[dated] = [-log(found) for found in discount[expiries[dated]].tolist()] / years[dated]
        factors = expiry_factors(rules, years, rate, discount[expiries])
        table.by_expiry[expiries] = np.transpose(factors)


def risk_model(terms: TermsTable) -> RiskModel | None:
    """The portfolio model that the terms state; None where they state no unit."""
    records = {r["underlying"]: r for r in terms.records.values() if r["kind"] == "risk_unit" and not r["closed"]}
    if not records:
        return None
    symbols = sorted(records)
    ordered = [records[symbol] for symbol in symbols]
    number = {symbol: at for at, symbol in enumerate(symbols)}
    instruments = [terms.records[identity] for identity in terms.instruments]
    coins = [-1] * len(terms.assets)
    asset_of = [-1] * len(symbols)
    for asset, identity in enumerate(terms.assets):
        if identity in number:
            coins[asset], asset_of[number[identity]] = len(instruments) + number[identity], asset
    unit = np.array([*(number.get(i["underlying"], -1) for i in instruments), *range(len(symbols))], dtype=np.int32)
    expires = [np.inf if i.get("expiry") is None else float(i["expiry"]) for i in instruments] + [np.inf] * len(symbols)
    strike = [float(i.get("strike") or 0.0) for i in instruments] + [0.0] * len(symbols)
    never = np.where(np.isinf(expires), -np.inf, expires)
    expiry, line = lines_of(unit, never, np.array(strike))
    return RiskModel(
        symbols=symbols,
        units=risk_units(
            [_grid(r) for r in ordered],
            [_rates(r) for r in ordered],
            COMMON,
            [float(r.get("liquidity_horizon", 1)) for r in ordered],
        ),
        rules=[_unit_rules(r) for r in ordered],
        correlations=_correlations(symbols, ordered, terms.records.values()),
        unit=unit,
        kind=np.array([*map(_kind, instruments), *([ASSET] * len(symbols))], dtype=np.int32),
        right=np.array([*map(_right, instruments), *([0.0] * len(symbols))]),
        strike=np.array(strike),
        multiplier=np.array([*(float(i["multiplier"]) for i in instruments), *([1.0] * len(symbols))]),
        coin_settled=np.array([*map(_coin_settled, instruments), *([False] * len(symbols))], dtype=np.bool_),
        expires=np.array(expires),
        settlement=np.array([*(terms.asset_index[i["settlement"]] for i in instruments), *asset_of], dtype=np.int32),
        window=np.array([*(float(i.get("settlement_window_ms", 0)) for i in instruments), *([0.0] * len(symbols))]),
        expiry=expiry,
        line=line,
        coin=np.array(coins, dtype=np.int32),
        by_legs=np.array([r.get("liquidation") == "legs" for r in ordered], dtype=np.bool_),
    )


def _kind(record: Mapping[str, Any]) -> int:
    return OPTION if record["type"] == "option" else FUTURE


def _right(record: Mapping[str, Any]) -> float:
    return {"call": 1.0, "put": -1.0}.get(record.get("option_type") or "", 0.0)


def _coin_settled(record: Mapping[str, Any]) -> bool:
    if record["type"] == "option":
        return bool(record["settlement"] == record["underlying"])
    return str(record["type"]).startswith("inverse")


def _grid(record: Mapping[str, Any]) -> Grid:
    basis = float(record["basis_move"])
    if record["scenarios"]:
        rows = [(float(r["move"]), _SHOCK_NUMBERS[r["volatility"]], float(r["dampening"])) for r in record["scenarios"]]
        return grid_of(rows, basis_up=basis, basis_down=-basis)
    return grid(
        price_range=float(record["price_range"]),
        steps=int(record["steps"]),
        tails=[float(tail) for tail in record["tails"]],
        skew=record["skew"],
        basis_move=basis,
    )


def _rates(record: Mapping[str, Any]) -> ChargeRates:
    naked = float(record["naked"])
    return COMMON._replace(
        calendar=float(record["calendar"]),
        naked_initial=naked,
        naked_maintenance=naked,
        delta_net=float(record["delta_net"]),
        delta_hedged=float(record["delta_hedged"]),
        impact=float(record["impact"]),
    )


def _unit_rules(record: Mapping[str, Any]) -> UnitRules:
    volatility, smile, expiries = record["volatility"], record["smile"], record["expiries"]
    shock = ("up", "down", "short_power", "long_power", "days_least", "least")
    volume = record["daily_volume"]
    return UnitRules(
        shock=VolatilityShock(*(float(volatility[name]) for name in shock)),
        skew=SkewShock(*(float(smile[name]) for name in SkewShock._fields)),
        expiries=ExpiryRules(*(float(expiries[name]) for name in ExpiryRules._fields)),
        spread=float(record["spread"]),
        minimum=float(record["minimum"]),
        daily_volatility=float(record["daily_volatility"]),
        daily_volume=np.inf if volume is None else float(volume),
    )


def _correlations(symbols: Sequence[str], units: Sequence[Mapping[str, Any]], records: Any) -> Correlations:
    """Of units whose group is published; all others are added up."""
    groups = {r["group"]: r for r in records if r["kind"] == "correlations" and not r["closed"]}
    names = sorted(groups)
    group = [names.index(unit["group"]) if unit["group"] in groups else -1 for unit in units]
    low, high = np.eye(len(symbols)), np.eye(len(symbols))
    for name in names:
        record = groups[name]
        members = [at for at, unit in enumerate(units) if unit["group"] == name]
        pairs = {tuple(pair["units"]): pair for pair in record["pairs"]}
        for a in members:
            for b in members:
                if a != b:
                    found = pairs.get((symbols[min(a, b)], symbols[max(a, b)]), record)
                    low[a, b], high[a, b] = float(found["low"]), float(found["high"])
    shares = [float(groups[name]["share"]) for name in names]
    return Correlations(np.array(group, dtype=np.int32), low, high, np.array(shares))
