"""Fills by columns are what each message read by itself gives: blocks and dead letters, byte for byte."""

import json
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letters import Refused, dead_letter
from schemas.sharding import shard_of
from streams.ingest import blocks as blocks_module
from streams.ingest import fill_blocks
from streams.ingest.blocks import BlockWriter
from streams.ingest.checks import Shards
from streams.ingest.fills import FillWriter
from streams.ingest.messages import Messages
from streams.ingest.writers import Batch
from tests.ingest_samples import BYTES_MAX, FILL, NOW_MS, SHARDS, all_terms, partition

TERMS = all_terms()
LATEST_MS = NOW_MS + 60_000


def one_by_one(batches, shards=SHARDS, terms=TERMS):
    """Each message read by itself and each row put into its block by itself: what ingest of fills means."""
    writer, told = FillWriter(Shards(shards)), [set() for _ in range(shards)]
    results = []
    for messages in batches:
        blocks = BlockWriter(kind="fills", topic="prod.fills", partition=2, first=messages[0][0], told=told)
        batch = Batch(terms, LATEST_MS, BYTES_MAX, blocks)
        letters = []
        for offset, key, value, timestamp in messages:
            try:
                row = writer.read(value, batch)
            except Refused as reason:
                place = {"topic": "prod.fills", "partition": 2, "offset": offset, "timestamp": timestamp}
                letters.append(dead_letter(reason, **place, key=key, value=value, value_bytes_max=BYTES_MAX))
                continue
            shard = shard_of(row.account, shards)
            draft = blocks.draft(shard, offset)
            blocks.tell(shard, draft, terms.instruments[row.instrument].records)
            names = (draft.index("accounts", row.account), draft.index("instruments", row.instrument))
            draft.add((*names, *row[3:], offset), row.fill_id)
        results.append((encoded(blocks.finish(messages[-1][0] + 1)), letters))
    return results


def encoded(blocks):
    return [(shard, block.encode()) for shard, block in blocks]


def by_columns(batches, shards=SHARDS, terms=TERMS):
    fold = partition("fills", shards=shards)
    results = [fold.take(messages, terms, NOW_MS, final=True) for messages in batches]
    return [(encoded(result.blocks), result.dead_letters) for result in results]


digits = st.sampled_from(["0", "1", "2", "5", "9", "00", "10", "000", "4611686018427387904", "999999999999999999"])
decimals = st.builds(
    lambda sign, whole, point, fraction: f"{sign}{whole}{point}{fraction}",
    st.sampled_from(["", "", "-", "+"]),
    digits | st.just(""),
    st.sampled_from(["", ".", "."]),
    digits | st.just(""),
)
edges = st.sampled_from(
    [
        "2147483647",
        "2147483648",
        "-2147483.647",
        "2147483.648",
        "4611686018427387903",
        "461168601842738790.3",
        "4611686018427.387903",
        "-4611686018427.387904",
        "214748.3647",
        "2147.483647",
        "92233720368547758.07",
        "9223372036854775807",
        "9223372036854775808",
        "0.10000000000",
        "0.1000000000001",
        "1e3",
        "1E-1",
        "-0",
        "NaN",
        "-",
        ".",
        "-.5",
        "5.",
        "1.5.",
        "--1",
        "١",
    ]
) | st.sampled_from(["0" * 60 + "1.5", "0" * 63 + ".5", "1." + "0" * 62, "1." + "0" * 63, "", " 1", "1 "])
numbers = st.one_of(
    st.sampled_from(["1", "-2.5", "0.001", "50010", "50000.1"]),
    decimals,
    edges,
    st.integers(-(10**20), 10**20),
    st.integers(-5, 5),
    st.floats(allow_nan=True),
    st.none(),
)
names = st.one_of(
    st.sampled_from(
        ["alice", "bob", "carol", "a b", " a", "a ", "~fees", "", "x" * 128, "x" * 129, "a\u00e9", "\u5b57"]
    ),
    st.sampled_from(['q"q', "b\\s", "tab\t", "del\x7f", "nul\0", "\ud800"]),
    st.text(max_size=9),
)
times = [NOW_MS, LATEST_MS, LATEST_MS + 1, 0, -1, 0.5, 1e3, "2025-10-10T21:15:00Z", "7", None, 2**70]
fields = {
    "fill_id": names,
    "account": names,
    "instrument": st.sampled_from([*TERMS.instruments, "USDC", "NONE", "", "BTC-PERP "]) | names,
    "quantity": numbers,
    "price": numbers,
    "fee": numbers,
    "time": st.sampled_from(
        [NOW_MS, LATEST_MS, LATEST_MS + 1, 0, -1, 0.5, 1e3, "2025-10-10T21:15:00Z", "7", None, 2**70]
    ),
    "liquidation_id": st.sampled_from([None, "", f"{shard_of('alice', SHARDS)}-7-alice-cross-liquidation", 5]),
    "margin_mode": st.sampled_from([None, "cross", "isolated", "Cross", "", "crossx", 0]),
    "kind": st.sampled_from(["trade", "opening", "bust", "", "trades", None, 1]),
    "more": st.sampled_from([None, 1, "x", {}]),
}


@st.composite
def fills(draw):
    """JSON of a good fill, some of its fields changed, left out, or twice, in any order and spacing."""
    record = {name: FILL[name] for name in FILL if name in ("fill_id", "account", "instrument", "quantity", "price")}
    record |= {"time": NOW_MS, "fill_id": draw(st.sampled_from(["t1", "t22", "a long one"]))}
    record["account"] = draw(st.sampled_from(["alice", "bob", "carol", "dave", "erin"]))
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        record[name] = draw(fields[name])
    items = list(record.items())
    if draw(st.integers(0, 3)) == 0:
        items = draw(st.permutations(items))[: draw(st.integers(5, 12))]
    if draw(st.integers(0, 9)) == 0:
        items.append(draw(st.sampled_from(items)) if items else ("kind", "trade"))
    ascii_only, comma, colon = (
        draw(st.booleans()),
        *draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n\t", " :\t")])),
    )
    pairs = (f"{json.dumps(n)}{colon}{json.dumps(v, ensure_ascii=ascii_only)}" for n, v in items)
    text = "{" + comma.join(pairs) + "}"
    return draw(st.sampled_from(["", "", "", " "])).encode() + text.encode(errors="surrogatepass")


@st.composite
def values(draw):
    """A fill, sometimes with bytes broken, or no fill at all."""
    data = draw(fills())
    match draw(st.integers(0, 11)):
        case 0:
            at = draw(st.integers(0, len(data)))
            return data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
        case 1:
            return draw(st.none() | st.binary(max_size=30) | st.sampled_from([b"{}", b"", b"{", b"[]", b"{} {}"]))
        case 2:
            return data[: draw(st.integers(0, len(data)))]
    return data


@st.composite
def batches(draw):
    """Two batches with holes between offsets."""
    found = draw(st.lists(values(), min_size=1, max_size=14))
    steps = draw(st.lists(st.integers(1, 3), min_size=len(found), max_size=len(found)))
    messages, offset = [], 100
    for value, step in zip(found, steps, strict=True):
        messages.append((offset, draw(st.sampled_from([None, b"", b"key"])), value, 5))
        offset += step
    cut = draw(st.integers(0, len(messages)))
    return [part for part in (messages[:cut], messages[cut:]) if part]


@given(batches(), st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_columns_are_rows(given_batches, shards):
    """A fill that two readings scale differently would be booked by whichever worker came first."""
    assert by_columns(given_batches, shards) == one_by_one(given_batches, shards)


@given(batches(), st.integers(1, 3), st.sampled_from([100, 400, 3_000]))
@settings(max_examples=100, deadline=None)
def test_columns_are_cut_as_rows(given_batches, shards, bytes_max):
    """Where blocks are cut decides when accounts are judged: it is part of the journal."""
    with patch.object(blocks_module, "BLOCK_BYTES", bytes_max), patch.object(fill_blocks, "BLOCK_BYTES", bytes_max):
        assert by_columns(given_batches, shards) == one_by_one(given_batches, shards)


@given(batches())
@settings(max_examples=100, deadline=None)
def test_messages_are_the_same_as_columns(given_batches):
    """What came in one piece from the broker must be what the messages say one by one."""
    for messages in given_batches:
        assert list(Messages.of(messages)) == messages
    assert by_columns([Messages.of(messages) for messages in given_batches]) == by_columns(given_batches)
