"""The instruments that fills name, as columns: what a kernel needs to find one and to scale by it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.fields import NAME_CHARS_MAX
from streams.ingest.blocks import name_weight
from streams.ingest.checks import AMOUNT_MAX
from streams.ingest.terms import InstrumentTerms, Terms

I64 = npt.NDArray[np.int64]


class InstrumentColumns(NamedTuple):
    """One entry an instrument, in the order of the table.

    Parameters
    ----------
    text, bound : the bytes of all ids one after another; where each begins, and the last ends
    plain : whether fills of it may be scaled in 64 bits
    price_precision, quantity_precision, fee_precision : decimals of a tick, of a lot, of a minor unit
    ticks_max : the highest price that is in range whatever the quantity
    unit : as in `InstrumentTerms`, of a plain one
    inverse, closed : as in `InstrumentTerms`
    """

    text: npt.NDArray[np.uint8]
    bound: I64
    plain: npt.NDArray[np.bool_]
    price_precision: I64
    quantity_precision: I64
    fee_precision: I64
    ticks_max: I64
    unit: I64
    inverse: npt.NDArray[np.bool_]
    closed: npt.NDArray[np.bool_]


class InstrumentTable:
    """The instruments of `terms` at one edition of it.

    Attributes
    ----------
    instruments : in order of their first publication
    number : id -> place in `instruments`
    name_weight : per instrument, what its id adds to the estimated size of a block
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._edition = terms.edition
        self.instruments: Sequence[InstrumentTerms] = tuple(terms.instruments.values())
        self.number = {instrument.id: number for number, instrument in enumerate(self.instruments)}
        self.name_weight = np.array([name_weight(instrument.id) for instrument in self.instruments], np.int64)
        self.columns = _columns(self.instruments)

    def is_of(self, terms: Terms) -> bool:
        """Whether the table still says what `terms` says."""
        return self._terms is terms and self._edition == terms.edition


def _columns(instruments: Sequence[InstrumentTerms]) -> InstrumentColumns:
    names = [instrument.id.encode() for instrument in instruments]
    plain = [_is_plain(instrument) for instrument in instruments]

    def column(values: list[int], kind: Any = np.int64) -> npt.NDArray[Any]:
        return np.array([value if fits else 0 for value, fits in zip(values, plain, strict=True)], dtype=kind)

    return InstrumentColumns(
        text=np.frombuffer(b"".join(names), np.uint8),
        bound=np.cumsum([0, *map(len, names)], dtype=np.int64),
        plain=np.array(plain, dtype=np.bool_),
        price_precision=column([it.price_precision for it in instruments]),
        quantity_precision=column([it.quantity_precision for it in instruments]),
        fee_precision=column([it.asset.precision for it in instruments]),
        ticks_max=column([(AMOUNT_MAX - 1) // it.divisor for it in instruments]),
        unit=column([it.unit for it in instruments]),
        inverse=column([it.inverse for it in instruments], np.bool_),
        closed=column([it.closed for it in instruments], np.bool_),
    )


def _is_plain(instrument: InstrumentTerms) -> bool:
    return (
        instrument.id.isascii()
        and len(instrument.id) <= NAME_CHARS_MAX
        and 0 < instrument.unit < AMOUNT_MAX
        and 0 < instrument.divisor < AMOUNT_MAX
    )
