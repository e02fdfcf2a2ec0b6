"""Blocks of one partition follow each other without a hole, whatever a fetch returned."""

from __future__ import annotations

from aiokafka import ConsumerRecord, TopicPartition

from streams.kafka.leases import Block, Lease

TP = TopicPartition("journal", 3)


def records(*offsets: int) -> list[ConsumerRecord]:
    return [ConsumerRecord("journal", 3, offset, 0, 0, None, b"", None, 0, 0, ()) for offset in offsets]


def lease_at(offset: int) -> Lease:
    lease = Lease(TP, lambda: None)
    lease.begin(offset)
    return lease


def spans(blocks: list[Block]) -> list[tuple[int, int, list[int]]]:
    return [(block.start, block.end, [record.offset for record in block.records]) for block in blocks]


def test_a_fetch_is_cut_into_blocks_that_join() -> None:
    """A hole between two blocks would be a fill that nobody books."""
    lease = lease_at(10)
    blocks = list(lease.cut(records(10, 11, 12, 13, 14), 15, 2))
    assert spans(blocks) == [(10, 12, [10, 11]), (12, 14, [12, 13]), (14, 15, [14])]
    assert (lease.position, lease.in_flight) == (15, 3)


def test_the_last_block_covers_the_markers_behind_it() -> None:
    """The offset that is committed must be where the next fetch begins, or a restart waits for what is no record."""
    lease = lease_at(10)
    assert spans(list(lease.cut(records(10, 11), 13, 100))) == [(10, 13, [10, 11])]


def test_a_fetch_of_markers_alone_is_covered_by_the_next_block() -> None:
    """Every transaction ends with a marker: none of them may look like a lost block."""
    lease = lease_at(10)
    assert list(lease.cut([], 12, 100)) == []
    assert lease.position == 12
    assert spans(list(lease.cut(records(12), 14, 100))) == [(10, 14, [12])]


def test_compacted_offsets_are_covered() -> None:
    """A compacted topic has holes that are not losses."""
    lease = lease_at(0)
    blocks = list(lease.cut(records(4, 9, 17), 20, 1))
    assert spans(blocks) == [(0, 5, [4]), (5, 10, [9]), (10, 20, [17])]


def test_released_blocks_make_room() -> None:
    """A partition whose blocks are never released would stand still for ever."""
    woken = []
    lease = Lease(TP, lambda: woken.append(True))
    lease.begin(0)
    (block,) = lease.cut(records(0), 1, 10)
    assert lease.in_flight == 1
    block.release()
    assert (lease.in_flight, woken, block.tp) == (0, [True], TP)


def test_fetches_on_their_way_take_room() -> None:
    """The consumer thread runs ahead of the main one: without a bound it would hold the whole topic in memory."""
    lease = Lease(TP, lambda: None)
    assert not lease.has_room(2)  # nobody has said where to begin
    lease.begin(0)
    assert lease.has_room(2)
    lease.fetched += 1
    (block,) = lease.cut(records(0), 1, 10)
    assert not lease.has_room(2)  # one fetch that has not arrived, and one block
    lease.handed_over += 1
    assert lease.has_room(2)
    lease.fetched += 1
    assert not lease.has_room(2)
    block.release()
    assert lease.has_room(2)
    lease.alive = False
    assert not lease.has_room(2)


def test_who_is_behind_knows_of_rows_and_not_only_of_markers() -> None:
    """A journal that ends with the markers of many writers must not hold back what was read of it."""
    lease = lease_at(0)
    assert not lease.behind
    lease.left = 50
    assert not lease.behind
    lease.left = 1_000
    assert lease.behind
