"""Record the journal of a made-up crash with options: `python -m tests.golden.make_portfolio`, as `make` does another.

The demo's own market and accounts, most of them on portfolio margin, through ingest, oracle and a shard in one process.
Accounts ask for the other margin model all the time, whether they can bear it or not. All numbers come from a seed.
"""

import asyncio
import random
from collections.abc import Iterable

from streams.demo.market import market
from streams.demo.script import Script, prepare
from streams.demo.venue import Message
from tests.demo_line import EngineLine, played
from tests.faults.changes import Changes
from tests.golden.journals import HERE, write_journal

SEED, BARS, STEP_MS, ACCOUNTS, WITH_OPTIONS, ASKING = 20251010, 6, 15_000, 30, 20, 3


class Restless(EngineLine):
    """Accounts that ask for the other model, and are asked nothing before all books are open."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._changes = Changes(script.books, random.Random(SEED), share=0.9)

    async def send(self, messages: Iterable[Message]) -> None:
        sent = list(messages)
        if any(message.topic == "oracle-prices" for message in sent) and self.summaries:
            sent += [message for _ in range(ASKING) for message in self._changes.next()]
        for message in sent:
            self._changes.note(message)
        await super().send(sent)


def record() -> list[bytes]:
    """The whole story."""
    script = prepare(market(SEED, count=BARS), accounts=ACCOUNTS, seed=SEED, step_ms=STEP_MS, with_options=WITH_OPTIONS)
    line = Restless(script)
    asyncio.run(played(script, line))
    return line.journals[0]


if __name__ == "__main__":
    write_journal(HERE / "portfolio" / "journal.bin", record())
