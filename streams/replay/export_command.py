"""`crossmargin export`: topics of a cluster into Parquet files, so that history outlives retention."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from schemas.topics import TOPICS
from streams.replay.bar import progress
from streams.replay.options import opened
from streams.replay.parquet import export
from streams.replay.recording import RecordingError

#: What a replay and its verification read, in this order while workers go on: what they had folded of the journal is in
#: the changelog, and everything that it made them send in the topics read after it.
DEFAULT = ("journal", "margin-changelog", "margin-calls", "liquidations", "margin-accounts", "dead-letters")


@click.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--topic", "topics", type=click.Choice(list(TOPICS)), multiple=True, help="Only this; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every topic there is; default: what a replay needs.")
@click.option("--broker", help="Kafka to read from, host:port; default: CROSSMARGIN_BROKER.")
@click.option("--topic-prefix", help="Put before the topics' names, as the worker's setting of that name.")
def export_command(
    folder: Path, topics: tuple[str, ...], everything: bool, broker: str | None, topic_prefix: str | None
) -> None:
    """Write the committed records of topics to FOLDER, one Parquet file a partition.

    Columns: offset, timestamp, key, value, headers. `crossmargin replay FOLDER` reads it, and so do DuckDB and pandas.
    Exit codes: 0 done; 2 the folder holds a recording, or Kafka cannot be read.
    """
    wanted = topics or (tuple(TOPICS) if everything else DEFAULT)
    try:
        with ExitStack() as stack, progress() as bar:
            recording = opened(stack, None, broker, topic_prefix)
            task = bar.add_task("", total=1)
            for topic, partition, reached, end in export(recording, wanted, folder):
                bar.update(task, description=f"{topic}[{partition}]", completed=reached, total=end)
    except (RecordingError, OSError) as error:
        click.echo(f"crossmargin export: {error}", err=True)
        sys.exit(2)
    click.echo(f"{folder}: {', '.join(wanted)}")
