"""The table of what `instruments` says, by which ingest scales and knows sources: a fold over it in offset order.

A verdict depends only on the records before it. A record that was folded already gets its old verdict again,
so the worker that ingests `instruments` and the others that only look things up share one table.

The table has a changelog of what was accepted, and a start goes on from there: `instruments` is compacted, so a
message that was refused, if it is the latest of its id, removes the accepted one before it from that topic.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import orjson

from schemas.codec import Reader
from schemas.dead_letters import Refused
from schemas.fields import shown
from schemas.instruments import (
    INVERSE_TYPES,
    PERPETUAL_TYPES,
    EngineRules,
    TermsMessage,
    identity_fields,
    unit_value,
)
from schemas.oracle_terms import ORACLE_ID, ORACLE_PREFIX, SOURCE_PREFIX
from schemas.risk_terms import CLOSES_PREFIX, RISK_ID
from streams.ingest.term_checks import TermsRecord
from streams.ingest.term_rules import normalised

#: Changelog key of the offset up to which the changelog covers `instruments`. No published id is called so.
POSITION_KEY = b"~position"

_UNIT_MAX = 1 << 62
#: Kinds that are the oracle's alone: no shard is told of them.
_ORACLE_KINDS = ("source", "oracle", "risk", "closes")
_Reason = tuple[str, str]
_ENGINE_DEFAULTS = normalised(EngineRules())


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetTerms:
    """What ingest needs of an asset: `precision` decimals, and the record that the journal carries."""

    id: str
    precision: int
    closed: bool
    record: TermsRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentTerms:
    """What ingest needs of an instrument.

    Parameters
    ----------
    price_precision, quantity_precision : decimals of a tick and of a lot
    asset : the settlement asset, whose minor unit fees are counted in
    inverse : P&L is paid in coins
    perpetual : it pays funding
    unit, divisor : linear: minor units = lots x ticks x unit; inverse: lots x unit / (ticks x divisor)
    records : what the journal carries: the asset's record and the instrument's own
    """

    id: str
    price_precision: int
    quantity_precision: int
    asset: AssetTerms
    inverse: bool
    perpetual: bool
    unit: int
    divisor: int
    closed: bool
    records: tuple[TermsRecord, TermsRecord]


class Terms:
    """Instruments, assets, sources and the oracle's rules as of `next_offset` of the topic `instruments`.

    Parameters
    ----------
    message_bytes_max : longer values are refused

    Attributes
    ----------
    next_offset : the first offset not folded yet
    assets, instruments : id -> terms of what messages may use; an instrument is here once its asset is known
    sources : name -> record of every published source
    edition : changes with `assets` and `instruments`
    """

    def __init__(self, message_bytes_max: int) -> None:
        self.next_offset = 0
        self.edition = 0
        self.assets: dict[str, AssetTerms] = {}
        self.instruments: dict[str, InstrumentTerms] = {}
        self.sources: dict[str, TermsRecord] = {}
        self._oracle: dict[str, TermsRecord] = {}  # by id
        self._message_bytes_max = message_bytes_max
        self._reader: Reader[Any] = Reader(cast(type[Any], TermsMessage))
        self._records: dict[str, TermsRecord] = {}
        self._faults: dict[str, _Reason] = {}
        # Verdicts that rest on the records before; all others are given again from the record itself.
        self._refusals: dict[int, _Reason] = {}
        self._closings: dict[int, TermsRecord | None] = {}
        self._first_version: dict[str, int] = {}
        self._keys: dict[str, dict[str, str]] = {}  # of sources by id: all key ids there ever were -> public key

    @property
    def unknown_fields(self) -> int:
        """Fields passed over so far because no record knows them."""
        return self._reader.unknown_fields

    def read(self, records: Iterable[tuple[int, bytes | None, bytes | None]]) -> None:
        """Fold (offset, key, value) records for look-up only: refusals are left to who ingests the topic."""
        for offset, key, value in records:
            with suppress(Refused):
                self.add(offset, key, value)

    def add(self, offset: int, key: bytes | None, value: bytes | None) -> list[TermsRecord]:
        """Fold one record of `instruments`; returns what the journals are to be told, in normal form.

        Each carries its `version`, the offset. Nothing is told of an instrument whose settlement asset is
        unknown: it is told together with the asset. Nothing is told of sources and the oracle's rules.

        Raises
        ------
        Refused
            the table is as before, but for `next_offset`.
        """
        if offset < self.next_offset:
            return self._again(offset, key, value)
        self.next_offset = offset + 1
        id = key_text(key)
        record = None if value is None else self._record(offset, id, value)
        try:
            if record is None:
                record = self._closings[offset] = self._closing(offset, id)
            else:
                self._check_history(record)
        except Refused as refused:
            self._refusals[offset] = (refused.code, refused.reason)
            raise
        return [] if record is None else self._take(record)

    def entry(self, offset: int, key: bytes | None, value: bytes | None) -> tuple[bytes, bytes] | None:
        """The changelog record of a message that `add` has taken; None where it changes nothing."""
        id = key_text(key)
        record = self._closings[offset] if value is None else self._record(offset, id, value)
        if record is None:
            return None
        left_out = self._keys.get(id, {}).items() - _keys_of(record).items()
        held = [self._first_version[id], record, *([dict(sorted(left_out))] if left_out else [])]
        return id.encode(), orjson.dumps(held)

    def restore(self, changelog: Iterable[tuple[bytes, bytes]]) -> None:
        """Become, from new, the table whose changelog this is; of one key the last record holds."""
        self.edition += 1
        latest = dict(changelog)
        self.next_offset = int(latest.pop(POSITION_KEY, b"0"))
        for key, value in latest.items():
            first_version, record, *left_out = orjson.loads(value)
            self._records[key.decode()] = record
            self._first_version[key.decode()] = first_version
            self._learn_keys(record, *left_out)
        records = list(self._records.values())
        for record in [record for record in records if record["kind"] == "asset"]:
            self.assets[record["id"]] = _asset_terms(record)
        for record in [record for record in records if record["kind"] == "instrument"]:
            self._make_usable(record)
        for record in [record for record in records if record["kind"] in _ORACLE_KINDS]:
            self._keep_for_oracle(record)

    def marked_by_index(self) -> list[tuple[str, str]]:
        """Each instrument, by id, whose mark is the index of a symbol and a basis, and that symbol: all but options."""
        records = {id: found.records[1] for id, found in sorted(self.instruments.items())}
        return [(id, record["underlying"]) for id, record in records.items() if record["type"] != "option"]

    def find_instrument(self, id: str, field: str = "instrument") -> InstrumentTerms:
        """The instrument; raises `Refused` unknown_instrument, unknown_asset (its settlement), bad_terms."""
        found = self.instruments.get(id)
        if found is not None:
            return found
        if id in self._faults:
            raise Refused(*self._faults[id])
        record = self._records.get(id)
        if record is not None and record["kind"] == "instrument":
            asset = record["settlement"]
            raise Refused(
                "unknown_asset",
                f"settlement of {shown(id)} must be a published asset, found {shown(asset)}",
                asset,
            )
        raise Refused("unknown_instrument", f"{field} must be a published instrument, found {shown(id)}", id)

    def find_asset(self, id: str, field: str = "asset") -> AssetTerms:
        """The asset; raises `Refused` unknown_asset."""
        found = self.assets.get(id)
        if found is None:
            raise Refused("unknown_asset", f"{field} must be a published asset, found {shown(id)}", id)
        return found

    def oracle_record(self, symbol: str) -> TermsRecord | None:
        """The oracle's rules for a symbol: its own, else those of all symbols; None where nobody published any."""
        return self._oracle.get(ORACLE_PREFIX + symbol) or self._oracle.get(ORACLE_ID)

    def halted(self) -> frozenset[str]:
        """The symbols that the latest control order on them halts."""
        orders = [record for record in self._records.values() if record["kind"] == "control"]
        orders.sort(key=lambda record: record["version"])
        last = {record["symbol"]: record["action"] for record in orders if record["symbol"] is not None}
        return frozenset(symbol for symbol, action in last.items() if action == "halt")

    def risk_history(self) -> TermsRecord | None:
        """How values at risk are made of past prices; None where nobody published it."""
        return self._oracle.get(RISK_ID)

    def risk_units(self) -> list[str]:
        """Underlyings of the risk units there are, ascending."""
        units = (record for record in self._records.values() if record["kind"] == "risk_unit")
        return sorted(record["underlying"] for record in units if not record["closed"])

    def closes_of(self, underlying: str) -> TermsRecord | None:
        """The past closes published of a unit."""
        return self._oracle.get(CLOSES_PREFIX + underlying)

    def reporting_currency(self) -> str:
        """The asset that all values are stated in, which is worth 1 by definition."""
        return cast(str, self._records.get("~engine", _ENGINE_DEFAULTS)["reporting_currency"])

    def _record(self, offset: int, id: str, value: bytes) -> TermsRecord:
        check_size(value, self._message_bytes_max)
        record = normalised(self._reader.read(value))
        if record["id"] != id:
            raise Refused("bad_key", f"key must be the record's id {shown(record['id'])}, found {shown(id)}")
        return record | {"version": offset}

    def _closing(self, offset: int, id: str) -> TermsRecord | None:
        """What a tombstone says: the last terms, closed; the engine's default rules; of a control order nothing."""
        last = self._records.get(id)
        if last is None:
            raise Refused("tombstone", f"a null value must close a published id, found {shown(id)}")
        if last["kind"] == "control":
            return None
        if last["kind"] == "engine":
            return normalised(EngineRules()) | {"version": offset}
        return last | {"closed": True, "version": offset}

    def _check_history(self, record: TermsRecord) -> None:
        before = self._records.get(record["id"])
        if before is not None:
            _check_identity(before, record)
        _check_keys(self._keys.get(record["id"], {}), record)
        asset = self.assets.get(record.get("settlement", ""))
        if asset is not None:
            _unit(record, asset)

    def _take(self, record: TermsRecord) -> list[TermsRecord]:
        self.edition += 1
        id = record["id"]
        self._records[id] = record
        self._first_version.setdefault(id, record["version"])
        self._learn_keys(record)
        if record["kind"] == "asset":
            self.assets[id] = _asset_terms(record)
            for other in self._settling_in(id):
                self._make_usable(other)
        elif record["kind"] == "instrument":
            self._make_usable(record)
        elif record["kind"] in _ORACLE_KINDS:
            self._keep_for_oracle(record)
        return self._told(record)

    def _learn_keys(self, record: TermsRecord, left_out: Mapping[str, str] | None = None) -> None:
        """What the keys of a source are called, and were that it has no more."""
        keys = {**(left_out or {}), **_keys_of(record)}
        if keys:
            self._keys.setdefault(record["id"], {}).update(keys)

    def _keep_for_oracle(self, record: TermsRecord) -> None:
        """A source or the oracle's rules; closed ones are as if never published."""
        kept = self.sources if record["kind"] == "source" else self._oracle
        name = record["id"].removeprefix(SOURCE_PREFIX)
        if record["closed"]:
            kept.pop(name, None)
        else:
            kept[name] = record

    def _make_usable(self, record: TermsRecord) -> None:
        asset = self.assets.get(record["settlement"])
        if asset is None:
            return
        try:
            unit = _unit(record, asset)
        except Refused as fault:  # the instrument came before its asset, and does not fit it
            self._faults[record["id"]] = (fault.code, fault.reason)
            return
        self.instruments[record["id"]] = InstrumentTerms(
            id=record["id"],
            price_precision=record["price_precision"],
            quantity_precision=record["quantity_precision"],
            asset=asset,
            inverse=record["type"] in INVERSE_TYPES,
            perpetual=record["type"] in PERPETUAL_TYPES,
            unit=unit.numerator,
            divisor=unit.denominator,
            closed=record["closed"],
            records=(asset.record, record),
        )

    def _told(self, record: TermsRecord) -> list[TermsRecord]:
        """The record, after the asset it needs and before the instruments that waited for it."""
        if record["kind"] == "asset":
            is_first = self._first_version[record["id"]] == record["version"]
            waited = [other for other in self._settling_in(record["id"]) if other["id"] in self.instruments]
            return [record, *waited] if is_first else [record]
        if record["kind"] == "instrument":
            asset = self.assets.get(record["settlement"])
            usable = asset is not None and record["id"] in self.instruments
            return [asset.record, record] if asset is not None and usable else []
        return [] if record["kind"] in _ORACLE_KINDS else [record]

    def _settling_in(self, asset: str) -> list[TermsRecord]:
        records = (self._records[id] for id in sorted(self._records))
        return [record for record in records if record.get("settlement") == asset]

    def _again(self, offset: int, key: bytes | None, value: bytes | None) -> list[TermsRecord]:
        if offset in self._refusals:
            raise Refused(*self._refusals[offset])
        id = key_text(key)
        record = self._closings[offset] if value is None else self._record(offset, id, value)
        return [] if record is None else self._told(record)


def _asset_terms(record: TermsRecord) -> AssetTerms:
    return AssetTerms(id=record["id"], precision=record["precision"], closed=record["closed"], record=record)


def key_text(key: bytes | None) -> str:
    """The key of a message of a compacted topic, as text; raises `Refused` bad_key."""
    try:
        if key is not None:
            return key.decode()
    except UnicodeDecodeError:
        pass
    raise Refused("bad_key", f"key must be UTF-8 text, found {'null' if key is None else 'other bytes'}")


def check_size(value: bytes, bytes_max: int) -> None:
    """Raise `Refused` over_size where the value is longer."""
    if len(value) > bytes_max:
        raise Refused("over_size", f"the value must be at most {bytes_max} bytes, found {len(value)}")


def _check_identity(before: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    for field in identity_fields(before):
        held, found = before.get(field), record.get(field)
        if held != found:
            raise Refused(
                "identity_changed", f"{field} of {shown(record['id'])} must stay {shown(held)}, found {shown(found)}"
            )


def _keys_of(record: Mapping[str, Any]) -> dict[str, str]:
    return {key["id"]: key["public_key"] for key in record.get("keys", ())}


def _check_keys(known: Mapping[str, str], record: Mapping[str, Any]) -> None:
    for id, public_key in _keys_of(record).items():
        if known.get(id, public_key) != public_key:
            raise Refused(
                "identity_changed",
                f"public_key of key {shown(id)} of {shown(record['id'])} must stay {shown(known[id])}, "
                f"found {shown(public_key)}",
            )


def _unit(record: Mapping[str, Any], asset: AssetTerms) -> Fraction:
    unit = unit_value(
        type=record["type"],
        multiplier=Decimal(record["multiplier"]),
        price_precision=record["price_precision"],
        quantity_precision=record["quantity_precision"],
        asset_precision=asset.precision,
    )
    is_inverse = record["type"] in INVERSE_TYPES
    if (is_inverse or unit.denominator == 1) and unit.numerator < _UNIT_MAX:
        return unit
    raise Refused(
        "bad_terms",
        "multiplier x 10**(asset precision - price_precision - quantity_precision) must be an integer below "
        f"2**62, found {unit} for {shown(record['id'])} in {shown(asset.id)}",
    )
