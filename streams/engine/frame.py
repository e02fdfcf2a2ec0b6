"""What judging reads of a shard besides prices, handed to kernels as one object.

Each array in a tuple is looked at and wrapped anew at every call of a kernel, and judging reads fifty, while most
blocks touch few books. A frame holds them wrapped until one of them is replaced by another: judging ten books takes
6 us with it, 14 to 50 without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import types
from numba.experimental import structref

from streams.compiled import kernel
from streams.engine.judged_books import Judged, judge_books
from streams.engine.reach import radii
from streams.engine.valuation import Numbers, value_books
from streams.margin.parameters import F64, I64

if TYPE_CHECKING:
    from streams.engine.shard import Shard
    from streams.engine.slots import F32, I8

FIELDS = ("parameters", "positions", "held", "balances", "terms", "levels", "level_set", "status", "called", "step")


@structref.register
class FrameType(types.StructRef):
    """The compiler's type of a frame."""


class Frame(structref.StructRefProxy):
    """Columns of a shard by the names of FIELDS, as `judge_books` and `radii` take them."""


structref.define_proxy(Frame, FrameType, list(FIELDS))


class Frames:
    """The frame of a shard."""

    def __init__(self) -> None:
        self._parts: tuple[Any, ...] = ()  # held, so that no other object gets the identity of one of them
        self._identities: list[int] = []
        self._frame: Any = None

    def of(self, shard: Shard) -> Any:
        """The frame of the shard's present columns; made anew where one of them is another."""
        ledger, standing = shard.ledger, shard.standing
        parts = (
            shard.parameters,
            ledger.positions,
            shard.exposures.held(shard),
            ledger.balances,
            shard.posting,
            standing.levels(),
            standing.level_set,
            standing.status,
            standing.called,
            standing.step,
        )
        identities = [*map(id, parts)]
        if identities != self._identities:
            self._parts, self._identities, self._frame = parts, identities, make(*parts)
        return self._frame


@kernel
def make(
    parameters: Any,
    positions: Any,
    held: Any,
    balances: Any,
    terms: Any,
    levels: Any,
    level_set: Any,
    status: Any,
    called: Any,
    step: Any,
) -> Any:
    """A frame of these columns."""
    return Frame(parameters, positions, held, balances, terms, levels, level_set, status, called, step)


@kernel
def judge_framed(f: Any, marks: F64, prices: F64, books: I64, out: Judged) -> None:
    """As `judge_books`."""
    judge_books(
        f.parameters,
        f.positions,
        f.held,
        f.balances,
        marks,
        prices,
        books,
        f.levels,
        f.level_set,
        f.called,
        f.step,
        out,
    )


@kernel
def value_framed(f: Any, marks: F64, prices: F64, books: I64) -> Numbers:
    """As `value_books`."""
    return value_books(f.parameters, f.positions, f.balances, f.terms, marks, prices, books)


@kernel
def radii_framed(f: Any, marks: F64, prices: F64, books: I64, judged: Judged, fixed: int, radius: F32, kind: I8) -> int:
    """As `radii`."""
    unknown: int = radii(
        f.parameters,
        f.positions,
        f.held,
        f.balances,
        marks,
        prices,
        books,
        judged,
        f.levels,
        f.level_set,
        f.status,
        f.called,
        f.step,
        fixed,
        radius,
        kind,
    )
    return unknown
