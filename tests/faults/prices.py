"""Marks and the oracle's table: told to every shard alike, as last published, and made of every quote once."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from faults.evidence import Evidence
from faults.rows import Blocks

from schemas.journal import PRICE_STATES, Block
from streams.agents.volatilities import record_of
from streams.engine.report import decimal_text
from streams.ingest.messages import Message
from streams.ingest.quotes import QuotePartition
from streams.ingest.terms import Terms
from streams.ingest.volatilities import VolatilityPartition
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote
from streams.oracle.volatilities import Volatility, fault_of

NEVER_MS = 1 << 60


def price_problems(evidence: Evidence, blocks: Blocks, compared: Counter[str]) -> Iterator[str]:
    """Marks blocks must be the same in every journal partition, and `marks` must hold the last of each symbol."""
    told: dict[int, dict[int, list[bytes]]] = {}
    for shard, listed in blocks.items():
        told[shard] = {}
        for _, block in listed:
            if block.kind == "marks":
                told[shard].setdefault(block.extra["oracle"]["partition"], []).append(block.encode())
    first = told[min(told)]
    compared["marks blocks"] += sum(len(listed) for listed in first.values())
    for shard, found in told.items():
        if found != first:
            yield f"journal[{shard}] must have the marks of the others, has {_lengths(found)}, not {_lengths(first)}"
    wanted = _last_marks(evidence, blocks[min(blocks)])
    got = {
        key.decode(): {name: item for name, item in json.loads(value).items() if name not in ("sources", "reasons")}
        for partition in evidence.records["marks"]
        for key, value in evidence.last("marks", partition).items()
    }
    compared["marks"] += len(wanted)
    for symbol in sorted(got.keys() | wanted.keys()):
        if got.get(symbol) != wanted.get(symbol):
            yield f"marks {symbol} must be {wanted.get(symbol)}, found {got.get(symbol)}"


def _lengths(told: Mapping[int, list[bytes]]) -> dict[int, int]:
    return {partition: len(listed) for partition, listed in told.items()}


def _last_marks(evidence: Evidence, listed: Any) -> dict[str, dict[str, Any]]:
    """The records on `marks` that follow from the marks blocks of one journal partition."""
    messages = [json.loads(r.value) for r in evidence.records["instruments"][0] if r.key != b"bad"]
    underlying = {value["id"]: value["underlying"] for value in messages if value["kind"] == "instrument"}
    last: dict[str, dict[str, Any]] = {}
    for _, block in listed:
        if block.kind == "marks":
            last |= _marks_of(block, underlying)
    return last


def _marks_of(block: Block, underlying: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    columns = {name: column.tolist() for name, column in block.columns.items()}
    found = {}
    for at, symbol in enumerate(block.names["symbols"]):
        found[symbol] = {
            "symbol": symbol,
            "index": decimal_text(columns["index"][at]),
            "confidence": decimal_text(columns["confidence"][at]),
            "check": None if math.isnan(columns["check"][at]) else decimal_text(columns["check"][at]),
            "state": PRICE_STATES[columns["symbol_state"][at]],
            "widening": decimal_text(columns["widening"][at]),
            "quote_time": columns["quote_time"][at],
            "marks": {},
            "time": block.extra["time"],
        }
    made_of = ("volatility", "forward", "discount")
    for at, name in enumerate(block.names["instruments"]):
        symbol = found[underlying[name]]
        symbol["marks"][name] = {
            "mark": decimal_text(columns["mark"][at]),
            "index": symbol["index"],
            "state": PRICE_STATES[columns["mark_state"][at]],
        }
        parts = [columns[f"instrument_{part}"][at] if f"instrument_{part}" in columns else math.nan for part in made_of]
        if not math.isnan(parts[0]):
            symbol.setdefault("options", {})[name] = dict(zip(made_of, map(decimal_text, parts), strict=True))
    return found


def volatility_problems(evidence: Evidence, compared: Counter[str]) -> Iterator[str]:
    """What was accepted of `volatilities` must be every sound message, once, in order."""
    settings = evidence.settings
    for partition, records in evidence.records["volatilities"].items():
        reader = VolatilityPartition(
            topic="volatilities",
            partition=partition,
            message_bytes_max=settings.message_bytes_max,
            max_future_ms=settings.max_future_ms,
            fault_of=lambda row: fault_of(Volatility.of(row)),
        )
        messages = [Message(record.offset, record.key, record.value, record.timestamp) for record in records]
        rows = reader.take(messages, Terms(settings.message_bytes_max), NEVER_MS, final=True).rows
        wanted = [(record.key, record.value) for record in map(record_of, rows)]
        got = [(record.key, record.value) for record in evidence.records["volatilities-changelog"][partition]]
        compared["volatilities"] += len(wanted)
        if got != wanted:
            yield f"volatilities-changelog[{partition}] must have {len(wanted)} records, has {len(got)} or others"


def oracle_problems(evidence: Evidence, compared: Counter[str]) -> Iterator[str]:
    """The oracle's table must hold the latest quote of each source, and count each refused quote once."""
    settings = evidence.settings
    for partition, records in evidence.records["oracle-prices"].items():
        reader = QuotePartition(
            topic="oracle-prices",
            partition=partition,
            message_bytes_max=settings.message_bytes_max,
            max_future_ms=settings.max_future_ms,
        )
        messages = [(record.offset, record.key, record.value, record.timestamp) for record in records]
        rows = reader.take(messages, Terms(settings.message_bytes_max), NEVER_MS, final=True).rows
        fold = OraclePartition(
            partition,
            len(evidence.records["oracle-prices"]),
            heartbeat_ms=settings.heartbeat_ms,
            quote_age_ms_max=settings.quote_age_ms_max,
            max_source_skew_ms=settings.max_source_skew_ms,
        )
        fold.quotes([Quote(*row) for row in rows])
        compared["quotes"] += len(rows)
        kept = {key: json.loads(value) for key, value in evidence.last("oracle-changelog", partition).items()}
        wanted = {key: json.loads(value) for key, value in fold.dirty()}
        for key, record in wanted.items():
            quotes, held = record.get("quotes"), kept.get(key, {}).get("quotes")
            if quotes != held:
                yield f"oracle-changelog[{partition}] {key!r} must hold the quotes {quotes}, has {held}"
        refused = kept.get(b"partition", {}).get("refused")
        if rows and refused != fold.refused:
            yield f"oracle-changelog[{partition}] must have refused {fold.refused}, has {refused}"
