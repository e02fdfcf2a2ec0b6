"""Compile the backtest's kernel; instant once the compiled code is cached."""

import numpy as np

from streams.backtest.walk import Rules, required
from streams.margin.history import TailRules


def warm_up() -> int:
    """Run it once and return what came of it (so that the work cannot be skipped)."""
    price = np.array([[100.0], [101.0], [99.0], [102.0], [100.0]])
    found = required(np.ones(1), price, 1, Rules(TailRules(0.99, 0.975, 0.97, 1, 1.0, 0.5), 3, 0.25))
    return int(np.isfinite(found).sum())
