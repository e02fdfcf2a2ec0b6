"""`crossmargin replay`: history folded again, held against what was sent."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from streams.replay.checkpoints import compared, read_chains, write_chains
from streams.replay.fold import Stretch
from streams.replay.options import Moment, Pace, opened, progress, raw_options, raw_sources, source_options
from streams.replay.raw import RawFold
from streams.replay.recording import Recording, RecordingError
from streams.replay.run import Item, Plan, Run, raw_items, recorded_items, replay
from streams.replay.verify import KEPT

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
HASH_EVERY = 1_000


@click.command("replay")
@source_options
@raw_options
@click.option("--partition", "partitions", type=click.IntRange(min=0), multiple=True, help="Only this; repeatable.")
@click.option("--from", "since", type=Moment(), help="Journal offset, or shard time; what is before is not told.")
@click.option("--to", "until", type=Moment(), help="Journal offset, or shard time, to stop before.")
@click.option("--speed", "pace", type=Pace.parse, default="max", show_default=True, help="max, or 10x shard time.")
@click.option("--verify", is_flag=True, help="Hold the decisions against the recorded topics.")
@click.option("--hash-every", "every", type=click.IntRange(min=1), help="Journal records from state hash to hash.")
@click.option("--hashes", type=FILE, help="Write the state hashes to this file.")
@click.option("--against", type=FILE, help="Hold the state hashes against such a file of another run.")
@click.option("--start", type=FOLDER, help="Begin from the snapshots in this folder.")
@click.option("--save", type=FOLDER, help="Write snapshots of the state at the end to this folder.")
@click.option("--decisions", type=click.File("w"), help="Write calls and liquidations as JSON lines; - to print.")
def replay_command(
    folder: Path | None,
    broker: str | None,
    topic_prefix: str | None,
    raw: bool,
    clock: str,
    prices: tuple[Path, ...],
    step_s: float,
    shards: int,
    partitions: tuple[int, ...],
    since: tuple[str, int] | None,
    until: tuple[str, int] | None,
    every: int | None,
    hashes: Path | None,
    against: Path | None,
    pace: Pace,
    verify: bool,
    start: Path | None,
    save: Path | None,
    decisions: IO[str] | None,
) -> None:
    """Fold the journal again: of a cluster, or of FOLDER, which `crossmargin export` wrote.

    With --raw the journal is made anew, by ingest and oracle, of the input topics there or of the files of messages in
    FOLDER (fills.jsonl, collateral.csv.gz, oracle-prices.parquet, ...) and of price files.

    Prints what each journal partition gave, and the hash of its state. Everything before --from is folded too, since
    the state rests on it: from the first record, or from a snapshot (--start). Exit codes: 0 done, and all equal where
    asked; 1 something differs (--verify, --against); 2 wrong options, or history that is not whole.
    """
    try:
        expected = None if against is None else read_chains(against)
        if expected is not None and every not in (None, expected.every):
            raise RecordingError(f"--hash-every must be {expected.every}, as in {against}, found {every}")
        if raw and verify:
            raise RecordingError("--verify must be asked of a recorded journal, found --raw")
        plan = Plan(
            stretch=_stretch(since, until),
            wait=pace.wait,
            verify=verify,
            every=expected.every if expected is not None else every or (HASH_EVERY if hashes else 0),
            start=start,
            save=save,
            decisions=decisions,
        )
        out = Console(stderr=decisions is not None and decisions.name == "<stdout>")
        with ExitStack() as stack:
            if raw or prices:
                sources = raw_sources(stack, folder, broker, topic_prefix, prices, step_s, clock)
                fold = RawFold(sources.sources, sources.rules(shards))
                runs = _runs(range(shards), partitions, plan, None, "the raw history")
                _show_progress(replay(raw_items(fold), runs, plan.stretch, "raw history"), None)
                taken = ", ".join(f"{count:,} {topic}" for topic, count in sorted(fold.taken.items()))
                refused = ", ".join(f"{count:,} {code}" for code, count in sorted(fold.refused.items()))
                out.print(f"raw         {taken}; refused {refused or 'none'}", highlight=False, soft_wrap=True)
            else:
                recording = opened(stack, folder, broker, topic_prefix)
                extents = recording.extents("journal")
                runs = _runs(list(extents), partitions, plan, recording, recording.name)
                total = sum(extents[partition].end - run.begins for partition, run in runs.items())
                _show_progress(
                    replay(recorded_items(recording, list(runs), runs), runs, plan.stretch, recording.name), total
                )
        if hashes is not None:
            write_chains(hashes, {run.partition: run.chain for run in runs.values()})
    except RecordingError as error:
        click.echo(f"crossmargin replay: {error}", err=True)
        sys.exit(2)
    problems = []
    for run in runs.values():
        for line in _told(run):
            out.print(line, highlight=False, soft_wrap=True)
        problems += [found.line() for found in run.verifier.differences.values()] if run.verifier else []
        problems += filter(None, [run.workers.difference()] if run.workers else [])
    if expected is not None:
        problems += compared(expected, {run.partition: run.chain for run in runs.values()})
    for line in problems:
        click.echo(f"differs     {line}", err=True)
    sys.exit(1 if problems else 0)


def _stretch(since: tuple[str, int] | None, until: tuple[str, int] | None) -> Stretch:
    given = {f"from_{since[0]}": since[1]} if since else {}
    return Stretch(**given, **({f"to_{until[0]}": until[1]} if until else {}))


def _runs(
    there: range | list[int], wanted: tuple[int, ...], plan: Plan, recording: Recording | None, name: str
) -> dict[int, Run]:
    if not there:
        raise RecordingError(f"there must be a journal, found none ({name})")
    unknown = set(wanted) - set(there)
    if unknown:
        raise RecordingError(f"--partition must be one of {', '.join(map(str, there))}, found {min(unknown)} ({name})")
    return {partition: Run(partition, plan, recording) for partition in wanted or tuple(there)}


def _show_progress(items: Iterator[Item], total: int | None) -> None:
    """Go through a replay with a bar of how far it is; `total` is the number of offsets, where it is known."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with progress(*columns) as bar:
        task = bar.add_task("replay", total=total)
        began, done, reached = time.perf_counter(), 0, dict[int, int]()
        for number, (partition, record) in enumerate(items, 1):
            done += record.offset + 1 - reached.get(partition, record.offset)
            reached[partition] = record.offset + 1
            if number % 64 == 0:
                rate = number / (time.perf_counter() - began)
                bar.update(task, completed=done, description=f"{number:,} blocks, {rate:,.0f}/s")


def _told(run: Run) -> Iterator[str]:
    head = f"journal[{run.partition}]".ljust(12)
    if run.first is None:
        yield f"{head}nothing; state {run.state}"
        return
    moment = datetime.fromtimestamp(run.shard.prices.time / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    yield f"{head}{run.records:,} records, offsets {run.first} to {run.last}, shard time {moment}, {run.seconds:.2f} s"
    counts = ", ".join(f"{run.outputs[topic]:,} {topic}" for topic in (*KEPT, "margin-accounts", "dead-letters"))
    yield f"{'':12}gave {counts}"
    yield f"{'':12}state {run.state}"
    if run.verifier is not None:
        equal = ", ".join(f"{count:,} {topic}" for topic, count in sorted(run.verifier.compared.items()))
        yield f"{'':12}equal to the recording: {equal or 'nothing'}"
    if run.workers is not None and run.workers.found == run.workers.expected:
        yield f"{'':12}equal to the workers' own state after record {run.workers.next_offset - 1}"
    elif run.workers is not None and not run.workers.found:
        yield f"{'':12}did not come to the workers' own state, which is that after record {run.workers.next_offset - 1}"
