"""What the commands that read history have in common: where it is, moments in it, and how fast it goes by."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

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

FILE = click.Path(path_type=Path, dir_okay=False)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """FOLDER, or a cluster."""
    for option in (
        click.option("--topic-prefix", metavar="TEXT", help="Put before the cluster's topic names, as the worker's "
                     "setting of that name."),
        click.option("--broker", metavar="HOST:PORT", help="Kafka to read from, where no FOLDER is named.  [default: "
                     "CROSSMARGIN_BROKER; with its security settings]"),
        click.argument("folder", type=DIRECTORY, required=False),
    ):  # fmt: skip
        command = option(command)
    return command


def raw_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Raw history instead of a journal."""
    for option in (
        click.option("--fill-liquidations", "slippage", type=click.FloatRange(0.0, 0.99), metavar="SLIPPAGE",
                     help="Raw history: leave recorded answers to liquidations out, and fill the replay's own orders "
                     "at the marks less this fraction."),
        click.option("--clock", type=click.Choice(["wall", "event"]), default="wall", show_default=True,
                     help="Raw history of topics: from when instruments and accounts hold. wall: from their Kafka "
                     "timestamps; event: from the beginning, where quotes are not of the clock's time."),
        click.option("--shards", type=click.IntRange(1, 10_000), default=1, show_default=True, metavar="N",
                     help="Raw history: journal partitions to make."),
        click.option("--step", "step_s", type=click.FloatRange(0.1, 86_400), default=3600.0, show_default=True,
                     metavar="SECONDS", help="Of --prices: from quote to quote, at most; a bar has four at least."),
        click.option("--prices", type=FILE, multiple=True, help="Raw history: a price file, in the layouts of "
                     "`crossmargin demo`; repeatable."),
        click.option("--raw", is_flag=True, help="Make the journal anew from input topics, or from files of messages."),
    ):  # fmt: skip
        command = option(command)
    return command


def refuse(context: click.Context, names: tuple[str, ...], needs: str) -> None:
    """RecordingError where one of these parameters was given, since it needs something else."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
        if parameter.name in names and given:
            raise RecordingError(f"{parameter.opts[0]} must be given with {needs}")


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
    age_ms = RawRules().quote_age_ms_max
    quoted: list[Source] = []
    if prices:
        try:
            bars = read_prices(prices)
        except PriceFileError as error:
            raise RecordingError(str(error)) from None
        step_ms = round(step_s * 1000)
        quoted = [price_source(bars, step_ms)]
        age_ms = max(age_ms, 2 * bars.length_ms // steps_per_bar(bars.length_ms, step_ms))
    if folder is None or (folder / LIST).exists():
        found = topic_sources(opened(stack, folder, broker, topic_prefix), wall_clock=clock == "wall")
    else:
        found = file_sources(folder)
    return RawSources([*found, *quoted], age_ms)


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
