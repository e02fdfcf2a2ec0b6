"""Settings of a worker: where Kafka is, what the topics are called, how it runs. None of them decides a margin.

Every field can be given as an environment variable `CROSSMARGIN_<FIELD>` or as a flag of `crossmargin worker`; the
flag wins. Rules that decide (levels, targets, time-outs) come by the `instruments` topic instead, so that they are
in the journal.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from schemas.topics import TOPICS

ROLES = ("ingest", "oracle", "margin")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
ENVIRONMENT = "CROSSMARGIN_"
_DAY_MS = 86_400_000
_RANGES = (
    ("partitions", 1, 10_000),
    ("replication", 1, 1_000),
    ("flush_interval_ms", 1, _DAY_MS),
    ("max_source_skew_ms", 0, 10**15),
    ("max_future_ms", 0, 365 * _DAY_MS),
    ("heartbeat_ms", 1, _DAY_MS),
    ("quote_age_ms_max", 1, 365 * _DAY_MS),
    ("message_bytes_max", 1, 1 << 30),
    ("session_seconds", 1, 86_400),
    ("transaction_timeout_ms", 100, _DAY_MS),
    ("web_port", 1, 65_535),
)


class SettingsError(ValueError):
    """A setting has a value that it cannot have; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Parameters
    ----------
    broker : bootstrap servers, comma separated
    prefix : names the consumer groups and transactional ids of this installation
    partitions : shards; a number other than that of the journal is refused at start
    roles : which of ingest, oracle, margin this worker runs
    topics : names that differ from `<topic_prefix><logical name>`, as logical=name,logical=name
    topic_prefix : put before every logical topic name
    create_topics : create topics that are missing (their principals may be not allowed to)
    replication : replicas of the topics created
    clock : wall, or event: the oracle's clock is the newest quote's time (replay and demo)
    flush_interval_ms : work that is not urgent is written at least this often
    max_source_skew_ms : how far a source may lag behind the clock before the shards stop judging
    max_future_ms : messages further in the future than this are dead letters
    heartbeat_ms : the oracle speaks at least this often
    quote_age_ms_max : sources whose latest quote is older are left out, of symbols without an oracle record
    message_bytes_max : longer messages are dead letters
    session_seconds : a worker that is not heard of for this long loses its partitions
    instance_id : static membership of the group: a restart within the session causes no rebalance
    transaction_timeout_ms : the broker aborts the open transaction of a dead writer after this long
    web_host, web_port : where the worker answers over HTTP
    web_url : how other workers reach it there, where that differs
    security_protocol, sasl_mechanism, sasl_username, sasl_password : as of Kafka clients
    ssl_cafile, ssl_certfile, ssl_keyfile : as of Kafka clients
    """

    broker: str = "localhost:9092"
    prefix: str = "crossmargin"
    partitions: int = 4
    roles: tuple[str, ...] = ROLES
    topics: Mapping[str, str] = field(default_factory=dict)
    topic_prefix: str = ""
    create_topics: bool = True
    replication: int = 1
    clock: str = "wall"
    flush_interval_ms: int = 100
    max_source_skew_ms: int = 2_000
    max_future_ms: int = 60_000
    heartbeat_ms: int = 1_000
    quote_age_ms_max: int = 10_000
    message_bytes_max: int = 262_144
    session_seconds: float = 6.0
    instance_id: str = ""
    transaction_timeout_ms: int = 10_000
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    web_url: str = ""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = ""
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""

    def __post_init__(self) -> None:
        _require(self.clock in ("wall", "event"), "clock", "wall or event", self.clock)
        _require(bool(self.roles) and set(self.roles) <= set(ROLES), "roles", f"some of {', '.join(ROLES)}", self.roles)
        unknown = set(self.topics) - set(TOPICS)
        _require(not unknown, "topics", f"names of {', '.join(TOPICS)}", ", ".join(sorted(unknown)))
        names = [self.topic(logical) for logical in TOPICS]
        twice = sorted({name for name in names if names.count(name) > 1})
        _require(not twice, "topics", "a name each", f"{', '.join(twice)} twice")
        _require(bool(self.broker.strip(", ")), "broker", "host:port, comma separated", repr(self.broker))
        for name, low, high in _RANGES:
            value = getattr(self, name)
            _require(low <= value <= high, name, f"from {low} to {high}", value)
        protocols = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
        _require(
            self.security_protocol in protocols,
            "security_protocol",
            f"one of {', '.join(protocols)}",
            self.security_protocol,
        )
        mechanism = self.sasl_mechanism or MECHANISMS[0]
        _require(mechanism in MECHANISMS, "sasl_mechanism", f"one of {', '.join(MECHANISMS)}", mechanism)
        if self.security_protocol.endswith("SSL"):
            self._ssl_context()

    def topic(self, logical: str) -> str:
        """The broker's name of a topic."""
        return self.topics.get(logical, self.topic_prefix + logical)

    def client(self) -> dict[str, Any]:
        """aiokafka's connection arguments."""
        given: dict[str, Any] = {
            "bootstrap_servers": self.broker,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            given["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            given["sasl_mechanism"] = self.sasl_mechanism or MECHANISMS[0]
            given["sasl_plain_username"] = self.sasl_username
            given["sasl_plain_password"] = self.sasl_password
        return given

    def _ssl_context(self) -> ssl.SSLContext:
        files = {name: getattr(self, name) for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")}
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile or None)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile or None)
        except OSError as error:  # ssl.SSLError is one
            given = ", ".join(f"{name} {path}" for name, path in files.items() if path)
            raise SettingsError(f"ssl files must be readable PEM, found {error.strerror or error} ({given})") from None
        return context

    def url(self) -> str:
        """How other workers and users reach this worker's web server."""
        return self.web_url or f"http://{self.web_host}:{self.web_port}"


def _require(holds: bool, name: str, what: str, found: object) -> None:
    if not holds:
        raise SettingsError(f"{name} must be {what}, found {found}")


def _parsed(name: str, kind: str, text: str) -> Any:
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number, found {text!r}") from None
    if kind == "bool":
        _require(text.lower() in ("true", "false", "1", "0", "yes", "no"), name, "true or false", text)
        return text.lower() in ("true", "1", "yes")
    if name == "roles":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if name == "topics":
        pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
        _require(all(len(pair) == 2 for pair in pairs), name, "logical=name,logical=name", text)
        return {logical.strip(): own.strip() for logical, own in pairs}
    return text


def described() -> dict[str, str]:
    """What each setting means, as the docstring of `Settings` says."""
    meanings: dict[str, str] = {}
    for line in (Settings.__doc__ or "").splitlines():
        names, colon, meaning = line.strip().partition(" : ")
        if colon:
            meanings.update((name.strip(), meaning) for name in names.split(","))
    return meanings


def load(flags: Mapping[str, str | None], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from flags, then environment, then defaults.

    Raises
    ------
    SettingsError
        where a value is not one the setting may have.
    """
    environment = os.environ if environment is None else environment
    given = {}
    for setting in fields(Settings):
        text = flags.get(setting.name)
        text = environment.get(ENVIRONMENT + setting.name.upper()) if text is None else text
        if text is not None:
            given[setting.name] = _parsed(setting.name, str(setting.type), text)
    return Settings(**given)
