"""`crossmargin demo`: a market crash through a real Kafka, watched, and the books checked at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import click
from aiokafka.errors import KafkaError
from rich.console import Console

from streams.demo.feed import Cluster, Feed, Stuck
from streams.demo.market import market
from streams.demo.play import Play
from streams.demo.score import Score
from streams.demo.screen import Screen, clock, summary
from streams.demo.script import STANDARD_STEP_MS, Script, prepare
from streams.demo.stage import Stage, WorkerDied
from streams.demo.verify import EVENTS_ACCOUNTS, Check, agreement, conservation, orderly
from streams.kafka.jars import BrokerError
from streams.kafka.topics import TopicsUnfit
from streams.replay.bars import DAY_MS, STEPS_MIN, Bars, deepest_day
from streams.replay.prices import PriceFileError, epoch_ms, read
from streams.settings import SettingsError

#: Bars of one minute of the seeded market.
MINUTES = 30
QUOTE_AGE_MS = 10_000
#: Most steps that are played without being asked for.
STEPS_MAX = 4_000
#: More shards mean more transactions a step; two show all there is to see in half the time of four.
SHARDS = 2


@click.command("demo")
@click.option(
    "--prices",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Real prices instead of the seeded market, several files for several assets: Binance klines (named like "
    "BTCUSDT-1m-2021-05-19.csv), ts,asset,open,high,low,close, the same with venue,market,quote, or ts and a column "
    "an asset; plain, .gz or .zip.",
)
@click.option("--from", "since", help="First bar, RFC 3339. Default: all, or of more than a day of prices the UTC day "
              "in which BTC fell most from a high to a later low.")  # fmt: skip
@click.option("--to", "until", help="End, RFC 3339. Default: a day after --from.")
@click.option("--accounts", default=1000, show_default=True, type=click.IntRange(10, 1_000_000), help="How many.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the market, books and exchange.")
@click.option("--step", "step_s", type=click.FloatRange(0.1, 3600), help="Seconds of event time from quotes to "
              "quotes, at most. Longer than 5 also lengthens the liquidation time-out and the age at which quotes are "
              "stale. Default: 5, or a quarter of a bar where 5 would make more than 4,000 steps.")  # fmt: skip
@click.option("--broker", default="", help="Join this Kafka, host:port, under topic names of its own. Default: "
              "CROSSMARGIN_BROKER, else a broker is started.")  # fmt: skip
@click.option("--keep", is_flag=True, help="Afterwards leave broker and worker running until Ctrl-C, and all data.")
@click.option("--no-live", is_flag=True, help="Plain lines instead of the live page.")
def demo_command(
    files: tuple[Path, ...],
    since: str | None,
    until: str | None,
    accounts: int,
    seed: int,
    step_s: float | None,
    broker: str,
    keep: bool,
    no_live: bool,
) -> None:
    """Play a market crash through Kafka and a worker, and check the books to the last unit.

    Quotes and fills of many accounts go in; margin calls and liquidations come out; the demo's exchange executes the
    liquidation orders and sends the fills back. Each step of prices is answered in full before the next is sent.
    Exit code 1 where anything does not balance or the worker died.
    """
    try:
        bars = _bars(files, since, until, seed)
        step_ms = _step_ms(bars) if step_s is None else round(step_s * 1000)
        script = prepare(bars, accounts=accounts, seed=seed, step_ms=step_ms)
    except (PriceFileError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    console = Console()
    screen = Screen(console, live=console.is_terminal and not no_live)
    pace = {
        "partitions": str(SHARDS),
        "quote_age_ms_max": str(max(QUOTE_AGE_MS, 2 * script.step_ms)),
        # Order is ours to keep: each step is worked through before the next. So no source ever lags a step.
        "max_source_skew_ms": str(4 * script.step_ms),
        "flush_interval_ms": "5",  # each step waits for the commit of the one before
    }
    seeded = not files and accounts >= EVENTS_ACCOUNTS
    with _signals_stop():
        try:
            with Stage(broker, pace, keep=keep) as stage:
                code = _on_stage(stage, script, screen, console, seeded=seeded)
                if keep:
                    _wait(stage, screen)
        except (BrokerError, TopicsUnfit, SettingsError, KafkaError) as error:
            click.echo(f"crossmargin demo: {error}", err=True)
            code = 2
        except (WorkerDied, Stuck, OSError) as error:
            click.echo(f"crossmargin demo: {error}", err=True)
            code = 1
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            code = 130
    sys.exit(code)


def _step_ms(bars: Bars) -> int:
    """The liquidation time-out, or where that makes too many steps the time between the four prices of a bar."""
    if bars.step_count(STANDARD_STEP_MS) <= STEPS_MAX:
        return STANDARD_STEP_MS
    return max(STANDARD_STEP_MS, bars.length_ms // STEPS_MIN)


async def perform(
    script: Script, cluster: Cluster, screen: Screen, alive: Callable[[], None], patience_s: float = 60.0
) -> Score:
    """Play the script through Kafka; the workers are whoever consumes there.

    Parameters
    ----------
    alive : called while waiting for the workers; raises where that is pointless
    patience_s : how long no worker may make any progress
    """
    watched = {book.account for twins in script.twins() for book in twins}
    feed = Feed(cluster, alive, patience_s, watched)

    async def shown(score: Score) -> None:
        if screen.due() or score.step == score.steps:
            score.statuses = feed.statuses()
            if not score.margins and watched == {name for name, margin in feed.margins.items() if float(margin) > 0.0}:
                score.margins = dict(feed.margins)
            score.journal_blocks, score.journal_bytes = feed.blocks, feed.journal_bytes
            screen.show(score)

    try:
        await feed.start()
        return await Play(script, feed, shown).run()
    finally:
        await feed.stop()


def closing_checks(script: Script, score: Score, shards: list[dict[str, Any]], *, seeded: bool) -> list[Check]:
    """Everything that must hold at the end."""
    return [
        *conservation(shards),
        *agreement(shards, script.tally, script.universe),
        *orderly(score, script.exchange, seeded=seeded),
    ]


def _on_stage(stage: Stage, script: Script, screen: Screen, console: Console, *, seeded: bool) -> int:
    """Run the worker and the play; return 0 where every check holds, else 1."""
    began = monotonic()
    if stage.broker is not None:
        screen.say(f"broker    {stage.broker.name}, ready in {stage.broker.start_seconds:.1f} s")
    logging.basicConfig(filename=stage.folder / "demo.log", level=logging.WARNING)
    settings = stage.settings
    screen.say(f"kafka     {settings.broker}   worker {stage.web_url}   log {stage.log_path}")
    screen.say(
        f"play      {script.accounts:,} accounts on {len(script.universe.instruments)} instruments, "
        f"{script.steps:,} steps from {clock(script.bars.start)} to {clock(script.bars.end)} UTC"
    )

    async def play() -> Score:
        await stage.create_user_topics()
        stage.start_worker()
        return await perform(script, stage.cluster(), screen, stage.alive)

    try:
        with screen:
            score = asyncio.run(play())
        shards = [stage.shard(partition) for partition in range(settings.partitions)]
    except (WorkerDied, Stuck, OSError):
        stage.keep = True  # the logs say why
        raise
    checks = closing_checks(script, score, shards, seeded=seeded)
    console.print(summary(score, checks, script.twins(), monotonic() - began))
    return 0 if all(check.holds for check in checks) else 1


def _bars(files: tuple[Path, ...], since: str | None, until: str | None, seed: int) -> Bars:
    """The seeded market, or the files' bars cut to what was asked for."""
    bars = read(files) if files else market(seed, MINUTES)
    first, last = bars.start, bars.end
    if since is not None:
        first, last = epoch_ms(since), epoch_ms(since) + DAY_MS
    elif until is None and files and bars.end - bars.start > DAY_MS:
        names = bars.assets()
        first = deepest_day(bars, "BTC" if "BTC" in names else names[0])
        last = first + DAY_MS
    if until is not None:
        last = epoch_ms(until)
    if not any(first <= bar.time < last for bar in bars.bars):
        raise PriceFileError(
            f"--from and --to must cut out some of {clock(bars.start)} to {clock(bars.end)}, "
            f"found {clock(first)} to {clock(last)}"
        )
    return bars.between(first, last)


def _wait(stage: Stage, screen: Screen) -> None:
    """Leave everything running until Ctrl-C."""
    settings = stage.settings
    prefix = f" --topic-prefix {settings.topic_prefix}" if settings.topic_prefix else ""
    screen.say(f"running   crossmargin tail liquidations --from-beginning --broker {settings.broker}{prefix}")
    screen.say(f"stop      Ctrl-C; data stay in {stage.folder}")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does: broker and worker with it."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
