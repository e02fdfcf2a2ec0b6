"""An event loop in a thread of its own, for work that must not wait while the main thread computes."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: How long a thread that computes in Python may keep another waiting, in seconds. The interpreter's default
#: of 5 ms is paid at every step of a transaction: its median under full load fell from 85-250 ms to 25-37 ms,
#: throughput unchanged.
SWITCH_SECONDS = 0.0005


class LoopThread:
    """A daemon thread that runs coroutines; it lives as long as the process, or until ``stop``."""

    def __init__(self, name: str) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread and return its result here; cancelled here, it is cancelled there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def stop(self) -> None:
        """End the loop once it has done what it was given."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
