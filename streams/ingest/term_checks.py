"""Checks of single parameters in records of `instruments`; they refuse as bad_terms, or as `schemas.fields` does."""

from collections.abc import Sized
from decimal import Decimal
from typing import Any

from schemas.dead_letters import Refused
from schemas.fields import NAME_CHARS_MAX, exact, legal_id, plain, shown

#: A record of `instruments` in normal form: all fields present, numbers as plain decimal strings, times as epoch ms.
TermsRecord = dict[str, Any]


def integer(value: int, field: str, low: int, high: int) -> int:
    """`value`, if it is `low` to `high`; raises `Refused` bad_terms."""
    if not low <= value <= high:
        raise Refused("bad_terms", f"{field} must be {low} to {high}, found {shown(value)}")
    return value


def number(value: object, field: str, low: int, high: int | None = None) -> Decimal:
    """The decimal, `low` or more and at most `high`; raises `Refused` bad_terms and as `exact`."""
    found = exact(value, field)
    if found < low or (high is not None and found > high):
        bound = f"at least {low}" if high is None else f"{low} to {high}"
        raise Refused("bad_terms", f"{field} must be {bound}, found {shown(value)}")
    return found


def positive(value: object, field: str, high: int) -> Decimal:
    """The decimal, above 0 and at most `high`; raises `Refused` bad_terms and as `exact`."""
    found = number(value, field, 0, high)
    if not found:
        raise Refused("bad_terms", f"{field} must be above 0, found {plain(found)}")
    return found


def fraction(value: object, field: str) -> Decimal:
    """The decimal, 0 to 1; raises `Refused` bad_terms and as `exact`."""
    return number(value, field, 0, 1)


def few(entries: Sized, field: str, most: int) -> None:
    """Raise `Refused` bad_terms where there are more entries than `most`."""
    if len(entries) > most:
        raise Refused("bad_terms", f"{field} must have at most {most} entries, found {len(entries)}")


def named(id: str, prefix: str, wanted: str) -> str:
    """The name behind the prefix of an id; raises `Refused` illegal_id where there is none."""
    name = id.removeprefix(prefix)
    if not id.startswith(prefix) or not name:
        raise Refused("illegal_id", f"id must be {wanted}, found {shown(id)}")
    return legal_id(name, f"the name in id {shown(id)}", NAME_CHARS_MAX)
