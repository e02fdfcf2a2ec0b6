"""A shard's state in a file, made by the engine itself and checked by its hash when it is read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from schemas.journal import RULES_VERSION
from streams.engine import state
from streams.engine.invariants import InvariantViolation
from streams.engine.shard import Shard
from streams.replay.recording import RecordingError

FORMAT_VERSION = 1


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself.

    Parameters
    ----------
    partition, next_offset : of the journal; the state is that after all records before `next_offset`
    time : shard time, epoch ms
    state : the state's hash
    rules_version : the newest rules of the release that wrote it
    """

    format: int
    partition: int
    next_offset: int
    time: int
    state: str
    rules_version: int = 1


_decode = msgspec.msgpack.Decoder(tuple[Head, list[tuple[bytes, bytes]]]).decode


def write(shard: Shard, folder: Path) -> Path:
    """Write the shard's state to ``<folder>/<partition>.snapshot``."""
    folder.mkdir(parents=True, exist_ok=True)
    head = Head(
        format=FORMAT_VERSION,
        partition=shard.partition,
        next_offset=shard.next_offset,
        time=shard.prices.time,
        state=state.state_hash(shard),
        rules_version=RULES_VERSION,
    )
    path = folder / f"{shard.partition}.snapshot"
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.msgpack.encode((head, list(state.records(shard)))))
    part.rename(path)
    return path


def read(partition: int, folder: Path) -> Shard:
    """The shard that `write` wrote.

    Raises
    ------
    RecordingError
        where there is none of this partition, it is of another format, or its state has not the hash it names.
    """
    path = folder / f"{partition}.snapshot"
    try:
        head, records = _decode(path.read_bytes())
    except OSError as error:
        raise RecordingError(f"a snapshot must be readable, found {error.strerror} ({path})") from None
    except msgspec.MsgspecError as error:
        raise RecordingError(f"a snapshot must be whole, found {error} ({path})") from None
    for name, expected in (("format", FORMAT_VERSION), ("partition", partition)):
        if getattr(head, name) != expected:
            raise RecordingError(f"{name} must be {expected}, found {getattr(head, name)} ({path})")
    if head.rules_version > RULES_VERSION:
        raise RecordingError(f"rules_version must be at most {RULES_VERSION}, found {head.rules_version} ({path})")
    found = state.hash_of(records)
    if found != head.state:
        raise RecordingError(f"the state's hash must be {head.state}, found {found} ({path})")
    try:
        return state.restore(partition, records)
    except InvariantViolation as error:
        raise RecordingError(f"{error} ({path})") from error
