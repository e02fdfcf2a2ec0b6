"""Record <-> bytes: msgspec reads with validation, orjson writes with sorted keys.

Unknown fields are ignored and counted, so a producer may add fields before the reader knows them; new fields
of ours have defaults, so a reader may be newer than its producer.
"""

import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar, get_args

import msgspec
import orjson

from schemas.dead_letters import Refused
from schemas.fields import Record, exact, shown

T = TypeVar("T", bound=Record)

_SYNTAX = msgspec.json.Decoder(msgspec.Raw).decode
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_MISSING = re.compile(r"Object missing required field `([^`]*)`(?: - at `\$\.?(.*)`)?").fullmatch
_EXPECTED = re.compile(r"Expected `(.*)`, got `(.*)` - at `\$\.?(.*)`").fullmatch
_LENGTH = re.compile(r"Expected `str` of length ([<>]=) (\d+) - at (`key` in )?`\$\.?(.*)`").fullmatch
_OTHER = re.compile(r"(.*) - at `(?:the key in )?\$\.?(.*)`").fullmatch
_WORDS = {
    "str": "a string",
    "int": "an integer",
    "int | str": "epoch milliseconds or an RFC 3339 string",
    "array": "an array",
    "object": "an object",
    "bool": "true or false",
}


def encode(record: Record | dict[str, Any]) -> bytes:
    """The record, or a plain object of the same shape, as JSON with sorted keys: equal records, equal bytes.

    Raises
    ------
    ValueError
        where a number of an object is NaN or infinite, which JSON cannot say. (Records hold no floats.)
    """
    if isinstance(record, dict):
        _check_finite(record, "$")
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    return orjson.dumps(msgspec.to_builtins(record), option=orjson.OPT_SORT_KEYS)


def _check_finite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} must be finite, found {value}")
    if isinstance(value, dict):
        for name, item in value.items():
            _check_finite(item, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_finite(item, f"{path}[{index}]")


def decode(kind: type[T], data: bytes) -> T:
    """The record in `data`, its numbers checked to be decimals.

    `kind` is a record type or a union of types told apart by their tag, such as `LiquidationEvent`. For a
    stream of records keep a `Reader`, which is faster and counts unknown fields.

    Raises
    ------
    Refused
        with the code and reason that a dead letter would carry.
    """
    record: T = _read(_decoder(kind), data)
    check_numbers(record)
    return record


@lru_cache
def _decoder(kind: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(kind, float_hook=str).decode


def _read(decoder: Callable[[bytes], Any], data: bytes) -> Any:
    if not data.isascii():
        _check_utf8(data)
    try:
        return decoder(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _refused(error, data) from None


def check_numbers(record: Record, path: str = "") -> None:
    """Raise `Refused` where a field declared as Number holds anything else than a decimal."""
    for field in msgspec.structs.fields(record):
        value = getattr(record, field.name)
        here = f"{path}{field.encode_name}"
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if isinstance(item, Record):
                    check_numbers(item, f"{here}[{index}].")
        elif isinstance(value, dict):
            for name, item in value.items():
                if isinstance(item, Record):
                    check_numbers(item, f"{here}.{name}.")
        elif isinstance(value, Record):
            check_numbers(value, f"{here}.")
        elif is_number(field.type) and not (value is None and field.default is None):
            exact(value, here)


def is_number(annotation: Any) -> bool:
    """Whether a field's type is Number, or Number or null: the only types that hold Any."""
    return annotation is Any or any(is_number(part) for part in get_args(annotation)[:1])


class Reader(Generic[T]):
    """Reads records of one type and counts the unknown fields it has passed over.

    Numbers come out as they were sent, unchecked: `fields.scaled` and `fields.exact` check them on use. A
    record may come as a subclass of `kind` that has no room for unknown fields: so they are found for free.
    """

    def __init__(self, kind: type[T]) -> None:
        self.unknown_fields = 0
        self._decoder = _decoder(kind)
        self._is_flat = not get_args(kind) and not any(
            _holds_record(field.type) for field in msgspec.structs.fields(kind)
        )
        self._names = {field.encode_name for field in msgspec.structs.fields(kind)} if self._is_flat else set()
        # Records without records in them are read by a type that refuses unknown fields, for as long as none
        # come: that finds them at no cost.
        self._is_strict = self._is_flat
        self._decoder_strict = _decoder(_strict(kind)) if self._is_flat else self._decoder

    def read(self, data: bytes) -> T:
        """The record in `data`.

        Raises
        ------
        Refused
            not_utf8, not_json, not_object, nested_too_deep, missing_field, mistyped_field, bad_value,
            illegal_id (length), not_finite (a bare NaN or Infinity) or over_range (an endless integer).
        """
        record: T
        if self._is_strict and data.isascii():
            try:
                record = self._decoder_strict(data)
                return record
            except (msgspec.MsgspecError, RecursionError):
                pass  # an unknown field, or a fault that the second reading names
        record = _read(self._decoder, data)
        unknown = self._unknown_fields(data, record)
        self.unknown_fields += unknown
        self._is_strict = self._is_flat and not unknown
        return record

    def _unknown_fields(self, data: bytes, record: T) -> int:
        if self._is_flat:
            return sum(name not in self._names for name in _KEYS(data))
        try:  # digits stay text: an unknown field may hold an integer of any length
            sent = json.loads(data, parse_int=str, parse_float=str)
        except RecursionError:
            return 1
        return _unknown(sent, msgspec.to_builtins(record))


def _strict(kind: Any) -> Any:
    """The same record without room for unknown fields."""
    return msgspec.defstruct(kind.__name__, [], bases=(kind,), forbid_unknown_fields=True, frozen=True, kw_only=True)


def _holds_record(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return True
    return any(_holds_record(part) for part in get_args(annotation))


def _check_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise Refused(
            "not_utf8", f"the value must be UTF-8, found byte {data[error.start]:#04x} at {error.start}"
        ) from None


def _unknown(sent: Any, known: Any) -> int:
    """How many object fields of `sent` are not in `known`, at any depth."""
    if isinstance(sent, dict) and isinstance(known, dict):
        return sum(_unknown(sent[name], known[name]) if name in known else 1 for name in sent)
    if isinstance(sent, list) and isinstance(known, list | tuple):
        return sum(_unknown(*pair) for pair in zip(sent, known, strict=False))
    return 0


def _refused(error: Exception, data: bytes) -> Refused:
    """The code and reason of a message that could not be read."""
    too_deep = Refused("nested_too_deep", "arrays and objects must be nested less deep, found too many levels to read")
    if isinstance(error, RecursionError):
        return too_deep
    try:  # the first reading stops at the first fault; that the rest is JSON is not yet known
        _SYNTAX(data)
        _KEYS(data)
    except RecursionError:
        return too_deep
    except msgspec.ValidationError:
        return Refused("not_object", f"the value must be a JSON object, found {_start(data)}")
    except msgspec.DecodeError as syntax:
        reason = f"the value must be JSON, found {_start(data)}: {syntax}"
        return _not_finite(data) or Refused("not_json", reason)
    return _invalid(str(error), data)


def _invalid(text: str, data: bytes) -> Refused:
    """The reason in msgspec's message, in our words; the object itself is well-formed."""
    if match := _MISSING(text):
        inner = f" in {match[2]}" if match[2] else ""
        return Refused("missing_field", f"{match[1]} must be given{inner}, found no such field")
    if match := _EXPECTED(text):
        wanted, _, path = match.groups()
        wanted = _WORDS.get(wanted.removesuffix(" | null"), wanted)
        return Refused("mistyped_field", f"{path} must be {wanted}, found {_found(data, path)}")
    if match := _LENGTH(text):
        sign, length, is_key, path = match.groups()
        bound, other = ("at least", "shorter") if sign == ">=" else ("at most", "longer")
        if is_key:
            return Refused("illegal_id", f"a name in {path} must be {bound} {length} characters, found a {other} one")
        return Refused("illegal_id", f"{path} must be {bound} {length} characters, found {_found(data, path)}")
    if match := _OTHER(text):
        fault, path = match.groups()
        if "out of range" in fault:
            return Refused("over_range", f"{path} must have at most 40 digits, found thousands")
        code = "mistyped_field" if fault.startswith("Expected") else "bad_value"
        return Refused(code, f"{path} must be a value the field may have, found {_found(data, path)}")
    return Refused("bad_value", f"the record must be valid: {text}")


def _found(data: bytes, path: str) -> str:
    """What stands at a path such as `tiers[1].haircut`."""
    try:
        value = json.loads(data, parse_int=_integer, parse_float=str)
        for step in re.findall(r"[^.\[\]]+", path):
            value = value[int(step)] if isinstance(value, list) else value[step]
    except (RecursionError, LookupError, TypeError, ValueError):
        return "what cannot be shown"
    return shown(value)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) < 40 else digits  # Python refuses to read thousands of digits


def _start(data: bytes) -> str:
    return shown(data[:61].decode(errors="replace"))


def _not_finite(data: bytes) -> Refused | None:
    """The refusal of a bare NaN or Infinity, which many tools write although it is no JSON."""
    bare: list[str] = []

    def constant(word: str) -> float:
        bare.append(word)
        return math.nan

    try:
        document = json.loads(data, parse_constant=constant, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not bare or not isinstance(document, dict):
        return None
    names = [name for name, value in document.items() if isinstance(value, float)]
    return Refused("not_finite", f"{names[0] if names else 'a number'} must be finite, found {bare[0]}")
