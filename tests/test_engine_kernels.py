"""Compiled kernels are those of the present source."""

import os
import subprocess
import sys
from pathlib import Path

import streams
from streams import kernels_folder


def test_kernels_are_kept_by_the_source_of_all_of_them(tmp_path: Path) -> None:
    """After an update a kernel that had inlined another file's old rule would go on deciding by it."""
    for name, text in {"margin/a.py": "@njit\n1", "engine/b.py": "@njit\n2", "engine/c.py": "plain"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = kernels_folder(tmp_path)
    (tmp_path / "engine/c.py").write_text("plain, and changed")
    assert kernels_folder(tmp_path) == before
    (tmp_path / "margin/a.py").write_text("@njit\n3")
    after = kernels_folder(tmp_path)
    assert after != before
    (tmp_path / "engine/c.py").write_text("@intrinsic\n1")
    assert kernels_folder(tmp_path) != after


def test_the_folder_is_set_before_numba_is_imported() -> None:
    """It reads the setting once."""
    import numba

    assert os.environ["NUMBA_CACHE_DIR"] == numba.config.CACHE_DIR
    assert Path(os.environ["NUMBA_CACHE_DIR"]).parent.parent == Path(streams.__file__).parent


def test_and_if_numba_was_imported_first() -> None:
    """A benchmark that did so had its kernels kept file by file, and one went on with what it had inlined before."""
    script = "import numba, streams, os; assert numba.config.CACHE_DIR == os.environ['NUMBA_CACHE_DIR'] != ''"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
