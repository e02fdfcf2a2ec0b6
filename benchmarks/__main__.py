"""Run benchmarks and write one report: a table here, results.json and index.html in a folder.

python -m benchmarks [--only NAME ...] [--quick] [--out DIR]
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from pathlib import Path

import click

from benchmarks.page import page
from benchmarks.report import Report

#: Name -> module with `run(report, *, quick)`, in the order of a full run.
BENCHMARKS: dict[str, str] = {
    "ingest": "benchmarks.ingest",
    "revaluation": "benchmarks.revaluation",
    "option_books": "benchmarks.option_books",
    "portfolio": "benchmarks.portfolio",
    "slack_days": "benchmarks.slack_days",
    "doubts": "benchmarks.doubts",
    "oracle_faults": "benchmarks.oracle_faults",
    "oracle_rate": "benchmarks.oracle_rate",
    "replay": "benchmarks.replay",
    "restore": "benchmarks.restore",
    "transactions": "benchmarks.transactions",
    "latency": "benchmarks.latency",
    "throughput": "benchmarks.throughput",
    "takeover": "benchmarks.takeover",
    "scaling": "benchmarks.scaling",
}


@click.command(
    help="Run benchmarks, and write a table, results.json and index.html. What each measures: docs/benchmarks.md."
)
@click.option("--only", type=click.Choice(list(BENCHMARKS)), multiple=True, help="Run this one; may be repeated.")
@click.option("--quick", is_flag=True, help="Smaller sizes: shows that everything works, not how fast it is.")
@click.option(
    "--out", default="build/bench", show_default=True, type=click.Path(path_type=Path), help="Folder of the report."
)
def main(only: tuple[str, ...], quick: bool, out: Path) -> None:
    logging.disable(logging.ERROR)  # what goes wrong is raised; clients log each retry
    report = Report(quick=quick)
    out.mkdir(parents=True, exist_ok=True)
    for name in only or BENCHMARKS:
        report.begin(name)
        try:
            importlib.import_module(BENCHMARKS[name]).run(report, quick=quick)
        except Exception as error:  # the others are still worth measuring
            traceback.print_exc()
            report.fail(f"{type(error).__name__}: {error}")
        report.write_json(out / "results.json")
        (out / "index.html").write_text(page(report))
    report.print_table()
    click.echo(f"report  {out / 'index.html'}\nnumbers {out / 'results.json'}")
    if report.failed:
        click.echo(f"Error: every benchmark must finish, these did not: {', '.join(report.failed)}", err=True)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
