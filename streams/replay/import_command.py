"""`crossmargin import`: an exported recording back into the topics of a cluster."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from schemas.topics import TOPICS
from streams.replay.bar import progress
from streams.replay.importing import OFFSETS_KEPT, import_recording
from streams.replay.options import DIRECTORY
from streams.replay.parquet import ParquetRecording
from streams.replay.recording import RecordingError
from streams.settings import SettingsError, load

#: What workers go on from: all that the engine wrote, and the terms. Messages that are in the journal already would be
#: taken in a second time.
STATE = tuple(name for name, topic in TOPICS.items() if topic.role != "in" or name in OFFSETS_KEPT)
INPUTS = tuple(name for name, topic in TOPICS.items() if topic.role == "in")


@click.command("import")
@click.argument("folder", type=DIRECTORY)
@click.option("--inputs", is_flag=True, help="Only the input topics, for new workers to take in from the beginning.")
@click.option("--topic", "topics", type=click.Choice(list(TOPICS)), multiple=True, metavar="TOPIC",
              help="Only this topic of the recording; repeatable.")  # fmt: skip
@click.option("--broker", metavar="HOST:PORT", help="Kafka to write to.  [default: CROSSMARGIN_BROKER; with its "
              "security settings]")  # fmt: skip
@click.option(
    "--topic-prefix", metavar="TEXT", help="Put before the topics' names, as the worker's setting of that name."
)
def import_command(
    folder: Path, inputs: bool, topics: tuple[str, ...], broker: str | None, topic_prefix: str | None
) -> None:
    """Write a recording that `crossmargin export` made into topics that are missing or empty.

    Without --inputs that is everything the engine wrote, and `instruments`: workers on the new topics go on where the
    recorded ones stopped (export with --all, once workers have stopped). Records of `journal` and `instruments` keep
    their offsets, and with them the ids of decisions, those of liquidations that are still open too; other records get
    new ones. Messages that the old workers had not taken in yet must be sent again; ids drop those sent twice.

    With --inputs the messages are taken in anew: decisions then have other ids.

    \b
    Exit codes:
      0  done
      2  the folder holds no whole recording, topics are not empty, or Kafka cannot be written to
    """
    try:
        recording = ParquetRecording(folder)
        wanted = topics or (INPUTS if inputs else STATE)
        there = [topic for topic in wanted if recording.extents(topic)]
        missing = [topic for topic in topics if topic not in there]
        if missing or not there:
            raise RecordingError(f"the recording must hold {', '.join(missing or wanted)}, found none ({folder})")
        settings = load({"broker": broker, "topic_prefix": topic_prefix})
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is raised, and told in one line
        with progress() as bar:
            task = bar.add_task("", total=1)

            def tell(topic: str, partition: int, reached: int, end: int) -> None:
                bar.update(task, description=f"{topic}[{partition}]", completed=reached, total=end)

            asyncio.run(import_recording(recording, there, settings, tell))
    except (RecordingError, SettingsError, OSError) as error:
        click.echo(f"crossmargin import: {error}", err=True)
        sys.exit(2)
    click.echo(f"{settings.broker}: {', '.join(map(settings.topic, there))}")
