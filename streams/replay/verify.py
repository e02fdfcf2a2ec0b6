"""Decisions of a replay against those that were sent, record by record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import orjson

from streams.engine.columns import grown
from streams.engine.decisions import SUMMARIES, Folded, Output
from streams.engine.shard import Shard
from streams.engine.summaries import summaries
from streams.margin.parameters import I64
from streams.replay.recording import Recorded, Recording, RecordingError

#: Topics that keep every record: each one is compared, in order. Of summaries the last one of each account is.
KEPT = ("margin-calls", "liquidations")


class Difference(NamedTuple):
    """The first place where a replay and a recording differ.

    Parameters
    ----------
    topic, partition : where
    journal_offset : of the block that caused the record; of the recording's record where the replay has none
    detail : what differs
    """

    topic: str
    partition: int
    journal_offset: int
    key: str
    detail: str

    def line(self) -> str:
        """One line that says what is where."""
        where = f"{self.topic}[{self.partition}] of journal offset {self.journal_offset}, key {self.key!r}"
        return f"{where}: {self.detail}"


NOT_RECORDED = "replayed, not in the recording"
NOT_REPLAYED = "in the recording, not replayed"


def _detail(replayed: bytes, recorded: bytes) -> str:
    """What differs first between two values that are not equal."""
    return _first_field(orjson.loads(replayed), orjson.loads(recorded))


def _first_field(replayed: object, recorded: object, path: str = "") -> str:
    """The first field that differs, by name."""
    if isinstance(replayed, dict) and isinstance(recorded, dict):
        for name in sorted(replayed.keys() | recorded.keys()):
            if replayed.get(name) != recorded.get(name):
                return _first_field(replayed.get(name), recorded.get(name), f"{path}.{name}" if path else name)
    if isinstance(replayed, list) and isinstance(recorded, list) and len(replayed) == len(recorded):
        for at, (one, other) in enumerate(zip(replayed, recorded, strict=True)):
            if one != other:
                return _first_field(one, other, f"{path}[{at}]")
    if replayed == recorded:
        return "the same fields in other bytes"
    return f"{path or 'value'} must be {orjson.dumps(replayed).decode()}, found {orjson.dumps(recorded).decode()}"


def _cause(value: bytes | None, where: str) -> int:
    """The journal offset of the block that caused a record; RecordingError where it names none."""
    try:
        return int(orjson.loads(value or b"")["journal"]["offset"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise RecordingError(
            f"a record must name its journal offset, found {(value or b'')[:40]!r} ({where})"
        ) from None


def _identity(value: bytes | None) -> str:
    return str(orjson.loads(value or b"").get("id"))


class Verifier:
    """Holds the outputs of one partition's fold against its recorded topics, record by record.

    Of the compacted summaries the last one of each account is compared: it alone is sure to be there, so only where it
    was written is it written again.

    Parameters
    ----------
    first_offset : the journal offset that the fold begins with; what older ones gave is passed over
    reached : the journal offset that the workers had not folded yet when they were recorded; what it and later ones
        give may be missing

    Attributes
    ----------
    compared : records found equal, by topic
    differences : the first one of each topic
    """

    def __init__(self, recording: Recording, partition: int, *, first_offset: int, reached: int) -> None:
        self._recording = recording
        self._partition = partition
        self._first_offset = first_offset
        self._reached = reached
        self._decisions = {topic: self._records(topic) for topic in KEPT}
        self._last_due: I64 = np.zeros(0, dtype=np.int64)  # by account: 1 + journal offset of its last summary, 0 none
        self._summaries: dict[bytes, tuple[int, bytes]] = {}  # recorded: account -> journal offset, value
        self._wanted: defaultdict[int, list[str]] = defaultdict(list)  # journal offset -> its accounts among those
        self._unequal: list[Difference] = []
        self._read_summaries()
        self.compared: Counter[str] = Counter()
        self.differences: dict[str, Difference] = {}

    def _records(self, topic: str) -> Iterator[tuple[int, Recorded]]:
        """The records of blocks from the first on, each with its block's journal offset."""
        if self._partition not in self._recording.extents(topic):
            return
        for part in self._recording.read(topic, self._partition):
            for record in part:
                cause = _cause(record.value, f"{topic}[{self._partition}] at {record.offset}, {self._recording.name}")
                if cause >= self._first_offset:
                    yield cause, record

    def _read_summaries(self) -> None:
        for cause, record in self._records(SUMMARIES):
            if record.key is not None and record.value is not None:
                self._summaries[record.key] = cause, record.value
        for key, (cause, _) in self._summaries.items():
            self._wanted[cause].append(key.decode(errors="replace"))

    def step(self, shard: Shard, offset: int, folded: Folded, *, counts: bool) -> None:
        """Take what the journal record at `offset` gave; decisions that do not count are passed over on both sides."""
        for topic in KEPT:
            given = [sent for sent in folded.decisions if sent.topic == topic]
            for at, sent in enumerate(given):
                found = next(self._decisions[topic], None)
                if not counts or topic in self.differences or (found is None and offset >= self._reached):
                    continue
                if found is not None and (found[1].key, found[1].value) == (sent.key, sent.value):
                    self.compared[topic] += 1
                else:
                    self.differences[topic] = self._difference(offset, given[at:], found)
        if len(folded.due):
            self._last_due = grown(self._last_due, int(folded.due[-1]) + 1)
            self._last_due[folded.due] = offset + 1
        if offset in self._wanted:
            self._compare_summaries(shard, offset, folded.due)

    def _compare_summaries(self, shard: Shard, offset: int, due: I64) -> None:
        numbers = np.array([shard.ledger.accounts.find(name) for name in self._wanted[offset]], dtype=np.int64)
        for key, value in summaries(shard, offset, np.intersect1d(numbers, due)):
            recorded = self._summaries[key][1]
            if value == recorded:
                self.compared[SUMMARIES] += 1
            else:
                self._unequal.append(self._summary(offset, key, _detail(value, recorded)))

    def _summary(self, offset: int, key: bytes, detail: str) -> Difference:
        return Difference(SUMMARIES, self._partition, offset, key.decode(errors="replace"), detail)

    def _difference(self, offset: int, given: list[Output], found: tuple[int, Recorded] | None) -> Difference:
        """Where the first of the block's outputs that are left is not the next recorded record."""
        sent = given[0]
        missing = Difference(sent.topic, self._partition, offset, sent.key.decode(), NOT_RECORDED)
        if found is None:
            return missing
        cause, recorded = found
        identity, theirs = _identity(sent.value), _identity(recorded.value)
        if identity == theirs:
            if sent.value == recorded.value:
                return missing._replace(detail=f"key must be {sent.key!r}, found {recorded.key!r}")
            return missing._replace(detail=_detail(sent.value, recorded.value or b""))
        if cause > offset or theirs in {_identity(other.value) for other in given}:
            return missing
        key = (recorded.key or b"").decode(errors="replace")
        return Difference(sent.topic, self._partition, cause, key, NOT_REPLAYED)

    def finish(self, shard: Shard) -> None:
        """All records before the shard's next offset were given: what else is recorded of them, and the summaries."""
        for topic in KEPT:
            left = next(self._decisions[topic], None)
            if left is not None and topic not in self.differences and left[0] < shard.next_offset:
                key = (left[1].key or b"").decode(errors="replace")
                self.differences[topic] = Difference(topic, self._partition, left[0], key, NOT_REPLAYED)
        found = [*self._unequal, *self._other_summaries(shard)]
        if found:
            self.differences[SUMMARIES] = min(found, key=lambda difference: (difference.journal_offset, difference.key))

    def _other_summaries(self, shard: Shard) -> Iterator[Difference]:
        """Accounts whose last summary is of another block than the recorded one, or only on one side."""
        accounts = shard.ledger.accounts
        for number in np.nonzero(self._last_due)[0].tolist():
            key, last = accounts.encoded(number), int(self._last_due[number]) - 1
            if key not in self._summaries and last < self._reached:
                yield self._summary(last, key, NOT_RECORDED)
        for key, (cause, _) in self._summaries.items():
            number = accounts.find(key.decode(errors="replace"))
            last = int(self._last_due[number]) - 1 if 0 <= number < len(self._last_due) else -1
            if cause >= shard.next_offset or last == cause or last >= self._reached:
                continue  # the recording goes on past the replay, it was compared, or the replay goes on
            if last < 0:
                yield self._summary(cause, key, NOT_REPLAYED)
            else:
                yield self._summary(last, key, f"journal.offset must be {last}, found {cause}")
