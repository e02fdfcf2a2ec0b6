"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from streams.kafka.broker import LocalBroker

# Every run tries the same examples; HYPOTHESIS_PROFILE=explore tries new ones, and more.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project."""
    parser.addoption("--update-golden", action="store_true", help="write what recorded journals give now")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests are run by `make chaos` only; those on a broker come first: a long file begun last is waited for."""
    items.sort(key=lambda item: item.get_closest_marker("kafka") is None)
    if not os.environ.get("CROSSMARGIN_CHAOS"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long; make chaos runs it"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """One real broker for the whole session, started when a test first asks; never stop or kill it."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as running:
        yield running
