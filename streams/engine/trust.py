"""How far the prices of a shard are to be trusted, by instrument and by asset, and the prices they are checked against.

From rules version 2 on; what is left undone for it is in `streams.engine.restraint`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.journal import PRICE_STATES
from streams.engine.columns import Balances, Positions
from streams.engine.ledger import entries
from streams.margin.parameters import F64, I32, I64

I8 = npt.NDArray[np.int8]

#: Places in PRICE_STATES, the worse the higher.
DEGRADED, SUSPECT, STALE, HALTED = (PRICE_STATES.index(name) for name in ("degraded", "suspect", "stale", "halted"))
#: What holders of such prices should not be let do; by state, how many of them.
RESTRICTIONS = ("no_new_risk", "no_withdrawals")
RESTRICTED = np.array([0, 0, 1, 2, 2], dtype=np.int64)


class Trust(NamedTuple):
    """Made only while some price is worse than degraded.

    Attributes
    ----------
    mark_state, price_state : by instrument, by asset; places in PRICE_STATES
    check_marks, check_prices : by instrument, by asset: where suspect, what the price would be by the check oracle, nan
        where there is none; else the price itself
    """

    mark_state: I8
    price_state: I8
    check_marks: F64
    check_prices: F64

    @property
    def suspects(self) -> bool:
        """Whether any price is suspect."""
        return bool((self.mark_state == SUSPECT).any() or (self.price_state == SUSPECT).any())


def trust_of(
    *,
    marks: F64,
    prices: F64,
    mark_state: I8,
    price_state: I8,
    underlyings: Sequence[str | None],
    assets: Sequence[str],
    index: Mapping[str, float],
    check: Mapping[str, float],
) -> Trust | None:
    """None where no price is worse than degraded.

    Parameters
    ----------
    underlyings : symbol whose check price each instrument moves with; None: with none
    index, check : by symbol, in the reporting currency; no check where there is none
    """
    if max(mark_state.max(initial=0), price_state.max(initial=0)) < SUSPECT:
        return None
    check_marks, check_prices = marks.copy(), prices.copy()
    for at in np.nonzero(mark_state == SUSPECT)[0].tolist():
        symbol = underlyings[at]
        moved = np.nan if symbol is None else check.get(symbol, np.nan) / index.get(symbol, np.nan)
        check_marks[at] = marks[at] * moved
    for at in np.nonzero(price_state == SUSPECT)[0].tolist():
        check_prices[at] = check.get(assets[at], np.nan)
    return Trust(mark_state, price_state, check_marks, check_prices)


def worst_states(
    trust: Trust | None, settlement: I32, positions: Positions, balances: Balances, books: I64
) -> npt.NDArray[np.int8]:
    """Per book the worst state among the instruments it has positions in, what they settle in, and what it has a
    balance of."""
    worst = np.zeros(len(books), dtype=np.int8)
    if trust is None:
        return worst
    rows = np.arange(len(books))
    held, owner = entries(positions, books), np.repeat(rows, positions.size[books])
    instrument = positions.key[held]
    np.maximum.at(worst, owner, trust.mark_state[instrument])
    np.maximum.at(worst, owner, trust.price_state[settlement[instrument]])
    held, owner = entries(balances, books), np.repeat(rows, balances.size[books])
    some = balances.amount[held] != 0
    np.maximum.at(worst, owner[some], trust.price_state[balances.key[held[some]]])
    return worst
