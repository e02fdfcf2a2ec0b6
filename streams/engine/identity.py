"""Hashes of ids and names: what tells them apart quickly, the same on every machine."""

import numpy as np
import numpy.typing as npt
from numba import uint64

from streams.compiled import inner


@inner(_nrt=False)
def identity_hash(data: npt.NDArray[np.uint8], start: int, end: int, domain: int) -> int:
    """64-bit hash of an id's bytes (FNV-1a, then murmur3's finaliser).

    `domain` is hashed as a byte before them: kinds of ids are kept apart as different strings are.
    """
    h = (uint64(0xCBF29CE484222325) ^ uint64(domain)) * uint64(0x100000001B3)
    for at in range(start, end):
        h = (h ^ uint64(data[at])) * uint64(0x100000001B3)
    h ^= h >> uint64(33)
    h *= uint64(0xFF51AFD7ED558CCD)
    h ^= h >> uint64(33)
    h *= uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> uint64(33))
