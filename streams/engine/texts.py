"""Texts of numbers written by kernels: the bytes that `decimal_text` and `units_text` give."""

from typing import NamedTuple

import numpy as np
from numba import uint8, uint64

from streams.compiled import inner, kernel
from streams.engine.report import decimal_text
from streams.margin.parameters import F64, I64
from streams.rows import U8

#: Room of one text: a sign, "0.", zeros and 15 digits, or 19 digits and a point.
SLOT = 40

#: The powers of ten that are exact in float64.
POWERS = np.array([float(10**k) for k in range(23)])


class Texts(NamedTuple):
    """Text n is ``data[start[n] : start[n] + size[n]]``; a size of 0 is no number."""

    data: U8
    start: I64
    size: I64


def number_texts(values: F64) -> Texts:
    """`decimal_text` of each value; nothing for nan.

    The kernel writes what it can round exactly, from 1e-8 to 1e15; the few others are written one by one.
    """
    texts, whole = decimals(values)
    if whole:
        return texts
    others = np.nonzero(texts.size < 0)[0].tolist()
    tail = [decimal_text(float(values[at])).encode() for at in others]
    texts.size[others] = [len(text) for text in tail]
    texts.start[others] = len(texts.data) + np.cumsum([0, *texts.size[others]])[:-1]
    return Texts(np.concatenate((texts.data, np.frombuffer(b"".join(tail), dtype=np.uint8))), texts.start, texts.size)


@inner
def put_decimal(data: U8, end: int, digits: int, places: int, negative: bool) -> int:
    """Write digits x 10**-places, without needless zeros, so that it ends at `end`; where it begins."""
    at, rest = end, uint64(digits)
    while places > 0 and rest % uint64(10) == 0:
        rest //= uint64(10)
        places -= 1
    for _ in range(places):
        at -= 1
        data[at] = uint8(48) + uint8(rest % uint64(10))
        rest //= uint64(10)
    if places > 0:
        at -= 1
        data[at] = 46
    first = True
    while first or rest > uint64(0):
        first = False
        at -= 1
        data[at] = uint8(48) + uint8(rest % uint64(10))
        rest //= uint64(10)
    if negative:
        at -= 1
        data[at] = 45
    return at


@kernel
def put_amount(out: U8, at: int, amount: int, places: int) -> int:
    """Write `units_text` of an amount of so many places; where the next byte goes. It takes SLOT bytes on the way."""
    start = put_decimal(out, at + SLOT, abs(amount), places, amount < 0)
    for k in range(start, at + SLOT):
        out[at] = out[k]
        at += 1
    return at


@kernel
def product(a: float, b: float) -> tuple[float, float]:
    """a x b as the nearest float and the exact rest (Dekker, 1971)."""
    high = a * b
    split = 134217729.0 * a
    a_high = split - (split - a)
    a_low = a - a_high
    split = 134217729.0 * b
    b_high = split - (split - b)
    b_low = b - b_high
    return high, a_low * b_low - (((high - a_high * b_high) - a_low * b_high) - a_high * b_low)


@kernel
def decimals(values: F64) -> tuple[Texts, bool]:
    """15 significant digits of each value, rounded half-even from its exact value; a size of -1 where it cannot, and
    whether it could all."""
    count = values.shape[0]
    data, start, size = np.empty(SLOT * count, dtype=np.uint8), np.empty(count, np.int64), np.empty(count, np.int64)
    whole = True
    for n in range(count):
        value, end = abs(values[n]), SLOT * (n + 1)
        start[n], size[n] = end, 0 if values[n] != values[n] else -1
        if value == 0.0:
            start[n] = put_decimal(data, end, 0, 0, False)
            size[n] = end - start[n]
        elif 1e-8 <= value < 1e15:
            places = min(22, max(0, 14 - int(np.floor(np.log10(value)))))
            high, low = product(value, POWERS[places])
            if places > 0 and (high > 1e15 or (high == 1e15 and low >= 0.0)):
                places -= 1
                high, low = product(value, POWERS[places])
            elif places < 22 and (high < 1e14 or (high == 1e14 and low < 0.0)):
                places += 1
                high, low = product(value, POWERS[places])
            if high > 1e14 or (high == 1e14 and low >= 0.0):
                digits = int(high)
                part = high - digits  # a multiple of the last place of `high`, of which `low` is at most half
                if part > 0.5 or (part == 0.5 and (low > 0.0 or (low == 0.0 and digits % 2 == 1))):
                    digits += 1
                start[n] = put_decimal(data, end, digits, places, values[n] < 0.0)
                size[n] = end - start[n]
        whole = whole and size[n] >= 0
    return Texts(data, start, size), whole
