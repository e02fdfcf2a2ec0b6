"""The command line of `crossmargin evaluate`."""

import sys
from pathlib import Path
from typing import NoReturn

import click
import orjson

from streams.evaluate.document import BadDocument


@click.command("evaluate")
@click.argument("file")
def evaluate_command(file: str) -> None:
    """Print the margin report of the portfolio document in FILE (- reads standard input).

    The document is a JSON object: `assets` with their prices and haircuts, `instruments` with their marks and margin
    rates, `accounts` with balances and positions. Numbers are decimal strings or JSON numbers, read exactly; without
    precisions nothing is rounded. `balances` are those of the cross book; an isolated position names its own
    `isolated_margin` beside them. `levels` and `previous_status` may stand on an account, or on the document for all.

    Where a price is not to be trusted, its asset or instrument says so: `state` is ok, degraded, suspect, stale or
    halted, of a suspect one `check_price` or `check_mark_price` is the second opinion, and an asset's `widening` is
    what its haircuts widen by. The report then lists `restrictions`, and what orders leave out as `withheld`.

    Exit codes: 0 the report was printed, 2 the document is wrong (one line says which field and why).
    """
    # the kernels load in seconds: a wrong file name is answered before
    data = _read(file)
    from streams.evaluate.portfolio import read_portfolio
    from streams.evaluate.reports import reports

    try:
        portfolio = read_portfolio(data)
    except BadDocument as error:
        _fail(str(error))
    for path in portfolio.unknown:
        click.echo(f"warning: {path} is no field of a portfolio document and was ignored", err=True)
    sys.stdout.buffer.write(orjson.dumps(reports(portfolio), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        _fail(f"FILE must be a readable file, found {file!r}: {reason}")


def _fail(line: str) -> NoReturn:
    click.echo(f"Error: {line}", err=True)
    raise SystemExit(2)
