"""The demo's market played at speed: nobody waits for the workers, who are killed meanwhile.

The demo's play, exchange and traffic are used as they are, with more options; only the line to Kafka differs. It hands
over what was heard so far, restamps messages for a worker on the wall clock, and mixes in messages to be refused,
repeated ones, accounts that ask for the other margin model, and the past of each coin for values at risk.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Iterable

from faults.changes import Changes
from faults.load import LOAD_SECONDS, Load
from faults.past import past_of
from faults.rows import BAD_KEY

from schemas.topics import TOPICS
from streams.demo.feed import Cluster, Feed, Heard
from streams.demo.market import market
from streams.demo.play import Play
from streams.demo.score import Score
from streams.demo.script import Script, prepare
from streams.demo.venue import Message
from streams.settings import ROLES, Settings

STEP_MS = 5_000
FUNDING_MS = 60_000
#: On the wall clock the first expiry comes so long after its listing, and the others as much later as ever.
EXPIRY_MS = 20_000
#: One account in so many holds options.
ONE_IN = 6
BAD_SHARE, REPEATED_SHARE = 0.02, 0.01
#: Seconds between two looks whether a market that is ahead of the faults may go on.
LOOK_SECONDS = 0.05

#: Where the key of a risk unit begins.
UNIT = "~risk_unit:"

_DEPOSIT = {"transfer_id": "bad", "type": "deposit", "account": "bad", "asset": "USDC", "amount": "1", "time": 1}
_FILL = {"fill_id": "bad", "account": "bad", "instrument": "BTC-PERP", "quantity": "1", "price": "1", "fee": "0"}
BAD: list[tuple[str, dict[str, object]]] = [
    ("fills", {**_FILL, "instrument": "NO-SUCH-PERP", "time": 1}),
    ("fills", {**_FILL, "price": "1.123456789012", "time": 1}),
    ("fills", {}),
    ("collateral", {**_DEPOSIT, "asset": "NONE"}),
    ("collateral", {**_DEPOSIT, "type": "gift"}),
    ("funding-rates", {"instrument": "NO-SUCH-PERP", "rate": "0.1", "time": 1}),
    ("accounts", {"account": "other"}),
    ("instruments", {"id": "NEW", "kind": "instrument"}),
    ("oracle-prices", {"symbol": "BTC", "source": "bad", "price": "NaN", "time": 1}),
    ("volatilities", {"source": "bad", "time": 1, "underlying": "BTC", "smiles": []}),
]


class RushLine(Feed):
    """The demo's line; while `rushing`, nothing is waited for."""

    def __init__(self, cluster: Cluster, script: Script, *, wall: bool, seed: int, patience_s: float) -> None:
        super().__init__(cluster, lambda: None, patience_s)
        first = next(script.walk())
        self._begins_ms, self._prices = first.time, script.prices(first)
        self.rushing = False
        self.sent = 0
        self._wall = wall
        self._expiry_shift: int | None = None
        self._rng = random.Random(seed)
        self._changes = Changes(script.books, self._rng)

    async def send(self, messages: Iterable[Message]) -> int:
        """Send, in the given order, with bad and repeated messages between."""
        mixed = []
        for message in messages:
            mixed.append(self._stamped(message) if self._wall else message)
            if message.key.startswith(UNIT):
                coin = message.key.removeprefix(UNIT)
                mixed += past_of(coin, self._prices[coin], int(time.time() * 1000) if self._wall else self._begins_ms)
            self._changes.note(message)
            if self.rushing:
                mixed += self._changes.next()
            if message.topic in ("fills", "collateral") and self._rng.random() < REPEATED_SHARE:
                mixed.append(mixed[-1])
            if self._rng.random() < BAD_SHARE:
                topic, value = self._rng.choice(BAD)
                mixed.append(Message(topic, BAD_KEY.decode(), dict(value)))
        self.sent += len(mixed)
        return await super().send(mixed)

    async def wait_quiet(self, marked_ms: int | None = None) -> list[Heard]:
        """What was heard so far; in the opening, and when all is played, what comes of everything sent."""
        if not self.rushing:
            return await super().wait_quiet(marked_ms)
        heard, self._inbox.decisions = self._inbox.decisions, []
        return heard

    def _stamped(self, message: Message) -> Message:
        value, now_ms = dict(message.value), int(time.time() * 1000)
        if "time" in value:
            value["time"] = now_ms
        if "expiry" in value:
            value["expiry"] = self._expiry(value["expiry"], now_ms)
        if "smiles" in value:
            smiles = [{**smile, "expiry": self._expiry(smile["expiry"], now_ms)} for smile in value["smiles"]]
            value["smiles"] = [smile for smile in smiles if smile["expiry"] > now_ms]
        return message._replace(value=value)

    def _expiry(self, expiry: int, now_ms: int) -> int:
        if self._expiry_shift is None:  # the first that is listed is the one that comes first
            self._expiry_shift = now_ms + EXPIRY_MS - expiry
        return expiry + self._expiry_shift


class Rush:
    """One market, played in a thread of its own while the test deals with workers.

    Parameters
    ----------
    settings : of the workers
    minutes : bars of the market, twelve steps each
    pace_s : shortest time between two steps
    trickle_s : a market that is ahead of the faults goes on at one step in so many seconds
    fills_s : further fills a second, of accounts that do nothing but trade, whatever the market does

    Attributes
    ----------
    allowed : part of the market, 0 to 1, that may be played at full pace by now; beyond it trickles
    step : of the market, sent last
    sent, heard, repeated : messages, outputs, and output ids that came twice, once it is over
    opened : set once the accounts are there and the market runs freely
    """

    def __init__(
        self,
        settings: Settings,
        *,
        seed: int,
        accounts: int,
        minutes: int,
        pace_s: float = 0.05,
        trickle_s: float = 1.0,
        fills_s: int = 0,
    ) -> None:
        self.script: Script = prepare(
            market(seed, minutes), accounts=accounts, seed=seed, step_ms=STEP_MS, with_options=accounts // ONE_IN
        )
        self.script.funding_ms = FUNDING_MS
        self._load = Load(self.script.venue, seed, fills_s)
        self.script.books += self._load.books()
        self.opened = threading.Event()
        self.allowed = 0.0
        self.sent = self.heard = 0
        self.repeated: list[str] = []
        self.step = 0
        self._settings = settings
        self._seed = seed
        self._pace_s = pace_s
        self._trickle_s = trickle_s
        self._error: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, name="rush", daemon=True)

    def start(self) -> None:
        """Begin; topics may be missing yet."""
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether all is played and worked through; raises what went wrong."""
        if self._error is not None:
            raise self._error
        return self._over

    def _run(self) -> None:
        try:
            asyncio.run(self._play())
            self._over = True
        except BaseException as error:
            self._error = error

    async def _play(self) -> None:
        settings = self._settings
        cluster = Cluster(
            options=settings.client(),
            topics={logical: settings.topic(logical) for logical in TOPICS},
            groups={role: f"{settings.prefix}-{role}" for role in ROLES},
        )
        wall = settings.clock == "wall"
        line = RushLine(cluster, self.script, wall=wall, seed=self._seed, patience_s=90.0)

        loading: list[asyncio.Task[None]] = []

        async def paced(score: Score) -> None:
            line.rushing = True
            if not loading:
                loading.append(asyncio.create_task(self._loaded(line, score)))
            self.step = score.step
            self.opened.set()
            await asyncio.sleep(self._pace_s)
            end = time.monotonic() + self._trickle_s
            while score.step > self.allowed * score.steps and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)

        try:
            await line.start()
            play = Play(self.script, line, paced)
            await play.run()
            await _ended(loading)
            line.rushing = False
            await play._hear(None)
            self.sent, self.heard, self.repeated = line.sent, play.score.out, play.score.repeated
        finally:
            await _ended(loading)
            await line.stop()

    async def _loaded(self, line: RushLine, score: Score) -> None:
        """Send the further fills, until cancelled."""
        while self._load.fills_s:
            messages = self._load.next(score.prices, score.time)
            for message in messages:
                self.script.tally.note(message)
            await asyncio.shield(line.send(messages))
            await asyncio.sleep(LOAD_SECONDS)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
