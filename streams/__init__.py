"""The engine, its agents and its command line.

Compiled kernels are kept in a folder named by the source of all of them. Left to itself numba looks only at the file of
each kernel and would go on with what it had inlined from others: after an update a shard would fold by old rules.
"""

import hashlib
import os
import sys
from pathlib import Path

#: A file with any of these has something to do with kernels.
KERNEL_MARKS = (b"@kernel", b"@inner", b"@intrinsic", b"njit")


def kernels_folder(package: Path) -> Path:
    """Where kernels compiled from the present source of `package` are kept."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted([*package.glob("compiled.py"), *package.glob("margin/*.py"), *package.glob("engine/*.py")]):
        source = file.read_bytes()
        if any(mark in source for mark in KERNEL_MARKS):
            digest.update(file.name.encode() + b"\0" + source)
    return package / "__pycache__" / f"kernels-{digest.hexdigest()}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(kernels_folder(Path(__file__).parent)))
if "numba" in sys.modules:  # imported before us, it has read its environment
    sys.modules["numba"].config.reload_config()
