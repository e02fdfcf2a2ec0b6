"""A worker that can be told to kill itself inside a transaction: at a step of it, or while one is under way.

``CROSSMARGIN_FATE`` names a file. As long as there is none this is the product's worker; the file says, as JSON, which
role's transaction it is (`role`, "" for any), where (`point` before, during or after `step`), how many such are let
pass (`turn`), and how long a step is under way before the end (`seconds`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from streams.agents import blocks
from streams.cli import main
from streams.kafka.transactions import PartitionWriter
from tests.faults.schedule import STEPS

#: Step of a transaction -> what does it.
METHODS = dict(zip(STEPS, ("_send", "_commit_offsets", "_end"), strict=True))
FATE = Path(os.environ.get("CROSSMARGIN_FATE", "/nonexistent"))


class CrashingWriter(PartitionWriter):
    """The product's writer, the steps of whose transactions can be deadly."""

    passed = 0  # steps let pass since the fate is known, of all writers

    async def start(self) -> None:
        await super().start()
        for name, method in METHODS.items():
            setattr(self._transactor, method, self._deadly(name, getattr(self._transactor, method)))

    def _deadly(self, name: str, step: Any) -> Any:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            point, seconds = self._fate(name)
            if point == "before":
                _crash()
            if point == "during":
                asyncio.get_running_loop().call_later(seconds, _crash)
            done = await step(*args, **kwargs)
            if point == "after":
                _crash()
            return done

        return wrapped

    def _fate(self, name: str) -> tuple[str, float]:
        """Where in this step the process ends, "" where it goes on; and after how long."""
        if not FATE.exists():
            return "", 0.0
        fate = json.loads(FATE.read_text())
        if name != fate["step"] or f"-{fate['role']}" not in self.transactional_id:
            return "", 0.0
        CrashingWriter.passed += 1
        return (fate["point"], fate["seconds"]) if CrashingWriter.passed == fate["turn"] + 1 else ("", 0.0)


def _crash() -> None:
    for process in (os.getppid(), os.getpid()):  # the worker, and the process of its writers, where we are
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    blocks.PartitionWriter = CrashingWriter  # type: ignore[misc]
    main(["worker"])
