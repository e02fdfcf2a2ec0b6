"""The transactional writers of a worker, in a process of their own.

A transaction holds back readers while it is open, so its steps must not wait for a fold; in a thread they would wait
for the interpreter's lock at each of them. The process is forked from the worker, before that has threads or an event
loop, and lives no longer: when the worker ends, by whatever cause, its socket closes, and the process ends at once with
whatever transaction is open. What it leaves is what a killed worker leaves.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

from aiokafka import TopicPartition

from streams.kafka.batches import Records
from streams.kafka.fatal import fatal
from streams.kafka.transactions import PartitionWriter, TransactionFailed

#: Length of what follows: a pickled tuple.
_FRAME = struct.Struct("<Q")
CANCEL = "cancel"


class Frames(asyncio.Protocol):
    """Both ends of the socket: objects, whole and in order."""

    def __init__(self, take: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._take = take
        self._lost = lost
        self._data = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how does not matter
        self._lost()

    def data_received(self, data: bytes) -> None:
        self._data += data
        at = 0
        while len(self._data) - at >= _FRAME.size:
            (length,) = _FRAME.unpack_from(self._data, at)
            end = at + _FRAME.size + length
            if len(self._data) < end:
                break
            with memoryview(self._data) as view:
                frame = pickle.loads(view[at + _FRAME.size : end])
            self._take(frame)
            at = end
        del self._data[:at]

    def send(self, frame: Any) -> None:
        """Send an object; raises what pickle raises where it cannot be sent."""
        data = pickle.dumps(frame, protocol=5)
        assert self._transport is not None
        self._transport.write(_FRAME.pack(len(data)))
        self._transport.write(data)


class WriterProcess:
    """The worker's end: makes writers that live in the process.

    Parameters
    ----------
    client : aiokafka's connection settings, for all writers
    create : makes a writer, as `PartitionWriter` does

    Notes
    -----
    To be made before the worker has threads or a running event loop. Where the process ends before the worker, the
    worker cannot know what was committed, and ends too.
    """

    def __init__(self, client: Mapping[str, Any], create: Callable[..., PartitionWriter] = PartitionWriter) -> None:
        self._socket, theirs = socket.socketpair()
        self._calls = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._frames: Frames | None = None
        self._connecting = asyncio.Lock()
        self._stopped = False
        self._pid = os.fork()  # not by multiprocessing, which in the new process waits for whoever reads stdin
        if self._pid == 0:
            self._socket.close()  # while open there, the end of the worker would pass unseen
            _serve(theirs, client, create)
        theirs.close()

    def writer(
        self,
        transactional_id: str,
        *,
        transaction_timeout_ms: int = 10_000,
        observe: Callable[[float], None] | None = None,
    ) -> RemoteWriter:
        """A writer of that id; see `PartitionWriter` for the parameters."""
        return RemoteWriter(self, transactional_id, transaction_timeout_ms, observe)

    async def call(self, method: str, *arguments: Any) -> Any:
        """What a method of a writer returns or raises there; cancelled here, it is cancelled there."""
        frames = self._frames or await self._connect()
        number = next(self._calls)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        frames.send((number, method, *arguments))
        try:
            return await answer
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is not None:
                frames.send((number, CANCEL))
            raise

    async def _connect(self) -> Frames:
        async with self._connecting:
            if self._frames is None:
                loop = asyncio.get_running_loop()
                _, frames = await loop.create_connection(lambda: Frames(self._take, self._lost), sock=self._socket)
                self._frames = frames
            return self._frames

    def _take(self, frame: tuple[int, bool, Any]) -> None:
        number, done, found = frame
        answer = self._waiting.pop(number, None)
        if answer is None or answer.done():
            return
        if done:
            answer.set_result(found)
        else:
            answer.set_exception(found)

    def _lost(self) -> None:
        if not self._stopped:
            fatal("the process of the writers must live as long as the worker, it has ended")

    def stop(self) -> None:
        """End the process; writers of it are of no use any more."""
        self._stopped = True
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._socket.close()


class RemoteWriter:
    """A `PartitionWriter` in the process of the writers; each method is as there."""

    def __init__(
        self,
        process: WriterProcess,
        transactional_id: str,
        transaction_timeout_ms: int,
        observe: Callable[[float], None] | None,
    ) -> None:
        self._process = process
        self._id = transactional_id
        self._timeout_ms = transaction_timeout_ms
        self._observe = observe

    async def start(self) -> None:
        await self._process.call("start", self._id, self._timeout_ms)

    async def stop(self) -> None:
        await self._process.call("stop", self._id)

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        found: dict[TopicPartition, int | None] = await self._process.call("committed", self._id, group, partitions)
        return found

    async def commit(
        self, records: Mapping[TopicPartition, Records], offsets: Mapping[TopicPartition, int], group: str
    ) -> None:
        seconds = await self._process.call("commit", self._id, records, offsets, group)
        if self._observe is not None:
            self._observe(seconds)


# -- in the process


def _serve(own: socket.socket, client: Mapping[str, Any], create: Callable[..., PartitionWriter]) -> NoReturn:
    """Be the process of the writers."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the worker is told too, and has things to write until it stops
        asyncio.run(_Served(client, create).run(own))
    finally:
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error, or its words in one that can be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return TransactionFailed(repr(error))
    return error


class _Served:
    def __init__(self, client: Mapping[str, Any], create: Callable[..., PartitionWriter]) -> None:
        self._client = client
        self._create = create
        self._writers: dict[str, PartitionWriter] = {}
        self._seconds: dict[str, float] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._frames: Frames | None = None

    async def run(self, own: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        _, frames = await loop.create_connection(lambda: Frames(self._take, lambda: os._exit(0)), sock=own)
        self._frames = frames
        await loop.create_future()

    def _take(self, frame: tuple[Any, ...]) -> None:
        number, method, *arguments = frame
        if method == CANCEL:
            if number in self._tasks:
                self._tasks[number].cancel()
            return
        task = self._tasks[number] = asyncio.create_task(self._answer(number, method, arguments))
        task.add_done_callback(lambda _: self._tasks.pop(number))

    async def _answer(self, number: int, method: str, arguments: Sequence[Any]) -> None:
        assert self._frames is not None
        try:
            found, done = await getattr(self, f"_{method}")(*arguments), True
        except Exception as error:
            found, done = _portable(error), False
        self._frames.send((number, done, found))

    async def _start(self, transactional_id: str, transaction_timeout_ms: int) -> None:
        writer = self._writers[transactional_id] = self._create(
            transactional_id,
            self._client,
            transaction_timeout_ms=transaction_timeout_ms,
            observe=lambda seconds: self._seconds.update({transactional_id: seconds}),
        )
        await writer.start()

    async def _stop(self, transactional_id: str) -> None:
        writer = self._writers.pop(transactional_id, None)
        if writer is not None:
            await writer.stop()

    async def _committed(self, transactional_id: str, group: str, partitions: Sequence[TopicPartition]) -> Any:
        return await self._writers[transactional_id].committed(group, partitions)

    async def _commit(
        self,
        transactional_id: str,
        records: Mapping[TopicPartition, Records],
        offsets: Mapping[TopicPartition, int],
        group: str,
    ) -> float:
        await self._writers[transactional_id].commit(records, offsets, group)
        return self._seconds.get(transactional_id, 0.0)
