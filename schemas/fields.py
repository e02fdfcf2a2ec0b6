"""Field types of the records, and the checks of one field: numbers, times and ids as they travel.

A number stays the text that was sent (a decimal string, or the digits of a JSON number), so no digit is
lost on the way; `scaled` and `exact` read it. Every check raises `Refused` and names the field.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from schemas.dead_letters import Refused

ID_CHARS_MAX = 128
NAME_CHARS_MAX = 64
#: Longest number that is read, in characters.
NUMBER_CHARS_MAX = 64
#: Numbers other than zero lie between 10**-40 and 10**40.
DIGITS_MAX = 40

_NUMBER_PATTERN = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?"
_NUMBER = re.compile(r"(-?[0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,4}))?").fullmatch
_NOT_FINITE = re.compile(r"[+-]?s?(?:nan|inf|infinity)[0-9]*", re.IGNORECASE).fullmatch
_ANY_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_RFC3339_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,32}))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch

_NUMBER_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": f"^{_NUMBER_PATTERN}$", "maxLength": NUMBER_CHARS_MAX},
        {"type": "number"},
    ]
}
_POWERS: tuple[int, ...] = tuple(10**n for n in range(2 * DIGITS_MAX + NUMBER_CHARS_MAX + 1))

if TYPE_CHECKING:
    #: A decimal number: a string such as "-0.50" (preferred), or a JSON number, read exactly either way.
    Number = str | int
else:
    Number = Annotated[Any, msgspec.Meta(extra_json_schema=_NUMBER_SCHEMA)]

#: Epoch milliseconds, or an RFC 3339 string with its offset; digits past the millisecond are cut off.
Time = (
    Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0})]
    | Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{_RFC3339_PATTERN}$"})]
)
#: An account, fill id or transfer id.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARS_MAX)]
#: An instrument, asset, symbol or source.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
#: A number in an output record: always a decimal string, never an exponent.
DecimalText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a topic: immutable, built by keyword."""


def scaled(value: object, places: int, field: str) -> int:
    """`value` x 10**places as an exact integer.

    Raises
    ------
    Refused
        mistyped_field, not_finite, over_range (10**40 and more), excess_decimals (more than `places`).

    Examples
    --------
    >>> scaled("-0.50", 3, "quantity"), scaled(2, 3, "quantity"), scaled("1.2e3", 0, "quantity")
    (-500, 2000, 1200)
    """
    if type(value) is str:
        # All but a few numbers are digits with a point; this reads them four times as fast as the pattern.
        whole, point, fraction = value.partition(".")
        magnitude = whole[1:] if whole[:1] == "-" else whole
        is_plain = magnitude.isdigit() and (fraction.isdigit() or not point) and value.isascii()
        if is_plain and len(fraction) <= places and len(magnitude) <= DIGITS_MAX:
            return int(whole + fraction) * _POWERS[places - len(fraction)]
        if len(value) <= NUMBER_CHARS_MAX:
            return _scaled_text(value, places, field)
    if type(value) is int and abs(value) < _POWERS[DIGITS_MAX]:
        return value * _POWERS[places]
    raise _not_a_number(value, field)


def _scaled_text(text: str, places: int, field: str) -> int:
    match = _NUMBER(text)
    if match is None:
        raise _not_a_number(text, field)
    whole, fraction, exponent = match.groups("")
    digits = int(whole + fraction)
    if digits == 0:
        return 0
    magnitude = len(str(abs(digits)))
    first = magnitude - len(fraction) + int(exponent or 0)
    if not -DIGITS_MAX < first <= DIGITS_MAX:
        raise _over_range(text, field)
    shift = places - len(fraction) + int(exponent or 0)
    if shift >= 0:
        return digits * _POWERS[shift]
    quotient, rest = divmod(abs(digits), _POWERS[-shift])
    if rest:
        raise Refused("excess_decimals", f"{field} must have at most {places} decimals, found {shown(text)}")
    return -quotient if digits < 0 else quotient


def exact(value: object, field: str) -> Decimal:
    """The number as a Decimal, no digit lost; raises `Refused` as `scaled` does.

    Examples
    --------
    >>> exact("0.100000000000000000000000000001", "rate")
    Decimal('0.100000000000000000000000000001')
    """
    if type(value) is int and abs(value) < _POWERS[DIGITS_MAX]:
        return Decimal(value)
    if type(value) is not str or len(value) > NUMBER_CHARS_MAX or _NUMBER(value) is None:
        raise _not_a_number(value, field)
    number = Decimal(value)
    if not number:
        return Decimal(0)
    if not -DIGITS_MAX <= number.adjusted() < DIGITS_MAX:
        raise _over_range(value, field)
    return number


def _not_a_number(value: object, field: str) -> Refused:
    if type(value) is int:
        return _over_range(value, field)
    if type(value) is str:
        if _NOT_FINITE(value.strip()):
            return Refused("not_finite", f"{field} must be finite, found {shown(value)}")
        if _ANY_NUMBER(value):
            return _over_range(value, field)
    return Refused("mistyped_field", f"{field} must be a decimal number, found {shown(value)}")


def _over_range(value: object, field: str) -> Refused:
    return Refused(
        "over_range",
        f"{field} must be 0 or between 1e-{DIGITS_MAX} and 1e{DIGITS_MAX} in magnitude and at most "
        f"{NUMBER_CHARS_MAX} characters, found {shown(value)}",
    )


def epoch_ms(value: int | str, field: str) -> int:
    """The time in epoch milliseconds, not before 1970.

    Raises
    ------
    Refused
        mistyped_field where a string is not RFC 3339 with an offset, or no such day or second exists (leap
        seconds too: they have no epoch millisecond); bad_time before 1970.

    Examples
    --------
    >>> epoch_ms("2025-10-10T21:15:00.1239Z", "time")
    1760130900123
    """
    time = _rfc3339_ms(value, field) if isinstance(value, str) else value
    if time < 0:
        raise Refused("bad_time", f"{field} must not be before 1970, found {shown(time)}")
    return time


def _rfc3339_ms(text: str, field: str) -> int:
    match = _RFC3339(text)
    try:
        if match is None:
            raise ValueError(text)
        day, clock, fraction, offset = match.groups("")
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset in 'Zz' else offset}")
        return int(moment.timestamp()) * 1000 + int(fraction[:3].ljust(3, "0"))
    except (ValueError, OverflowError):
        raise Refused(
            "mistyped_field", f"{field} must be epoch milliseconds or RFC 3339, found {shown(text)}"
        ) from None


def legal_id(text: str, field: str, chars_max: int = ID_CHARS_MAX) -> str:
    """`text`, if it is 1 to `chars_max` visible characters; inner spaces are allowed, outer ones are not.

    Raises
    ------
    Refused
        illegal_id.
    """
    if 0 < len(text) <= chars_max and text.isprintable() and text[0] != " " and text[-1] != " ":
        return text
    raise Refused(
        "illegal_id",
        f"{field} must be 1 to {chars_max} visible characters, no space at either end, found {shown(text)}",
    )


def legal_account(text: str, field: str) -> str:
    """`text`, if a user's account may be called so; raises `Refused` illegal_id or reserved_account."""
    if legal_id(text, field)[0] == "~":
        raise Refused("reserved_account", f"{field} must not begin with ~, found {shown(text)}")
    return text


def plain(number: Decimal) -> str:
    """The number without exponent or needless zeros: one text for one value.

    Examples
    --------
    >>> plain(Decimal("0.500")), plain(Decimal("1E+3")), plain(Decimal("-0.0"))
    ('0.5', '1000', '0')
    """
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def shown(value: object) -> str:
    """The value as a reason quotes it: short, printable, in JSON's words.

    Examples
    --------
    >>> shown(None), shown(True), shown([1]), shown("x" * 99)[:9], shown(10**60)
    ('null', 'true', 'an array', "'xxxxxxxx", 'a number of more than 40 digits')
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return repr(value) if len(value) <= 60 else f"{value[:60]!r}... ({len(value)} characters)"
        case int():
            return str(value) if abs(value) < 10**40 else "a number of more than 40 digits"
        case list():
            return "an array"
        case dict():
            return "an object"
    return repr(value)[:60]
