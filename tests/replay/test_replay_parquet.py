"""Recordings in files that are not what they say: each is one clear line, exit code 2, and no report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from streams.replay.command import replay_command
from streams.replay.explain_command import explain_command
from streams.replay.parquet import PLACE, SCHEMA, ParquetRecording, export
from streams.replay.recording import Recorded
from streams.replay.stress.command import stress_command
from streams.replay.whatif.command import whatif_command
from tests.replay.recordings import MemoryRecording, crash_blocks, recorded, to_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return to_files(recorded(crash_blocks()[:80]), tmp_path / "crash")


def journal(folder: Path) -> Path:
    return folder / "journal" / "0.parquet"


def rewritten(path: Path, change: Callable[[Any], Any], place: bytes | None = None) -> None:
    """The same file with its table changed; its metadata stay, unless another place is given."""
    table = pq.read_table(path)
    metadata = table.schema.metadata if place is None else {PLACE: place}
    pq.write_table(change(table).replace_schema_metadata(metadata), path)


def listed(folder: Path, **changes: Any) -> None:
    path = folder / "recording.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))


def lose_rows(folder: Path) -> None:
    rewritten(journal(folder), lambda table: table.slice(0, len(table) - 9))


def lose_a_row_inside(folder: Path) -> None:
    rewritten(journal(folder), lambda table: pa.concat_tables([table.slice(0, 30), table.slice(31)]))


def unsort(folder: Path) -> None:
    rewritten(journal(folder), lambda table: table.take([*range(20), 21, 20, *range(22, len(table))]))


def offsets_outside(folder: Path) -> None:
    def moved(table: Any) -> Any:
        offsets = pa.array([value + 10**6 for value in table["offset"].to_pylist()])
        return table.set_column(0, SCHEMA.field(0), offsets)

    rewritten(journal(folder), moved)


def other_columns(folder: Path) -> None:
    rewritten(journal(folder), lambda table: table.rename_columns(["place", *table.column_names[1:]]))


def other_topic(folder: Path) -> None:
    (folder / "liquidations" / "0.parquet").replace(journal(folder))


def no_name(folder: Path) -> None:
    rewritten(journal(folder), lambda table: table, b"x")


def cut_off(folder: Path) -> None:
    data = journal(folder).read_bytes()
    journal(folder).write_bytes(data[: len(data) // 2])


def flipped(folder: Path) -> None:
    data = bytearray(journal(folder).read_bytes())
    data[len(data) // 3] ^= 0x10
    journal(folder).write_bytes(bytes(data))


def gone(folder: Path) -> None:
    journal(folder).unlink()


def empty(folder: Path) -> None:
    journal(folder).write_bytes(b"")


def no_list(folder: Path) -> None:
    (folder / "recording.json").unlink()


def half_a_list(folder: Path) -> None:
    path = folder / "recording.json"
    path.write_bytes(path.read_bytes()[:-40])


def list_of_another_version(folder: Path) -> None:
    listed(folder, format=2)


def list_of_nothing(folder: Path) -> None:
    listed(folder, topics={})


def list_with_a_partition_left_out(folder: Path) -> None:
    listed(folder, topics={"journal": {"1": {"first": 0, "end": 9, "records": 3}}})


def list_of_other_types(folder: Path) -> None:
    listed(folder, topics={"journal": {"0": {"first": "0", "end": None}}})


DAMAGES = [
    (lose_rows, "the file must hold 80 records, found 71"),
    (lose_a_row_inside, "the file must hold 80 records, found 79"),
    (unsort, "offsets must ascend, found 30 after 31"),
    (offsets_outside, "offsets must be 0 to "),
    (other_columns, "columns must be offset, timestamp, key, value, headers, found place"),
    (other_topic, "the file must be that of journal[0], found liquidations[0]"),
    (no_name, "the file must be that of journal[0], found x"),
    (cut_off, "the file must be readable Parquet"),
    (flipped, "the file must be readable Parquet"),
    (gone, "the file must be readable Parquet"),
    (empty, "the file must be readable Parquet"),
    (no_list, "recording.json must be there and whole"),
    (half_a_list, "recording.json must be there and whole"),
    (list_of_another_version, "format must be 1, found 2"),
    (list_of_nothing, "there must be a journal, found none"),
    (list_with_a_partition_left_out, "partitions must be 0 to 0, found 1"),
    (list_of_other_types, "recording.json must be there and whole"),
]


@pytest.mark.parametrize(("damage", "line"), DAMAGES)
def test_a_damaged_recording_is_refused_in_one_line(folder: Path, damage: Callable[[Path], None], line: str) -> None:
    damage(folder)
    result = CliRunner().invoke(replay_command, [str(folder), "--verify"])
    assert result.exit_code == 2, result.output
    assert result.output.startswith("crossmargin replay: "), result.output
    assert line in result.output
    assert result.output.count("\n") == 1
    assert str(folder) in result.output


@pytest.mark.parametrize("damage", [lose_rows, flipped, cut_off, other_topic])
def test_no_report_is_left_of_half_a_recording(folder: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """What was found out before the damage must not lie there as if it were all."""
    damage(folder)
    params = tmp_path / "params.json"
    params.write_text("{}")
    out = {name: str(tmp_path / name) for name in ("decisions", "hashes", "json", "html")}
    place = str(folder)
    for command, arguments in (
        (replay_command, [place, "--decisions", out["decisions"], "--hashes", out["hashes"], "--hash-every", "1"]),
        (whatif_command, [place, "--params", str(params), "--json", out["json"], "--html", out["html"]]),
        (stress_command, [place, "--at", "999", "--json"]),
        (explain_command, ["0-999-alice-cross-called", place]),
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2, result.output
        assert result.output.count("\n") == 1, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crash", "params.json"]


def test_row_groups_are_small_however_large_the_parts_read_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader holds one group at a time: a partition of large blocks would else fill its memory."""
    monkeypatch.setattr("streams.replay.parquet.GROUP_BYTES", 1_000)
    records = [Recorded(at, 0, b"key", bytes([at]) * 300) for at in range(10)]
    made = MemoryRecording({"journal": {0: records}})
    assert [told[2] for told in export(made, ["journal"], tmp_path / "made")] == [4, 8, 10]
    path = journal(tmp_path / "made")
    with pq.ParquetFile(path) as file:
        assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [4, 4, 2]
    assert [record for part in ParquetRecording(tmp_path / "made").read("journal", 0) for record in part] == records
