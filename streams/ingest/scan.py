"""Finds the values of known fields in flat JSON objects of plain form: one pass over many messages, no Python objects.

Plain means: one object; known fields only, none twice; strings of visible ASCII without escapes; numbers without an
exponent; null. Whatever else JSON or a broken message may hold is not judged here: such a message is not plain.
This file stands alone: compiled code is kept by the file it comes from.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel

#: What a field holds.
ABSENT, STRING, NUMBER, NULL = 0, 1, 2, 3

Bytes = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Spans(NamedTuple):
    """Where the values are: arrays of shape (messages, fields); of messages that are not plain they say nothing.

    Parameters
    ----------
    plain : shape (messages,)
    kind : ABSENT, STRING, NUMBER or NULL
    start, end : half-open range in the data, of a string without its quotes
    """

    plain: Flags
    kind: Bytes
    start: I64
    end: I64


class Fields(NamedTuple):
    """Names of the fields of a record: their bytes one after another, and where each begins, and the last ends."""

    text: Bytes
    bound: I32


def fields_of(names: Sequence[str]) -> Fields:
    """The names of a record's fields, in the order in which `Spans` are to have them."""
    encoded = [name.encode() for name in names]
    bound = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return Fields(np.frombuffer(b"".join(encoded), np.uint8), bound)


def scan(data: Bytes, start: I64, length: I64, fields: Fields) -> Spans:
    """The values in the messages at `start`, of `length` bytes (below 0: no message).

    Examples
    --------
    >>> data = b'{"rate": "0.5", "time": 7}'
    >>> spans = scan(np.frombuffer(data, np.uint8), np.array([0]), np.array([len(data)]), fields_of(["time", "rate"]))
    >>> bool(spans.plain[0]), [data[at:end] for at, end in zip(spans.start[0], spans.end[0]) if end]
    (True, [b'7', b'0.5'])
    """
    shape = (len(start), len(fields.bound) - 1)
    spans = Spans(
        np.zeros(len(start), np.bool_),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
    )
    _scan(data, start, length, fields.text, fields.bound, *spans)
    return spans


@kernel
def _scan(
    data: Bytes,
    start: I64,
    length: I64,
    text: Bytes,
    bound: I32,
    plain: Flags,
    kind: Bytes,
    value_start: I64,
    value_end: I64,
) -> None:
    for row in range(len(start)):
        end = start[row] + max(length[row], 0)
        plain[row] = _object(data, start[row], end, text, bound, kind[row], value_start[row], value_end[row])


@kernel
def _object(
    data: Bytes, at: int, end: int, text: Bytes, bound: I32, kind: Bytes, value_start: I64, value_end: I64
) -> bool:
    """Whether ``data[at:end]`` is a plain object; `kind`, `value_start` and `value_end` take its fields."""
    fields = len(kind)
    field = -1
    at = _space(data, at, end)
    if at >= end or data[at] != 123:  # {
        return False
    while True:
        # A producer writes its fields in one order: the name is most likely that of the field after the last.
        at = _space(data, at + 1, end)
        if at >= end or data[at] != 34:  # "
            return False
        at += 1
        close = _text(data, at, end)
        if close < 0:
            return False
        named = -1
        for _ in range(fields):
            field += 1
            if field >= fields:
                field = 0
            if _same(data, at, close, text, bound[field], bound[field + 1]):
                named = field
                break
        if named < 0 or kind[named] != 0:
            return False
        at = _space(data, close + 1, end)
        if at >= end or data[at] != 58:  # :
            return False
        at = _space(data, at + 1, end)
        if at >= end:
            return False
        if data[at] == 34:
            close = _text(data, at + 1, end)
            if close < 0:
                return False
            kind[named], value_start[named], value_end[named] = 1, at + 1, close
            at = close + 1
        elif data[at] == 110:  # n
            if at + 4 > end or data[at + 1] != 117 or data[at + 2] != 108 or data[at + 3] != 108:
                return False
            kind[named], value_start[named], value_end[named] = 3, at, at + 4
            at += 4
        else:
            close = _number(data, at, end)
            if close < 0:
                return False
            kind[named], value_start[named], value_end[named] = 2, at, close
            at = close
        at = _space(data, at, end)
        if at >= end:
            return False
        if data[at] == 125:  # }
            return _space(data, at + 1, end) == end
        if data[at] != 44:  # ,
            return False


@inner
def _space(data: Bytes, at: int, end: int) -> int:
    """The first position from `at` on that is no white space."""
    while at < end and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


@kernel
def _text(data: Bytes, at: int, end: int) -> int:
    """Where the closing quote of the string is; -1 where there is none, or an escape, or more than visible ASCII."""
    while at < end:
        byte = data[at]
        if byte == 34:
            return at
        if byte < 32 or byte > 126 or byte == 92:
            return -1
        at += 1
    return -1


@kernel
def _number(data: Bytes, at: int, end: int) -> int:
    """Where the number ends: a minus, digits without a needless zero, a fraction; -1 where it is none such."""
    if data[at] == 45:
        at += 1
    first = at
    at = _digits(data, at, end)
    if at == first or (data[first] == 48 and at > first + 1):
        return -1
    if at < end and data[at] == 46:
        first = at + 1
        at = _digits(data, first, end)
        if at == first:
            return -1
    return at


@inner
def _digits(data: Bytes, at: int, end: int) -> int:
    while at < end and 48 <= data[at] <= 57:
        at += 1
    return at


@inner
def _same(data: Bytes, at: int, end: int, text: Bytes, first: int, last: int) -> bool:
    if end - at != last - first:
        return False
    for step in range(last - first):
        if data[at + step] != text[first + step]:
            return False
    return True
