"""The topics a worker needs: create what is missing where that is allowed, and refuse what doesn't fit.

This module knows names, partition counts and settings; what a topic carries is told in `schemas.topics`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiokafka.errors as errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

READY_SECONDS_MAX = 30.0


class TopicsUnfit(Exception):
    """The topics of the cluster are not what a worker needs; the message is one clear line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicNeed:
    """A topic that must exist.

    Attributes
    ----------
    partitions : int
        How many a new one gets.
    exact : bool
        Whether an existing one must have as many; else any number will do.
    config : mapping
        Settings of a new one, such as ``{"cleanup.policy": "compact"}``; those of an existing one are its
        owner's.
    """

    name: str
    partitions: int
    exact: bool = False
    config: Mapping[str, str] = field(default_factory=dict)


async def ensure_topics(
    client: Mapping[str, Any], needs: Iterable[TopicNeed], *, create: bool, replication: int = 1
) -> dict[str, int]:
    """Make sure that all topics exist, fit and have leaders; return their partition counts.

    Parameters
    ----------
    client : mapping
        aiokafka's connection settings.
    create : bool
        Whether missing topics may be created; else they are an error.
    replication : int
        Replicas of a new topic's partitions.

    Raises
    ------
    TopicsUnfit
        When topics are missing, cannot be created, or have another number of partitions than they must have.
    """
    wanted = {need.name: need for need in needs}
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        found = await admin.describe_topics(sorted(wanted))
        unknown = errors.UnknownTopicOrPartitionError.errno
        missing = {topic["topic"] for topic in found if topic["error_code"] == unknown}
        if missing and not create:
            raise TopicsUnfit(f"topics must exist, missing: {', '.join(sorted(missing))}")
        if missing:
            await _create(admin, [wanted[name] for name in sorted(missing)], replication)
        counts = await _ready(admin, wanted)
    finally:
        await admin.close()
    for name, need in wanted.items():
        if need.exact and counts[name] != need.partitions:
            raise TopicsUnfit(f"topic {name} must have {need.partitions} partitions, has {counts[name]}")
    return counts


async def _create(admin: AIOKafkaAdminClient, needs: Iterable[TopicNeed], replication: int) -> None:
    topics = [NewTopic(need.name, need.partitions, replication, topic_configs=dict(need.config)) for need in needs]
    answer = await admin.create_topics(topics)
    for name, code, *why in answer.topic_errors:
        error = errors.for_code(code)
        if error not in (errors.NoError, errors.TopicAlreadyExistsError):  # another worker was quicker
            raise TopicsUnfit(f"topic {name} must be created, found {error.__name__} {' '.join(map(str, why))}")


async def _ready(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    """Wait until every topic is known with a leader for each partition."""
    until = time.monotonic() + READY_SECONDS_MAX
    while True:
        counts = await _counts(admin, names)
        if counts.keys() >= set(names):
            return counts
        if time.monotonic() > until:
            late = ", ".join(sorted(set(names) - counts.keys()))
            raise TopicsUnfit(f"topics must have leaders within {READY_SECONDS_MAX:g} s, still without: {late}")
        await asyncio.sleep(0.05)


async def _counts(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    """Return the partition counts of those topics that exist and have all their leaders."""
    found = await admin.describe_topics(sorted(names))
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in found
        if topic["error_code"] == 0
        and topic["partitions"]
        and all(partition["error_code"] == 0 and partition["leader"] >= 0 for partition in topic["partitions"])
    }
