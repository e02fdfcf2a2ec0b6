"""Blocks of older releases: what they lack and what they must not lack."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import orjson
import pytest

from schemas.journal import COLUMNS, Block, CorruptBlock

MARKS = Block(
    kind="marks",
    names={"symbols": ["BTC"], "instruments": ["BTC-PERP"]},
    columns={name: np.ones(1, dtype=kind) for name, kind in COLUMNS["marks"].items()},
    extra={"time": 1, "oracle": {"partition": 0, "of": 1, "mode": "live"}},
)


def with_lengths(block: Block, lengths: list[int]) -> bytes:
    """The bytes of a block whose header states other lengths."""
    data = block.encode()
    _, _, length = struct.unpack_from("<4sII", data)
    header = orjson.loads(data[12 : 12 + length])
    header["lengths"] = lengths
    raw = orjson.dumps(header, option=orjson.OPT_SORT_KEYS)
    raw += b" " * (length - len(raw))
    sized = struct.pack("<I", len(raw)) + raw + data[12 + length :]
    return data[:4] + struct.pack("<I", zlib.crc32(sized)) + sized


@pytest.mark.parametrize("columns", [9, 10], ids=["without widening", "without options"])
def test_block_of_marks_of_an_older_release(columns: int) -> None:
    """Journals of the releases before must replay, and give their own bytes when written again."""
    names = list(COLUMNS["marks"])[:columns]
    old = replace(MARKS, columns={name: MARKS.columns[name] for name in names})
    decoded = Block.decode(old.encode())
    assert list(decoded.columns) == names
    assert decoded.encode() == old.encode()
    assert len(old.encode()) < len(MARKS.encode())


def test_block_of_marks_with_widening() -> None:
    """The column is by symbol."""
    decoded = Block.decode(MARKS.encode())
    assert list(decoded.columns) == list(COLUMNS["marks"])
    assert decoded.columns["widening"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("block", "columns", "error"),
    [
        pytest.param(MARKS, 8, r"^a block of marks must have 13 columns, found 8$", id="one more is missing"),
        pytest.param(Block(kind="funding"), 4, r"^a block of funding must have 5 columns, found 4$", id="another kind"),
        pytest.param(Block(kind="terms"), 1, r"^a block of terms must have 0 columns, found 1$", id="too many"),
    ],
)
def test_other_missing_columns_are_corrupt(block: Block, columns: int, error: str) -> None:
    """A block cut short must not be folded as if it were an old one."""
    with pytest.raises(CorruptBlock, match=error):
        Block.decode(with_lengths(block, [0] * columns))
