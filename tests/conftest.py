"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.kafka.broker import LocalBroker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """One real broker for the whole session, started when a test first asks; never stop or kill it."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as running:
        yield running
