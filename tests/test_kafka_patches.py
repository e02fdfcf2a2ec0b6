"""What we change in aiokafka: a request to a connection that is gone."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from streams.kafka import aiokafka_patches

aiokafka_patches.apply()

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


async def no_lookup() -> None:
    """The peer is a bare socket."""


async def asked_while_reset() -> list[CloseReason]:
    """Ask in the moment in which the loop knows of a reset and aiokafka does not; why the connection was closed."""
    loop = asyncio.get_running_loop()
    reasons: list[CloseReason] = []
    answer: asyncio.Future[Any] = loop.create_future()
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        connection = AIOKafkaConnection(
            host, port, request_timeout_ms=1_000, on_close=lambda _, reason: reasons.append(reason)
        )
        connection._do_version_lookup = no_lookup
        connection._versions = {MetadataRequest.API_KEY: (0, 5)}
        await connection.connect()
        learn = connection._protocol.connection_lost

        def connection_lost(error: Exception | None) -> None:
            learn(error)
            loop.call_soon(ask)

        def ask() -> None:
            try:
                waiting = connection.send(MetadataRequest([]))
            except Exception as error:
                answer.set_exception(error)
            else:
                answer.set_result(asyncio.ensure_future(waiting))

        connection._protocol.connection_lost = connection_lost
        peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        peer.close()
        with pytest.raises(KafkaConnectionError):
            await (await answer)
    return reasons


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_request_to_a_connection_that_was_just_reset_is_a_lost_connection(
    run: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    """aiokafka's task that finds the brokers dies of other errors: the worker looks alive then, and writes no more."""
    assert run(asked_while_reset()) == [CloseReason.CONNECTION_BROKEN]
