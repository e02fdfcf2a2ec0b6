"""Books for tests of portfolio margin: rows of legs become the columns that the kernels read."""

from typing import NamedTuple

import numpy as np

from streams.margin.offsets import Correlations
from streams.margin.portfolio import PortfolioRisk, portfolio_risk, room_for
from streams.margin.risk_table import (
    CONFIDENCE,
    DAILY_VOLATILITY,
    DAILY_VOLUME,
    INDEX_CONFIDENCE,
    MARK,
    ExpiryRules,
    Holding,
    RiskTable,
    empty_table,
    expiry_factors,
    lines_of,
    sorted_by_line,
    write_rows,
)
from streams.margin.risk_units import RiskUnits, risk_units
from streams.margin.scenarios import FUTURE, OPTION, Grid, Instruments, SkewShock, VolatilityShock
from streams.margin.unit_risk import ChargeRates, UnitRisk, unit_risk, worst_scenario

NO_SHOCK = VolatilityShock(0.0, 0.0, 0.3, 0.13, 1.0, 0.0)
NO_SKEW = SkewShock(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
#: Core risk alone: no factor, no add-on.
BARE = ChargeRates(
    initial_factor=1.0,
    maintenance_factor=1.0,
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
PLAIN = ExpiryRules(basis_add=0.0, basis_multiply=0.0)


class Leg(NamedTuple):
    """A position; `years` inf never expires, `price` is the forward of an option."""

    kind: int
    quantity: float
    price: float
    strike: float = 0.0
    right: float = 0.0
    years: float = np.inf
    volatility: float = 0.0
    fixed: float = 0.0
    discount: float = 1.0
    rate: float = 0.0
    coin_settled: bool = False
    settlement_price: float = 1.0
    confidence: float = 1.0
    initial: float = 0.0
    maintenance: float = 0.0
    minimum: float = 0.0
    spread: float = 0.0
    unit: int = 0
    index_price: float = 0.0


def call(quantity: float, strike: float, years: float, volatility: float, price: float, **more: float) -> Leg:
    return Leg(OPTION, quantity, price, strike, 1.0, years, volatility, **more)


def put(quantity: float, strike: float, years: float, volatility: float, price: float, **more: float) -> Leg:
    return Leg(OPTION, quantity, price, strike, -1.0, years, volatility, **more)


def perpetual(quantity: float, price: float, **more: float) -> Leg:
    return Leg(FUTURE, quantity, price, **more)


class Measured(NamedTuple):
    """Risk of a book, and of its first unit with P&L by scenario and the worst; `value` of its options and coins."""

    account: PortfolioRisk
    unit: UnitRisk
    gains: np.ndarray
    value: float
    worst: int
    table: RiskTable
    held: np.ndarray
    quantity: np.ndarray


def apart(units: int) -> Correlations:
    """No unit offsets another."""
    return Correlations(np.full(units, -1, np.int32), np.eye(units), np.eye(units), np.zeros(1))


def alike(grid: Grid, rates: ChargeRates, units: int) -> RiskUnits:
    """Units of the same rules."""
    return risk_units([grid] * units, [rates] * units, rates, [1.0] * units)


def instruments_of(legs: list[Leg]) -> Instruments:
    def column(name: str) -> np.ndarray:
        return np.array([getattr(leg, name) for leg in legs], dtype=float)

    return Instruments(
        kind=np.array([leg.kind for leg in legs], np.int32),
        coin_settled=np.array([leg.coin_settled for leg in legs], np.bool_),
        price=column("price"),
        fixed=column("fixed"),
        right=column("right"),
        strike=column("strike"),
        years=column("years"),
        volatility=column("volatility"),
        discount=column("discount"),
        multiplier=np.ones(len(legs)),
        settlement_price=column("settlement_price"),
    )


def table_of(legs: list[Leg], grid: Grid, shock: VolatilityShock, skew: SkewShock, expiries: ExpiryRules) -> RiskTable:
    def column(name: str) -> np.ndarray:
        return np.array([getattr(leg, name) for leg in legs], dtype=float)

    unit = np.array([leg.unit for leg in legs], np.int32)
    years, strike = column("years"), column("strike")
    expiry, line = lines_of(unit, np.where(np.isinf(years), -1.0, years), strike)
    of = instruments_of(legs)
    table = empty_table(of.kind, unit, expiry, line, grid)
    first = np.unique(expiry, return_index=True)[1]
    factors = expiry_factors(expiries, years[first], column("rate")[first], of.discount[first])
    table.by_expiry[:] = np.transpose(factors)
    table.amounts[:, CONFIDENCE] = column("confidence")
    holding = Holding(column("minimum"), column("initial"), column("maintenance"), column("spread"))
    index_price = np.where(column("index_price") > 0.0, column("index_price"), of.price)
    which = np.arange(len(legs), dtype=np.int32)
    write_rows(table, which, of, index_price, holding, grid, shock, skew)
    return table


def measured(
    legs: list[Leg],
    grid: Grid,
    rates: ChargeRates = BARE,
    *,
    shock: VolatilityShock = NO_SHOCK,
    skew: SkewShock = NO_SKEW,
    expiries: ExpiryRules = PLAIN,
    correlations: Correlations | None = None,
    value_at_risk: float = 0.0,
    index_confidence: float = 1.0,
    daily_volatility: float = 0.0,
    daily_volume: float = np.inf,
) -> Measured:
    """Risk of an account that holds the legs."""
    table = table_of(legs, grid, shock, skew, expiries)
    table.by_unit[:, INDEX_CONFIDENCE] = index_confidence
    table.by_unit[:, DAILY_VOLATILITY] = daily_volatility
    table.by_unit[:, DAILY_VOLUME] = daily_volume
    held = sorted_by_line(table.line, np.arange(len(legs), dtype=np.int32)).astype(np.int32)
    quantity = np.array([leg.quantity for leg in legs], dtype=float)[held]
    units = alike(grid, rates, max(len(table.by_unit), 1))
    room = room_for(units)
    apart_or = correlations or apart(len(table.by_unit))
    account = portfolio_risk(table, units, apart_or, held, quantity, value_at_risk, room)
    own = table.unit[held] == 0
    unit = unit_risk(table, grid, rates, 0, held[own], quantity[own], room.columns)
    gains = room.columns[0, : len(grid.move)].copy()
    value = float(
        sum(q * table.amounts[i, MARK] for i, q in zip(held, quantity, strict=True) if table.kind[i] != FUTURE)
    )
    return Measured(account, unit, gains, value, worst_scenario(gains), table, held, quantity)
