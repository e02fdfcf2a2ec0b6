"""The fold of one recorded journal partition, record by record, with checkpoints of the state on the way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.journal import Block, CorruptBlock
from streams.engine import state
from streams.engine.decisions import Folded
from streams.engine.invariants import InvariantViolation
from streams.engine.shard import Shard
from streams.replay import soundness
from streams.replay.recording import Recorded, RecordingError


class Step(NamedTuple):
    """One journal record applied: what it was, what it gave, and shard time after it, epoch ms."""

    record: Recorded
    folded: Folded
    time_ms: int


@dataclass(kw_only=True)
class Stretch:
    """Which records count. All before are folded too, since the state rests on them.

    Parameters
    ----------
    from_offset, to_offset : journal offsets, the last one not included
    from_ms, to_ms : shard time, epoch ms; a record belongs where shard time is after it, ``[from_ms, to_ms)``
    """

    from_offset: int = 0
    to_offset: int | None = None
    from_ms: int = 0
    to_ms: int | None = None

    def over(self, record: Recorded) -> bool:
        """Whether this record and all after it are past the end."""
        if self.to_offset is not None and record.offset >= self.to_offset:
            return True
        if self.to_ms is None or record.value is None:
            return False
        try:
            return int(Block.decode(record.value).extra.get("time", 0)) >= self.to_ms
        except (ValueError, LookupError, TypeError):
            return False  # applying it says so

    def counts(self, step: Step) -> bool:
        """Whether this record is at or past the beginning."""
        return step.record.offset >= self.from_offset and step.time_ms >= self.from_ms


@dataclass
class Chain:
    """A hash of the state's history: each link is of the one before and of what changed since.

    Equal links mean equal states at this and every earlier checkpoint. Links depend on where the checkpoints are, so
    only chains of one interval are compared.
    """

    every: int
    links: list[tuple[int, str]] = field(default_factory=list)  # journal offset, link after that record
    _digest: bytes = b""
    _records: int = 0

    def step(self, shard: Shard, offset: int) -> None:
        """Count one record, and make a link where one is due."""
        self._records += 1
        if self._records % self.every == 0:
            digest = hashlib.blake2b(self._digest, digest_size=16)
            digest.update(state.dirty(shard).framed().data)
            self._digest = digest.digest()
            self.links.append((offset, digest.hexdigest()))


def apply(shard: Shard, record: Recorded, name: str) -> Step:
    """Apply one journal record of the recording `name`.

    Raises
    ------
    RecordingError
        where it is no journal block, was made by rules that this release does not know, comes out of order, does not
        fit the state before it, or breaks an invariant of the engine.
    """
    where = f"journal[{shard.partition}] at {record.offset}, {name}"
    try:
        block = Block.decode(record.value or b"")
        soundness.check(block)
        folded = shard.fold(record.offset, block)
    except (CorruptBlock, InvariantViolation) as error:
        raise RecordingError(f"{error} ({where})") from error
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise RecordingError(
            f"a block must fit the state before it, found {type(error).__name__}: {error} ({where})"
        ) from error
    return Step(record, folded, shard.prices.time)
