"""Apache Kafka on this machine: the java command, and the jars that Maven fetches once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
POM = HERE / "broker_pom.xml"
JAVA_MIN = 17

NOISE = re.compile(r" INFO |^\s+at ")  # lines of a log that do not say what went wrong


class BrokerError(Exception):
    """The local broker cannot run; the message is one line, or one and the end of the broker's log."""


def why_not_kafka() -> str:
    """Say why Apache Kafka cannot run here, in one line; empty when it can (its jars are then in place)."""
    try:
        done = subprocess.run([java_path(), "-version"], capture_output=True, text=True, check=False)
        found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
        if found is None or int(found.group(1)) < JAVA_MIN:
            return f"Java must be {JAVA_MIN} or newer, found: {done.stderr.strip().splitlines()[:1]}"
        resolve_jars()
    except BrokerError as error:
        return str(error)
    return ""


def java_path() -> str:
    """Return the java command: that of JAVA_HOME, else the one on the path."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    found = found or shutil.which("java")
    if found is None:
        raise BrokerError(f"Java {JAVA_MIN} or newer must be installed, no java command found")
    return found


def jars_path() -> Path:
    """Return where this version's jars belong: in the checkout, else in the working directory."""
    checkout = HERE.parent.parent
    home = checkout if (checkout / "pyproject.toml").exists() else Path.cwd()
    return home / ".kafka" / "jars" / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]


def resolve_jars(jars: Path | None = None) -> Path:
    """Return the directory of the broker's jars, which Maven fills once per content of ``broker_pom.xml``."""
    jars = jars or jars_path()
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError("Maven must be installed to fetch Apache Kafka's jars, no mvn command found")
    jars.parent.mkdir(parents=True, exist_ok=True)
    lock_path = jars.with_name(".lock")
    with lock_path.open("w") as lock, tempfile.TemporaryDirectory(dir=jars.parent) as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if jars.is_dir():  # another process fetched them while we waited
            return jars
        fetched = Path(scratch) / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        command = [maven, "-q", "-B", "-f", str(POM), *goal]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not fetched.is_dir():
            errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
            said = (errors or [last_line(done.stdout + done.stderr)])[0].removeprefix("[ERROR] ")
            raise BrokerError(f"Maven must fetch the jars of {POM.name}, it failed: {said[:300]}")
        fetched.rename(jars)
    return jars


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line for line in text.strip().splitlines() if not NOISE.search(line)]
    return lines[-1].strip() if lines else "no output"
