"""A worker: Faust's app with our transport, our agents and our pages, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import faust
import uvloop

from schemas.topics import TOPICS
from streams.agents.blocks import Flushing, Partitions, RoleSpec
from streams.agents.context import Context
from streams.agents.ingest import SOURCES, Ingest
from streams.agents.margin import Margin
from streams.agents.oracle import TICK_MS, Oracle
from streams.agents.volatilities import SOURCE as VOLATILITIES
from streams.agents.volatilities import Volatilities
from streams.ingest.terms import Terms
from streams.kafka.fatal import fatal
from streams.kafka.leases import Fetching
from streams.kafka.marks_reader import MarksReader
from streams.kafka.owners import client_id
from streams.kafka.progress import SourceProgress
from streams.kafka.terms_reader import TermsReader
from streams.kafka.topics import TopicNeed, ensure_topics
from streams.kafka.transport import faust_settings
from streams.kafka.volatilities_reader import VolatilitiesReader
from streams.metrics import TRANSACTION_SECONDS
from streams.settings import Settings
from streams.web import add_pages

log = logging.getLogger("crossmargin")

#: How often the oracle's worker asks how far ingest has come, and every worker whether terms changed, in seconds.
PROGRESS_SECONDS = 0.2
TERMS_SECONDS = 1.0
#: How often it reads the prices of other partitions' symbols that prices of its own are stated in, and volatilities.
MARKS_SECONDS = 0.1
#: Logical topics whose messages are checked as they come, but for quotes.
CHECKED = (*SOURCES, VOLATILITIES)
#: Rows of a stream go into the journal together, in blocks this far apart, in ms: each block costs every shard a fold,
#: and its transaction 1-2 ms of processor time. A row that comes alone doesn't wait.
INGEST_PAUSE_MS = 50
#: How long a thread that computes in Python may keep another waiting, in seconds: by default 5 ms, which the consumer's
#: thread would pay at each step of a fetch.
SWITCH_SECONDS = 0.0005
#: A worker that is told to stop and has not stopped after this long, its broker gone for example, ends hard.
STOP_SECONDS_MAX = 25.0


def group_of(settings: Settings) -> str:
    """The consumer group that shares out partitions among workers of the same roles."""
    return f"{settings.prefix}-workers-{'-'.join(sorted(settings.roles))}"


async def prepare_topics(settings: Settings) -> dict[str, int]:
    """Create what is missing, refuse what does not fit; partition counts by the broker's names."""
    needs = [
        TopicNeed(
            name=settings.topic(name),
            partitions=topic.partition_count(settings.partitions),
            exact=topic.partitions == "shards" or topic.partitions == "one",
            config=topic.config(),
        )
        for name, topic in TOPICS.items()
        if name != "oracle-changelog"
    ]
    client, create = settings.client(), settings.create_topics
    counts = await ensure_topics(client, needs, create=create, replication=settings.replication)
    changelog = TopicNeed(
        name=settings.topic("oracle-changelog"),
        partitions=counts[settings.topic("oracle-prices")],
        exact=True,
        config=TOPICS["oracle-changelog"].config(),
    )
    return counts | await ensure_topics(client, [changelog], create=create, replication=settings.replication)


def role_specs(context: Context) -> list[RoleSpec]:
    """The roles that the settings name."""
    settings = context.settings
    specs = {
        "ingest": RoleSpec(
            name="ingest",
            topics=frozenset(settings.topic(name) for name in CHECKED),
            create=lambda tp: (
                Volatilities(tp, context) if tp.topic == settings.topic(VOLATILITIES) else Ingest(tp, context)
            ),
            pause_ms=INGEST_PAUSE_MS,
        ),
        "oracle": RoleSpec(
            name="oracle",
            topics=frozenset({settings.topic("oracle-prices")}),
            create=lambda tp: Oracle(tp, context),
            tick_ms=TICK_MS,
        ),
        "margin": RoleSpec(
            name="margin", topics=frozenset({settings.topic("journal")}), create=lambda tp: Margin(tp, context)
        ),
    }
    return [specs[name] for name in settings.roles]


async def repeat(seconds: float, what: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again; a fault that passes is logged, not raised."""
    while True:
        try:
            await work()
        except Exception as error:
            log.warning("%s must be read, found %r; trying again", what, error)
        await asyncio.sleep(seconds)


def source_progress(settings: Settings) -> SourceProgress:
    """What asks how far the sources are read: ingest's, and the quotes themselves, whose backlog is old prices."""
    ingested = [settings.topic(name) for name in CHECKED]
    groups = {f"{settings.prefix}-ingest": ingested, f"{settings.prefix}-oracle": [settings.topic("oracle-prices")]}
    return SourceProgress(groups, **settings.client())


def create_app(settings: Settings, counts: dict[str, int]) -> faust.App:
    """The app of one worker; `counts` are the partitions of its topics."""
    client = settings.client()
    terms = TermsReader(
        client, settings.topic("instruments"), settings.topic("terms-changelog"), Terms(settings.message_bytes_max)
    )
    marks = MarksReader(client, settings.topic("marks"), counts[settings.topic("marks")])
    accepted = settings.topic("volatilities-changelog")
    volatilities = VolatilitiesReader(client, accepted, counts[accepted])
    progress = source_progress(settings)

    def read_to_ms(now_ms: int) -> int | None:
        return progress.answer.read_to(now_ms, age_ms_max=settings.max_source_skew_ms)

    context = Context(
        settings=settings,
        counts=counts,
        terms=terms,
        marks=marks,
        volatilities=volatilities,
        progress_ms=read_to_ms,
        backlog=lambda: progress.answer.backlog,
    )
    specs = role_specs(context)
    partitions = Partitions(
        specs,
        prefix=settings.prefix,
        fetching=Fetching(client=client, column_topics=frozenset(settings.topic(name) for name in CHECKED)),
        flushing=Flushing(
            interval_ms=settings.flush_interval_ms, transaction_timeout_ms=settings.transaction_timeout_ms
        ),
        observe=lambda role, seconds: TRANSACTION_SECONDS.labels(role).observe(seconds),
    )
    app = faust.App(
        group_of(settings),
        web_enabled=True,
        web_bind=settings.web_host,
        web_port=settings.web_port,
        web_host=settings.web_host,
        broker_client_id=client_id(settings.prefix, settings.url()),
        topic_partitions=settings.partitions,
        **faust_settings(
            settings.broker, session_seconds=settings.session_seconds, instance_id=settings.instance_id or None
        ),
    )
    app.block_owner = partitions

    async def take(stream: Any) -> None:
        async for block in stream:
            partitions.take(block)

    for spec in specs:
        for topic in sorted(spec.topics):
            channel = app.topic(topic, key_serializer="raw", value_serializer="raw")
            app.agent(channel, name=f"{spec.name}-{topic}")(take)

    background: list[asyncio.Task[None]] = []

    @app.on_after_configured.connect
    def configured(*_: Any, **__: Any) -> None:
        log.info("worker of %s on %s, pages at %s", ", ".join(settings.roles), settings.broker, settings.url())

    @app.task
    async def followers() -> None:
        background.append(asyncio.create_task(repeat(TERMS_SECONDS, "instruments", terms.refresh)))
        if "oracle" in settings.roles:
            background.append(asyncio.create_task(repeat(PROGRESS_SECONDS, "source progress", progress.poll)))
            background.append(asyncio.create_task(repeat(MARKS_SECONDS, "marks", marks.refresh)))
            background.append(asyncio.create_task(repeat(MARKS_SECONDS, "volatilities", volatilities.refresh)))

    @app.on_before_shutdown.connect
    async def before_shutdown(*_: Any, **__: Any) -> None:
        for task in background:
            task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.gather(*background, return_exceptions=True)
            await terms.stop()
            await marks.stop()
            await volatilities.stop()
            await progress.close()

    add_pages(app, settings, partitions, group_of(settings))
    return app


class Worker(faust.Worker):
    """Faust's worker, but told to stop it stops: in time by itself, or hard; and when all is stopped, at once."""

    def _schedule_shutdown(self, signal: Any) -> None:
        timer = threading.Timer(STOP_SECONDS_MAX, fatal, [f"a stop must take less than {STOP_SECONDS_MAX:g} s"])
        timer.daemon = True
        timer.start()
        super()._schedule_shutdown(signal)

    async def _sentinel_task(self) -> None:
        """What Faust lets the loop do last of all: by itself it sleeps a second."""


def run_worker(settings: Settings) -> None:
    """Run a worker until it is told to stop; a worker that must not go on ends with exit code 3."""
    from streams.warmup import warm_up

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # of all threads
    sys.setswitchinterval(SWITCH_SECONDS)
    warm_up()
    try:
        counts = asyncio.run(prepare_topics(settings))
    except Exception as error:
        fatal(f"topics must be ready, found {error}")
    app = create_app(settings, counts)
    try:
        Worker(app, loglevel="INFO", redirect_stdouts=False, logging_config=None).execute_from_commandline()
    except SystemExit as ended:
        if ended.code:  # what Faust crashed of
            fatal(f"a worker must run until it is told to stop, found {ended.__context__!r}")
        raise
