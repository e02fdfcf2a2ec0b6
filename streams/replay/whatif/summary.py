"""What both sides came to, as one JSON document: totals, accounts that fared differently, and curves over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from streams.engine.valuation import STATUSES
from streams.replay.whatif.sides import CHANGED, KINDS, RECORDED, Pair, Sample, Side

Json = dict[str, Any]


def report(pairs: Sequence[Pair], sides: Mapping[str, Side], changes: Json, slippage: Decimal) -> Json:
    """The document.

    Amounts are in the reporting currency: curves as numbers, shortfalls as exact decimal text. Times are epoch ms of
    shard time. `accounts` lists those whose calls, liquidations or bankruptcy differ.
    """
    times = sorted({time_ms for pair in pairs for time_ms in pair.prices})
    return {
        "changes": changes,
        "execution": {"rule": "whole at their marks, less slippage, within the limit", "slippage": str(slippage)},
        "sides": {name: _side(side, times, [pair.partition for pair in pairs]) for name, side in sides.items()},
        "times": times,
        "prices": _prices(pairs, times),
        "accounts": _accounts(sides),
    }


def _side(side: Side, times: Sequence[int], partitions: Sequence[int]) -> Json:
    curves = [
        _sum([side.samples[time, number] for number in partitions if (time, number) in side.samples]) for time in times
    ]
    events = sorted(side.events)
    return {
        "called": side.counts["called"],
        "liquidated": side.counts["liquidation"],
        "steps": side.counts["liquidation"] + side.counts["step"],
        "bankrupt": side.counts["bankrupt"],
        "shortfall": str(side.shortfall),
        "accounts": {kind: sum(kind in fate.first for fate in side.fates.values()) for kind in KINDS},
        "equity": [sample.equity for sample in curves],
        "initial_margin": [sample.initial_margin for sample in curves],
        "maintenance_margin": [sample.maintenance_margin for sample in curves],
        "statuses": {name: [sample.statuses[at] for sample in curves] for at, name in enumerate(STATUSES)},
        "shortfalls": [[time, str(amount)] for time, amount in sorted(side.shortfalls)],
        "events": {kind: [time for time, found in events if found == kind] for kind in KINDS},
    }


def _sum(samples: Sequence[Sample]) -> Sample:
    return Sample(
        sum(sample.equity for sample in samples),
        sum(sample.initial_margin for sample in samples),
        sum(sample.maintenance_margin for sample in samples),
        tuple(sum(counts) for counts in zip(*(sample.statuses for sample in samples), strict=True)),
    )


def _prices(pairs: Sequence[Pair], times: Sequence[int]) -> dict[str, list[float | None]]:
    at: dict[int, dict[str, float]] = {}
    for pair in pairs:
        at.update(pair.prices)
    symbols = sorted({symbol for prices in at.values() for symbol in prices})
    return {symbol: [at[time].get(symbol) for time in times] for symbol in symbols}


def _accounts(sides: Mapping[str, Side]) -> list[Json]:
    rows = []
    for account in sorted({name for side in sides.values() for name in side.fates}):
        fates = {name: side.fates[account] for name, side in sides.items() if account in side.fates}
        told = {
            name: {**{kind: fate.first.get(kind) for kind in KINDS}, "shortfall": str(fate.shortfall)}
            for name, fate in fates.items()
        }
        if told.get(RECORDED) != told.get(CHANGED):
            rows.append({"account": account, RECORDED: told.get(RECORDED), CHANGED: told.get(CHANGED)})
    return rows
