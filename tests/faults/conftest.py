"""What fault tests need of pytest: a broker that may be killed, and one line at the end that counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.chaos import TOTAL

from streams.kafka.broker import LocalBroker


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker that a test may kill."""
    with LocalBroker(tmp_path / "broker") as running:
        yield running


def pytest_unconfigure() -> None:
    """Say what was done and found, last of all."""
    if TOTAL.compared:
        print(f"\n{TOTAL}")
