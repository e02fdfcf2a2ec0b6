"""A fall of prices step by step through the engine itself, with the price impact of what it liquidates.

Each step is a marks block: the prices of the path, times the impact so far. The engine judges as it always does; its
orders are filled at the next marks (`Execution`), and what is closed moves the price of its underlying by
`impact` x notional, sold downwards. When the path is walked, steps go on until nothing is closed any more.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import orjson

from schemas.journal import PRICE_STATES, Block
from streams.engine import state
from streams.engine.decisions import Output
from streams.engine.judge import numbers_of
from streams.engine.shard import Shard
from streams.replay.execution import Execution
from streams.replay.fold import apply
from streams.replay.recording import Recorded
from streams.replay.stress.options import Options
from streams.replay.stress.scenarios import move_of

STEPS = 20
ROUNDS_MAX = 200


class _Base(NamedTuple):
    """Prices of one shard before the shock: by symbol, by instrument, and what marks of options are made of."""

    prices: dict[str, float]
    marks: dict[str, float]
    options: Options


@dataclass
class Fate:
    """One account: equity before and after in the reporting currency, and what happened to it.

    `fall` is the part of the path, 0 to 1, after which it was first liquidated; None where it was not.
    """

    before: float
    after: float = 0.0
    fall: float | None = None
    called: bool = False
    bankrupt: bool = False
    shortfall: Decimal = Decimal(0)

    @property
    def loss(self) -> float:
        """Capital lost, >= 0; what is lost past zero equity is the shortfall."""
        return max(0.0, max(self.before, 0.0) - max(self.after, 0.0))


@dataclass
class Stressed:
    """What a shock did.

    Parameters
    ----------
    impacts : symbol -> factor that liquidations put on its price, 1 none
    closed : symbol -> notional closed, reporting currency
    rounds : steps after the path until nothing was closed any more
    """

    fates: dict[str, Fate]
    impacts: dict[str, float] = field(default_factory=dict)
    closed: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    rounds: int = 0


def stress(shards: Sequence[Shard], moves: Mapping[str, float], *, impact: float, slippage: Decimal) -> Stressed:
    """Walk prices down (or up) from where they stand; the shards given stay as they are.

    Parameters
    ----------
    moves : see `scenarios.move_of`
    impact : relative price move per unit of notional closed, reporting currency, >= 0
    slippage : of the fills, fraction of the mark
    """
    copies = [state.restore(shard.partition, state.records(shard)) for shard in shards]
    executions = [Execution(slippage) for _ in copies]
    bases = {
        shard.partition: _Base(dict(shard.prices.index), dict(shard.prices.mark), Options.of(shard)) for shard in copies
    }
    symbols = sorted({symbol for base in bases.values() for symbol in base.prices})
    found = Stressed({name: Fate(equity) for shard in copies for name, equity in equities(shard).items()})
    logs = dict.fromkeys(symbols, 0.0)
    for step in range(1, STEPS + ROUNDS_MAX + 1):
        part = min(1.0, step / STEPS)
        factors = {name: _path(move_of(name, moves), part) * math.exp(logs[name]) for name in symbols}
        sold: defaultdict[str, float] = defaultdict(float)
        for shard, execution in zip(copies, executions, strict=True):
            _hear(found, execution, _apply(shard, _marks(shard, bases[shard.partition], factors)), part)
            for block in execution.blocks(shard):
                for symbol, notional in _bought(shard, block).items():
                    sold[symbol] -= notional
                    found.closed[symbol] += abs(notional)
                _hear(found, execution, _apply(shard, block), part)
        for symbol, notional in sold.items():
            logs[symbol] -= impact * notional
        if step > STEPS:
            found.rounds += 1
            if not sold:
                break
    found.impacts = {symbol: math.exp(log) for symbol, log in logs.items() if log}
    for shard in copies:
        for name, equity in equities(shard).items():
            found.fates[name].after = equity
    return found


def equities(shard: Shard) -> dict[str, float]:
    """Equity of each account at the shard's marks, over all its books that are priced, reporting currency."""
    ledger = shard.ledger
    numbers = numbers_of(shard, np.arange(ledger.books, dtype=np.int64))
    sums = np.zeros(len(ledger.accounts))
    np.add.at(sums, ledger.book_account[: ledger.books], np.nan_to_num(numbers.equity))
    return dict(zip(ledger.accounts, sums.tolist(), strict=True))


def _path(move: float, part: float) -> float:
    """The price after a part of the way, as a factor; equal parts are equal ratios."""
    return float((1.0 + move) ** part)


def _marks(shard: Shard, base: _Base, factors: Mapping[str, float]) -> Block:
    """A marks block of all symbols and instruments, one liquidation time-out of shard time after the last one.

    All prices are trusted; haircuts stay as wide as they are, and rules those of the state.
    """
    terms, time_ms = shard.terms, shard.prices.time + shard.terms.rules.liquidation_timeout_ms
    symbols, instruments = sorted(base.prices), sorted(base.marks)
    underlying = [str(terms.records[name]["underlying"]) for name in instruments]
    own, made_of = base.options.moved(factors, time_ms)
    marks = [
        own.get(name, base.marks[name] * factors[symbol]) for name, symbol in zip(instruments, underlying, strict=True)
    ]
    later = {
        f"instrument_{what}": np.array([told.get(name, np.nan) for name in instruments])
        for what, told in made_of.items()
        if own
    }
    return Block(
        kind="marks",
        names={"symbols": symbols, "instruments": instruments},
        columns={
            **later,
            "symbol": np.arange(len(symbols)),
            "index": np.array([base.prices[name] * factors[name] for name in symbols]),
            "confidence": np.zeros(len(symbols)),
            "check": np.full(len(symbols), np.nan),
            "symbol_state": np.full(len(symbols), PRICE_STATES.index("ok")),
            "quote_time": np.full(len(symbols), time_ms),
            "instrument": np.arange(len(instruments)),
            "mark": np.array(marks),
            "mark_state": np.full(len(instruments), PRICE_STATES.index("ok")),
            "widening": np.array([shard.prices.widening.get(name, 0.0) for name in symbols]),
        },
        rules_version=shard.prices.rules_version,
        extra={"time": time_ms, "oracle": {"partition": 0, "of": 1, "mode": "live"}},
    )


def _apply(shard: Shard, block: Block) -> list[Output]:
    return apply(shard, Recorded(shard.next_offset, 0, None, block.encode()), "stress").folded.decisions


def _hear(found: Stressed, execution: Execution, outputs: Sequence[Output], part: float) -> None:
    execution.hear(list(outputs))
    for sent in outputs:
        event = orjson.loads(sent.value)
        fate = found.fates[event["account"]]
        fate.called |= event["kind"] == "called"
        if event["kind"] in ("liquidation", "bankrupt") and fate.fall is None:
            fate.fall = part
        if event["kind"] == "bankrupt":
            fate.bankrupt = True
            fate.shortfall += Decimal(event["shortfall"])


def _bought(shard: Shard, block: Block) -> dict[str, float]:
    """Notional that the fills of a block bought (sold: negative), by underlying, reporting currency."""
    sums: defaultdict[str, float] = defaultdict(float)
    if block.kind == "fills":
        for at, instrument in enumerate(block.columns["instrument"]):
            name = block.names["instruments"][instrument]
            index = shard.terms.instrument_index[name]
            record = shard.terms.records[name]
            mark = float(shard.prices.marks[index])
            quantity = int(block.columns["lots"][at]) / 10 ** record["quantity_precision"] * float(record["multiplier"])
            price = shard.prices.index.get(record["settlement"], 1.0)
            sums[record["underlying"]] += quantity * (1.0 if record["type"].startswith("inverse") else mark * price)
    return sums
