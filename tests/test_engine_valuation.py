"""The valuation kernels against whole columns of numpy, and against each other to the last bit."""

from random import Random

import numpy as np
import pytest

from streams.engine.judge import judged_now, numbers_of
from tests.builders import Market, Rate, T
from tests.reference.valuation import valued
from tests.twins import Twins


def shard_of(seed: int) -> Market:
    """Books of every sort after some prices, funding and trades."""
    dice, twins = Random(seed), Twins()
    twins.open(dice)
    for _ in range(6):
        twins.move(dice)
        twins.marks()
        twins.play("fills", *(twins.fill(dice) for _ in range(5)))
    twins.play("funding", Rate("BTC-PERP", "0.0004", T), Rate("BTC-COIN", "-0.01", T), Rate("ETH-WHOLE", "0.002", T))
    return twins.swift


@pytest.mark.parametrize("seed", range(8))
def test_kernels_find_what_whole_columns_find(seed: int) -> None:
    """Both sides of a formula would have to be wrong alike: tiers, premium, open interest, haircuts, debts, inverse."""
    market = shard_of(seed)
    books = np.arange(market.shard.ledger.books)
    wanted, found = valued(market.shard), numbers_of(market.shard, books)
    scale = 1.0 + np.nanmax(np.abs(wanted.maintenance)) + np.nanmax(np.abs(wanted.equity))
    for name in wanted._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9, atol=1e-11 * scale)
    judged = judged_now(market.shard, books)
    for name in ("equity", "adjusted", "maintenance"):
        assert getattr(judged, name).tobytes() == getattr(found, name).tobytes(), name


@pytest.mark.parametrize("seed", range(3))
def test_the_bits_of_a_book_do_not_depend_on_its_neighbours(seed: int) -> None:
    """A rebalance changes the neighbours: a decision must not change with them."""
    market = shard_of(seed)
    books = np.arange(market.shard.ledger.books)
    together = judged_now(market.shard, books)
    shuffled = np.random.default_rng(seed).permutation(books)
    apart = judged_now(market.shard, shuffled)
    for whole, parts in zip(together, apart, strict=True):
        assert whole[shuffled].tobytes() == parts.tobytes()
    for book in books:
        alone = judged_now(market.shard, books[book : book + 1])
        assert [column[0].tobytes() for column in alone] == [column[book].tobytes() for column in together]
