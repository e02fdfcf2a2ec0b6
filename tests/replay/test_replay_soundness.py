"""Journal blocks whose checksum is right and whose content is not: the replay refuses them in one line."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.journal import Block, CorruptBlock
from streams.engine.risk_factors import factors, taken_back, told
from streams.engine.shard import Shard
from streams.margin.history import TailRules
from streams.margin.risk_parameters import RiskRules, refreshed
from streams.replay import soundness
from streams.replay.fold import apply
from streams.replay.recording import Recorded, RecordingError
from tests.replay.recordings import crash_blocks


def first_of(kind: str) -> Block:
    return next(block for block in map(Block.decode, crash_blocks()) if block.kind == kind)


def test_what_ingest_writes_holds_together() -> None:
    for data in crash_blocks():
        soundness.check(Block.decode(data))


@pytest.mark.parametrize(
    ("kind", "column", "value", "line"),
    [
        ("fills", "account", 10**6, "account must be 0 to"),
        ("fills", "instrument", -1, "instrument must be 0 to"),
        ("fills", "fill_kind", 3, "fill_kind must be 0 to 2"),
        ("fills", "mode", -2, "mode must be -1 to 1"),
        ("fills", "id_end", -4, "ids must end one after another"),
        ("collateral", "asset", 99, "asset must be 0 to"),
        ("collateral", "bucket", -2, "bucket must be -1 to"),
        ("collateral", "leg", 2, "leg must be 0 to 1"),
        ("marks", "symbol", 99, "symbol must be 0 to"),
        ("marks", "mark_state", 9, "mark_state must be 0 to 4"),
    ],
)
def test_indexes_and_codes_that_point_outside_are_refused(kind: str, column: str, value: int, line: str) -> None:
    """The kernels would read another account's memory."""
    block = first_of(kind)
    values = block.columns[column].copy()
    values[0] = value
    with pytest.raises(CorruptBlock, match=line):
        soundness.check(replace(block, columns={**block.columns, column: values}))


@pytest.mark.parametrize(("kind", "column"), [("fills", "lots"), ("collateral", "amount"), ("marks", "mark")])
def test_columns_of_other_lengths_are_refused(kind: str, column: str) -> None:
    block = first_of(kind)
    short = replace(block, columns={**block.columns, column: block.columns[column][:-1]})
    with pytest.raises(CorruptBlock, match="columns of one table must have one length"):
        soundness.check(short)


def unknown_names() -> Block:
    block = first_of("fills")
    return replace(block, names={**block.names, "instruments": ["NOWHERE"] * len(block.names["instruments"])})


def no_time() -> Block:
    return replace(first_of("marks"), extra={"oracle": {"partition": 0, "of": 1, "mode": "live"}})


def no_terms() -> Block:
    return Block(kind="terms", terms=[{"id": "X", "kind": "asset", "version": 1}])


@pytest.mark.parametrize("made", [unknown_names, no_time, no_terms])
def test_blocks_that_do_not_fit_the_state_are_refused(made: Any) -> None:
    """One line that says where, and no traceback."""
    record = Recorded(7, 0, None, made().encode())
    with pytest.raises(
        RecordingError, match=r"^a block must fit the state before it, found .*\(journal\[0\] at 7, here\)$"
    ):
        apply(Shard(0), record, "here")


def test_bytes_that_are_cut_off_inside_are_refused() -> None:
    """Whatever the place, and with a checksum that is right."""
    whole = first_of("fills").encode()
    for end in np.linspace(0, len(whole) - 1, 60, dtype=int).tolist():
        data = whole[:end]
        if end > 12:
            data = (
                struct.pack("<4sII", data[:4], zlib.crc32(data[8:]), struct.unpack_from("<I", data, 8)[0]) + data[12:]
            )
        with pytest.raises(RecordingError, match=r"\(journal\[0\] at 7, here\)$"):
            apply(Shard(0), Recorded(7, 0, None, data), "here")


def the_past(**other: Any) -> Block:
    """The market's past of two units, with other columns, names or fields."""
    returns = np.full((40, 2), 0.01)
    rules = RiskRules(TailRules(0.99, 0.975, 0.97, 10, 1.0, 0.5), window=40)
    known = refreshed(returns, np.full(2, np.inf), rules)
    block = told(None, factors(("BTC", "ETH"), 40, rules, known, returns), 5)
    extra = {name: value for name, value in {**block.extra, **other.get("extra", {})}.items() if value is not None}
    names = {**block.names, **other.get("names", {})}
    return replace(block, columns={**block.columns, **other.get("columns", {})}, extra=extra, names=names)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"names": {"units": ["BTC", "BTC"]}}, "must name each unit once, found .'BTC', 'BTC'."),
        ({"names": {"units": None}}, "must name each unit once, found None"),
        ({"extra": {"time": None}}, "risk parameters must have time, found none"),
        ({"extra": {"rules": None, "first": None}}, "risk parameters must have first, rules, found none"),
        ({"extra": {"rules": {"window": 40}}}, "rules of risk parameters must have buffer, fall, rise, shrink, stress"),
        ({"columns": {"low": np.zeros(2)}}, "low of 2 units must be 1, found 2"),
        ({"columns": {"margined": np.zeros(1)}}, "margined of 2 units must be 2, found 1"),
        ({"columns": {"returns": np.zeros(79)}}, "returns of 2 units must be at most 40 of each, found 79 in all"),
        ({"columns": {"returns": np.zeros(82)}}, "returns of 2 units must be at most 40 of each, found 82 in all"),
    ],
)
def test_a_past_that_does_not_hold_together_is_refused(other: Any, line: str) -> None:
    """In a line that says what is wrong with it, before any of it is folded."""
    soundness.check(Block.decode(the_past().encode()))
    soundness.check(taken_back(5))
    block = the_past(**other)
    with pytest.raises(CorruptBlock, match=line):
        soundness.check(block)
