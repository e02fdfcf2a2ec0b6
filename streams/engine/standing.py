"""Where each book stands: its status, the call and the liquidation that are open, and what changes them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.engine.columns import grown
from streams.engine.valuation import OK, Levels
from streams.margin.parameters import F64, I64

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
        return Levels(
            np.array([s.margin_call for s in self.sets]),
            np.array([s.margin_call_exit for s in self.sets]),
            np.array([s.liquidation_exit for s in self.sets]),
        )

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

    def step_due(self, book: int, *, time: int, ratio: float, timeout_ms: int) -> bool:
        """Whether a book in liquidation needs its first or next step.

        The next one comes after the time-out, or when the ratio has fallen below the last step's.
        """
        if self.step[book] == 0:
            return True
        return bool(time - self.step_time[book] >= timeout_ms or ratio < self.step_ratio[book])
