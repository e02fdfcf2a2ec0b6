"""A worker that kills itself inside its transactions: between any two of their steps, or while one is under way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import Any

from streams.agents import blocks
from streams.cli import main
from streams.kafka.transactions import PartitionWriter

#: One step in so many ends the process.
STEPS_PER_CRASH = 1500
#: A step under way when the process ends has been so for up to this long.
UNDER_WAY_SECONDS = 0.02
STEPS = ("begin_transaction", "send_batch", "send_offsets_to_transaction", "commit_transaction")


class CrashingWriter(PartitionWriter):
    """The product's writer on a producer whose steps are deadly."""

    async def start(self) -> None:
        await super().start()
        for name in STEPS:
            setattr(self._producer, name, _deadly(getattr(self._producer, name)))


def _deadly(step: Any) -> Any:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        fate = random.randrange(STEPS_PER_CRASH)
        if fate == 0:
            _crash()
        if fate == 1:
            asyncio.get_running_loop().call_later(random.uniform(0.0, UNDER_WAY_SECONDS), _crash)
        done = await step(*args, **kwargs)
        if fate == 2:
            _crash()
        return done

    return wrapped


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    blocks.PartitionWriter = CrashingWriter  # type: ignore[misc]
    main(["worker"])
