"""Blocks are cut to size, cover their source without gaps, and keep the legs of a row together."""

from itertools import pairwise

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.journal import Block
from streams.ingest.blocks import name_weight
from tests.ingest_samples import (
    BTC_PERP,
    DEPOSIT,
    ETH,
    FILL,
    NOW_MS,
    SHARDS,
    USDC,
    messages,
    partition,
    published,
    rows,
    take,
)

LONG = "\u5b57" * 118
LIMIT = 512 * 1024


def sizes(result):
    return [len(block.encode()) for _, block in result.blocks]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@example('q"')
@example("b\\")
@example("nul\0")
@example("\u5b57\U0001f600")
def test_a_name_takes_no_more_than_its_weight(name):
    """Blocks are cut by estimates: one that is too low makes a block that the broker refuses for ever."""
    assert len(orjson.dumps(name)) + len(",") <= name_weight(name)
    if name.isalnum() and name.isascii():
        assert name_weight(name) == len(orjson.dumps(name)) + len(",")


def test_blocks_stay_small_and_cover_the_source():
    """A block above Kafka's message limit could never be written, and the partition would stand still."""
    fills = [{**FILL, "fill_id": f"{LONG}{n}", "account": f"{LONG}{n % 5000}"} for n in range(6000)]
    result = take("fills", *fills)
    assert result.dead_letters == []
    assert max(sizes(result)) < LIMIT
    for shard in range(SHARDS):
        blocks = [block for of, block in result.blocks if of == shard]
        assert len(blocks) > 1
        sources = [block.source for block in blocks]
        assert (sources[0]["first"], sources[-1]["next"]) == (100, 6100)
        assert all(before["next"] == after["first"] for before, after in pairwise(sources))
        for block in blocks:
            offsets = [row["source_offset"] for row in rows(block)]
            assert block.source["first"] <= offsets[0] <= offsets[-1] < block.source["next"]
            assert offsets == sorted(offsets)


def test_most_blocks_are_well_filled():
    """A bound so cautious that blocks stay small would cost a transaction more for each."""
    result = take("fills", *({**FILL, "fill_id": f"t{n}", "account": f"a{n % 900}"} for n in range(30_000)))
    assert 200 * 1024 < max(sizes(result)) < LIMIT


def test_legs_stay_together():
    """A transfer torn into two blocks would show an account without either leg's money in between."""
    transfer = {**DEPOSIT, "type": "transfer", "to_bucket": "BTC-PERP"}
    result = take("collateral", *({**transfer, "transfer_id": f"{LONG}{n}"} for n in range(3000)))
    assert len(result.blocks) > 1
    for _, block in result.blocks:
        found = [(row["source_offset"], row["leg"]) for row in rows(block)]
        assert found == [(offset, leg) for offset, _ in found[::2] for leg in (0, 1)]


def test_many_large_terms_are_cut_too():
    """One asset may bring hundreds of instruments that waited for it."""
    digits = "." + "1" * 60
    tiers = [
        {
            "notional_from": f"{n}{digits if n else ''}",
            "initial_margin": f"0{digits}",
            "maintenance_margin": f"0{digits}",
        }
        for n in range(100)
    ]
    terms = published(*({**BTC_PERP, "id": f"P{n:03}", "tiers": tiers} for n in range(60)))
    (message,) = messages(USDC, first=60, key=b"USDC")
    result = partition("instruments").take([message], terms, NOW_MS)
    assert max(sizes(result)) < LIMIT
    for shard in range(SHARDS):
        blocks = [block for of, block in result.blocks if of == shard]
        assert len(blocks) > 1
        assert [record["id"] for block in blocks for record in block.terms] == ["USDC"] + [
            f"P{n:03}" for n in range(60)
        ]
        assert {(block.source["first"], block.source["next"]) for block in blocks} == {(60, 61)}


def test_names_are_lists_of_the_block():
    """Each name once, in the order of first use."""
    values = [{**FILL, "account": name} for name in ("alice", "alice2", "alice")]
    result = take("fills", *values, terms=published(USDC, ETH, BTC_PERP))
    for _, block in result.blocks:
        decoded = Block.decode(block.encode())
        assert decoded.names["instruments"] == ["BTC-PERP"]
        assert len(set(decoded.names["accounts"])) == len(decoded.names["accounts"])
