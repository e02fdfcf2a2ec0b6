"""Recorded journals and what they give: how they lie in files.

`journal.bin` is blocks one after another, each behind its length (4 bytes, little-endian). `decisions.jsonl` has the
decisions whole, one a line, a digest of each block's summaries, and the hash of the final state in its last line.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from streams.engine import state
from streams.engine.shard import Shard

HERE = Path(__file__).parent
_LENGTH = struct.Struct("<I")


def write_journal(path: Path, blocks: Iterable[bytes]) -> None:
    """Write blocks to a file."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(_LENGTH.pack(len(block)) + block for block in blocks))


def read_journal(path: Path) -> Iterator[bytes]:
    """The blocks of a file."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + length]
        at += length


def decisions(blocks: Iterable[bytes], restart_every: int = 0) -> bytes:
    """What `decisions.jsonl` says of a journal; the shard begins anew from its changelog after so many blocks."""
    shard, lines = Shard(0), []
    for offset, block in enumerate(blocks):
        if restart_every and offset % restart_every == 0:
            shard = state.restore(0, state.records(shard))
        digest, summaries = hashlib.blake2b(digest_size=8), 0
        for output in shard.apply(offset, block):
            if output.topic == "margin-accounts":
                summaries += 1
                digest.update(b"\0".join((output.key, output.value, b"")))
                continue
            heading = {"offset": offset, "topic": output.topic, "key": output.key.decode()}
            lines.append(orjson.dumps({**heading, "value": orjson.Fragment(output.value)}))
        if summaries:
            lines.append(orjson.dumps({"offset": offset, "summaries": summaries, "digest": digest.hexdigest()}))
    shard.ledger.check(shard.terms.assets, shard.terms.instruments, shard.posting.settlement)
    lines.append(orjson.dumps({"rows": shard.ledger.rows, "state": state.state_hash(shard)}))
    return b"\n".join(lines) + b"\n"
