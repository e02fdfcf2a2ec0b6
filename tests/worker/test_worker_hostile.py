"""Hostile messages among good ones, through a real worker; `make hostile` runs as many as 100,000."""

from pathlib import Path

import pytest

from schemas.dead_letters import REASONS
from streams.kafka.broker import LocalBroker
from tests.worker.hostile import hostile_run, report

pytestmark = pytest.mark.kafka


def test_hostile_messages_are_set_aside_and_no_good_one_is_lost(broker: LocalBroker, tmp_path: Path) -> None:
    """One bad message that stops the stream, or takes a good one with it, stops margining for everyone."""
    run = hostile_run(broker, tmp_path, 3_000, seed=7)
    assert not run.problems, report(run)
    # a switch of margin model that is refused answers a sound message: tests/test_engine_portfolio.py
    assert {code for code in REASONS if run.compared[f"code {code}"]} == REASONS.keys() - {"model_refused"}
    assert sum(one.kind is not None for one in run.sent) >= 3_000
