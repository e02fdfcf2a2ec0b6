"""Exact integer money: fills, releases of open cost and funding in minor units.

Every rounding is half-even on the magnitude, so both sides of a trade round alike and opposite entries stay
opposite. Ledger amounts stay below LIMIT in magnitude; sums of two never leave int64.
"""

from numba import int64, uint64

from streams.compiled import kernel

LIMIT = 1 << 62


@kernel
def multiply_divide(a: int, b: int, c: int) -> int:
    """a x b / c for a, b >= 0 and c > 0, rounded half-even; LIMIT where the result is not below it.

    The product has 128 bits: it is made from 32-bit halves and divided bit by bit.

    Examples
    --------
    >>> multiply_divide(5, 1, 2), multiply_divide(7, 1, 2), multiply_divide(2**61, 2**61, 2**62)
    (2, 4, 1152921504606846976)
    """
    mask = uint64(0xFFFFFFFF)
    half = uint64(32)
    ua, ub, uc = uint64(a), uint64(b), uint64(c)
    low_low = (ua & mask) * (ub & mask)
    high_low = (ua >> half) * (ub & mask)
    low_high = (ua & mask) * (ub >> half)
    carry = (low_low >> half) + (high_low & mask) + (low_high & mask)
    low = (low_low & mask) | ((carry & mask) << half)
    high = (ua >> half) * (ub >> half) + (high_low >> half) + (low_high >> half) + (carry >> half)
    one = uint64(1)
    if high == uint64(0):
        quotient = low // uc
        remainder = low - quotient * uc
    else:
        if high >= uc:
            return LIMIT
        # c < 2**63, so the remainder never loses its top bit in the shift
        quotient = uint64(0)
        remainder = high
        for bit in range(63, -1, -1):
            remainder = (remainder << one) | ((low >> uint64(bit)) & one)
            quotient = quotient << one
            if remainder >= uc:
                remainder -= uc
                quotient |= one
    rest = uc - remainder
    if remainder > rest or (remainder == rest and quotient & one):
        quotient += one
    if quotient >= uint64(LIMIT):
        return LIMIT
    return int64(quotient)


@kernel
def fill_cost(lots: int, ticks: int, inverse: bool, unit: int, divisor: int) -> int:
    """What opening `lots` (positive buys) at `ticks` pays, minor units of the settlement asset.

    Linear: lots x ticks x unit, exact. Inverse: -lots x unit / (ticks x divisor) coins, rounded, so that
    value - cost is quantity x multiplier x (1/entry - 1/mark).

    Parameters
    ----------
    unit, divisor : linear: minor units of one lot at one tick, and 1; inverse: multiplier in minor-unit-ticks of
        one lot as the fraction unit / divisor

    Notes
    -----
    Magnitude LIMIT where it is out of range. The caller has checked that ticks > 0 and ticks x unit (or divisor) is
    below LIMIT.
    """
    if inverse:
        size = multiply_divide(abs(lots), unit, ticks * divisor)
        return -size if lots > 0 else size
    size = multiply_divide(abs(lots), ticks * unit, 1)
    return size if lots > 0 else -size


@kernel
def share_of(amount: int, part: int, whole: int) -> int:
    """amount x part / whole, rounded half-even on the magnitude; 0 <= part <= whole, whole > 0.

    Examples
    --------
    >>> share_of(-5, 1, 2), share_of(7, 1, 2), share_of(100, 3, 3)
    (-2, 4, 100)
    """
    size = multiply_divide(abs(amount), part, whole)
    return -size if amount < 0 else size


@kernel
def funding_payment(lots: int, index_now: int, index_entry: int, scale: int) -> int:
    """Funding a position receives (negative: pays) since its entry index, minor units.

    -lots x (index_now - index_entry) / scale; a positive rate lifts the index and longs pay.
    """
    moved = index_now - index_entry
    size = multiply_divide(abs(lots), abs(moved), scale)
    return size if (lots > 0) != (moved > 0) else -size
