"""Reading a JSON document field by field, so that every fault names the path of the field.

Knows JSON and single fields; what the fields mean is `portfolio`'s.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from schemas.dead_letters import Refused
from schemas.fields import epoch_ms, exact, scaled, shown

#: Names that stand in a path as they are; others are quoted.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_~/:+-]+").fullmatch


class BadDocument(ValueError):
    """The document breaks a rule; one line: the path, what must hold, what was found."""


class _Number(str):
    """The digits of a JSON number, told apart from a string."""


class _Object(dict[str, Any]):
    """A JSON object that remembers a field given twice."""

    repeated: str | None = None


#: Field of an object by name.
Field = Callable[[str], "Node"]


def parse(data: bytes) -> "Node":
    """The root of the document.

    Raises
    ------
    BadDocument
        where `data` is not UTF-8 or not one JSON text.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {data[error.start]:#04x} at {error.start}"
        raise BadDocument(f"the document must be UTF-8 text, found {found}") from None
    if not text.strip():
        raise BadDocument("the document must be a JSON object, found nothing")
    try:
        value = json.loads(
            text, parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise BadDocument(f"the document must be JSON, found a fault at {place}: {error.msg}") from None
    except RecursionError:
        raise BadDocument("arrays and objects must be nested less deep, found hundreds of levels") from None
    return Node("", value)


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    fields = _Object(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                fields.repeated = name
            seen.add(name)
    return fields


class Node:
    """A value of the document and its path, such as `accounts[0].positions[2].quantity`.

    Absent and null are the same: a node whose value is None. Methods raise `BadDocument` where the value is not
    what they return.
    """

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.value = value

    @property
    def given(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def refuse(self, must: str) -> BadDocument:
        """The fault that this value must be something else."""
        return BadDocument(f"{self.path or 'the document'} must {must}, found {_shown(self.value)}")

    def named(self, name: str) -> str:
        """The path of a field of this object."""
        if _PLAIN_NAME(name):
            return f"{self.path}.{name}" if self.path else name
        return f"{self.path}[{json.dumps(name)}]"

    def fields(self) -> Iterator[tuple[str, "Node"]]:
        """Name and value of every field of an object, in the document's order."""
        value = self.value
        if not isinstance(value, _Object):
            raise self.refuse("be an object" if self.given else "be given")
        if value.repeated is not None:
            raise BadDocument(f"{self.named(value.repeated)} must be given once, found it again")
        return ((name, Node(self.named(name), item)) for name, item in value.items())

    def record(self, known: tuple[str, ...], unknown: list[str]) -> Field:
        """The fields of an object by name; the paths of those that are not `known` are added to `unknown`."""
        found = dict(self.fields())
        unknown += [node.path for name, node in found.items() if name not in known]
        return lambda name: found.get(name) or Node(self.named(name), None)

    def items(self) -> list["Node"]:
        """The elements of an array; none where it is absent."""
        if not self.given:
            return []
        if not isinstance(self.value, list):
            raise self.refuse("be an array")
        return [Node(f"{self.path}[{index}]", item) for index, item in enumerate(self.value)]

    def text(self, default: str | None = None) -> str:
        """A string, not empty."""
        if not self.given and default is not None:
            return default
        if type(self.value) is not str or not self.value:
            raise self.refuse("be a string that is not empty" if self.given else "be given")
        return self.value

    def choice(self, allowed: tuple[str, ...], default: str | None = None) -> Any:
        """One of a few strings; that these are what a record's field may be is the caller's to know."""
        text = self.text(default)
        if text not in allowed:
            raise self.refuse(f"be one of {', '.join(allowed)}")
        return text

    def digits(self, default: str | None = None) -> str:
        """A finite decimal number as its text, no digit lost."""
        if not self.given and default is not None:
            return default
        self.decimal()
        return str(self.value)

    def digits_or_none(self) -> str | None:
        """As `digits`; None where it is absent."""
        return self.digits() if self.given else None

    def decimal(self) -> Decimal:
        """A finite decimal number, exact."""
        if not self.given:
            raise self.refuse("be given")
        with _refusals():
            return exact(str(self.value) if isinstance(self.value, _Number) else self.value, self.path)

    def positive(self) -> Decimal:
        """A number above 0."""
        number = self.decimal()
        if number <= 0:
            raise self.refuse("be above 0")
        return number

    def places(self, precision: int | None) -> Decimal:
        """A number with at most `precision` decimals; None: any."""
        number = self.decimal()
        if precision is not None:
            with _refusals():
                scaled(str(self.value), precision, self.path)
        return number

    def integer(self, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`; None where it is absent."""
        if not self.given:
            return None
        number = self.decimal()
        if number != number.to_integral_value() or not low <= number <= high:
            raise self.refuse(f"be a whole number from {low} to {high}")
        return int(number)

    def plain(self) -> Any:
        """The value as JSON would have it, no digit lost: a whole number as an int, any other as its text."""
        return _plain(self.value)

    def time(self) -> int | None:
        """Epoch ms of a time; None where it is absent."""
        if not self.given:
            return None
        value = self.value
        if isinstance(value, _Number) and value.isascii() and value.isdigit() and len(value) < 19:
            value = int(value)
        if isinstance(value, _Number) or not isinstance(value, int | str) or isinstance(value, bool):
            raise self.refuse("be epoch milliseconds or an RFC 3339 string")
        with _refusals():
            return epoch_ms(value, self.path)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn a field's `Refused`, whose reason begins with the path, into a `BadDocument`."""
    try:
        yield
    except Refused as refused:
        raise BadDocument(refused.reason) from None


def _plain(value: Any) -> Any:
    if isinstance(value, _Number):
        return int(value) if value.lstrip("-").isdigit() and len(value) < 19 else str(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, _Number):
        return str(value) if len(value) <= 60 else f"{value[:60]}... ({len(value)} characters)"
    return shown(value)
