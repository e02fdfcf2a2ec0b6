"""`crossmargin replay`: history folded again, held against what was sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from streams.replay.bar import followed
from streams.replay.checkpoints import Chains, compared, read_chains, write_chains
from streams.replay.files import whole_file
from streams.replay.fold import Stretch
from streams.replay.options import (
    DIRECTORY,
    FILE,
    Moment,
    Pace,
    opened,
    raw_options,
    raw_sources,
    refuse,
    source_options,
)
from streams.replay.raw import RawFold
from streams.replay.recording import Recording, RecordingError
from streams.replay.run import Plan, Run, raw_items, recorded_items, replay
from streams.replay.verify import KEPT

HASH_EVERY = 1_000


@click.command("replay")
@source_options
@click.option("--partition", "partitions", type=click.IntRange(min=0), multiple=True, metavar="N",
              help="Only this journal partition; repeatable.")  # fmt: skip
@click.option("--from", "since", type=Moment(), help="Tell only what comes from here on. All before is folded too, "
              "since the state rests on it.")  # fmt: skip
@click.option("--to", "until", type=Moment(), help="Stop before this.")
@click.option("--speed", "pace", type=Pace.parse, default="max", show_default=True, metavar="SPEED",
              help="max, or a multiple of the pace at which it happened: 1x, 10x, 0.5x.")  # fmt: skip
@click.option("--verify", is_flag=True, help="Compare decisions and summaries with those that were sent, and the state "
              "with the one that workers wrote.")  # fmt: skip
@click.option("--hashes", type=FILE, help="Write a state hash after every so many records to this file.")
@click.option("--hash-every", "every", type=click.IntRange(min=1), metavar="N",
              help=f"Records from hash to hash.  [default: {HASH_EVERY}, or that of --against]")  # fmt: skip
@click.option("--against", type=FILE, help="Compare the state hashes with the file that --hashes wrote in another run, "
              "and name the first record after which they differ.")  # fmt: skip
@click.option("--save", type=DIRECTORY, help="At the end write snapshots of the state to this folder.")
@click.option("--start", type=DIRECTORY, help="Begin from the snapshots that --save wrote, not from the first record.")
@click.option("--decisions", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), metavar="FILE",
              help="Write calls and liquidations as JSON lines; - for standard output.")  # fmt: skip
@raw_options
@click.pass_context
def replay_command(
    context: click.Context,
    folder: Path | None,
    broker: str | None,
    topic_prefix: str | None,
    raw: bool,
    clock: str,
    prices: tuple[Path, ...],
    step_s: float,
    shards: int,
    slippage: float | None,
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
    decisions: Path | None,
) -> None:
    """Fold the journal again, and print what each partition gave and the hash of its state.

    The journal is that of FOLDER, which `crossmargin export` wrote, or without FOLDER that of a cluster. With --raw it
    is made anew, by ingest and oracle, from the input topics there, or from files of messages in FOLDER, called after
    their topics (fills.jsonl, collateral.csv.gz, oracle-prices.parquet, ...), and from price files.

    MOMENT is a journal offset (1811) or shard time (2021-05-19T12:30:00Z).

    \b
    Exit codes:
      0  done, and all equal where asked
      1  something differs (--verify, --against)
      2  wrong options, or history that is not whole
    """
    try:
        made = raw or bool(prices)
        if made:
            refuse(context, ("verify", "start"), "a recorded journal, found raw history")
        else:
            refuse(context, ("clock", "step_s", "shards", "slippage"), "--raw or --prices, found neither")
        expected = None if against is None else read_chains(against)
        with ExitStack() as stack:
            plan = Plan(
                stretch=_stretch(since, until),
                wait=pace.wait,
                verify=verify,
                every=_every(every, expected, against, hashes),
                start=start,
                save=save,
                decisions=None if decisions is None else stack.enter_context(whole_file(decisions)),
                slippage=None if slippage is None else Decimal(repr(slippage)),
            )
            if made:
                sources = raw_sources(stack, folder, broker, topic_prefix, prices, step_s, clock)
                fold = RawFold(sources.sources, sources.rules(shards))
                runs = _runs(list(range(shards)), partitions, plan, None, "the raw history")
                followed(replay(raw_items(fold, runs), runs, plan.stretch, "raw history"), None)
            else:
                recording = opened(stack, folder, broker, topic_prefix)
                extents = recording.extents("journal")
                runs = _runs(list(extents), partitions, plan, recording, recording.name)
                total = sum(extents[partition].end - run.begins for partition, run in runs.items())
                followed(replay(recorded_items(recording, list(runs), runs), runs, plan.stretch, recording.name), total)
        if hashes is not None:
            write_chains(hashes, {run.partition: run.chain for run in runs.values()})
    except BrokenPipeError:
        raise  # nobody reads on: click ends without a word
    except (RecordingError, OSError) as error:
        click.echo(f"crossmargin replay: {error}", err=True)
        sys.exit(2)
    out = Console(stderr=str(decisions) == "-")
    if made:
        out.print(_taken(fold), highlight=False, soft_wrap=True)
    for line in (line for run in runs.values() for line in _told(run)):
        out.print(line, highlight=False, soft_wrap=True)
    problems = [line for run in runs.values() for line in run.differences()]
    if expected is not None:
        problems += compared(expected, {run.partition: run.chain for run in runs.values()})
    for line in problems:
        click.echo(f"differs     {line}", err=True)
    sys.exit(1 if problems else 0)


def _every(every: int | None, expected: Chains | None, against: Path | None, hashes: Path | None) -> int:
    """Records from hash to hash, 0 none."""
    if expected is None:
        return every or HASH_EVERY if hashes else 0
    if every not in (None, expected.every):
        raise RecordingError(f"--hash-every must be {expected.every}, as in {against}, found {every}")
    return expected.every


def _stretch(since: tuple[str, int] | None, until: tuple[str, int] | None) -> Stretch:
    if since and until and since[0] == until[0] and since[1] >= until[1]:
        raise RecordingError("--from must be before --to, found it at or after it")
    given: dict[str, Any] = {f"from_{since[0]}": since[1]} if since else {}
    return Stretch(**given, **({f"to_{until[0]}": until[1]} if until else {}))


def _runs(
    there: list[int], wanted: tuple[int, ...], plan: Plan, recording: Recording | None, name: str
) -> dict[int, Run]:
    if not there:
        raise RecordingError(f"there must be a journal, found none ({name})")
    unknown = set(wanted) - set(there)
    if unknown:
        raise RecordingError(f"--partition must be one of {', '.join(map(str, there))}, found {min(unknown)} ({name})")
    return {partition: Run(partition, plan, recording) for partition in wanted or tuple(there)}


def _taken(fold: RawFold) -> str:
    taken = ", ".join(f"{count:,} {topic}" for topic, count in sorted(fold.taken.items()))
    refused = ", ".join(f"{count:,} {code}" for code, count in sorted(fold.refused.items()))
    past = f"; value at risk told {fold.past_told:,} times" if fold.past_told or fold.past_wanted else ""
    return f"raw         {taken or 'nothing'}; refused {refused or 'none'}{past}"


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
