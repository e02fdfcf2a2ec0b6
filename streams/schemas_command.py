"""`crossmargin schemas`: the contract as JSON Schema and AsyncAPI files."""

from pathlib import Path

import click

from schemas.export import ASYNCAPI, documents
from schemas.topics import TOPICS


@click.command("schemas")
@click.option(
    "--write",
    "write_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files to this folder.",
)
@click.option(
    "--check",
    "check_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Exit with 1 if the files in this folder are not those of this version.",
)
def schemas_command(write_dir: Path | None, check_dir: Path | None) -> None:
    """The contract: JSON Schemas of all records and an AsyncAPI document.

    Without an option, lists the topics and their records.
    """
    if write_dir is not None:
        try:
            _write(write_dir)
        except OSError as error:
            raise click.UsageError(f"schemas must be written, {error}") from None
    if check_dir is not None:
        _check(check_dir)
    if write_dir is None and check_dir is None:
        for topic in TOPICS.values():
            records = ", ".join(kind.__name__ for kind in topic.records) or "not JSON"
            click.echo(f"{topic.name:<17} {topic.role:<4} {records}: {topic.carries}")


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = documents()
    if (folder / ASYNCAPI).exists():  # else what lies there is not ours
        for path in folder.glob("*.json"):
            if path.name not in files:
                path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)
    click.echo(f"{len(files)} files in {folder}")


def _check(folder: Path) -> None:
    expected = documents()
    found = {path.name: path.read_text(errors="replace") for path in folder.glob("*.json")}
    stale = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if stale:
        click.echo(
            f"{folder} must hold the schemas of this version, found others: {', '.join(stale)}; "
            f"write them with: crossmargin schemas --write {folder}",
            err=True,
        )
        raise SystemExit(1)
    click.echo(f"{len(expected)} files in {folder} are current")
