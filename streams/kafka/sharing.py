"""Who holds which partition: as evenly as can be, moving as few as that needs. Knows no broker and no Faust.

Partitions of different topics are shared apart: nothing of ours needs `fills` 3 and `journal` 3 on one worker, as
every row goes through the journal of its shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

#: topic -> its partitions, or those of one member.
TopicPartitions = Mapping[str, Collection[int]]


def shared_out(
    partitions: TopicPartitions,
    subscriptions: Mapping[str, Collection[str]],
    held: Mapping[str, TopicPartitions],
) -> dict[str, dict[str, list[int]]]:
    """Return what each member is to hold; the order of members and topics plays no part.

    Of each topic, its subscribers hold numbers of partitions that differ by one at most; then the numbers that members
    hold in all are as even as they can be: differing by one at most where all subscribe to the same topics. No way of
    sharing as even as that takes fewer partitions from those who held them.

    Parameters
    ----------
    partitions : all partitions of the topics
    subscriptions : member -> topics that it may be given
    held : member -> partitions that it says it held so far; what is gone or not subscribed to counts for nothing, and
        of several members that claim one partition the one with the least keeps it

    Returns
    -------
    dict
        member -> topic -> partitions, ascending, of the topics that it is given some of. A topic that no one subscribes
        to is nobody's.
    """
    subscribers = {
        topic: sorted(member for member, topics in subscriptions.items() if topic in topics)
        for topic in sorted(partitions)
    }
    shares: dict[str, dict[str, list[int]]] = {member: {} for member in subscriptions}
    kept = {topic: _kept(topic, partitions[topic], members, held) for topic, members in subscribers.items()}
    for topic, sizes in _sizes(partitions, subscribers, kept).items():
        left = {member: sorted(kept[topic][member])[:size] for member, size in sizes.items()}
        free = iter(sorted(set(partitions[topic]).difference(*left.values())))
        for member, size in sizes.items():
            own = left[member] + [next(free) for _ in range(size - len(left[member]))]
            if own:
                shares[member][topic] = sorted(own)
    return shares


def _kept(
    topic: str, partitions: Collection[int], members: Collection[str], held: Mapping[str, TopicPartitions]
) -> dict[str, set[int]]:
    """What of a topic each subscriber held, each partition with one of them at most."""
    claims = {
        partition: [member for member in members if partition in held.get(member, {}).get(topic, ())]
        for partition in partitions
    }
    kept: dict[str, set[int]] = {member: set() for member in members}
    for partition, claimants in sorted(claims.items(), key=lambda claim: (len(claim[1]), claim[0])):
        if claimants:
            kept[min(claimants, key=lambda member: (len(kept[member]), member))].add(partition)
    return kept


def _sizes(
    partitions: TopicPartitions,
    subscribers: Mapping[str, list[str]],
    kept: Mapping[str, Mapping[str, Collection[int]]],
) -> dict[str, dict[str, int]]:
    """How many partitions of each topic each subscriber is to hold.

    All get the rounded quotient. Who gets one more is a flow of least cost from topics to members: the cost of a
    member's next partition is how many it has in all and, far less, 1 where it held no more of the topic anyway.
    """
    even = {topic: len(partitions[topic]) // len(members) for topic, members in subscribers.items() if members}
    loads = Counter({member: 0 for members in subscribers.values() for member in members})
    for topic, size in even.items():
        loads.update(dict.fromkeys(subscribers[topic], size))
    moves = {
        (topic, member): int(len(kept[topic][member]) <= size)
        for topic, size in even.items()
        for member in subscribers[topic]
    }
    longer: dict[str, set[str]] = {topic: set() for topic in even}
    for topic in even:
        for _ in range(len(partitions[topic]) % len(subscribers[topic])):
            loads[_lengthen(topic, subscribers, longer, moves, loads)] += 1
    return {
        topic: {member: size + (member in longer[topic]) for member in subscribers[topic]}
        for topic, size in even.items()
    }


def _lengthen(
    first: str,
    subscribers: Mapping[str, list[str]],
    longer: Mapping[str, set[str]],
    moves: Mapping[tuple[str, str], int],
    loads: Mapping[str, int],
) -> str:
    """Give out one more partition of a topic at the least cost, and return the member that has more in all for it.

    That may take several steps (Bellman and Ford's shortest path): a member given one of this topic gives back one
    of another, which the next member is given.
    """
    topic_costs, member_costs = {first: 0}, dict[str, int]()
    given_back_by: dict[str, str] = {}
    given: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for topic, cost in sorted(topic_costs.items()):
            for member in subscribers[topic]:
                one_more = cost + moves[topic, member]
                if member not in longer[topic] and one_more < member_costs.get(member, one_more + 1):
                    member_costs[member], given[member], changed = one_more, topic, True
        for member, cost in sorted(member_costs.items()):
            for topic, members in longer.items():
                one_less = cost - moves.get((topic, member), 0)
                if member in members and one_less < topic_costs.get(topic, one_less + 1):
                    topic_costs[topic], given_back_by[topic], changed = one_less, member, True
    last = member = min(member_costs, key=lambda name: (loads[name], member_costs[name], name))
    while (topic := given[member]) != first:
        longer[topic].add(member)
        member = given_back_by[topic]
        longer[topic].remove(member)
    longer[first].add(member)
    return last
