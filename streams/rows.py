"""Keyed records side by side in two buffers: many records without an object for each.

It knows nothing of what keys and values mean, nor of where they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import uint8

from streams.compiled import kernel

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Records in order; iterating gives (key, value) pairs.

    Attributes
    ----------
    key_bytes, value_bytes : the bytes of all records, one after another
    key_end, value_end : int64 array, shape (n,); where the bytes of each end, the next one's begin there
    """

    key_bytes: U8
    key_end: I64
    value_bytes: U8
    value_end: I64

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Self:
        """The records of (key, value) pairs.

        Examples
        --------
        >>> list(Rows.of([(b"a", b"1"), (b"", b"23")]))
        [(b'a', b'1'), (b'', b'23')]
        """
        keys, values = [], []
        for key, value in pairs:
            keys.append(key)
            values.append(value)
        return cls(*side_by_side(keys), *side_by_side(values))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All records of `parts`, in order."""
        if len(parts) < 2:
            return parts[0] if parts else cls.of(())
        return cls(
            np.concatenate([part.key_bytes for part in parts]),
            _ends([part.key_end for part in parts]),
            np.concatenate([part.value_bytes for part in parts]),
            _ends([part.value_end for part in parts]),
        )

    def framed(self) -> U8:
        """Every record as the length of its key, key, length of its value, value; lengths little-endian in 4 bytes.

        Examples
        --------
        >>> Rows.of([(b"a", b"12")]).framed().tobytes().hex(" ", -1)
        '01 00 00 00 61 02 00 00 00 31 32'
        """
        out = np.empty(len(self.key_bytes) + len(self.value_bytes) + 8 * len(self), dtype=np.uint8)
        _frame(self.key_bytes, self.key_end, self.value_bytes, self.value_end, out)
        return out

    def starts(self) -> tuple[I64, I64]:
        """Where the bytes of each key and of each value begin."""
        return np.append(0, self.key_end)[:-1], np.append(0, self.value_end)[:-1]

    def __len__(self) -> int:
        return len(self.key_end)

    def __getitem__(self, at: int) -> tuple[bytes, bytes]:
        if not 0 <= at < len(self):
            raise IndexError(f"a record's place must be below {len(self)}, found {at}")
        key, value = (int(ends[at - 1]) if at else 0 for ends in (self.key_end, self.value_end))
        key_bytes, value_bytes = self.key_bytes[key : self.key_end[at]], self.value_bytes[value : self.value_end[at]]
        return key_bytes.tobytes(), value_bytes.tobytes()

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        keys, values = self.key_bytes.tobytes(), self.value_bytes.tobytes()
        key = value = 0
        for key_end, value_end in zip(self.key_end.tolist(), self.value_end.tolist(), strict=True):
            yield keys[key:key_end], values[value:value_end]
            key, value = key_end, value_end


def side_by_side(texts: list[bytes]) -> tuple[U8, I64]:
    """The texts in one buffer, and where each ends."""
    ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
    return np.frombuffer(bytearray().join(texts), dtype=np.uint8), ends


@kernel(_nrt=False)
def _frame(key_bytes: U8, key_end: I64, value_bytes: U8, value_end: I64, out: U8) -> None:
    at = key = value = 0
    for row in range(key_end.shape[0]):
        at = _put(out, at, key_bytes, key, key_end[row])
        at = _put(out, at, value_bytes, value, value_end[row])
        key, value = key_end[row], value_end[row]


@kernel(_nrt=False)
def _put(out: U8, at: int, data: U8, first: int, end: int) -> int:
    for k in range(4):
        out[at + k] = uint8((end - first) >> (8 * k))
    for k in range(end - first):
        out[at + 4 + k] = data[first + k]
    return at + 4 + end - first


def _ends(parts: list[I64]) -> I64:
    """Ends in the buffer of all parts together, from the ends in each part's own."""
    before = np.cumsum([0] + [int(ends[-1]) if len(ends) else 0 for ends in parts[:-1]])
    return np.concatenate([ends + first for ends, first in zip(parts, before, strict=True)])
