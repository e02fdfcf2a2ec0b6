"""Exact integer money against fractions: roundings, their direction, and the edge of the range.

If one of these failed, units of money would appear or vanish, and the books would no longer balance.
"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.margin.money import LIMIT, fill_cost, funding_payment, multiply_divide, share_of

SIZES = st.integers(0, LIMIT - 1) | st.integers(0, 62).map(lambda bits: (1 << bits) - 1) | st.integers(0, 1000)
DIVISORS = st.integers(1, LIMIT) | st.integers(0, 62).map(lambda bits: 1 << bits) | st.integers(1, 1000)
LOTS = st.integers(-(2**31) + 1, 2**31 - 1).filter(bool)


def half_even(number: Fraction) -> int:
    """Rounded half-even on the magnitude; Python's `round` of a Fraction is."""
    return round(number)


@given(a=SIZES, b=SIZES, c=DIVISORS)
def test_multiply_divide(a: int, b: int, c: int) -> None:
    """128-bit products are divided exactly, and what leaves the range says so."""
    assert multiply_divide(a, b, c) == min(half_even(Fraction(a * b, c)), LIMIT)


@pytest.mark.parametrize(
    ("a", "b", "c", "result"),
    [
        (1, 1, 2, 0),  # 0.5 to the even 0
        (3, 1, 2, 2),  # 1.5 to the even 2
        (5, 1, 2, 2),  # 2.5 to the even 2
        (2, 1, 3, 1),  # 0.67 up
        (LIMIT - 1, 1, 1, LIMIT - 1),
        (LIMIT - 1, LIMIT - 1, LIMIT - 1, LIMIT - 1),
        (LIMIT - 1, LIMIT - 1, LIMIT, LIMIT - 2),  # just past a product of 2**124
        (LIMIT, 1, 1, LIMIT),
        (1 << 61, 2, 1, LIMIT),
        (0, LIMIT - 1, 1, 0),
    ],
)
def test_multiply_divide_at_its_edges(a: int, b: int, c: int, result: int) -> None:
    """Halves go to the even neighbour; at the edge of the range nothing wraps."""
    assert multiply_divide(a, b, c) == result


@given(lots=LOTS, ticks=st.integers(1, 10**9), unit=st.integers(1, 10**6))
def test_linear_cost_is_exact(lots: int, ticks: int, unit: int) -> None:
    """A linear fill costs lots x ticks x unit, to the minor unit."""
    wanted = lots * ticks * unit
    found = fill_cost(lots, ticks, False, unit, 1)
    assert found == (wanted if abs(wanted) < LIMIT else LIMIT * (1 if lots > 0 else -1))


@given(lots=LOTS, ticks=st.integers(1, 10**9), unit=st.integers(1, 10**12), divisor=st.integers(1, 1000))
def test_inverse_cost_rounds_alike_on_both_sides(lots: int, ticks: int, unit: int, divisor: int) -> None:
    """An inverse fill's coins are rounded half-even, and buyer and seller stay opposite."""
    found = fill_cost(lots, ticks, True, unit, divisor)
    if abs(found) < LIMIT:
        assert found == -half_even(Fraction(lots * unit, ticks * divisor))
    assert fill_cost(-lots, ticks, True, unit, divisor) == -found


@given(amount=st.integers(-LIMIT + 1, LIMIT - 1), whole=st.integers(1, 2**53), data=st.data())
def test_shares_never_leave_a_rest_behind(amount: int, whole: int, data: st.DataObject) -> None:
    """Parts released one after the other give back the amount itself, whatever each was rounded to."""
    part = data.draw(st.integers(0, whole))
    assert share_of(amount, part, whole) == half_even(Fraction(amount * part, whole))
    left, size = amount, whole
    while size:
        part = data.draw(st.integers(1, size)) if size < whole else max(part, 1)
        left -= share_of(left, part, size)
        size -= part
        if size > whole // 2:
            left -= share_of(left, size, size)
            size = 0
    assert left == 0


@given(lots=LOTS, entry=st.integers(-(10**12), 10**12), moved=st.integers(-(10**9), 10**9), scale=st.integers(1, 10**9))
def test_funding(lots: int, entry: int, moved: int, scale: int) -> None:
    """Longs pay what shorts receive when the index rises, to the same rounding."""
    found = funding_payment(lots, entry + moved, entry, scale)
    assert found == half_even(Fraction(-lots * moved, scale))
    assert funding_payment(-lots, entry + moved, entry, scale) == -found
