"""Settings: every one is documented, wrong ones are refused in one line."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from streams.settings import Settings, SettingsError, load

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


def test_every_setting_is_documented_with_its_default() -> None:
    """An operator who cannot find a setting runs with the wrong one."""
    documented = set(re.findall(r"`([a-z_]+)`", DOCS.read_text()))
    assert {setting.name for setting in fields(Settings)} <= documented


def test_flag_wins_over_environment_over_default() -> None:
    environment = {"CROSSMARGIN_PARTITIONS": "8", "CROSSMARGIN_PREFIX": "desk"}
    settings = load({"partitions": "2"}, environment)
    assert (settings.partitions, settings.prefix, settings.heartbeat_ms) == (2, "desk", 1000)


def test_topics_can_be_named_one_by_one() -> None:
    settings = load({"topics": "fills=venue.fills, collateral=moves", "topic_prefix": "x."}, {})
    assert [settings.topic(name) for name in ("fills", "collateral", "journal")] == [
        "venue.fills",
        "moves",
        "x.journal",
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"partitions": "x"}, "partitions must be a number, found 'x'"),
        ({"partitions": "0"}, "partitions must be from 1 to 10000, found 0"),
        ({"roles": "margin,trader"}, "roles must be some of ingest, oracle, margin"),
        ({"roles": ""}, "roles must be some of ingest, oracle, margin"),
        ({"session_seconds": "nan"}, "session_seconds must be from 1 to 86400, found nan"),
        ({"web_port": "99999"}, "web_port must be from 1 to 65535, found 99999"),
        ({"clock": "sun"}, "clock must be wall or event, found sun"),
        ({"topics": "fils=a"}, "topics must be names of"),
        ({"topics": "fills"}, "topics must be logical=name,logical=name, found fills"),
        ({"create_topics": "perhaps"}, "create_topics must be true or false, found perhaps"),
        ({"topics": "fills=a,collateral=a"}, "topics must be a name each, found a twice"),
        ({"topics": "fills=journal"}, "topics must be a name each, found journal twice"),
        ({"broker": ""}, "broker must be host:port, comma separated, found ''"),
        ({"security_protocol": "TLS"}, "security_protocol must be one of"),
        ({"sasl_mechanism": "plain"}, "sasl_mechanism must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, found plain"),
        (
            {"security_protocol": "SSL", "ssl_cafile": "/nowhere.pem"},
            "ssl files must be readable PEM, found No such file or directory (ssl_cafile /nowhere.pem)",
        ),
        (
            {"security_protocol": "SASL_SSL", "ssl_certfile": __file__},
            "ssl files must be readable PEM, found [SSL] PEM lib",
        ),
    ],
)
def test_wrong_settings_are_refused_in_one_line(flags: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(flags, {})
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)
