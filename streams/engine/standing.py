"""Where each book stands: its status, the call and the liquidation that are open, and what changes them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import kernel
from streams.engine.columns import grown
from streams.engine.valuation import BANKRUPT, LIQUIDATION, OK, Levels
from streams.margin.parameters import F64, I32, I64

I8 = npt.NDArray[np.int8]


class LevelSet(NamedTuple):
    """Levels of one kind of account, adjusted equity / maintenance margin."""

    margin_call: float
    margin_call_exit: float
    liquidation_exit: float
    liquidation_target: float


class Standing:
    """Per-book columns of a shard; a book that is new is ok, with nothing open, at the default levels (set 0)."""

    def __init__(self) -> None:
        self.books = 0
        self.status: I8 = np.zeros(0, dtype=np.int8)
        self.called: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.step: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)  # open liquidation step, 0 none
        self.step_offset: I64 = np.zeros(0, dtype=np.int64)  # journal offset of the open step
        self.step_time: I64 = np.zeros(0, dtype=np.int64)  # shard time of it
        self.step_ratio: F64 = np.zeros(0, dtype=np.float64)  # margin ratio at it, nan without requirement
        self.level_set: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self.sets: list[LevelSet] = [LevelSet(1.25, 1.30, 1.05, 1.10)]
        self._levels: tuple[list[LevelSet], Levels] | None = None

    def grow(self, books: int) -> None:
        """Room for `books`; new ones stand at the start."""
        self.books = books
        if books <= len(self.status):
            return
        for name in ("status", "called", "step", "step_offset", "step_time", "step_ratio", "level_set"):
            setattr(self, name, grown(getattr(self, name), books))

    def set_index(self, levels: LevelSet) -> int:
        """Index of a level set, added where it is new. Set 0 is the default and is never given out."""
        for index in range(1, len(self.sets)):
            if self.sets[index] == levels:
                return index
        self.sets.append(levels)
        return len(self.sets) - 1

    def levels(self) -> Levels:
        """The sets as columns for `judge_books`."""
        if self._levels is None or self._levels[0] != self.sets:
            columns = Levels(
                np.array([s.margin_call for s in self.sets]),
                np.array([s.margin_call_exit for s in self.sets]),
                np.array([s.liquidation_exit for s in self.sets]),
            )
            self._levels = list(self.sets), columns
        return self._levels[1]

    def open_step(self, book: int, *, offset: int, time: int, ratio: float) -> None:
        """Count one more step of the book's liquidation."""
        self.step[book] += 1
        self.step_offset[book] = offset
        self.step_time[book] = time
        self.step_ratio[book] = ratio

    def reset(self, book: int, status: int = OK) -> None:
        """Nothing open any more."""
        self.status[book] = status
        self.called[book] = False
        self.step[book] = 0

    def to_act(self, books: I64, status: I8, adjusted: F64, maintenance: F64, *, time: int, timeout_ms: int) -> I64:
        """Rows of the books just judged for which something may follow.

        Parameters
        ----------
        status : of each book now; what it was is in the columns
        adjusted, maintenance : of each book
        time, timeout_ms : shard time, and how long a liquidation step has
        """
        rows = np.empty(len(books), dtype=np.int64)
        columns = (self.status, self.step, self.step_time, self.step_ratio)
        return rows[: _to_act(books, status, adjusted, maintenance, *columns, time, timeout_ms, rows)]


def margin_ratio(adjusted: float, maintenance: float) -> float:
    """adjusted equity / maintenance margin, nan where nothing is required."""
    return adjusted / maintenance if maintenance > 0.0 else float("nan")


@kernel
def step_due(step: int, step_time: int, step_ratio: float, time: int, ratio: float, timeout_ms: int) -> bool:
    """Whether a book in liquidation needs its first or next step.

    The next one comes after the time-out, or when the ratio has fallen below the last step's.
    """
    return step == 0 or time - step_time >= timeout_ms or ratio < step_ratio


@kernel
def _to_act(
    books: I64,
    status: I8,
    adjusted: F64,
    maintenance: F64,
    before: I8,
    step: I32,
    step_time: I64,
    step_ratio: F64,
    time: int,
    timeout_ms: int,
    rows: I64,
) -> int:
    """Write the rows; how many. A book taken over is left alone, and one that waits for its liquidation's orders."""
    count = 0
    for at in range(books.shape[0]):
        book, now = books[at], status[at]
        was = before[book]
        if was != BANKRUPT and (now != was or now == LIQUIDATION):
            waits = False
            if now == LIQUIDATION and was == LIQUIDATION:
                ratio = adjusted[at] / maintenance[at] if maintenance[at] > 0.0 else np.nan
                waits = not step_due(step[book], step_time[book], step_ratio[book], time, ratio, timeout_ms)
            if not waits:
                rows[count] = at
                count += 1
    return count
