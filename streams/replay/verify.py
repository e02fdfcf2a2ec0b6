"""Decisions of a replay against those that were sent, record by record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from streams.engine.decisions import SUMMARIES, Output, Outputs
from streams.replay.recording import Recorded, Recording

#: Topics that keep every record: each one is compared, in order. Of summaries the last one of each account is.
KEPT = ("margin-calls", "liquidations")


class Difference(NamedTuple):
    """The first place where a replay and a recording differ.

    Parameters
    ----------
    topic, partition : where
    journal_offset : of the block that caused the record; of the recording's record where the replay has none
    replayed, recorded : the values, None where that side has no such record
    """

    topic: str
    partition: int
    journal_offset: int
    key: str
    replayed: bytes | None
    recorded: bytes | None

    def line(self) -> str:
        """One line that says what is where."""
        where = f"{self.topic}[{self.partition}] of journal offset {self.journal_offset}, key {self.key!r}"
        if self.recorded is None:
            return f"{where}: replayed, not in the recording"
        if self.replayed is None:
            return f"{where}: in the recording, not replayed"
        return f"{where}: {_first_field(orjson.loads(self.replayed), orjson.loads(self.recorded))}"


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


def _cause(value: bytes) -> int:
    """The journal offset of the block that caused a record."""
    return int(orjson.loads(value)["journal"]["offset"])


def _identity(value: bytes) -> str:
    return str(orjson.loads(value)["id"])


class Verifier:
    """Holds the outputs of one partition's fold against its recorded topics.

    Parameters
    ----------
    first_offset : the journal offset that the fold begins with; what older ones gave is passed over

    Attributes
    ----------
    compared : records found equal, by topic
    differences : the first one of each topic
    """

    def __init__(self, recording: Recording, partition: int, first_offset: int = 0) -> None:
        self._recording = recording
        self._partition = partition
        self._first_offset = first_offset
        self._recorded = {topic: self._records(topic) for topic in KEPT}
        self._latest: dict[bytes, tuple[int, bytes]] = {}
        self.compared: Counter[str] = Counter()
        self.differences: dict[str, Difference] = {}

    def _records(self, topic: str) -> Iterator[Recorded]:
        if self._partition not in self._recording.extents(topic):
            return
        for part in self._recording.read(topic, self._partition):
            for record in part:
                if self._first_offset == 0 or record.value is None or _cause(record.value) >= self._first_offset:
                    yield record

    def step(self, offset: int, outputs: Outputs, *, counts: bool) -> None:
        """Take what the journal record at `offset` gave; records that do not count are passed over on both sides."""
        for topic in KEPT:
            given = [sent for sent in outputs.decisions if sent.topic == topic]
            for at, sent in enumerate(given):
                recorded = next(self._recorded[topic], None)
                if not counts or topic in self.differences:
                    continue
                if recorded is not None and (recorded.key, recorded.value) == (sent.key, sent.value):
                    self.compared[topic] += 1
                else:
                    self.differences[topic] = self._difference(offset, given[at:], recorded)
        self._latest.update((key, (offset, value)) for key, value in outputs.summaries)

    def _difference(self, offset: int, given: list[Output], recorded: Recorded | None) -> Difference:
        """Where the first of the block's outputs that are left is not the next recorded record."""
        sent = given[0]
        missing = Difference(sent.topic, self._partition, offset, sent.key.decode(), sent.value, None)
        if recorded is None or recorded.value is None:
            return missing
        identity, theirs = _identity(sent.value), _identity(recorded.value)
        if identity == theirs:
            return missing._replace(recorded=recorded.value)
        cause = _cause(recorded.value)
        if cause > offset or theirs in {_identity(other.value) for other in given}:
            return missing
        key = (recorded.key or b"").decode(errors="replace")
        return Difference(sent.topic, self._partition, cause, key, None, recorded.value)

    def finish(self, next_offset: int) -> None:
        """All records before `next_offset` were given: what else is recorded of them, and the compacted topic."""
        for topic in KEPT:
            left = next(self._recorded[topic], None)
            if left is not None and topic not in self.differences and left.value is not None:
                offset, key = _cause(left.value), (left.key or b"").decode(errors="replace")
                if offset < next_offset:
                    self.differences[topic] = Difference(topic, self._partition, offset, key, None, left.value)
        latest: dict[bytes, bytes] = {}
        for record in self._records(SUMMARIES):
            if record.key is not None and record.value is not None:
                latest[record.key] = record.value
        found = []
        for account in sorted(latest.keys() | self._latest.keys()):
            recorded = latest.get(account)
            offset, replayed = self._latest.get(account, (-1, None))
            if recorded is not None and _cause(recorded) >= next_offset:
                continue  # the recording goes on past the replay
            if recorded == replayed:
                self.compared[SUMMARIES] += 1
                continue
            cause = offset if recorded is None else max(offset, _cause(recorded))
            found.append(Difference(SUMMARIES, self._partition, cause, account.decode(), replayed, recorded))
        if found:
            self.differences[SUMMARIES] = min(found, key=lambda difference: difference.journal_offset)
