"""The lock-step: one step of quotes, all that comes of it, all answers to it, then the next step."""

import time
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Protocol

from streams.demo.books import opening
from streams.demo.feed import Heard
from streams.demo.score import Score
from streams.demo.script import Script
from streams.demo.venue import Message
from streams.replay.bars import Step

#: Of the accounts, how many trade at one moment of ordinary life; and how many transfers come then.
TRADES_PER_ACCOUNT, TRANSFERS = 0.01, 2
#: Answers to answers within one step; a liquidation that needs more goes on in the next step.
ROUNDS_MAX = 20


class Line(Protocol):
    """What the play needs of the feed."""

    async def send(self, messages: list[Message]) -> None:
        """Send all."""

    async def wait_quiet(self, marked_ms: int | None = None) -> list[Heard]:
        """Wait until all that was sent is worked through, marks of a time too; return what came of it."""


class Play:
    """One run of a script over a line.

    Parameters
    ----------
    script : what to play
    line : to send and to wait
    shown : called after every step, with the score
    """

    def __init__(self, script: Script, line: Line, shown: Callable[[Score], Awaitable[None]]) -> None:
        self._script = script
        self._line = line
        self._shown = shown
        self._funded = 0
        self.score = Score(steps=script.steps)

    async def run(self) -> Score:
        """Open the accounts, then play every step; return the final score."""
        script = self._script
        walk = script.walk()
        await self._send(script.listings())
        await self._hear(None)
        for first in islice(walk, 1):
            await self._quotes(first)
            self._funded = first.time
            for wave in opening(script.books, script.venue, self.score.prices, first.time):
                await self._send(wave)
                await self._hear(None)
            await self._shown(self.score)
        for step in walk:
            await self._step(step)
            await self._shown(self.score)
        return self.score

    async def _step(self, step: Step) -> None:
        """Quotes, then everything they cause until nothing more comes."""
        script = self._script
        script.exchange.begin()
        await self._quotes(step)
        for instrument in script.exchange.expire(step.time):
            script.tally.settled(instrument)
        messages = self._ordinary(step)
        for _ in range(ROUNDS_MAX):
            messages += script.exchange.answer(self.score.prices, step.time)
            if not messages:
                return
            await self._send(messages)
            await self._hear(None)
            messages = []

    async def _quotes(self, step: Step) -> None:
        self.score.step += 1
        self.score.time = step.time
        self.score.prices = self._script.prices(step)
        sent_at = time.monotonic()
        await self._send(self._script.quotes(step, self.score.step))
        await self._hear(sent_at)

    def _ordinary(self, step: Step) -> list[Message]:
        """What happens beside the liquidations: funding, trades, deposits and withdrawals."""
        script, prices = self._script, self.score.prices
        messages: list[Message] = []
        if step.time - self._funded >= script.funding_ms:
            self._funded = step.time
            messages += script.traffic.funding(step.time, script.exchange.expired)
        if self.score.step % script.traffic_steps == 0:
            trades = max(1, int(script.accounts * TRADES_PER_ACCOUNT))
            messages += script.traffic.next(prices, step.time, trades=trades, transfers=TRANSFERS)
        return messages

    async def _send(self, messages: list[Message]) -> None:
        for message in messages:
            self._script.tally.note(message)
            self.score.sent[message.topic] += 1
        await self._line.send(messages)

    async def _hear(self, quoted_at: float | None) -> None:
        """Wait for what comes of the messages sent, and let everyone concerned know of it."""
        script = self._script
        for heard in await self._line.wait_quiet(None if quoted_at is None else self.score.time):
            self.score.hear(heard, quoted_at)
            if heard.topic == "dead-letters":
                continue
            script.traffic.hear(heard.value)
            if heard.topic == "liquidations":
                script.exchange.receive(heard.value)
                if heard.value["kind"] == "bankrupt":
                    script.tally.taken_over(heard.value["account"], heard.value["bucket"])
