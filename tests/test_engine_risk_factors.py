"""Risk parameters from returns to a journal block and back: to the bit, in any number of blocks."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from schemas.journal import Block
from streams.backtest.walk import REQUIREMENT, Rules, required
from streams.engine.invariants import InvariantViolation
from streams.engine.risk_factors import Factors, factors, followed, told
from streams.margin.history import TailRules, tail_requirement
from streams.margin.risk_parameters import RiskRules, horizon_scale, margined_moves, refreshed

RULES = RiskRules(TailRules(0.99, 0.975, 0.97, 10, 1.5, 0.5), window=40)
UNITS = ("BTC", "ETH", "SOL")


def market(seed: int = 1, periods: int = 60) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.exp(0.03 * draw.standard_t(4.0, (periods, len(UNITS)))) - 1.0


def schedule(returns: np.ndarray, rules: RiskRules = RULES) -> list[Factors]:
    """What the writer makes, period by period, of windows that end at each."""
    found, margined = [], np.full(len(UNITS), math.inf)
    for end in range(rules.window, len(returns) + 1):
        known = returns[end - rules.window : end]
        parameters = refreshed(known, margined, rules)
        margined = parameters.margined
        found.append(factors(UNITS, 1000 + end, rules, parameters, known))
    return found


def same(one: Factors, other: Factors) -> bool:
    """Equal to the bit, and of equal shapes."""
    arrays = [(part.returns, part.moves, *part.parameters) for part in (one, other)]
    plain = [(part.units, part.next_period, part.rules) for part in (one, other)]
    return plain[0] == plain[1] and all(a.tobytes() == b.tobytes() for a, b in zip(*arrays, strict=True))


def sent(block: Block) -> Block:
    return Block.decode(block.encode())


def test_a_shard_knows_what_the_writer_knew() -> None:
    """One whole window, then a row a period: after each block the shard has the writer's bits, however it began."""
    made = schedule(market())
    shard = followed(None, sent(told(None, made[0], 5)))
    assert same(shard, made[0])
    for before, now in pairwise(made):
        block = told(before, now, 6)
        assert len(block.columns["returns"]) == len(UNITS), "only the period that is new"
        shard = followed(shard, sent(block))
        assert same(shard, now)
    assert same(followed(None, sent(told(None, made[-1], 7))), shard), "or from the last whole one alone"
    late = followed(made[2], sent(told(made[2], made[7], 8)))
    assert same(late, made[7]), "five periods at once"
    delta = np.array([1000.0, -400.0, 50.0])
    assert late.linear(delta) == made[7].linear(delta) > 0.0


def test_a_new_unit_or_rule_brings_the_whole_window() -> None:
    """Rows of other units cannot go on from the old ones."""
    made = schedule(market())
    other = replace(made[1], units=("BTC", "ETH", "XRP"))
    assert len(told(made[0], other, 5).columns["returns"]) == 40 * 3
    ruled = replace(made[1], rules=RULES._replace(buffer=0.1))
    assert same(followed(made[0], sent(told(made[0], ruled, 5))), ruled)


def test_what_does_not_follow_stops_the_shard() -> None:
    """A missing block must not be papered over by a window with a hole."""
    made = schedule(market())
    block = sent(told(made[3], made[4], 5))
    with pytest.raises(
        InvariantViolation, match="must bring 40 periods or go on where the shard is, found 1 after 3 un"
    ):
        followed(made[2], block)
    with pytest.raises(InvariantViolation, match="found 1 after nothing"):
        followed(None, block)
    with pytest.raises(InvariantViolation, match="must have columns for 2 units"):
        followed(made[3], replace(block, names={"units": ["BTC", "ETH"]}))


def test_the_backtest_measures_what_the_engine_requires() -> None:
    """The requirement that `crossmargin backtest` walks with is that of a shard with the same history, to the bit."""
    returns = market()
    price = np.vstack([np.ones(3), np.cumprod(1.0 + returns, axis=0)])
    kept = price[1:] / price[:-1] - 1.0
    delta = np.array([1.0, -0.6, 0.2])
    walked = required(delta, price, 1, Rules(RULES.tail, RULES.window, RULES.buffer))
    shards = [one.linear(delta) for one in schedule(kept)]
    assert walked[REQUIREMENT, 40:].tolist() == shards


def test_moves_give_a_past_day_back() -> None:
    """A period's own volatility gives its own return; twice the volatility its square, as growth."""
    returns = market()[:40]
    tail = RULES.tail._replace(scale=1.0)
    last = returns[:-1]
    before = refreshed(last, np.full(3, math.inf), RiskRules(tail._replace(floor=0.0), window=39, buffer=0.0))
    moves = margined_moves(returns, before.margined, tail)
    assert moves.shape == (30, 3)
    assert moves[-1] == pytest.approx(returns[-1], rel=1e-9)
    twice = margined_moves(returns, 2.0 * before.margined, tail)
    assert 1.0 + twice[-1] == pytest.approx((1.0 + returns[-1]) ** 2, rel=1e-9)
    assert horizon_scale(4, 1) == 2.0
    asleep = margined_moves(np.zeros((40, 1)), np.zeros(1), tail)
    assert not asleep.any()


def test_a_curve_is_valued_at_the_moves() -> None:
    """Short the shape of a straddle in one unit: the loss is that of the moves by hand, lines being exact on lines."""
    now = schedule(market())[-1]
    points = np.linspace(-0.6, 0.6, 49)
    curves = np.zeros((3, 49))
    curves[1] = -100.0 * np.abs(points)
    by_hand = tail_requirement(100.0 * np.abs(now.moves[:, 1]), RULES.tail)
    assert now.curved(curves, -0.6, 0.025) == pytest.approx(by_hand, rel=1e-9)


def test_correlations_are_low_high_and_stressed() -> None:
    """Two units that moved alike offset less at the low ones; two apart are at least half together in stress."""
    draw = np.random.default_rng(3)
    one, other = 0.02 * draw.standard_normal((2, 300))
    found = refreshed(np.column_stack([one, 0.9 * one + 0.1 * other, other]), np.full(3, math.inf), RULES)
    low, high = found.low, found.high
    assert (low == low.T).all()
    assert (np.diag(high) == 1.0).all()
    assert 0.4 < low[0, 1] < high[0, 1] <= 1.0
    assert high[0, 2] == pytest.approx(0.5, abs=0.1)
    assert low[0, 2] < 0.4
    assert found.margined.tolist() == (1.25 * found.volatility).tolist()
