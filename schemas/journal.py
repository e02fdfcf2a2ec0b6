"""A block of columns: the one record type of `journal`, and its bytes.

A block carries rows of one kind from one source partition (or one marks update of the oracle), ready to
apply: integers in ticks, lots and minor units, names as indexes into the block's own name lists. It knows
nothing of Kafka or of the engine.

Bytes: `xmj1` | crc32 of all that follows | header length | header (JSON, keys sorted) | zero padding to 8 |
each column in header order, little-endian, each padded to 8.

The header's `rules_version` is all that equal bits of decisions are bound to: whoever folds by these rules gets the
same bytes, with any libraries on any processor (docs/replay.md, Bits). So the header names no library.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

FORMAT_VERSION = 1
#: Version of the rules that fold a journal; a change of any decision for the same block raises it.
RULES_VERSION = 3
#: Oldest rules that this release still folds by; a block is folded by the rules it names.
RULES_OLDEST = 1

MAGIC = b"xmj1"
_PREFIX = struct.Struct("<4sII")

#: Column names and types of each kind of block, in the order of the bytes.
COLUMNS: dict[str, dict[str, str]] = {
    "fills": {
        "account": "<i4",  # index into names["accounts"]
        "instrument": "<i4",  # index into names["instruments"]
        "lots": "<i8",  # signed, positive buys
        "ticks": "<i8",  # price
        "fee": "<i8",  # minor units of the settlement asset, positive paid
        "time": "<i8",  # epoch milliseconds
        "mode": "<i1",  # -1 the account's own mode, 0 cross, 1 isolated
        "fill_kind": "<i1",  # 0 trade, 1 opening, 2 bust
        "liquidation": "<i8",  # journal offset in the liquidation id it answers, -1 none
        "source_offset": "<i8",
        "id_end": "<i4",  # end of this row's id in id_bytes
        "id_bytes": "|u1",
    },
    "collateral": {
        "account": "<i4",
        "asset": "<i4",  # index into names["assets"]
        "amount": "<i8",  # minor units, signed: what the bucket receives
        "time": "<i8",
        "bucket": "<i4",  # -1 cross, else index into names["instruments"]
        "transfer_type": "<i1",  # index into TRANSFER_TYPES
        "leg": "<i1",  # 0, or 1 for the receiving leg of a transfer or conversion
        "liquidation": "<i8",
        "source_offset": "<i8",
        "id_end": "<i4",
        "id_bytes": "|u1",
    },
    "funding": {
        "instrument": "<i4",
        "rate": "<i8",  # in units of 1e-12, positive: longs pay
        "price": "<i8",  # ticks; -1: the shard's mark
        "time": "<i8",
        "source_offset": "<i8",
    },
    "accounts": {},  # settings travel in header["accounts"], one object a row
    "terms": {},  # instruments, assets and control records travel in header["terms"]
    "marks": {
        "symbol": "<i4",  # index into names["symbols"]
        "index": "<f8",  # price in the reporting currency
        "confidence": "<f8",
        "check": "<f8",  # price of the independent check oracle, nan where there is none
        "symbol_state": "<i1",  # index into PRICE_STATES
        "quote_time": "<i8",
        "instrument": "<i4",  # index into names["instruments"]
        "mark": "<f8",
        "mark_state": "<i1",
        "widening": "<f8",  # by symbol: what its haircuts widen by, 0 and more
        # what the marks of options were made of, nan for other instruments; only where a row is an option
        "instrument_volatility": "<f8",
        "instrument_forward": "<f8",
        "instrument_discount": "<f8",
    },
    "risk_parameters": {  # by unit of names["units"]; the rules they were made by are in header["extra"]
        "volatility": "<f8",  # of the next period, fraction
        "margined": "<f8",  # the same with what is left of its buffer
        "low": "<f8",  # correlations under the diagonal, row by row: (1, 0), (2, 0), (2, 1), ..
        "high": "<f8",
        "returns": "<f8",  # of the periods from extra["first"] on, oldest first; one row has all units
    },
}
#: Columns at the end that blocks of older releases lack, by kind: such a block is whole without them.
LATER_COLUMNS = {"marks": 4}

#: The same as numpy's types, with the bytes that an item takes: making them takes longer than reading a short column.
_TYPES = {
    kind: [(name, np.dtype(text), np.dtype(text).itemsize) for name, text in columns.items()]
    for kind, columns in COLUMNS.items()
}

FILL_KINDS = ("trade", "opening", "bust")
TRANSFER_TYPES = ("deposit", "withdrawal", "transfer", "adjustment", "opening", "conversion")
PRICE_STATES = ("ok", "degraded", "suspect", "stale", "halted")

Column = npt.NDArray[Any]


class CorruptBlock(ValueError):
    """The bytes are not a whole journal block of a known format."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One journal record.

    Parameters
    ----------
    kind : key of COLUMNS
    source : `{"topic", "partition", "first", "next"}`, the half-open range of source offsets it came from;
        None where it came from no topic
    names : lists that the index columns point into: accounts, instruments, assets, symbols, units
    columns : arrays of the types in COLUMNS; columns of one table have equal length; those of LATER_COLUMNS may
        be absent
    terms : instrument, asset and control records first used by this producer in this partition, each with
        its `version` (offset in `instruments`)
    extra : further header fields of a kind: `accounts` (settings), `oracle` and `time` (marks), `first`, `rules` and
        `time` (risk_parameters)
    """

    kind: str
    source: Mapping[str, Any] | None = None
    names: Mapping[str, list[str]] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    terms: list[dict[str, Any]] = field(default_factory=list)
    extra: Mapping[str, Any] = field(default_factory=dict)
    rules_version: int = RULES_VERSION

    def encode(self) -> bytes:
        """The block's bytes; equal blocks give equal bytes."""
        present = list(COLUMNS[self.kind].items())
        for _ in range(LATER_COLUMNS.get(self.kind, 0)):
            if present[-1][0] not in self.columns:
                del present[-1]
        arrays = [np.ascontiguousarray(self.columns.get(name, ()), dtype=kind) for name, kind in present]
        header = orjson.dumps(
            {
                "format": FORMAT_VERSION,
                "rules_version": self.rules_version,
                "kind": self.kind,
                "source": self.source,
                "names": dict(self.names),
                "lengths": [len(array) for array in arrays],
                "terms": self.terms,
                "extra": dict(self.extra),
            },
            option=orjson.OPT_SORT_KEYS,
        )
        parts = [header, b"\0" * (-(len(header) + _PREFIX.size) % 8)]
        for array in arrays:
            raw = array.tobytes()
            parts += [raw, b"\0" * (-len(raw) % 8)]
        body = b"".join(parts)
        sized = struct.pack("<I", len(header)) + body
        return _PREFIX.pack(MAGIC, zlib.crc32(sized), len(header)) + body

    @classmethod
    def decode(cls, data: bytes) -> "Block":
        """The block in `data`; its columns are read-only views into it.

        Raises
        ------
        CorruptBlock
            where magic, checksum, format version, kind or lengths are not those of a block.
        """
        if len(data) < _PREFIX.size or data[:4] != MAGIC:
            raise CorruptBlock(f"a journal block must start with {MAGIC!r}, found {data[:4]!r}")
        _, checksum, header_length = _PREFIX.unpack_from(data)
        view = memoryview(data)
        if zlib.crc32(view[8:]) != checksum:
            raise CorruptBlock(f"crc32 must be {checksum:#010x}, found {zlib.crc32(data[8:]):#010x}")
        position = _PREFIX.size + header_length
        header = orjson.loads(view[_PREFIX.size : position])
        if header["format"] != FORMAT_VERSION:
            raise CorruptBlock(f"format must be {FORMAT_VERSION}, found {header['format']}")
        if header["kind"] not in COLUMNS:
            raise CorruptBlock(f"kind must be one of {', '.join(COLUMNS)}, found {header['kind']!r}")
        columns: dict[str, Column] = {}
        expected = _TYPES[header["kind"]]
        missing = len(expected) - len(header["lengths"])
        if not 0 <= missing <= LATER_COLUMNS.get(header["kind"], 0):
            raise CorruptBlock(
                f"a block of {header['kind']} must have {len(expected)} columns, found {len(header['lengths'])}"
            )
        for (name, kind, size), length in zip(expected, header["lengths"], strict=False):
            position += -position % 8
            columns[name] = np.frombuffer(data, kind, length, position)
            position += length * size
        return cls(
            kind=header["kind"],
            source=header["source"],
            names=header["names"],
            columns=columns,
            terms=header["terms"],
            extra=header["extra"],
            rules_version=header["rules_version"],
        )

    def ids(self) -> list[str]:
        """The fill or transfer id of each row."""
        raw = self.columns["id_bytes"].tobytes()
        ends = self.columns["id_end"].tolist()
        return [raw[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def pack_ids(ids: list[str]) -> dict[str, Column]:
    """The `id_end` and `id_bytes` columns for one id a row."""
    encoded = [text.encode() for text in ids]
    return {
        "id_end": np.cumsum([len(raw) for raw in encoded], dtype="<i4"),
        "id_bytes": np.frombuffer(b"".join(encoded), dtype="|u1"),
    }


def liquidation_id(partition: int, offset: int, account: str, bucket: str, kind: str) -> str:
    """The id of a decision: the one journal record that caused it, and for whom."""
    return f"{partition}-{offset}-{account}-{bucket}-{kind}"


def liquidation_offset(identity: str, *, partition: int, account: str, bucket: str) -> int | None:
    """The journal offset inside a liquidation id; None where it is no id of this partition, account, bucket."""
    shard, _, rest = identity.partition("-")
    offset, _, rest = rest.partition("-")
    fits = rest == f"{account}-{bucket}-liquidation" and shard == str(partition)
    return int(offset) if fits and offset.isascii() and offset.isdigit() and len(offset) < 19 else None
