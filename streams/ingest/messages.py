"""Messages of one source partition, as columns over one piece of memory; each is also there by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


class Message(NamedTuple):
    """One message of a source topic; `timestamp` in epoch ms."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


@dataclass(frozen=True, slots=True, eq=False)
class Messages(Sequence[Message]):
    """Messages in offset order.

    Parameters
    ----------
    data : all keys and values, among whatever else
    offset, timestamp : per message
    key_start, key_length, value_start, value_length : per message, where in `data`; a length of -1 is null
    """

    data: npt.NDArray[np.uint8]
    offset: I64
    timestamp: I64
    key_start: I64
    key_length: I64
    value_start: I64
    value_length: I64

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Messages:
        """The same messages as columns.

        Examples
        --------
        >>> Messages.of([Message(7, None, b"{}", 5), Message(8, b"k", None, 6)])[1].key
        b'k'
        """
        if isinstance(messages, Messages):
            return messages
        offset, key, value, timestamp = zip(*messages, strict=True) if messages else ((), (), (), ())
        pieces = key + value
        ends = np.cumsum([0, *(len(piece or b"") for piece in pieces)], dtype=np.int64)
        lengths = np.array([-1 if piece is None else len(piece) for piece in pieces], np.int64)
        count = len(messages)
        return cls(
            data=np.frombuffer(b"".join(piece or b"" for piece in pieces), np.uint8),
            offset=np.array(offset, np.int64),
            timestamp=np.array(timestamp, np.int64),
            key_start=ends[:count],
            key_length=lengths[:count],
            value_start=ends[count:-1],
            value_length=lengths[count:],
        )

    def __len__(self) -> int:
        return len(self.offset)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Messages: ...
    def __getitem__(self, index: int | slice) -> Message | Messages:
        if isinstance(index, slice):
            return Messages(
                data=self.data,
                offset=self.offset[index],
                timestamp=self.timestamp[index],
                key_start=self.key_start[index],
                key_length=self.key_length[index],
                value_start=self.value_start[index],
                value_length=self.value_length[index],
            )
        return Message(
            int(self.offset[index]),
            self._bytes(self.key_start[index], self.key_length[index]),
            self._bytes(self.value_start[index], self.value_length[index]),
            int(self.timestamp[index]),
        )

    def __iter__(self) -> Iterator[Message]:
        data = self.data.tobytes()
        spans = (self.key_start, self.key_length, self.value_start, self.value_length)
        columns = (column.tolist() for column in (self.offset, self.timestamp, *spans))
        for offset, timestamp, key, key_length, value, value_length in zip(*columns, strict=True):
            yield Message(
                offset,
                None if key_length < 0 else data[key : key + key_length],
                None if value_length < 0 else data[value : value + value_length],
                timestamp,
            )

    def _bytes(self, start: int, length: int) -> bytes | None:
        return None if length < 0 else self.data[start : start + length].tobytes()
