"""Topics are created where that is allowed, and refused in one line where they don't fit."""

from __future__ import annotations

import asyncio

import pytest

from streams.kafka.broker import LocalBroker
from streams.kafka.topics import TopicNeed, TopicsUnfit, ensure_topics

pytestmark = pytest.mark.kafka


def ensure(broker: LocalBroker, *needs: TopicNeed, create: bool = True, replication: int = 1) -> dict[str, int]:
    client = {"bootstrap_servers": broker.bootstrap}
    return asyncio.run(ensure_topics(client, needs, create=create, replication=replication))


def test_missing_topics_are_created_and_existing_ones_kept(broker: LocalBroker) -> None:
    """A venue's own topics have the partitions they have; ours are made as they must be."""
    assert ensure(broker, TopicNeed(name="topics-venue", partitions=3)) == {"topics-venue": 3}
    compact = {"cleanup.policy": "compact"}
    needs = [
        TopicNeed(name="topics-venue", partitions=8),
        TopicNeed(name="topics-ours", partitions=4, exact=True, config=compact),
    ]
    assert ensure(broker, *needs) == {"topics-venue": 3, "topics-ours": 4}
    assert ensure(broker, *needs, create=False) == {"topics-venue": 3, "topics-ours": 4}


@pytest.mark.parametrize(
    ("need", "create", "replication", "why"),
    [
        (TopicNeed(name="topics-none", partitions=1), False, 1, r"topics must exist, missing: topics-none$"),
        (
            TopicNeed(name="topics-p", partitions=8, exact=True),
            True,
            1,
            r"topic topics-p must have 8 partitions, has 4$",
        ),
        (
            TopicNeed(name="topics-rf", partitions=1),
            True,
            3,
            r"topic topics-rf must be created, found InvalidReplicationFactorError",
        ),
    ],
    ids=["missing", "another number of partitions", "too many replicas"],
)
def test_what_does_not_fit_is_refused(
    broker: LocalBroker, need: TopicNeed, create: bool, replication: int, why: str
) -> None:
    """A changed number of shards would send an account's fills to two places."""
    ensure(broker, TopicNeed(name="topics-p", partitions=4))
    with pytest.raises(TopicsUnfit, match=why):
        ensure(broker, need, create=create, replication=replication)
