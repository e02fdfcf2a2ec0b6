"""Changes of parameters: read from a file, checked, and made to the terms and settings of a journal.

```json
{"instruments": {"*": {"maintenance_margin": "x1.5"}, "BTC-PERP": {"tiers": []}},
 "assets": {"ETH": {"haircut": "0.2"}}, "engine": {"margin_call": "1.4"},
 "accounts": {"alice": {"levels": {"margin_call": "2"}}}, "slippage": "0.001"}
```

`x1.5` multiplies the number that is there; a rate that is multiplied is multiplied in every tier. What stands at `*`
holds for all that have such a parameter, then what stands at the name; options have `option_margin`, of which single
rates may be given, and none of the rates of others. An initial rate below its maintenance rate is lifted to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

import orjson

from schemas.accounts import AccountSettings
from schemas.codec import Reader
from schemas.dead_letters import Refused
from schemas.instruments import EngineRules, TermsMessage
from streams.ingest.term_rules import normalised, settings_row
from streams.replay.recording import RecordingError

SECTIONS = ("instruments", "assets", "engine", "accounts", "slippage")
_KIND_SECTIONS = {"instrument": "instruments", "asset": "assets"}
_RATES = {
    "initial_margin": ("tiers", "initial_margin"),
    "maintenance_margin": ("tiers", "maintenance_margin"),
    "haircut": ("haircut_tiers", "haircut"),
    "initial_haircut": ("haircut_tiers", "initial_haircut"),
}
#: Fields that never change, so that the journal's integers keep their meaning.
_FIXED = (
    "id",
    "kind",
    "type",
    "underlying",
    "settlement",
    "multiplier",
    "price_precision",
    "quantity_precision",
    "precision",
    "option_type",
    "strike",
)

#: Rates that options do not have; and theirs.
_NOT_OF_OPTIONS = ("initial_margin", "maintenance_margin", "tiers", "size_premium_factor", "open_interest")
_OF_OPTIONS = "option_margin"

#: Fields of an account's settings.
_SETTINGS = ("mode", "margin_model", "levels")
_LEVELS = ("margin_call", "margin_call_exit", "liquidation_exit", "liquidation_target")

Json = dict[str, Any]


class Changes:
    """Raises RecordingError from the constructor, and from `terms` and `settings` where a change breaks a rule."""

    def __init__(self, document: object, where: str) -> None:
        self._where = where
        if not isinstance(document, dict):
            raise RecordingError(f"changes must be a JSON object, found {type(document).__name__} ({where})")
        unknown = set(document) - set(SECTIONS)
        if unknown:
            raise RecordingError(f"changes must be of {', '.join(SECTIONS)}, found {min(unknown)} ({where})")
        self._sections: dict[str, Json] = {}
        for name in ("instruments", "assets", "engine", "accounts"):
            section = document.get(name, {})
            fields = [section] if name == "engine" and isinstance(section, dict) else section
            entries = fields if isinstance(fields, list) else section.values() if isinstance(section, dict) else [None]
            if any(not isinstance(entry, dict) for entry in entries):
                raise RecordingError(
                    f"{name} must be an object of changes, found {orjson.dumps(section).decode()} ({where})"
                )
            self._sections[name] = section
        accounts = self._sections["accounts"]
        self._sections["accounts"] = {name: self._settings(own, f"accounts.{name}") for name, own in accounts.items()}
        self._reader: Reader[Any] = Reader(cast(type[Any], TermsMessage))
        self.slippage = self._number(document.get("slippage", "0.001"), "slippage")
        if not 0 <= self.slippage < 1:
            raise RecordingError(f"slippage must be 0 to below 1, found {self.slippage} ({where})")
        self.unused = {
            (section, name)
            for section in ("instruments", "assets", "accounts")
            for name in self._sections[section]
            if name != "*"
        }

    @classmethod
    def read(cls, path: Path) -> Changes:
        """The changes in a file."""
        try:
            return cls(orjson.loads(path.read_bytes()), str(path))
        except (OSError, orjson.JSONDecodeError) as error:
            raise RecordingError(f"changes must be a JSON file, found {error} ({path})") from None

    def engine(self) -> list[Json]:
        """The engine's rules from the beginning on, where they are changed."""
        return [self.terms({**normalised(EngineRules()), "version": -1})] if self._sections["engine"] else []

    def terms(self, record: Json) -> Json:
        """A record of terms in normal form, changed; its version stays."""
        if record["kind"] == "engine":
            found = [("engine", self._sections["engine"])] if self._sections["engine"] else []
            record = {**normalised(EngineRules()), **record} if found else record
        else:
            section = _KIND_SECTIONS.get(record["kind"], "")
            found = self._found(section, record["id"]) if section else []
        for path, changes in found:
            record = self._changed(record, changes, path)
        return record

    def settings(self, settings: Json) -> Json:
        """Settings of an account, changed; `settings` may name the account alone. Levels that are given replace all."""
        settings = {**settings_row(AccountSettings(account=settings["account"])), **settings}
        for _, changes in self._found("accounts", settings["account"]):
            settings |= changes
        return settings

    def newcomers(self, names: Iterable[str]) -> list[Json]:
        """Settings of accounts that have sent none, where the changes say something of them."""
        section = self._sections["accounts"]
        return [self.settings({"account": name}) for name in names if "*" in section or name in section]

    def _settings(self, changes: Json, path: str) -> Json:
        """Changes of an account's settings in normal form."""
        if unknown := set(changes) - set(_SETTINGS):
            raise RecordingError(f"{path} must change {' or '.join(_SETTINGS)}, found {min(unknown)} ({self._where})")
        reader: Reader[AccountSettings] = Reader(AccountSettings)
        try:
            row = settings_row(reader.read(orjson.dumps({"account": "any", **changes})))
        except Refused as refused:
            raise RecordingError(f"{path}: {refused.reason} ({self._where})") from None
        if reader.unknown_fields:
            raise RecordingError(f"{path}.levels must be of {', '.join(_LEVELS)}, found others ({self._where})")
        return {field: row[field] for field in changes}

    def _found(self, section: str, name: str) -> list[tuple[str, Json]]:
        self.unused.discard((section, name))
        own = self._sections[section]
        return [(f"{section}.{key}", own[key]) for key in ("*", name) if key in own]

    def _changed(self, record: Json, changes: Mapping[str, Any], path: str) -> Json:
        out = dict(record)
        for field, value in changes.items():
            where = f"{path}.{field}"
            if _of_others(record, field):
                if path == "instruments.*":
                    continue
                kind = record["type"]
                raise RecordingError(f"{where} must be a rate of type {kind}, found {field!r} ({self._where})")
            if field == _OF_OPTIONS and isinstance(value, dict):
                own = record[field]
                out[field] = {**own, **{name: self._rate(own, name, value, where) for name in value}}
                continue
            if field not in record or field in _FIXED:
                raise RecordingError(f"{where} must be a parameter that may change, found {field!r} ({self._where})")
            if not (isinstance(value, str) and value.startswith("x")):
                out[field] = value
                continue
            factor = self._number(value[1:], where)
            out[field] = self._times(record[field], factor, where)
            if field in _RATES:
                table, column = _RATES[field]
                out[table] = [{**row, column: self._times(row[column], factor, where)} for row in out[table]]
        if record["kind"] == "instrument" and record["type"] != "option":
            for row in (out, *out["tiers"]):
                low = self._number(row["maintenance_margin"], path)
                if self._number(row["initial_margin"], path) < low <= 1:
                    row["initial_margin"] = str(low)
        return self._checked(out, path)

    def _checked(self, record: Json, path: str) -> Json:
        message = {
            name: value
            for name, value in record.items()
            if name != "version" and value is not None and not _of_others(record, name)
        }
        try:
            return normalised(self._reader.read(orjson.dumps(message))) | {"version": record["version"]}
        except Refused as refused:
            raise RecordingError(f"{path} of {record['id']}: {refused.reason} ({self._where})") from None

    def _rate(self, before: Json, name: str, changes: Json, where: str) -> object:
        """A rate of options, as given or multiplied."""
        value = changes[name]
        if not (isinstance(value, str) and value.startswith("x")):
            return value
        return self._times(before.get(name), self._number(value[1:], where), f"{where}.{name}")

    def _times(self, number: object, factor: Decimal, where: str) -> str:
        return format((self._number(number, where) * factor).normalize(), "f")

    def _number(self, value: object, where: str) -> Decimal:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite():
            raise RecordingError(f"{where} must be a number, found {value!r} ({self._where})")
        return number


def _of_others(record: Json, field: str) -> bool:
    """Whether the field is a rate that instruments of the record's type do not have."""
    if record["kind"] != "instrument":
        return False
    return field in _NOT_OF_OPTIONS if record["type"] == "option" else field == _OF_OPTIONS
