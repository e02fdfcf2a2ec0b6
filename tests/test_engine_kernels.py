"""Compiled kernels are those of the present source."""

import ast
import doctest
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import streams
from streams import kernels_folder

#: Where kernels may be called.
FOLDERS = ("streams", "tests", "benchmarks")


def test_kernels_are_kept_by_the_source_of_all_of_them(tmp_path: Path) -> None:
    """After an update a kernel that had inlined another file's old rule would go on deciding by it."""
    for name, text in {"margin/a.py": "@kernel\n1", "engine/b.py": "@inner\n2", "engine/c.py": "plain"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = kernels_folder(tmp_path)
    (tmp_path / "engine/c.py").write_text("plain, and changed")
    assert kernels_folder(tmp_path) == before
    (tmp_path / "margin/a.py").write_text("@kernel\n3")
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


def _marked(node: ast.FunctionDef) -> str:
    """Name of the decorator that makes a kernel of it; empty where none does."""
    names = [made.id for made in ast.walk(ast.Module(node.decorator_list, [])) if isinstance(made, ast.Name)]
    return next((name for name in names if name in ("kernel", "inner", "intrinsic")), "")


def _called_by_python(tree: ast.AST) -> Iterator[str]:
    """Names of what is called outside kernels, in examples too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
                yield from _called_by_python(ast.parse(example.source))
        if isinstance(node, ast.FunctionDef) and _marked(node):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        yield from _called_by_python(node)


def test_inner_kernels_are_called_by_kernels_alone() -> None:
    """Python has no way into them: the process would die of it."""
    root = Path(streams.__file__).parent.parent
    trees = {file: ast.parse(file.read_text()) for folder in FOLDERS for file in root.glob(f"{folder}/**/*.py")}
    functions = [
        (file, node) for file, tree in trees.items() for node in tree.body if isinstance(node, ast.FunctionDef)
    ]
    where = {node.name: file for file, node in functions if _marked(node) == "inner"}
    assert len(where) > 50
    for file, tree in trees.items():
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _marked(node) != "inner"}
        assert not [name for name in _called_by_python(tree) if name in where and name not in own], file
