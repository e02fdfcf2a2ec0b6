"""Journal partitions are those of Kafka's own partitioner."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.sharding import murmur2, shard_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_of_kafka(key, expected):
    """The numbers are those of Kafka's own test (UtilsTest.testMurmur2)."""
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.binary(max_size=70))
def test_murmur2_is_that_of_the_client(key):
    """A fill sent by key would otherwise sit in another partition than its account's decisions."""
    assert murmur2(key) == aiokafka_murmur2(key)


@given(st.text(min_size=1), st.integers(1, 512))
def test_shard_of_is_the_default_partition(account, partitions):
    """As above, with the partition count."""
    choice = list(range(partitions))
    assert shard_of(account, partitions) == DefaultPartitioner()(account.encode(), choice, choice)
