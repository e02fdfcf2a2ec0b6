"""A local Kafka broker without Docker: a child process to start, stop, kill and start again.

The broker is Apache Kafka (one KRaft node) from the jars of Maven Central. Where Java or Maven is missing,
the Kafka-compatible server of the PyPI package ``noida-db`` stands in for a first look. This module knows
processes, ports and files; it knows nothing of topics or messages.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import ctypes
import fcntl
import importlib.util
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Literal

import click

from streams.kafka.jars import (
    JAVA_MIN,
    NOISE,
    BrokerError,
    jars_path,
    java_path,
    last_line,
    resolve_jars,
    why_not_kafka,
)

Kind = Literal["kafka", "noida"]

HOST = "127.0.0.1"
HERE = Path(__file__).parent
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
# Below the kernel's ephemeral range: a client that retries a dead port inside that range can connect to
# itself, and so take the port from the broker that comes back.
PORTS = range(20000, 32000)

# Chosen by measurement (docs/broker.md): of four settings these start fastest, and write no slower in the first minute.
JVM_FLAGS = ["-Xms1G", "-Xmx1G", "-XX:+UseG1GC"]
SHORT_LIVED_FLAGS = ["-XX:TieredStopAtLevel=1"]
LOG_FLAGS = ["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]

NAMES: dict[Kind, str] = {
    "kafka": "Apache Kafka 4.1.1 (one KRaft node)",
    "noida": "noida-db (Kafka-compatible, not Apache Kafka)",
}
LIMITS: dict[Kind, tuple[str, ...]] = {
    "kafka": ("one node, no replicas",),
    "noida": (
        "a group never recovers from a killed dynamic member: use static members (group_instance_id)",
        "all data in memory, written to one file at a clean stop: kill -9 loses it",
        "not for acceptance tests or measurements",
    ),
}


class LocalBroker:
    """A broker on the loopback, as a child process that dies with its parent.

    Parameters
    ----------
    data_dir : path
        Gets ``data/``, ``server.properties`` and ``broker.log``; what is there is used again.
    port : int
        0 picks a free port, which is then kept for every later ``start`` of this object.
    kind : "kafka", "noida" or None
        None takes Apache Kafka where Java 17 and its jars can be had, else noida-db.
    settings : mapping
        Server properties to add or override (Apache Kafka only).
    long_lived : bool
        With both of the JVM's compilers, as brokers run that stay: the second takes a third of a core for the first
        minutes of load, and the broker 40 % less from then on (docs/broker.md). Without, with the first alone.

    Notes
    -----
    On Linux the kernel kills the child when the *thread* that called ``start`` ends, so call it from a
    thread that lives as long as the broker shall. All methods block.

    Examples
    --------
    >>> with LocalBroker("/tmp/kafka") as broker:  # doctest: +SKIP
    ...     print(broker.bootstrap)
    127.0.0.1:20817
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        port: int = 0,
        *,
        kind: Kind | None = None,
        settings: Mapping[str, str] | None = None,
        long_lived: bool = False,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.log_path = self.data_dir / "broker.log"
        self.fallback_reason = ""
        if kind is None:
            self.fallback_reason = why_not_kafka()
            kind = "noida" if self.fallback_reason else "kafka"
        self.kind: Kind = kind
        self.name = NAMES[kind]  # which broker this is, for people
        self.limits = LIMITS[kind]  # what it cannot do, one line each
        self.settings = dict(settings or {})
        self.long_lived = long_lived
        self.port = port or free_port()
        self.start_seconds = 0.0
        self._controller_port = free_port(self.port) if kind == "kafka" else 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._new_classes: Path | None = None

    @property
    def bootstrap(self) -> str:
        """The address that clients are given, ``127.0.0.1:port``."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running broker, None when it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> LocalBroker:
        """Start the broker on its data and port, and return once it answers a metadata request.

        Raises
        ------
        BrokerError
            When another process listens on the port, or the broker dies or does not answer in time; then with
            the last lines of its log.
        """
        if not port_is_free(self.port):
            raise BrokerError(f"port {self.port} must be free, another process listens on {self.bootstrap}")
        began = time.monotonic()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.data_dir / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BrokerError(f"{self.data_dir} must be free, another broker uses it") from error
        command = self._kafka_command() if self.kind == "kafka" else self._noida_command()
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log, lock:  # the child holds the lock on
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,  # Ctrl-C reaches the parent only, which then stops the broker cleanly
                preexec_fn=_die_with_parent(),
                pass_fds=[lock.fileno()],
            )
        atexit.register(self.kill)
        try:
            self._await_ready(began + START_SECONDS_MAX)
        except BaseException:
            self.kill()
            raise
        self.start_seconds = time.monotonic() - began
        return self

    def stop(self) -> None:
        """Stop cleanly: SIGTERM, and SIGKILL after ``STOP_SECONDS_MAX``; nothing when it does not run."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS_MAX)
                if self._new_classes and self._new_classes.exists():
                    self._new_classes.rename(self._new_classes.with_name("classes.jsa"))
        self.kill()

    def kill(self) -> None:
        """Kill -9. What the broker wrote is in the page cache, so ``start`` finds all of it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        atexit.unregister(self.kill)

    def wait(self) -> int:
        """Block until the broker ends, and return its exit code."""
        return self._process.wait() if self._process else 0

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines that this run of the broker logged, without chatter and stack traces."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return "\n".join([line for line in text.splitlines() if not NOISE.search(line)][-lines:])

    def __enter__(self) -> LocalBroker:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _await_ready(self, deadline: float) -> None:
        process = self._process
        failure = f"did not answer within {START_SECONDS_MAX:g} s"
        while process is not None and time.monotonic() < deadline:
            if process.poll() is not None:
                failure = f"ended with code {process.returncode}"
                break
            if answers_metadata(self.port):
                return
            time.sleep(0.02)
        raise BrokerError(f"{self.name} must start, it {failure}; log {self.log_path}:\n{self.log_tail()}")

    def _kafka_command(self) -> list[str]:
        if not port_is_free(self._controller_port):
            self._controller_port = free_port(self.port)
        logs = self.data_dir / "data"
        text = Template((HERE / "server.properties").read_text()).substitute(
            port=self.port, controller_port=self._controller_port, log_dir=logs
        )
        text += "".join(f"{key}={value}\n" for key, value in self.settings.items())
        properties = self.data_dir / "server.properties"
        properties.write_text(text)
        jars = resolve_jars()
        classes = jars / "classes.jsa"  # the JVM's class archive: halves the start-up time
        compilers = [] if self.long_lived else SHORT_LIVED_FLAGS
        java = [java_path(), *JVM_FLAGS, *compilers, *LOG_FLAGS, "-cp", f"{jars}/*"]
        if classes.exists():
            java.insert(1, f"-XX:SharedArchiveFile={classes}")
        if not (logs / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            storage = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
            done = subprocess.run([*java, *storage], capture_output=True, text=True, check=False)
            if done.returncode:
                raise BrokerError(f"{logs} must be formatted: {last_line(done.stdout + done.stderr)}")
        if not classes.exists():  # our clean stop writes it, and renames it into place
            self._new_classes = jars / f"classes-{os.getpid()}-{self.port}.jsa"
            java.insert(1, f"-XX:ArchiveClassesAtExit={self._new_classes}")
        return [*java, "kafka.Kafka", str(properties)]

    def _noida_command(self) -> list[str]:
        spec = importlib.util.find_spec("noida_db")
        if spec is None or spec.origin is None:
            why = self.fallback_reason or "noida-db was asked for"
            raise BrokerError(f"Java {JAVA_MIN} with Maven, or noida-db, must be installed: {why}")
        binary = Path(spec.origin).with_name("noida-db")
        binary.chmod(0o755)
        command = [str(binary), "start", "--data-dir", str(self.data_dir / "noida"), "--host", HOST]
        return [*command, "--only", "kafka", "--kafka-port", str(self.port)]


def answers_metadata(port: int, timeout_s: float = 2.0) -> bool:
    """Ask the broker for metadata (version 1, no topics) and say whether it answers with a live broker."""
    api_key, version, correlation, no_client_id, no_topics = 3, 1, 1, -1, 0
    request = struct.pack(">hhihi", api_key, version, correlation, no_client_id, no_topics)
    try:
        with socket.create_connection((HOST, port), timeout_s) as sock:
            sock.sendall(struct.pack(">i", len(request)) + request)
            answer = b""
            while len(answer) < 12 and (more := sock.recv(4096)):
                answer += more
    except OSError:
        return False
    return len(answer) >= 12 and int(struct.unpack_from(">i", answer, 8)[0]) > 0


def port_is_free(port: int) -> bool:
    """Say whether a listener can be bound on the loopback port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(*taken: int) -> int:
    """Return a free loopback port that is none of ``taken``."""
    chooser = random.SystemRandom()
    while (port := chooser.choice(PORTS)) in taken or not port_is_free(port):
        pass
    return port


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child runs before exec so that it dies with its parent; None off Linux."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def arm() -> None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return arm


def main_broker(port: int, data_dir: Path, kind: Kind | None = None) -> int:
    """Run a broker until Ctrl-C or SIGTERM; return the exit code: 0 stopped, 1 died, 2 refused to start."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell that starts us in the background ignores SIGINT for us
        signal.signal(number, signal.default_int_handler)
    broker: LocalBroker | None = None
    try:
        if kind != "noida" and not jars_path().is_dir():
            click.echo("fetching Apache Kafka with Maven, once ...", err=True)
        broker = LocalBroker(data_dir, port, kind=kind, long_lived=True)
        if broker.fallback_reason:
            click.echo(f"no Apache Kafka: {broker.fallback_reason}", err=True)
        broker.start()
        click.echo(f"broker     {broker.name}, ready in {broker.start_seconds:.1f} s")
        for limit in broker.limits:
            click.echo(f"limit      {limit}")
        click.echo(f"bootstrap  {broker.bootstrap}\nlog        {broker.log_path}\nstop       Ctrl-C")
        code = broker.wait()
        click.echo(f"Error: {broker.name} ended with code {code}; log:\n{broker.log_tail()}", err=True)
        return 1
    except (BrokerError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        if broker is not None:
            broker.stop()


@click.command("broker")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9092,
    show_default=True,
    help="Port on 127.0.0.1; 0 picks a free one.",
)
@click.option("--data-dir", default=".kafka", show_default=True, type=click.Path(path_type=Path), help="Data and log.")
@click.option("--kind", type=click.Choice(["kafka", "noida"]), help="Force one broker; default: the best there is.")
def broker_command(port: int, data_dir: Path, kind: Kind | None) -> None:
    """Run a local Kafka broker, without Docker, until Ctrl-C or SIGTERM."""
    sys.exit(main_broker(port, data_dir, kind))
