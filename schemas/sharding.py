"""Which journal partition an account belongs to: Kafka's default partitioner, so that anyone can compute it.

References
----------
Apache Kafka, clients/src/main/java/org/apache/kafka/common/utils/Utils.java, `murmur2` and `toPositive`.
"""

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def shard_of(account: str, partitions: int) -> int:
    """The partition of messages whose key is `account`, of `partitions`.

    Examples
    --------
    >>> [shard_of(name, 4) for name in ("alice", "bob", "carol")]
    [1, 2, 2]
    """
    return (murmur2(account.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The 32-bit hash of `data` by which Kafka's Java client assigns keys to partitions."""
    h = _SEED ^ len(data)
    whole = len(data) & ~3
    for position in range(0, whole, 4):
        k = int.from_bytes(data[position : position + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15
