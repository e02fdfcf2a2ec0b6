"""The exported contract: current, complete, and true of the design's own examples."""

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner

from schemas.codec import decode, encode
from schemas.dead_letters import REASONS
from schemas.export import asyncapi, documents, field_texts, json_schema, record_types
from schemas.liquidation import LiquidationEvent
from schemas.topics import TOPICS, markdown_table
from streams.schemas_command import schemas_command
from tests import ingest_samples as samples

ROOT = Path(__file__).parent.parent

REPORT = {
    "account": "alice",
    "status": "ok",
    "equity": "12000",
    "adjusted_equity": "11600",
    "initial_equity": "11600",
    "initial_margin": "5000",
    "maintenance_margin": "2500",
    "margin_ratio": "4.64",
    "free_margin": "6600",
    "positions": [
        {
            "instrument": "BTC-PERP",
            "quantity": "1",
            "notional": "50000",
            "unrealized_pnl": "-2000",
            "initial_margin": "5000",
            "maintenance_margin": "2500",
            "liquidation_price": "40421.0526315789",
        }
    ],
    "liquidation": None,
}
LIQUIDATION = {
    "id": "3-1811-alice-cross-liquidation",
    "kind": "liquidation",
    "account": "alice",
    "bucket": "cross",
    "step": 1,
    "replaces": None,
    "target": "1.10",
    "orders": [
        {"instrument": "BTC-PERP", "quantity": "-0.4", "limit_price": "49000.5", "expected_fee": "98.0"},
        {"sell_asset": "ETH", "amount": "1", "buy_asset": "USDC", "limit_price": "1900"},
    ],
    "report": REPORT,
    "marks": {"BTC-PERP": {"mark": "50000", "index": "50001", "state": "ok"}},
    "journal": {"partition": 3, "offset": 1811},
    "time": 1760130900000,
}

EXAMPLES = [
    ("oracle-prices", samples.QUOTE),
    ("oracle-prices", {**samples.QUOTE, "price": 50000.1, "time": "2025-10-10T21:15:00.000Z"}),
    ("fills", samples.FILL),
    ("fills", {**samples.FILL, "new_field": [1]}),
    ("collateral", samples.DEPOSIT),
    ("funding-rates", {"instrument": "BTC-PERP", "rate": "0.0001", "time": 1760112000000}),
    ("accounts", samples.SETTINGS),
    (
        "instruments.Instrument",
        {**samples.BTC_PERP, "tiers": [], "tier_method": "marginal", "size_premium_factor": "0"},
    ),
    ("instruments.Asset", {**samples.ETH, "haircut_tiers": []}),
    ("liquidations.Liquidation", LIQUIDATION),
]


def schema_file(name: str) -> dict:
    return json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples_are_valid(name, example):
    """A schema that refuses what the engine takes turns customers away."""
    jsonschema.validate(example, schema_file(name))


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("fills", {**samples.FILL, "quantity": "NaN"}),
        ("fills", {**samples.FILL, "quantity": " 1"}),
        ("fills", {**samples.FILL, "quantity": None}),
        ("fills", {**samples.FILL, "kind": "gift"}),
        ("fills", {**samples.FILL, "account": ""}),
        ("fills", {**samples.FILL, "time": "today"}),
        ("fills", {**samples.FILL, "time": -1}),
        ("fills", {name: value for name, value in samples.FILL.items() if name != "price"}),
        ("instruments.Asset", {**samples.ETH, "kind": "instrument"}),
    ],
)
def test_wrong_examples_are_not_valid(name, example):
    """A schema that takes all is none."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(example, schema_file(name))


def test_liquidation_example_is_a_record():
    """The design's example is what consumers were promised."""
    written = json.loads(encode(decode(LiquidationEvent, encode(LIQUIDATION))))
    report = written.pop("report")
    report["positions"] = REPORT["positions"]
    # fields that came later, with their defaults
    assert (report.pop("shortfall"), report.pop("restrictions")) == (None, [])
    assert (report.pop("portfolio"), report.pop("other_model")) == (None, None)
    assert (written.pop("prices"), written.pop("withheld")) == ({}, [])
    for mark in written["marks"].values():
        assert (mark.pop("check"), mark.pop("quote_time")) == (None, None)
    assert {**written, "report": report} == LIQUIDATION


@pytest.mark.parametrize("name", record_types())
def test_schemas_are_schemas(name):
    """Generators of other languages stop at the first slip."""
    schema = schema_file(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json.loads(json.dumps(json_schema(record_types()[name])))


def _nested(kind: type) -> set[type]:
    found = {kind}
    for field in msgspec.structs.fields(kind):
        for name in re.findall(r"schemas\.(\w+)\.(\w+)", repr(field.type)):
            module = __import__(f"schemas.{name[0]}", fromlist=[name[1]])
            found |= _nested(getattr(module, name[1]))
    return found


def test_every_field_is_described():
    """A sign or unit left unsaid is guessed, and half the guesses are wrong."""
    for kind in set().union(*(_nested(kind) for kind in record_types().values())):
        tag = kind.__struct_config__.tag_field
        names = [field.encode_name for field in msgspec.structs.fields(kind)]
        assert sorted(field_texts(kind.__doc__)) == sorted(names + ([tag] if tag else [])), kind.__name__


def test_asyncapi_names_every_public_topic():
    """A topic outside the document is one nobody finds."""
    document = asyncapi()
    public = [topic for topic in TOPICS.values() if topic.role != "own"]
    assert document["asyncapi"] == "3.0.0"
    assert list(document["channels"]) == [topic.name for topic in public]
    assert {operation["action"] for operation in document["operations"].values()} == {"send", "receive"}
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        at = document
        for step in reference.split("/"):
            at = at[step]


def test_check_finds_stale_missing_and_foreign_files(tmp_path):
    """CI relies on the exit code: 0 current, 1 not."""
    run = CliRunner().invoke
    assert run(schemas_command, ["--write", str(tmp_path)]).exit_code == 0
    assert run(schemas_command, ["--check", str(tmp_path)]).exit_code == 0
    (tmp_path / "fills.json").write_text("{}")
    (tmp_path / "marks.json").unlink()
    (tmp_path / "gone.json").write_text("{}")
    result = run(schemas_command, ["--check", str(tmp_path)])
    assert result.exit_code == 1
    assert "found others: fills.json, gone.json, marks.json" in result.stderr
    assert run(schemas_command, ["--write", str(tmp_path), "--check", str(tmp_path)]).exit_code == 0


def test_files_of_others_are_left_alone(tmp_path):
    """Written to the wrong folder, the contract must not cost anybody their files."""
    (tmp_path / "package.json").write_text("{}")
    assert CliRunner().invoke(schemas_command, ["--write", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "package.json").read_text() == "{}"
    result = CliRunner().invoke(schemas_command, ["--write", str(tmp_path / "package.json" / "there")])
    assert (result.exit_code, "schemas must be written, [Errno 20]" in result.stderr) == (2, True)


def test_committed_schemas_are_current():
    """`crossmargin schemas --write docs/schemas` was forgotten where this fails."""
    result = CliRunner().invoke(schemas_command, ["--check", str(ROOT / "docs" / "schemas")])
    assert result.exit_code == 0, result.stderr
    assert len(documents()) == len(record_types()) + 1


def test_the_topics_page_is_current():
    """The page's table is that of schemas/topics.py, and its reasons are all there are."""
    page = (ROOT / "docs" / "topics.md").read_text()
    assert markdown_table() in page, markdown_table()
    told = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page.partition("| code | meaning |")[2], flags=re.MULTILINE))
    assert told == REASONS


def test_topics_are_listed_without_options():
    """The first thing a newcomer types."""
    result = CliRunner().invoke(schemas_command, [])
    assert [line.split()[0] for line in result.output.splitlines()] == list(TOPICS)


def test_topic_configuration():
    """A journal that ages out cannot be replayed; a changelog that ages out loses accounts."""
    assert TOPICS["journal"].config()["retention.ms"] == "-1"
    assert TOPICS["margin-changelog"].config()["cleanup.policy"] == "compact"
    assert TOPICS["instruments"].partition_count(8) == 1
    assert TOPICS["margin-calls"].partition_count(8) == 8
