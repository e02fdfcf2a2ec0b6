"""What the commands that read history have in common: where it is, moments in it, and how fast it goes by."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import Progress, ProgressColumn

from schemas.dead_letters import Refused
from schemas.fields import epoch_ms
from streams.replay.bars import steps_per_bar
from streams.replay.cluster import ClusterRecording
from streams.replay.parquet import LIST, ParquetRecording
from streams.replay.prices import PriceFileError
from streams.replay.prices import read as read_prices
from streams.replay.raw import RawRules, Source
from streams.replay.raw_files import file_sources, price_source, topic_sources
from streams.replay.recording import Recording, RecordingError
from streams.settings import SettingsError, load


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """FOLDER, or a cluster."""
    for option in (
        click.option("--topic-prefix", help="Put before the topics' names, as the worker's setting of that name."),
        click.option("--broker", help="Kafka to read from, host:port; default: CROSSMARGIN_BROKER."),
        click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False),
    ):
        command = option(command)
    return command


def raw_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Raw history instead of a journal."""
    for option in (
        click.option("--shards", type=click.IntRange(1, 10_000), default=1, show_default=True, help="With --raw."),
        click.option(
            "--step",
            "step_s",
            type=click.FloatRange(0.1, 86_400),
            default=3600.0,
            show_default=True,
            help="Seconds between quotes of price files, at most; a bar has four.",
        ),
        click.option(
            "--prices",
            type=click.Path(path_type=Path, dir_okay=False),
            multiple=True,
            help="With --raw: a price file, in the layouts of `crossmargin demo`; repeatable.",
        ),
        click.option(
            "--clock",
            type=click.Choice(["wall", "event"]),
            default="wall",
            show_default=True,
            help="With --raw: event where the worker's setting was that; then instruments hold from the beginning.",
        ),
        click.option("--raw", is_flag=True, help="Make the journal anew from the input topics or files."),
    ):
        command = option(command)
    return command


class RawSources(NamedTuple):
    """Raw history; `age_ms` is how old quotes may be that are as far apart as these."""

    sources: list[Source]
    age_ms: int

    def rules(self, shards: int) -> RawRules:
        """The rules for it."""
        return RawRules(shards=shards, quote_age_ms_max=self.age_ms)


def raw_sources(
    stack: ExitStack,
    folder: Path | None,
    broker: str | None,
    topic_prefix: str | None,
    prices: tuple[Path, ...],
    step_s: float,
    clock: str,
) -> RawSources:
    """The raw history that the options name.

    Raises
    ------
    RecordingError
        where it is not there or not readable.
    """
    if folder is None or (folder / LIST).exists():
        found = topic_sources(opened(stack, folder, broker, topic_prefix), wall_clock=clock == "wall")
    else:
        found = file_sources(folder)
    age_ms = RawRules().quote_age_ms_max
    if prices:
        try:
            bars = read_prices(prices)
        except PriceFileError as error:
            raise RecordingError(str(error)) from None
        step_ms = round(step_s * 1000)
        found.append(price_source(bars, step_ms))
        age_ms = max(age_ms, 2 * bars.length_ms // steps_per_bar(bars.length_ms, step_ms))
    return RawSources(found, age_ms)


def opened(stack: ExitStack, folder: Path | None, broker: str | None, topic_prefix: str | None) -> Recording:
    """The recording that the options name, closed with the stack.

    Raises
    ------
    RecordingError
        where it is not there.
    """
    if folder is not None:
        if broker is not None or topic_prefix is not None:
            raise RecordingError("a folder or a broker must be named, found both")
        return ParquetRecording(folder)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is raised, and told in one line
    try:
        settings = load({"broker": broker, "topic_prefix": topic_prefix})
    except SettingsError as error:
        raise RecordingError(str(error)) from None
    return stack.enter_context(ClusterRecording(settings))


def progress(*columns: ProgressColumn) -> Progress:
    """A progress bar on a terminal's standard error, and nothing elsewhere."""
    console = Console(stderr=True)
    shown = columns or Progress.get_default_columns()
    return Progress(*shown, console=console, transient=True, disable=not console.is_terminal)


class Moment(click.ParamType):
    """A journal offset, or a time as RFC 3339."""

    name = "MOMENT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """``("offset", n)`` or ``("ms", n)``."""
        if isinstance(value, tuple):
            return value
        if value.isascii() and value.isdigit():
            return "offset", int(value)
        try:
            return "ms", epoch_ms(value, "time")
        except Refused:
            self.fail(f"must be a journal offset or a time such as 2021-05-19T12:30:00Z, found {value!r}", param, ctx)


class Pace:
    """Goes by as fast as shard time, times `factor`; None as fast as it can."""

    def __init__(self, factor: float | None) -> None:
        self._factor = factor
        self._began: tuple[float, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Pace:
        """The pace that `max` or `10x` names."""
        if text == "max":
            return cls(None)
        try:
            factor = float(text.removesuffix("x"))
        except ValueError:
            factor = 0.0
        if not 0.0 < factor < float("inf"):
            raise click.BadParameter(f"must be max or a multiple such as 10x, found {text!r}")
        return cls(factor)

    def wait(self, time_ms: int) -> None:
        """Wait until the moment of shard time `time_ms` has come."""
        if self._factor is None or not time_ms:
            return
        if self._began is None:
            self._began = time.monotonic(), time_ms
        began, first_ms = self._began
        time.sleep(max(0.0, began + (time_ms - first_ms) / 1000 / self._factor - time.monotonic()))
