"""Whether a journal block holds together: what a checksum cannot say of a block that somebody has made or mended.

The engine's kernels take indexes as they are, since it reads only blocks that its own ingest wrote; a file
can hold any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas.journal import FILL_KINDS, PRICE_STATES, RULES_OLDEST, RULES_VERSION, TRANSFER_TYPES, Block, CorruptBlock
from streams.margin.history import TailRules
from streams.margin.risk_parameters import RiskRules

#: Columns that are indexes into a list of names, and the lowest value that they may have.
_INDEXES = {
    "account": ("accounts", 0),
    "instrument": ("instruments", 0),
    "asset": ("assets", 0),
    "symbol": ("symbols", 0),
    "bucket": ("instruments", -1),
}
#: Columns of codes, and the lowest and highest.
_CODES = {
    "mode": (-1, 1),
    "fill_kind": (0, len(FILL_KINDS) - 1),
    "transfer_type": (0, len(TRANSFER_TYPES) - 1),
    "leg": (0, 1),
    "symbol_state": (0, len(PRICE_STATES) - 1),
    "mark_state": (0, len(PRICE_STATES) - 1),
}
#: Columns of blocks of marks that go by symbol; the others go by instrument.
_OF_SYMBOLS = ("symbol", "index", "confidence", "check", "symbol_state", "quote_time", "widening")


def check(block: Block) -> None:
    """Raise CorruptBlock where a column has another length, or an index, code or id points outside.

    Blocks of rules that this release does not know are refused too, with what they need.
    """
    if not RULES_OLDEST <= block.rules_version <= RULES_VERSION:
        raise CorruptBlock(
            f"rules_version must be {RULES_OLDEST} to {RULES_VERSION}, found {block.rules_version}: it takes the "
            f"release that knows those rules, or a snapshot of a later state to start from"
        )
    if block.kind == "risk_parameters":  # of tables of their own
        _check_past(block)
        return
    columns = dict(block.columns)
    data = columns.pop("id_bytes", None)
    lengths: dict[bool, int] = {}
    for name, column in columns.items():
        table = block.kind == "marks" and name in _OF_SYMBOLS
        expected = lengths.setdefault(table, len(column))
        if len(column) != expected:
            raise CorruptBlock(
                f"columns of one table must have one length, found {expected} and {len(column)} ({name})"
            )
        bounds = _bounds(block, name)
        if bounds and len(column) and (column.min() < bounds[0] or column.max() > bounds[1]):
            low, high = bounds
            raise CorruptBlock(f"{name} must be {low} to {high}, found {column.min()} to {column.max()}")
    if data is not None:
        ends = columns["id_end"]
        ordered = not len(ends) or (ends[0] >= 0 and not (ends[1:] < ends[:-1]).any())
        if not ordered or (ends[-1] if len(ends) else 0) != len(data):
            raise CorruptBlock(f"ids must end one after another and at {len(data)}, found others")


def _check_past(block: Block) -> None:
    """The same of risk parameters; what period they must go on from depends on the block before."""
    units = block.names.get("units")
    if units is None or len(set(units)) < len(units):
        raise CorruptBlock(f"risk parameters must name each unit once, found {units}")
    _must_have("risk parameters", block.extra, ("time", "first", "rules") if units else ("time",))
    if not units:
        return
    rules = block.extra["rules"]
    _must_have("rules of risk parameters", rules, RiskRules._fields)
    _must_have("levels of risk parameters", rules["tail"], TailRules._fields)
    count, pairs = len(units), len(units) * (len(units) - 1) // 2
    for name, expected in (("volatility", count), ("margined", count), ("low", pairs), ("high", pairs)):
        if len(block.columns[name]) != expected:
            raise CorruptBlock(f"{name} of {count} units must be {expected}, found {len(block.columns[name])}")
    rows, rest = divmod(len(block.columns["returns"]), count)
    if rest or rows > rules["window"]:
        raise CorruptBlock(
            f"returns of {count} units must be at most {rules['window']} of each, "
            f"found {len(block.columns['returns'])} in all"
        )


def _must_have(what: str, found: object, fields: Iterable[str]) -> None:
    missing = sorted(set(fields) - set(found)) if isinstance(found, Mapping) else sorted(fields)
    if missing:
        raise CorruptBlock(f"{what} must have {', '.join(missing)}, found none")


def _bounds(block: Block, name: str) -> tuple[int, int] | None:
    """The lowest and highest value that a column may have; None where it is no index and no code."""
    if name in _INDEXES:
        listed, low = _INDEXES[name]
        return low, len(block.names.get(listed, ())) - 1
    return _CODES.get(name)
