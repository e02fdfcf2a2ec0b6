"""Partitions shared out among members: whole, even, sticky, and the same for everyone who works it out."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.sharing import shared_out

TOPICS = ("accounts", "fills", "journal", "quotes")
MEMBERS = ("a", "b", "c", "d", "e")


@st.composite
def groups(draw: st.DrawFn, *, alike: bool = False) -> tuple[Any, Any, Any]:
    """Partitions of topics, who subscribes to what, and who held what: each partition one member's, or no one's."""
    topics = draw(st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4, unique=True))
    members = draw(st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=4 if alike else 5, unique=True))
    partitions = {topic: set(range(draw(st.integers(0, 7)))) for topic in topics}
    some = st.just(set(topics)) if alike else st.sets(st.sampled_from(topics))
    subscriptions = {member: draw(some) for member in members}
    held: dict[str, dict[str, set[int]]] = {member: {} for member in members}
    for topic, numbers in partitions.items():
        for number in sorted(numbers):
            holder = draw(st.sampled_from([None, *(member for member in members if topic in subscriptions[member])]))
            if holder:
                held[holder].setdefault(topic, set()).add(number)
    return partitions, subscriptions, held


def pairs(share: dict[str, set[int]]) -> set[tuple[str, int]]:
    return {(topic, number) for topic, numbers in share.items() for number in numbers}


def spread(sizes: list[int]) -> int:
    return max(sizes) - min(sizes) if sizes else 0


@given(groups())
def test_every_partition_is_some_subscribers_once(group: tuple[Any, Any, Any]) -> None:
    """A partition held by nobody stands still; one held by two stops both; one not asked for stops its worker."""
    partitions, subscriptions, held = group
    shares = shared_out(partitions, subscriptions, held)
    assert shares.keys() == subscriptions.keys()
    asked = set().union(*subscriptions.values())
    wanted = pairs({topic: numbers for topic, numbers in partitions.items() if topic in asked})
    given_out = [pair for share in shares.values() for pair in pairs(share)]
    assert sorted(given_out) == sorted(wanted)
    assert all(share.keys() <= subscriptions[member] for member, share in shares.items())


@given(groups())
def test_of_each_topic_shares_differ_by_one_at_most(group: tuple[Any, Any, Any]) -> None:
    """Else one worker waits while another's shards fall behind."""
    partitions, subscriptions, held = group
    shares = shared_out(partitions, subscriptions, held)
    for topic in partitions:
        assert spread([len(shares[m].get(topic, ())) for m in shares if topic in subscriptions[m]]) <= 1


@given(groups(alike=True))
def test_in_all_shares_differ_by_one_at_most_and_as_few_move_as_can_be(group: tuple[Any, Any, Any]) -> None:
    """A partition that moves is restored elsewhere, and its accounts are margined by nobody meanwhile."""
    partitions, subscriptions, held = group
    shares = shared_out(partitions, subscriptions, held)
    assert spread([len(pairs(share)) for share in shares.values()]) <= 1
    assert moved(held, shares) == fewest_moves(partitions, held)


def moved(held: dict[str, Any], shares: dict[str, Any]) -> int:
    return sum(len(pairs(held[member]) - pairs(share)) for member, share in shares.items())


def fewest_moves(partitions: dict[str, set[int]], held: dict[str, dict[str, set[int]]]) -> int:
    """Of all level numbers per topic and member that are level in all: the fewest partitions taken from holders."""
    members = sorted(held)
    choices = []
    for topic, numbers in sorted(partitions.items()):
        floor, over = divmod(len(numbers), len(members))
        holds = [len(held[member].get(topic, ())) for member in members]
        topic_choices = []
        for longer in itertools.combinations(range(len(members)), over):
            sizes = [floor + (place in longer) for place in range(len(members))]
            topic_choices.append((sizes, sum(max(0, had - size) for had, size in zip(holds, sizes, strict=True))))
        choices.append(topic_choices)
    return min(
        sum(moves for _, moves in chosen)
        for chosen in itertools.product(*choices)
        if spread([sum(sizes) for sizes in zip(*(sizes for sizes, _ in chosen), strict=True)]) <= 1
    )


@given(groups())
def test_what_was_shared_out_stays(group: tuple[Any, Any, Any]) -> None:
    """A rebalance in which nobody came or went must move nothing."""
    partitions, subscriptions, held = group
    shares = shared_out(partitions, subscriptions, held)
    assert shared_out(partitions, subscriptions, shares) == shares


@given(groups(), st.randoms(use_true_random=False))
def test_the_order_of_members_and_topics_plays_no_part(group: tuple[Any, Any, Any], chance: Any) -> None:
    """The broker names members in any order; a leader that is replaced must say what the last one said."""

    def shuffled(mapping: dict[str, Any]) -> dict[str, Any]:
        return dict(chance.sample(sorted(mapping.items()), len(mapping)))

    partitions, subscriptions, held = group
    found = shared_out(shuffled(partitions), shuffled(subscriptions), shuffled(held))
    assert found == shared_out(partitions, subscriptions, held)


@given(groups(), st.sampled_from(MEMBERS), st.sampled_from(TOPICS), st.integers(0, 9))
def test_a_partition_that_several_claim_stays_with_one_of_them(
    group: tuple[Any, Any, Any], zombie: str, topic: str, number: int
) -> None:
    """A member that slept through a rebalance claims what others hold by now."""
    partitions, subscriptions, held = group
    if zombie in held:
        held[zombie].setdefault(topic, set()).add(number)
    test_every_partition_is_some_subscribers_once.hypothesis.inner_test((partitions, subscriptions, held))
    test_of_each_topic_shares_differ_by_one_at_most.hypothesis.inner_test((partitions, subscriptions, held))
