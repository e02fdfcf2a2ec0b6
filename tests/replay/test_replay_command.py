"""`crossmargin replay`: the same decisions and states again, and what differs named."""

from __future__ import annotations

import re
import time
from dataclasses import replace as with_fields
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import orjson
import pytest
from click.testing import CliRunner, Result

from schemas.journal import Block
from streams.engine import state
from streams.replay.command import replay_command
from streams.replay.recording import Recorded, RecordingError, ascending
from tests.replay.recordings import MemoryRecording, changed, crash_blocks, recorded, to_files


@pytest.fixture(scope="module")
def crash() -> MemoryRecording:
    return recorded(crash_blocks())


@pytest.fixture(scope="module")
def folder(crash: MemoryRecording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_files(crash, tmp_path_factory.mktemp("recording") / "crash")


def replay(*arguments: object) -> Result:
    return CliRunner().invoke(replay_command, [str(argument) for argument in arguments])


def states(result: Result) -> list[str]:
    return re.findall(r"state ([0-9a-f]{32})", result.output)


def test_a_replay_gives_what_was_sent(folder: Path) -> None:
    result = replay(folder, "--verify")
    assert result.exit_code == 0, result.output
    equal = re.search(
        r"equal to the recording: (\d+) liquidations, (\d+) margin-accounts, (\d+) margin-calls", result.output
    )
    assert equal
    assert all(int(count) > 20 for count in equal.groups())
    assert states(result) == states(replay(folder))


def a_fill_before_a_decision(recording: MemoryRecording) -> int:
    """Offset of a block of fills in the middle, many decisions before it and after it."""
    fills = [
        record.offset for record in recording.topics["journal"][0] if Block.decode(record.value or b"").kind == "fills"
    ]
    return fills[len(fills) // 3]


def test_one_row_changed_by_one_unit_is_named(crash: MemoryRecording, folder: Path, tmp_path: Path) -> None:
    """The state hash names the record, and verification the first decision that it changed."""
    hashes = tmp_path / "hashes"
    assert replay(folder, "--hashes", hashes, "--hash-every", 1).exit_code == 0
    offset = a_fill_before_a_decision(crash)
    other = to_files(changed(crash, offset, ticks=0), tmp_path / "other")
    result = replay(other, "--against", hashes, "--verify")
    assert result.exit_code == 1
    assert f"state of journal[0] at record {offset}: hash must be" in result.output
    named = re.search(
        r"differs +(liquidations|margin-calls|margin-accounts)\[0\] of journal offset (\d+), key '", result.output
    )
    assert named, result.output
    assert int(named[2]) >= offset


def test_hashes_of_longer_intervals_say_between_which_records(
    crash: MemoryRecording, folder: Path, tmp_path: Path
) -> None:
    hashes = tmp_path / "hashes"
    assert replay(folder, "--hashes", hashes, "--hash-every", 10).exit_code == 0
    offset = a_fill_before_a_decision(crash)
    other = to_files(changed(crash, offset, ticks=0), tmp_path / "other")
    found = re.search(r"between record (\d+) and record (\d+)", replay(other, "--against", hashes).output)
    assert found
    assert int(found[1]) < offset <= int(found[2])
    assert replay(folder, "--against", hashes).exit_code == 0


@pytest.mark.parametrize(
    ("topic", "change", "line"),
    [
        ("liquidations", "drop", "replayed, not in the recording"),
        ("liquidations", "repeat", "in the recording, not replayed"),
        ("margin-calls", "edit", "level must be"),
        ("margin-accounts", "last", "equity must be"),
    ],
)
def test_a_recording_that_says_otherwise_is_found(
    crash: MemoryRecording, tmp_path: Path, topic: str, change: str, line: str
) -> None:
    """Each of these is a decision that the journal does not account for."""
    records = list(crash.topics[topic][0])
    if change == "drop":
        del records[4]
    elif change == "repeat":
        records.insert(5, records[4]._replace(offset=records[4].offset + 1))
    else:
        at = 4 if change == "edit" else len(records) - 1
        value = orjson.loads(records[at].value or b"")
        value["level" if change == "edit" else "equity"] = "7"
        records[at] = records[at]._replace(value=orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    other = to_files(MemoryRecording({**crash.topics, topic: {0: records}}), tmp_path / "other")
    result = replay(other, "--verify")
    assert result.exit_code == 1
    assert re.search(rf"differs +{topic}\[0\] of journal offset \d+, key '[^']+': .*{line}", result.output), (
        result.output
    )


def test_a_snapshot_goes_on_where_it_was_made(folder: Path, crash: MemoryRecording, tmp_path: Path) -> None:
    middle = crash.topics["journal"][0][len(crash.topics["journal"][0]) // 2].offset
    assert replay(folder, "--to", middle, "--save", tmp_path).exit_code == 0
    result = replay(folder, "--start", tmp_path, "--verify")
    assert result.exit_code == 0, result.output
    assert states(result) == states(replay(folder))
    assert f"offsets {middle} to" in result.output


def test_a_snapshot_that_was_touched_is_refused(folder: Path, tmp_path: Path) -> None:
    assert replay(folder, "--to", 50, "--save", tmp_path).exit_code == 0
    path = tmp_path / "0.snapshot"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"BTC-PERP", b"BTC-PERQ"))
    assert_refused(replay(folder, "--start", tmp_path))
    path.write_bytes(data[: len(data) // 2])
    assert_refused(replay(folder, "--start", tmp_path), "a snapshot must be whole")
    assert_refused(replay(folder, "--start", tmp_path / "nowhere"), "a snapshot must be readable")


def with_rules(recording: MemoryRecording, version: int) -> MemoryRecording:
    """The same journal, made by ingest of other rules."""
    journal = [
        record._replace(value=with_fields(Block.decode(record.value or b""), rules_version=version).encode())
        for record in recording.topics["journal"][0]
    ]
    return MemoryRecording({**recording.topics, "journal": {0: journal}})


@pytest.mark.parametrize(("found", "known"), [(0, "1 to 3"), (4, "1 to 3")])
def test_a_journal_of_rules_that_are_not_known_says_what_it_needs(
    crash: MemoryRecording, tmp_path: Path, found: int, known: str
) -> None:
    """Folding it by other rules would call right decisions wrong."""
    result = replay(to_files(with_rules(crash, found), tmp_path / "other"), "--verify")
    assert_refused(result, f"rules_version must be {known}, found {found}: it takes the release that knows those rules")
    assert "journal[0] at 0, " in result.output


def test_a_journal_of_older_rules_that_are_still_known_verifies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded crash is of rules 1: it is folded by the rules that its blocks name."""
    result = replay(folder, "--verify")
    assert result.exit_code == 0, result.output
    monkeypatch.setattr("streams.replay.soundness.RULES_OLDEST", 2)
    assert_refused(replay(folder, "--verify"), "rules_version must be 2 to 3, found 1")


def test_a_snapshot_of_rules_that_are_not_known_is_refused(folder: Path, tmp_path: Path) -> None:
    assert replay(folder, "--to", 50, "--save", tmp_path).exit_code == 0
    path = tmp_path / "0.snapshot"
    head, records = msgspec.msgpack.decode(path.read_bytes())
    path.write_bytes(msgspec.msgpack.encode(({**head, "rules_version": 9}, records)))
    assert_refused(replay(folder, "--start", tmp_path), "rules_version must be at most 3, found 9")


def test_the_workers_own_state_is_compared(folder: Path, crash: MemoryRecording, tmp_path: Path) -> None:
    last = crash.topics["journal"][0][-1].offset
    assert f"equal to the workers' own state after record {last}" in replay(folder, "--verify").output
    earlier = replay(folder, "--verify", "--to", last)
    assert earlier.exit_code == 0
    assert "did not come to the workers' own state" in earlier.output
    wrong = [record for record in crash.topics["margin-changelog"][0] if record.key != b"~position"]
    shard = state.restore(0, [(record.key or b"", record.value or b"") for record in wrong])
    shard.standing.called[0] = not shard.standing.called[0]
    changelog = [Recorded(at, 0, key, value) for at, (key, value) in enumerate(state.records(shard))]
    other = MemoryRecording({**crash.topics, "margin-changelog": {0: changelog}})
    result = replay(to_files(other, tmp_path / "other"), "--verify")
    assert result.exit_code == 1
    assert f"state of journal[0] after record {last}: hash must be" in result.output


def test_what_workers_had_not_folded_yet_is_no_difference(crash: MemoryRecording, tmp_path: Path) -> None:
    """A recording of a live cluster: the journal goes on past the workers, and what they sent past the journal."""
    blocks = crash_blocks()
    behind = recorded(blocks[: 2 * len(blocks) // 3])
    result = replay(to_files(MemoryRecording({**behind.topics, "journal": crash.topics["journal"]}), tmp_path / "a"),
                    "--verify")  # fmt: skip
    assert result.exit_code == 0, result.output
    ahead = MemoryRecording({**crash.topics, "journal": behind.topics["journal"]})
    result = replay(to_files(ahead, tmp_path / "b"), "--verify")
    assert result.exit_code == 0, result.output
    lost = {topic: {0: records[0][:-3]} for topic, records in behind.topics.items() if topic != "journal"}
    lost["margin-changelog"] = behind.topics["margin-changelog"]
    result = replay(to_files(MemoryRecording({**behind.topics, **lost}), tmp_path / "c"), "--verify")
    assert result.exit_code == 1
    assert result.output.count("\ndiffers ") == 3


def assert_refused(result: Result, line: str = "") -> None:
    assert result.exit_code == 2, result.output
    assert result.output.startswith("crossmargin replay: ")
    assert line in result.output
    assert result.output.count("\n") == 1


def test_stretches_by_offset_and_by_time(folder: Path) -> None:
    """What is before a stretch is folded, but not told; the end is not included."""
    whole = replay(folder, "--decisions", "-")
    events = [orjson.loads(line) for line in whole.stdout.splitlines() if line.startswith("{")]
    middle = events[len(events) // 2]
    early = replay(folder, "--to", middle["journal"]["offset"], "--decisions", "-")
    late = replay(folder, "--from", middle["journal"]["offset"], "--decisions", "-")
    lines = [line for result in (early, late) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [orjson.loads(line)["id"] for line in lines] == [event["id"] for event in events]
    moment = datetime.fromtimestamp(middle["time"] / 1000, UTC).isoformat()
    before = replay(folder, "--to", moment, "--decisions", "-")
    told = [orjson.loads(line) for line in before.stdout.splitlines() if line.startswith("{")]
    assert [event["id"] for event in told] == [event["id"] for event in events if event["time"] < middle["time"]]


def test_a_journal_whose_beginning_is_gone_is_refused(crash: MemoryRecording, tmp_path: Path) -> None:
    records = [record for record in crash.topics["journal"][0] if record.offset >= 40]
    cut = MemoryRecording({**crash.topics, "journal": {0: records}}, {"journal": 40})
    assert_refused(replay(to_files(cut, tmp_path / "cut")), "journal[0] must begin at 0, found 40")


def test_damaged_recordings_are_refused_in_one_line(folder: Path, crash: MemoryRecording, tmp_path: Path) -> None:
    assert_refused(replay(tmp_path / "nowhere"), "recording.json must be there")
    listed = orjson.loads((folder / "recording.json").read_bytes())
    copy = to_files(crash, tmp_path / "copy")
    (copy / "recording.json").write_bytes(orjson.dumps({**listed, "format": 9}))
    assert_refused(replay(copy), "format must be 1, found 9")
    (copy / "recording.json").write_bytes(orjson.dumps(listed))
    path = copy / "journal" / "0.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert_refused(replay(copy), "the file must be readable Parquet")
    path.unlink()
    assert_refused(replay(copy), "the file must be readable Parquet")


def test_a_journal_record_that_is_none_is_refused(crash: MemoryRecording, tmp_path: Path) -> None:
    records = list(crash.topics["journal"][0])
    data = bytearray(records[30].value or b"")
    data[-1] ^= 1
    records[30] = records[30]._replace(value=bytes(data))
    broken = MemoryRecording({**crash.topics, "journal": {0: records}})
    result = replay(to_files(broken, tmp_path / "broken"))
    assert_refused(result, "crc32 must be")
    assert f"(journal[0] at {records[30].offset}, " in result.output


def test_offsets_that_do_not_ascend_are_refused(crash: MemoryRecording) -> None:
    records = list(crash.topics["journal"][0])
    records[5], records[6] = records[6], records[5]
    with pytest.raises(RecordingError, match=rf"offsets must ascend, found {records[6].offset} after"):
        list(ascending(iter([records]), "here"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--from", "yesterday"), "must be a journal offset or a time"),
        (("--speed", "0x"), "must be max or a multiple such as 10x"),
        (("--speed", "fast"), "must be max or a multiple such as 10x"),
        (("--partition", "3"), "--partition must be one of 0, found 3"),
        (("--against", "nowhere"), "state hashes must be a file of `replay --hashes`"),
        (("--raw", "--verify"), "--verify must be given with a recorded journal, found raw history"),
        (("--shards", "4"), "--shards must be given with --raw or --prices, found neither"),
        (("--fill-liquidations", "0"), "--fill-liquidations must be given with --raw or --prices, found neither"),
        (("--prices", "nowhere.csv"), "(nowhere.csv)"),
        (("--from", "9", "--to", "9"), "--from must be before --to"),
        (("--broker", "here:1"), "a folder or a broker must be named, found both"),
    ],
)
def test_wrong_options_are_refused(folder: Path, arguments: tuple[str, ...], line: str) -> None:
    result = replay(folder, *arguments)
    assert result.exit_code == 2
    assert line in result.output


def test_speed_follows_shard_time(folder: Path) -> None:
    """The recording's own span of shard time, at so many times its speed, takes so long."""
    events = [orjson.loads(line) for line in replay(folder, "--decisions", "-").stdout.splitlines() if line[0] == "{"]
    span_s = (events[-1]["time"] - events[0]["time"]) / 1000
    began = time.monotonic()
    assert replay(folder, "--speed", f"{2 * span_s}x").exit_code == 0
    assert time.monotonic() - began > 0.5
