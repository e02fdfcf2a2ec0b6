"""`crossmargin evaluate` as a person types it: what is printed where, and the exit codes."""

import os
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from streams.evaluate.command import evaluate_command
from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports
from tests.test_evaluate_document import GOOD, changed


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(evaluate_command, list(arguments), input=stdin)


def write(folder: Path, data: bytes) -> str:
    path = folder / "portfolio.json"
    path.write_bytes(data)
    return str(path)


def test_a_file(tmp_path: Path) -> None:
    """The report goes to standard output as JSON, and nothing else does."""
    result = run(write(tmp_path, orjson.dumps(GOOD)))
    assert (result.exit_code, result.stderr) == (0, "")
    assert orjson.loads(result.stdout) == reports(read_portfolio(orjson.dumps(GOOD)))
    assert result.stdout.endswith("}\n")


def test_standard_input() -> None:
    """A dash reads a pipe; a byte-order mark does no harm."""
    result = run("-", stdin=b"\xef\xbb\xbf" + orjson.dumps(GOOD))
    assert result.exit_code == 0
    assert orjson.loads(result.stdout)["accounts"][0]["margin_ratio"] == "4.64"


def test_the_same_bytes_again(tmp_path: Path) -> None:
    """A report is a function of its document."""
    path = write(tmp_path, orjson.dumps(GOOD))
    assert run(path).stdout_bytes == run(path).stdout_bytes


def test_a_bad_document_is_one_line(tmp_path: Path) -> None:
    """The line names the field; nothing is printed that could be taken for a report."""
    data = orjson.dumps(changed("accounts.0.positions.0.quantity", "NaN"))
    result = run(write(tmp_path, data))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: accounts[0].positions[0].quantity must be finite, found 'NaN'\n"


def test_a_name_with_line_ends_stays_one_line() -> None:
    """No name breaks the line of an error."""
    result = run("-", stdin=orjson.dumps(changed("assets.A\nB\r\x1b[2J", {"price": "1"})))
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("name", ["missing.json", ".", "missing\nfile", "nul\0"])
def test_no_file(tmp_path: Path, name: str) -> None:
    """A file that cannot be read is a usage error of one line."""
    result = run(os.path.join(tmp_path, name))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: FILE must be a readable file, found ")
    assert result.stderr.count("\n") == 1


def test_unknown_fields_are_warned_of(tmp_path: Path) -> None:
    """A misspelt field is named on standard error; the report is printed."""
    result = run(write(tmp_path, orjson.dumps(changed("assets.ETH.haircuts", "0.5"))))
    assert result.exit_code == 0
    assert result.stderr == "warning: assets.ETH.haircuts is no field of a portfolio document and was ignored\n"
    assert orjson.loads(result.stdout)["accounts"]
