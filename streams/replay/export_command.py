"""`crossmargin export`: topics of a cluster into Parquet files, so that history outlives retention."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from schemas.topics import TOPICS
from streams.replay.bar import progress
from streams.replay.options import DIRECTORY, opened
from streams.replay.parquet import ParquetRecording, export
from streams.replay.recording import RecordingError

#: What a replay and its verification read, in this order while workers go on: what they had folded of the journal is in
#: the changelog, and everything that it made them send in the topics read after it.
DEFAULT = ("journal", "margin-changelog", "margin-calls", "liquidations", "margin-accounts", "dead-letters")


@click.command("export")
@click.argument("folder", type=DIRECTORY)
@click.option("--topic", "topics", type=click.Choice(list(TOPICS)), multiple=True, metavar="TOPIC",
              help="Only this topic, by the name it has without prefix; repeatable.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Every topic there is: also inputs, to replay them raw, and "
              "what `crossmargin import` needs.  [default: what `crossmargin replay` reads]")  # fmt: skip
@click.option("--broker", metavar="HOST:PORT", help="Kafka to read from.  [default: CROSSMARGIN_BROKER; with its "
              "security settings]")  # fmt: skip
@click.option("--topic-prefix", metavar="TEXT", help="Put before topic names, as the worker's setting of that name.")
def export_command(
    folder: Path, topics: tuple[str, ...], everything: bool, broker: str | None, topic_prefix: str | None
) -> None:
    """Write the committed records of topics to FOLDER, one Parquet file a partition.

    Columns: offset, timestamp, key, value, headers. `crossmargin replay FOLDER` reads it, and so do DuckDB and pandas.
    Workers may go on meanwhile: each topic is written to the end that it has when its turn comes.

    \b
    Exit codes:
      0  done
      2  the folder holds a recording, or Kafka cannot be read; FOLDER is then no recording
    """
    if topics and everything:
        click.echo("crossmargin export: --topic or --all must be given, found both", err=True)
        sys.exit(2)
    wanted = topics or (tuple(TOPICS) if everything else DEFAULT)
    try:
        with ExitStack() as stack, progress() as bar:
            recording = opened(stack, None, broker, topic_prefix)
            missing = [topic for topic in topics if not recording.extents(topic)]
            if missing:
                raise RecordingError(f"{', '.join(missing)} must be there, found none ({recording.name})")
            task = bar.add_task("", total=1)
            for topic, partition, reached, end in export(recording, wanted, folder):
                bar.update(task, description=f"{topic}[{partition}]", completed=reached, total=end)
        written = ParquetRecording(folder)
    except (RecordingError, OSError) as error:
        click.echo(f"crossmargin export: {error}", err=True)
        sys.exit(2)
    there = [topic for topic in wanted if written.extents(topic)]
    click.echo(f"{folder}: {', '.join(there)}")
    if len(there) < len(wanted):
        click.echo(f"not there: {', '.join(topic for topic in wanted if topic not in there)}", err=True)
