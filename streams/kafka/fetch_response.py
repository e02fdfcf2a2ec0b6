"""Answers to fetches, read faster: aiokafka goes through every field of every partition, data or not.

The layout is that of version 11 (https://kafka.apache.org/protocol#The_Messages_Fetch).
"""

from __future__ import annotations

from io import BytesIO
from struct import Struct
from typing import Any

from aiokafka.protocol.fetch import FetchResponse_v11

#: Throttle time, error, session, number of topics.
_HEAD = Struct(">ihii")
_COUNT = Struct(">i")
_NAME_SIZE = Struct(">h")
#: Partition, error, high watermark, last stable offset, log start, number of aborted transactions or -1.
_PARTITION = Struct(">ihqqqi")
#: Producer id and first offset.
_ABORTED = Struct(">qq")
#: Preferred replica, bytes of records or -1.
_RECORDS = Struct(">ii")


def decoded(data: BytesIO | bytes) -> Any:
    """An answer as aiokafka has it, without the partitions that have neither records nor an error.

    Of those aiokafka would only note the high watermark, which nothing of ours asks for.
    """
    view = data.read() if isinstance(data, BytesIO) else data
    throttle_ms, error, session, topics = _HEAD.unpack_from(view)
    at = _HEAD.size
    found = []
    for _ in range(topics):
        (size,) = _NAME_SIZE.unpack_from(view, at)
        at += _NAME_SIZE.size
        name = view[at : at + size].decode()
        (partitions,) = _COUNT.unpack_from(view, at + size)
        at += size + _COUNT.size
        rows = []
        for _ in range(partitions):
            partition, code, high, stable, start, count = _PARTITION.unpack_from(view, at)
            at += _PARTITION.size
            aborted = None if count < 0 else [_ABORTED.unpack_from(view, at + 16 * n) for n in range(count)]
            at += 16 * max(count, 0)
            replica, size = _RECORDS.unpack_from(view, at)
            at += _RECORDS.size
            if code or size > 0:
                records = view[at : at + size] if size >= 0 else None
                rows.append((partition, code, high, stable, start, aborted, replica, records))
            at += max(size, 0)
        found.append((name, rows))
    return FetchResponse_v11(throttle_ms, error, session, found)
