"""Who holds which partition, by example."""

from __future__ import annotations

import pytest

from streams.kafka.sharing import shared_out


@pytest.mark.parametrize(
    ("partitions", "before", "after"),
    [
        (4, [[0, 1, 2, 3]], [[0, 1, 2, 3]]),
        (4, [[]], [[0, 1, 2, 3]]),
        (4, [[], []], [[0, 1], [2, 3]]),
        (4, [[0, 2], [1, 3], []], [[0, 2], [1], [3]]),  # a third worker comes; the first keeps both
        (4, [[0], [1, 3], [2]], [[0], [1, 3], [2]]),  # level: nothing moves, whoever has one more
        (4, [[0, 1, 2, 3], []], [[0, 1], [2, 3]]),
        (4, [[1], [2]], [[0, 1], [2, 3]]),  # a worker has gone
        (12, [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], []], [[0, 1, 2], [3, 4, 5], [6, 7], [9, 10], [8, 11]]),
        (1, [[0], []], [[0], []]),
        (1, [[], [0]], [[], [0]]),
        (2, [[0, 1], [0, 1]], [[0], [1]]),  # both say they hold both
        (2, [[0, 1, 2, 7], []], [[0], [1]]),  # of a topic that was made anew, smaller
        (0, [[], []], [[], []]),
    ],
)
def test_one_topic(partitions: int, before: list[list[int]], after: list[list[int]]) -> None:
    """A worker that nothing is left for holds nothing for ever, as nothing moves once all is level."""
    members = [f"worker {number}" for number in range(len(before))]
    held = {member: {"journal": own} for member, own in zip(members, before, strict=True)}
    shares = shared_out({"journal": range(partitions)}, dict.fromkeys(members, ("journal",)), held)
    assert [shares[member].get("journal", []) for member in members] == after


def test_topics_of_one_partition_are_shared_too() -> None:
    """Each topic alone is level wherever its one partition is; one worker would read them all."""
    topics = dict.fromkeys("abcde", (0,))
    shares = shared_out(topics, {"first": topics, "second": topics}, {"first": topics, "second": {}})
    assert sorted(len(share) for share in shares.values()) == [2, 3]


def test_a_worker_is_given_only_what_it_subscribes_to() -> None:
    """Workers of other roles have no agent for a topic that they do not name."""
    topics = {"journal": range(4), "fills": range(4), "quotes": range(2)}
    subscriptions = {"margin": ["journal"], "both": ["journal", "fills"], "ingest": ["fills"]}
    assert shared_out(topics, subscriptions, {}) == {
        "margin": {"journal": [2, 3]},
        "both": {"journal": [0, 1], "fills": [0, 1]},
        "ingest": {"fills": [2, 3]},
    }
