"""What marks of options were made of, in a shard: taken from the journal, kept, and restored; and from raw history."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from schemas.journal import Block
from streams.engine import state
from streams.engine.shard import Shard
from streams.oracle.marks import MarksUpdate, SymbolMark
from streams.oracle.options import OptionMark
from streams.replay.raw import Message, RawFold, RawRules, Source
from tests.test_ingest_volatilities import CALL, NOW_MS, SVI, USDC

PERP = CALL | {
    "id": "BTC-PERP",
    "type": "perpetual",
    "expiry": None,
    "option_type": None,
    "strike": None,
    "initial_margin": "0.1",
    "maintenance_margin": "0.05",
}


def source(topic: str, *records: dict[str, Any], keys: tuple[str, ...] = ("id",)) -> Source:
    """Messages a second apart; instruments all at the beginning."""
    rows = []
    for number, record in enumerate(records):
        key = next(record[name] for name in keys if name in record)
        time = record.get("time", 0)
        rows.append(Message(time, number, key.encode(), json.dumps(record).encode(), time))
    return Source(topic, topic, 0, rows)


def quote(price: str, time: int, symbol: str = "BTC") -> dict[str, Any]:
    return {"symbol": symbol, "source": "x", "price": price, "time": time}


def told(time: int, a: str) -> dict[str, Any]:
    """A surface at that level."""
    smile = {"expiry": CALL["expiry"], "svi": SVI | {"a": a}}
    return {"source": "desk", "time": time, "underlying": "BTC", "smiles": [smile]}


def play(*volatilities: dict[str, Any]) -> tuple[Shard, RawFold]:
    """A shard after two quotes of BTC a second apart, with these volatilities among them."""
    fold = RawFold(
        [
            source("instruments", USDC, PERP, CALL),
            source("volatilities", *volatilities, keys=("underlying", "instrument")),
            source("oracle-prices", quote("50000", NOW_MS), quote("52000", NOW_MS + 1000), keys=("symbol",)),
        ],
        RawRules(),
    )
    shard = Shard(0)
    for offset, (_, block) in enumerate(fold.blocks()):
        shard.apply(offset, block.encode())
    return shard, fold


def test_from_messages_to_the_shard() -> None:
    """The second surface comes with the second quote; the third is refused and changes nothing."""
    bad = told(NOW_MS + 1000, "-9")
    shard, fold = play(told(NOW_MS, "0.01"), told(NOW_MS + 1000, "0.02"), bad)
    prices, at = shard.prices, shard.terms.instrument_index["BTC-C"]
    assert dict(fold.refused) == {"arbitrage": 1}
    assert prices.forward[at] == 52_000.0
    assert prices.discount[at] == 1.0
    lower, _ = play(told(NOW_MS, "0.01"))
    assert prices.volatility[at] > lower.prices.volatility[at] > 0.1
    assert prices.marks[at] > lower.prices.marks[at] > 0.0
    assert np.isnan(prices.volatility[shard.terms.instrument_index["BTC-PERP"]])


def test_without_volatilities_options_have_no_mark() -> None:
    shard, _ = play()
    assert "BTC-C" not in shard.prices.mark
    assert state.OPTIONS_KEY not in dict(state.records(shard))


def test_a_restored_shard_knows_what_marks_were_made_of() -> None:
    shard, _ = play(told(NOW_MS, "0.01"))
    again = state.restore(0, state.records(shard))
    for name in ("volatility", "forward", "discount"):
        np.testing.assert_array_equal(getattr(again.prices, name), getattr(shard.prices, name))
    assert state.state_hash(again) == state.state_hash(shard)


def test_the_changelog_has_it_once_changed() -> None:
    """What a restart reads is what was flushed, block by block."""
    shard, _ = play(told(NOW_MS, "0.01"))
    assert state.OPTIONS_KEY in dict(state.dirty(shard))
    assert state.OPTIONS_KEY not in dict(state.dirty(shard))


def test_a_block_of_other_instruments_keeps_it() -> None:
    """Marks blocks of symbols without options have no such columns."""
    shard, _ = play(told(NOW_MS, "0.01"))
    before = dict(shard.prices.made_of)
    row = SymbolMark("ETH", 3_000.0, 1.0, 0, NOW_MS, ("x",), ())
    option = SymbolMark(
        "BTC", 1.0, 1.0, 0, NOW_MS, ("x",), (), options=(OptionMark("BTC-C", 7.0, False, 0.3, 9.0, 1.0),)
    )
    for rows, made_of in (([row], before), ([row, option], {"BTC-C": (0.3, 9.0, 1.0)})):
        update = MarksUpdate(partition=0, of=1, time=NOW_MS + 2000, mode="live", rows=rows)
        names, columns, extra = update.block()
        block = Block(kind="marks", names=names, columns=columns, extra=extra)
        shard.apply(shard.next_offset, block.encode())
        assert shard.prices.made_of == made_of
