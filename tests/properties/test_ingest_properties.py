"""Ingest under arbitrary messages: never raises, loses nothing, and does not depend on how it is batched."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letters import REASONS
from schemas.journal import Block
from streams.ingest.partition import WRITERS
from streams.ingest.terms import Terms
from tests.ingest_samples import (
    BTC_PERP,
    BYTES_MAX,
    DEPOSIT,
    FILL,
    FUNDING,
    NOW_MS,
    SETTINGS,
    all_terms,
    partition,
    published,
    rows,
)

GOOD = {
    "fills": FILL,
    "collateral": DEPOSIT,
    "funding-rates": FUNDING,
    "accounts": SETTINGS,
    "instruments": BTC_PERP,
}
ACCOUNTS = ["alice", "bob", "carol", "a\u00e9", "x" * 128]

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("1e999999999"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def spoiled(draw, topic):
    """A good message of the topic with some fields replaced by junk, or its bytes broken, or bytes alone."""
    if draw(st.booleans()):
        return draw(st.none() | st.binary(max_size=40))
    record = dict(GOOD[topic])
    for field in draw(st.lists(st.sampled_from(sorted(record)), max_size=3)):
        record[field] = draw(junk)
    data = json.dumps(record).encode()
    cut = draw(st.just(len(data)) | st.integers(0, len(data)))
    return data[:cut] + draw(st.just(b"") | st.binary(max_size=3))


@st.composite
def good(draw, topic):
    """A message that is accepted."""
    record = dict(GOOD[topic])
    if topic in ("fills", "collateral"):
        record["account"] = draw(st.sampled_from(ACCOUNTS))
    if topic == "fills":
        record["quantity"] = draw(st.sampled_from(["1", "-2.5", "0.001"]))
    if topic == "collateral" and draw(st.booleans()):
        record |= {"type": "transfer", "to_account": "dave"}
    return json.dumps(record).encode()


def batch(draw, topic, values):
    key = {"accounts": b"alice", "instruments": b"BTC-PERP"}.get(topic)
    return [(offset, key, value, 5) for offset, value in enumerate(draw(st.lists(values, max_size=12)))]


def places(result):
    """Source offsets in blocks and in dead letters."""
    in_blocks = set()
    for _, block in result.blocks:
        assert Block.decode(block.encode()).source["first"] < block.source["next"]
        in_blocks |= {row["source_offset"] for row in rows(block)}
        in_blocks |= {row["source_offset"] for row in block.extra.get("accounts", ())}
        in_blocks |= {record["version"] for record in block.terms} if block.kind == "terms" else set()
    return in_blocks, [int(dict(letter.headers)["source_offset"]) for letter in result.dead_letters]


@given(st.data(), st.sampled_from(sorted(WRITERS)))
@settings(max_examples=150, deadline=None)
def test_every_message_is_in_a_block_or_a_dead_letter(data, topic):
    """A message that is lost, or booked twice, is money lost or made."""
    messages = batch(data.draw, topic, spoiled(topic) | good(topic))
    terms = published() if topic == "instruments" else all_terms()
    result = partition(topic).take(messages, terms, NOW_MS, final=True)
    in_blocks, refused = places(result)
    assert refused == sorted(set(refused))
    assert result.rows == len(messages)
    if topic != "instruments":  # a record that waits for its asset is in neither
        assert in_blocks | set(refused) == {message[0] for message in messages}
    assert in_blocks.isdisjoint(refused)
    for letter in result.dead_letters:
        offset = int(dict(letter.headers)["source_offset"])
        assert letter.value == messages[offset][2]
        assert letter.code in REASONS
        assert letter.reason.isprintable()


@given(st.data(), st.sampled_from(["fills", "collateral", "funding-rates", "accounts"]))
@settings(max_examples=40, deadline=None)
def test_batching_changes_no_row(data, topic):
    """How Kafka hands out its messages is chance; the books must not be."""
    messages = batch(data.draw, topic, spoiled(topic) | good(topic))
    cut = data.draw(st.integers(0, len(messages)))
    whole, halves = partition(topic), partition(topic)
    terms = all_terms()

    def told(results):
        found = {}
        for result in results:
            for shard, block in result.blocks:
                more = rows(block) or block.extra.get("accounts", [])
                found.setdefault(shard, []).extend(more)
        letters = [letter for result in results for letter in result.dead_letters]
        return found, letters

    once = [whole.take(messages, terms, NOW_MS, final=True)]
    twice = [halves.take(part, terms, NOW_MS, final=True) for part in (messages[:cut], messages[cut:])]
    assert told(once) == told(twice)


@given(st.data(), st.sampled_from(sorted(WRITERS)))
@settings(max_examples=40, deadline=None)
def test_equal_input_gives_equal_bytes(data, topic):
    """A worker that takes over after a crash must write what the first would have written."""
    messages = batch(data.draw, topic, spoiled(topic) | good(topic))

    def written():
        terms = published() if topic == "instruments" else all_terms()
        result = partition(topic).take(messages, terms, NOW_MS, final=True)
        return [(shard, block.encode()) for shard, block in result.blocks], result.dead_letters

    assert written() == written()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_restored_table_of_terms_goes_on_as_the_unbroken_one(data):
    """A worker that starts again must give every record the verdict that it had, or would have had."""
    messages = batch(data.draw, "instruments", spoiled("instruments") | good("instruments"))
    cut = data.draw(st.integers(0, len(messages)))
    unbroken, restored = published(), published()
    first = partition("instruments").take(messages[:cut], unbroken, NOW_MS, final=True)
    restored.restore(first.changelog)

    def written(terms):
        result = partition("instruments").take(messages[cut:], terms, NOW_MS, final=True)
        return [(shard, block.encode()) for shard, block in result.blocks], result.dead_letters, result.changelog

    assert written(unbroken) == written(restored)
    assert unbroken.instruments == restored.instruments
    assert unbroken.assets == restored.assets


@given(st.lists(st.tuples(st.binary(max_size=4) | st.none(), spoiled("instruments") | good("instruments")), max_size=9))
@settings(max_examples=40, deadline=None)
def test_terms_never_raise_anything_else(records):
    """One bad record would stop every worker at its start."""
    terms = Terms(BYTES_MAX)
    terms.read([(offset, key, value) for offset, (key, value) in enumerate(records)])
    assert terms.next_offset == len(records)
