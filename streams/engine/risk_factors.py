"""Risk parameters on the journal: how they are told, and what a shard knows after them.

A block brings the volatilities and correlations of now, and the returns that the shard lacks: all of the window where
the units or the rules are new, else those of the last period. What a shard knows is the same either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.journal import Block
from streams.engine.invariants import InvariantViolation
from streams.margin.history import TailRules
from streams.margin.parameters import F64
from streams.margin.portfolio_tail import Tails, tails
from streams.margin.risk_parameters import (
    RiskParameters,
    RiskRules,
    curve_value_at_risk,
    horizon_scale,
    linear_value_at_risk,
    margined_moves,
)

#: Periods that start the volatility filter and are not used otherwise.
WARM_UP = 50
#: What a block's columns may take, so that it is one record of the journal and one of a changelog (1 MB) whole, with
#: its names and rules; and how many units may be told, however short the window.
COLUMN_BYTES_MAX, UNITS_MAX = 800_000, 100


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What an account's value at risk is made of.

    Parameters
    ----------
    next_period : the period after the newest return
    returns : shape (rules.window, n_units)
    moves : see `margined_moves`
    """

    units: tuple[str, ...]
    next_period: int
    rules: RiskRules
    parameters: RiskParameters
    returns: F64
    moves: F64

    def tails(self, symbols: Sequence[str]) -> Tails:
        """The same for the books of a model whose risk units are these, in order."""
        place = {unit: at for at, unit in enumerate(self.units)}
        column = np.array([place.get(symbol, -1) for symbol in symbols], dtype=np.int32)
        known = self.parameters
        return tails(column, self.returns, known.volatility, known.margined, self.moves, self.rules.tail)

    def linear(self, delta: F64) -> float:
        """Value at risk of a book without options; `delta` by unit, gain by a move of 1, reporting currency."""
        known, tail = self.parameters, self.rules.tail
        room = np.empty((3, len(self.returns) + 1))
        return linear_value_at_risk(delta, self.returns, known.volatility, known.margined, tail, room)

    def curved(self, curves: F64, first: float, step: float) -> float:
        """Value at risk of a book with options; `curves` by unit, gain at the moves first, first + step, .."""
        return curve_value_at_risk(curves, first, step, self.moves, self.rules.tail)


def units_most(window: int) -> int:
    """Of how many units a window can be told at once, with volatilities, correlations and all returns.

    >>> [units_most(window) for window in (100, 1000, 2000)]
    [100, 91, 48]
    """
    count = UNITS_MAX
    while 8 * count * (window + count + 1) > COLUMN_BYTES_MAX:
        count -= 1
    return count


def told(before: Factors | None, now: Factors, time_ms: int) -> Block:
    """The block that takes a shard from `before` to `now`; `before` None: from anything."""
    fresh = len(now.returns)
    if before is not None and (before.units, before.rules) == (now.units, now.rules):
        fresh = min(now.next_period - before.next_period, fresh)
    under = np.tril_indices(len(now.units), -1)
    known = now.parameters
    return Block(
        kind="risk_parameters",
        names={"units": list(now.units)},
        columns={
            "volatility": known.volatility,
            "margined": known.margined,
            "low": known.low[under],
            "high": known.high[under],
            "returns": now.returns[len(now.returns) - fresh :].ravel(),
        },
        extra={"first": now.next_period - fresh, "rules": _plain(now.rules), "time": time_ms},
    )


def followed(before: Factors | None, block: Block) -> Factors | None:
    """What a shard knows after a block; None where the block names no unit, which takes all back.

    Raises
    ------
    InvariantViolation
        where the block's columns do not fit its units, or it does not go on where the shard is.
    """
    if not block.names["units"]:
        return None
    units, columns, rules = tuple(block.names["units"]), block.columns, _rules(block.extra["rules"])
    count, pairs = len(units), len(units) * (len(units) - 1) // 2
    rows = len(columns["returns"]) // count
    lengths = [len(column) for column in columns.values()]
    if lengths != [count, count, pairs, pairs, rows * count]:
        raise InvariantViolation(f"risk parameters must have columns for {count} units, found lengths {lengths}")
    returns, first = columns["returns"].reshape(rows, count), int(block.extra["first"])
    if rows < rules.window:
        if before is None or (before.units, before.rules, before.next_period) != (units, rules, first):
            there = "nothing" if before is None else f"{len(before.units)} units up to {before.next_period}"
            raise InvariantViolation(
                f"risk parameters of {count} units from period {first} on must bring {rules.window} periods or go on "
                f"where the shard is, found {rows} after {there}"
            )
        returns = np.concatenate((before.returns[rows:], returns))
    parameters = RiskParameters(
        columns["volatility"].copy(),
        columns["margined"].copy(),
        _square(columns["low"], count),
        _square(columns["high"], count),
    )
    return factors(units, first + rows, rules, parameters, returns)


def taken_back(time_ms: int) -> Block:
    """The block after which a shard knows nothing, and nothing is at risk by the market's past."""
    columns = {name: np.zeros(0) for name in ("volatility", "margined", "low", "high", "returns")}
    return Block(kind="risk_parameters", names={"units": []}, columns=columns, extra={"time": time_ms})


def factors(
    units: tuple[str, ...], next_period: int, rules: RiskRules, parameters: RiskParameters, returns: F64
) -> Factors:
    """Factors with the moves that follow from them."""
    returns = np.array(returns, order="C")  # a block's columns are read-only, which the kernels take for another type
    moves = margined_moves(returns, parameters.margined, rules.tail)
    return Factors(
        units=units, next_period=next_period, rules=rules, parameters=parameters, returns=returns, moves=moves
    )


def rules_of(record: Mapping[str, Any]) -> RiskRules:
    """The rules that a record of kind `risk`, in normal form, states."""
    return RiskRules(
        TailRules(
            float(record["value_at_risk_level"]),
            float(record["shortfall_level"]),
            float(record["decay"]),
            WARM_UP,
            horizon_scale(record["horizon_ms"], record["period_ms"]),
            float(record["floor"]),
        ),
        record["window"],
        *(float(record[name]) for name in ("buffer", "shrink", "fall", "rise", "stress")),
    )


def _square(under: F64, count: int) -> F64:
    found = np.eye(count)
    row, column = np.tril_indices(count, -1)
    found[row, column] = found[column, row] = under
    return found


def _plain(rules: RiskRules) -> dict[str, object]:
    return rules._asdict() | {"tail": rules.tail._asdict()}


def _rules(plain: dict[str, Any]) -> RiskRules:
    return RiskRules(**plain | {"tail": TailRules(**plain["tail"])})
