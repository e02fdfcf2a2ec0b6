"""`crossmargin what-if`: a recorded journal under other parameters, beside what happened."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from streams.replay.bar import watched
from streams.replay.files import whole_file
from streams.replay.options import FILE, opened, source_options
from streams.replay.recording import Recording, RecordingError
from streams.replay.whatif.changes import Changes
from streams.replay.whatif.page import page
from streams.replay.whatif.sides import CHANGED, RECORDED, Pair, Side
from streams.replay.whatif.summary import Json, report


@click.command("what-if")
@click.option("--params", "params", type=FILE, required=True, help="The changes, a JSON file.")
@click.option("--json", "json_path", type=FILE, help="Write the report to this file, as one JSON document.")
@click.option("--html", "html_path", type=FILE, help="Write the report to this file, as one HTML page with plots that "
              "needs nothing else.")  # fmt: skip
@click.option("--sample", "sample_s", type=click.FloatRange(min=0.001), default=60.0, show_default=True,
              metavar="SECONDS", help="Shard time from point to point of the curves.")  # fmt: skip
@source_options
def whatif_command(
    params: Path,
    json_path: Path | None,
    html_path: Path | None,
    sample_s: float,
    folder: Path | None,
    broker: str | None,
    topic_prefix: str | None,
) -> None:
    """Fold a recorded journal on two sides at once: as it was, and under changed parameters.

    The journal is that of FOLDER, which `crossmargin export` wrote, or without FOLDER that of a cluster. The changes,
    each part of which may be left out:

    \b
      {"instruments": {"*": {"maintenance_margin": "x1.5"},
                       "BTC-PERP": {"tiers": []}},
       "assets": {"ETH": {"haircut": "0.2"}},
       "engine": {"margin_call": "1.4"},
       "accounts": {"alice": {"levels": {"margin_call": "2"}}},
       "slippage": "0.001"}

    * stands for all, x1.5 multiplies what is there. The changed side's liquidations are filled whole at the marks of
    their moment less slippage, where their limit allows it.

    \b
    Exit codes:
      0  done
      2  wrong options or changes, or history that is not whole
    """
    try:
        changes = Changes.read(params)
        with ExitStack() as stack:
            recording = opened(stack, folder, broker, topic_prefix)
            sides = {RECORDED: Side(), CHANGED: Side()}
            pairs = list(_folded(recording, changes, sides, round(sample_s * 1000)))
        if changes.unused:
            section, name = min(changes.unused)
            raise RecordingError(f"{section}.{name} must be in the journal, found no such name ({params})")
        told = report(pairs, sides, orjson.loads(params.read_bytes()), changes.slippage)
        if json_path is not None:
            with whole_file(json_path) as file:
                file.write(orjson.dumps(told).decode())
        if html_path is not None:
            with whole_file(html_path) as file:
                file.write(page(told, recording.name))
    except (RecordingError, OSError) as error:
        click.echo(f"crossmargin what-if: {error}", err=True)
        sys.exit(2)
    Console().print(_table(told))


def _folded(recording: Recording, changes: Changes, sides: dict[str, Side], sample_ms: int) -> Iterator[Pair]:
    extents = recording.extents("journal")
    if not extents:
        raise RecordingError(f"there must be a journal, found none ({recording.name})")
    for partition, extent in extents.items():
        if extent.first > 0:
            raise RecordingError(
                f"journal[{partition}] must begin at 0, found {extent.first}: both sides begin with nothing "
                f"({recording.name})"
            )
        pair = Pair(partition, changes, sides, sample_ms)
        for part in watched(recording.read("journal", partition), extent, f"journal[{partition}]"):
            for record in part:
                pair.take(record, recording.name)
        yield pair


def _table(told: Json) -> Table:
    table = Table(title="What if")
    for name in ("", RECORDED, CHANGED):
        table.add_column(name, justify="right" if name else "left")
    for title, field in (
        ("margin calls", "called"),
        ("liquidations", "liquidated"),
        ("liquidation steps", "steps"),
        ("bankruptcies", "bankrupt"),
    ):
        table.add_row(title, *(f"{side[field]:,}" for side in told["sides"].values()))
    table.add_row("shortfall", *(f"{float(side['shortfall']):,.2f}" for side in told["sides"].values()))
    locked = [side["maintenance_margin"] for side in told["sides"].values()]
    table.add_row("most margin locked", *(f"{max(curve, default=0.0):,.0f}" for curve in locked))
    table.add_row("accounts that fared differently", "", f"{len(told['accounts']):,}")
    return table
