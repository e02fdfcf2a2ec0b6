"""A seeded market: correlated assets with fat tails, a crash in the middle and half a rebound. Pure.

Every asset follows one common path times its beta, plus its own noise (Student t, three degrees of freedom).
The same seed and size give the same bars, to the last bit.
"""

import math

import numpy as np
import numpy.typing as npt

from streams.replay.bars import MINUTE_MS, Bar, Bars

#: 10 October 2025, 21:00 UTC, epoch milliseconds.
START = 1_760_130_000_000
SOURCES = ("alpha", "beta", "gamma")
#: Start price, beta to the common path, and how far the low of its crash wick prints under the path.
ASSETS: dict[str, tuple[float, float, float]] = {
    "ADA": (0.82, 1.45, 0.06),
    "BNB": (1260.0, 1.05, 0.02),
    "BTC": (121_500.0, 0.85, 0.01),
    "DOGE": (0.249, 1.50, 0.10),
    "ETH": (4_350.0, 1.10, 0.02),
    "LTC": (131.0, 1.30, 0.04),
    "SOL": (221.0, 1.35, 0.06),
    "XRP": (2.82, 1.25, 0.05),
}
#: Start price and how far below it the crash takes a coin that should be worth one dollar.
STABLES: dict[str, tuple[float, float]] = {"USDC": (1.0, 0.0008), "USDT": (1.0, 0.004)}

#: The common path, as (part of the run, log price): calm, crash, lowest point, half of it back, calm.
SHAPE = ((0.0, 0.0), (0.30, -0.02), (0.43, -0.15), (0.55, -0.42), (0.64, -0.26), (0.78, -0.22), (1.0, -0.24))
TICKS = 12  # moves inside a bar
SPREAD = 0.0002  # how far sources disagree, standard deviation as a fraction of the price


def market(seed: int, count: int = 30, length_ms: int = MINUTE_MS) -> Bars:
    """`count` bars of each asset at each source, from 10 October 2025 21:00 UTC on."""
    rng = np.random.default_rng(seed)
    total = count * TICKS + 1
    progress = np.linspace(0.0, 1.0, total)
    shape = np.interp(progress, [part for part, _ in SHAPE], [level for _, level in SHAPE])
    common = shape + np.cumsum(_moves(rng, total, 0.0006))
    bottom = int(np.argmin(common)) // TICKS
    bars = []
    for asset, (price, beta, wick) in ASSETS.items():
        path = price * np.exp(beta * common + np.cumsum(_moves(rng, total, 0.0005)))
        bars += _bars(rng, asset, path, bottom, wick, count, length_ms)
    for asset, (price, dip) in STABLES.items():
        path = price + dip * shape / abs(min(level for _, level in SHAPE)) + rng.normal(0.0, 0.0001, total)
        bars += _bars(rng, asset, path, bottom, 0.0, count, length_ms)
    return Bars(length_ms=length_ms, bars=sorted(bars))


def _moves(rng: np.random.Generator, total: int, deviation: float) -> npt.NDArray[np.float64]:
    """Log returns of Student t with three degrees of freedom, scaled to the given standard deviation."""
    return rng.standard_t(3, total) * (deviation / math.sqrt(3.0))


def _bars(
    rng: np.random.Generator,
    asset: str,
    path: npt.NDArray[np.float64],
    bottom: int,
    wick: float,
    count: int,
    length_ms: int,
) -> list[Bar]:
    """The path cut into bars, once per source, the bar `bottom` with a wick below its low."""
    bars = []
    for source in SOURCES:
        seen = path * (1.0 + rng.normal(0.0, SPREAD, len(path)))
        for at in range(count):
            part = seen[at * TICKS : (at + 1) * TICKS + 1]
            low = part.min() * (1.0 - wick if at == bottom else 1.0)
            values = (part[0], part.max(), low, part[-1])
            prices = [float(f"{value:.7g}") for value in values]
            bars.append(Bar(START + at * length_ms, asset, source, *prices))
    return bars
