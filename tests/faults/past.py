"""The market's past in the journals: told to every shard alike, as a schedule that nobody killed would have told it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from faults.evidence import Evidence
from faults.rows import Blocks

from schemas.journal import PRICE_STATES, Block
from streams.agents.risk_schedule import RiskSchedule
from streams.demo.venue import Message
from streams.engine.risk_factors import Factors, followed
from streams.ingest.terms import Terms
from streams.margin.risk_parameters import refreshed

PERIOD_MS, WINDOW = 60_000, 100
#: A minute's volatility, and the horizon: value at risk is about what the grid loses, so that either may bind.
VOLATILITY, HORIZON_MS = 0.007, 60 * PERIOD_MS
TOLD = "blocks of the market's past"
DEGRADED = PRICE_STATES.index("degraded")


def past_of(coin: str, price: float, time_ms: int) -> list[Message]:
    """What makes values at risk, of the moment a unit is published: how, and the unit's closes until then."""
    rng = random.Random(coin)
    closes = [price]
    for _ in range(WINDOW):
        closes.append(closes[-1] * (1.0 + rng.gauss(0.0, VOLATILITY)))
    risk = {"id": "~risk", "kind": "risk", "period_ms": PERIOD_MS, "horizon_ms": HORIZON_MS, "window": WINDOW}
    loaded = {"id": f"~closes:{coin}", "kind": "closes", "period_ms": PERIOD_MS, "period": time_ms // PERIOD_MS - 1}
    records: list[dict[str, Any]] = [risk, {**loaded, "closes": [repr(close) for close in closes]}]
    return [Message("instruments", record["id"], record) for record in records]


def past_problems(evidence: Evidence, blocks: Blocks, compared: Counter[str]) -> Iterator[str]:
    """Every shard must have the same blocks, whose numbers follow from their returns; those of prices that are quoted
    where the schedule is must be what a calm one makes of the marks before. When it hears of others is chance."""
    told = {
        shard: [block.encode() for _, block in listed if block.kind == "risk_parameters"]
        for shard, listed in blocks.items()
    }
    first = min(blocks)
    compared[TOLD] += len(told[first])
    for shard, found in told.items():
        if found != told[first]:
            yield f"journal[{shard}] must have {len(told[first])} blocks of the past, has {len(found)} or others"
    terms = Terms(evidence.settings.message_bytes_max)
    terms.read((record.offset, record.key, record.value) for record in evidence.records["instruments"][0])
    calm = RiskSchedule()
    calm.learn(terms.risk_history(), terms.risk_units(), terms.closes_of)
    near = {(record.key or b"").decode() for record in evidence.records["oracle-prices"][0]}
    wanted: Factors | None = None
    knows: Factors | None = None
    for offset, block in blocks[first]:
        oracle = block.extra.get("oracle")
        if oracle is not None and (oracle["partition"], oracle["mode"]) == (0, "live"):
            made = calm.take(block.extra["time"], _trusted(block))
            wanted = wanted if made is None else followed(wanted, Block.decode(made.encode()))
        elif block.kind == "risk_parameters":
            before, knows = knows, followed(knows, block)
            if knows is None or wanted is None or not _same(knows, wanted, near):
                yield f"journal[{first}] at {offset} must tell the past up to {_shown(wanted)}, tells {_shown(knows)}"
            elif not _follows(before, knows):
                yield f"journal[{first}] at {offset} must tell what follows from the returns, tells other numbers"


def _same(one: Factors, other: Factors, near: Collection[str]) -> bool:
    """Whether both are of the same periods, units and rules, and have the same returns of the units that are `near`."""
    same = (one.units, one.next_period, one.rules) == (other.units, other.next_period, other.rules)
    own = [at for at, unit in enumerate(one.units) if unit in near]
    return same and np.array_equal(one.returns[:, own], other.returns[:, own])


def _follows(before: Factors | None, now: Factors) -> bool:
    """Whether volatilities, buffers and correlations are made of the returns, and periods told stay as they were."""
    margined = np.full(len(now.units), np.inf)
    if before is not None:
        passed = now.next_period - before.next_period
        if not np.array_equal(before.returns[passed:], now.returns[: len(now.returns) - passed]):
            return False
        margined = before.parameters.margined
    made = refreshed(now.returns, margined, now.rules)
    return all(np.array_equal(one, other) for one, other in zip(made, now.parameters, strict=True))


def _trusted(block: Block) -> dict[str, float]:
    columns = (block.columns[name].tolist() for name in ("index", "symbol_state"))
    rows = zip(block.names["symbols"], *columns, strict=True)
    return {symbol: index for symbol, index, state in rows if state <= DEGRADED}


def _shown(known: Factors | None) -> str:
    return "nothing" if known is None else f"{known.next_period} of {', '.join(known.units)}"
