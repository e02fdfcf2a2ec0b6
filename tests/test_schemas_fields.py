"""Numbers, times and ids as they travel."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import REASONS, Refused
from schemas.fields import epoch_ms, exact, legal_account, legal_id, plain, scaled

EXACT = [
    ("0.5", 3, 500),
    ("-0.5", 3, -500),
    ("0.5000", 1, 5),
    ("007", 0, 7),
    ("-0", 2, 0),
    ("-0.0", 0, 0),
    ("0e9999", 9, 0),
    ("1.5e2", 0, 150),
    ("15E-1", 1, 15),
    ("1E+3", 0, 1000),
    ("0.000000000000000000000000000000000000001", 40, 10),
    (5, 2, 500),
    (-(10**39), 0, -(10**39)),
    ("9999999999999999999999999999999999999999", 0, 10**40 - 1),
]

REFUSED_NUMBERS = [
    ("excess_decimals", "0.12345", "at most 3 decimals, found '0.12345'"),
    ("excess_decimals", "1e-4", "at most 3 decimals"),
    ("excess_decimals", "-0.0001", "at most 3 decimals"),
    ("not_finite", "NaN", "must be finite, found 'NaN'"),
    ("not_finite", "-Infinity", "must be finite"),
    ("not_finite", "sNaN", "must be finite"),
    ("over_range", "1e999999999", "between 1e-40 and 1e40"),
    ("over_range", "1e9999", "between 1e-40 and 1e40"),
    ("over_range", "1e-9999", "between 1e-40 and 1e40"),
    ("over_range", "1e40", "between 1e-40 and 1e40"),
    ("over_range", 10**40, "a number of more than 40 digits"),
    ("over_range", -(10**4000), "a number of more than 40 digits"),
    ("mistyped_field", "", "must be a decimal number, found ''"),
    ("mistyped_field", " 1", "must be a decimal number"),
    ("mistyped_field", "1 ", "must be a decimal number"),
    ("mistyped_field", "1\n", "must be a decimal number"),
    ("mistyped_field", "+1", "must be a decimal number"),
    ("mistyped_field", ".5", "must be a decimal number"),
    ("mistyped_field", "-.5", "must be a decimal number"),
    ("mistyped_field", "5.", "must be a decimal number"),
    ("mistyped_field", "1_000", "must be a decimal number"),
    ("mistyped_field", "1,000", "must be a decimal number"),
    ("mistyped_field", "1.2.3", "must be a decimal number"),
    ("mistyped_field", "--1", "must be a decimal number"),
    ("mistyped_field", "-", "must be a decimal number"),
    ("mistyped_field", "0x10", "must be a decimal number"),
    ("mistyped_field", "\u0661", "must be a decimal number"),  # an Arabic digit one
    ("mistyped_field", "\u00b2", "must be a decimal number"),  # a superscript two
    ("over_range", "1" * 65, "at most 64 characters"),
    ("mistyped_field", None, "found null"),
    ("mistyped_field", True, "found true"),
    ("mistyped_field", [1], "found an array"),
    ("mistyped_field", {}, "found an object"),
]


@pytest.mark.parametrize(("text", "places", "expected"), EXACT)
def test_scaled_is_exact(text, places, expected):
    """A lost digit is money that nobody can explain."""
    assert scaled(text, places, "quantity") == expected
    assert Fraction(exact(text, "quantity")) * 10**places == expected


@pytest.mark.parametrize(("code", "text", "reason"), REFUSED_NUMBERS)
def test_scaled_refuses(code, text, reason):
    """A number read as something else than was meant is worse than a refused one."""
    with pytest.raises(Refused, match="quantity must") as refused:
        scaled(text, 3, "quantity")
    assert (refused.value.code, reason in refused.value.reason) == (code, True)
    if code != "excess_decimals":
        with pytest.raises(Refused) as refused:
            exact(text, "quantity")
        assert refused.value.code == code


@given(st.integers(-(10**39), 10**39), st.integers(0, 9))
def test_scaled_reads_back_what_was_written(units, places):
    """Any amount in minor units survives the way through its decimal text."""
    assert scaled(plain(Decimal(f"{units}e-{places}")), places, "amount") == units


@given(st.text() | st.integers() | st.from_regex(r"-?\d{0,30}\.?\d{0,12}([eE][+-]?\d{1,5})?", fullmatch=True))
def test_scaled_and_exact_agree(value):
    """Two readers of one number that differ would book two amounts."""
    number, code = _outcome(exact, value, "x")
    units, code_of_scaled = _outcome(scaled, value, 9, "x")
    if number is None:
        assert code_of_scaled == code
        assert code in REASONS
    elif units is None:
        assert (code_of_scaled, (Fraction(number) * 10**9).denominator > 1) == ("excess_decimals", True)
    else:
        assert units == Fraction(number) * 10**9


def _outcome(reader, *arguments):
    """The number and None, or None and the code of its refusal."""
    try:
        return reader(*arguments), None
    except Refused as refused:
        return None, refused.code


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (0, 0),
        (1_760_130_900_123, 1_760_130_900_123),
        ("2025-10-10T21:15:00Z", 1_760_130_900_000),
        ("2025-10-10t21:15:00.5z", 1_760_130_900_500),
        ("2025-10-10 23:15:00.123999+02:00", 1_760_130_900_123),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_epoch_ms(time, expected):
    """A time read an hour off moves a fill to another mark."""
    assert epoch_ms(time, "time") == expected


@pytest.mark.parametrize(
    ("code", "time"),
    [
        ("bad_time", -1),
        ("bad_time", "1969-12-31T23:59:59Z"),
        ("mistyped_field", "2025-10-10"),
        ("mistyped_field", "2025-10-10T21:15:00"),
        ("mistyped_field", "2025-02-30T00:00:00Z"),
        ("mistyped_field", "2025-10-10T21:15:60Z"),
        ("bad_time", "0001-01-01T00:00:00+23:59"),
        ("mistyped_field", "1760130900000"),
        ("mistyped_field", ""),
    ],
)
def test_epoch_ms_refuses(code, time):
    """A time without its offset means another moment in every office."""
    with pytest.raises(Refused, match="time must") as refused:
        epoch_ms(time, "time")
    assert refused.value.code == code


@pytest.mark.parametrize("text", ["", " a", "a ", "a\nb", "a\x00", "\u200b", "x" * 129, "a\u2028b"])
def test_legal_id_refuses_what_cannot_be_seen(text):
    """Two accounts that look the same on every screen are a trap."""
    with pytest.raises(Refused, match="account must be 1 to 128 visible characters"):
        legal_id(text, "account")


def test_accounts_of_the_engine_are_reserved():
    """A user who is `~house` would own every bankrupt book."""
    assert legal_account("a~", "account") == "a~"
    with pytest.raises(Refused, match="account must not begin with ~, found '~house'") as refused:
        legal_account("~house", "account")
    assert refused.value.code == "reserved_account"
