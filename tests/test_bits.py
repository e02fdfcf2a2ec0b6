"""What equal bits are bound to: the rules that a block names, and no library or processor.

exp, log, pow and erf of the C library, and NumPy's sums and products of matrices, choose their instructions by
processor, so that their last bits differ. If a decision hung on one, an auditor's replay on another machine would call
a sound journal forged.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import streams
from tests.golden.journals import HERE

STREAMS = Path(streams.__file__).parent
DECIDING = ("engine", "margin")
LOOSE = {"exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "pow", "power", "float_power", "cbrt", "erf", "erfc"}
LOOSE |= {"sin", "cos", "tan", "tanh", "sinh", "cosh", "atan", "hypot", "gamma", "lgamma", "logaddexp"}
LOOSE |= {"vdot", "inner", "matmul", "einsum", "tensordot", "linalg", "fsum"}
#: Of arrays too.
LOOSE_METHODS = {"dot", "mean", "std", "var"}
#: Where they are called all the same, and why that decides nothing.
HARMLESS = {
    "engine/book_view.py": "log10 of a power of ten, rounded to a whole number",
    "engine/texts.py": "a first guess of the decimal places, held against exact products",
    "engine/radius.py": "how far prices may move before a book is looked at, with a guard for rounding",
    "engine/reach.py": "how far prices may move before a book is looked at, with a guard for rounding",
    "engine/slack.py": "how far prices have moved, see radius.py",
    "margin/screens.py": "screens, which decide nothing",
    "margin/tail.py": "the tail of the t distribution, which only tests read",
}
#: The C library and NumPy told that this processor knows neither fused multiply-add nor wide vectors.
PLAIN = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2_Usable,-FMA_Usable,-FMA4_Usable,-AVX2,-AVX512F",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
}
LIBRARY = """
import math
from hashlib import blake2b
points = [n / 997.0 for n in range(1, 20000)]
print(blake2b(repr([(math.exp(x), math.log(x), math.erfc(x), x**0.37) for x in points]).encode()).hexdigest())
"""
FOLD = """
from tests.golden.journals import HERE, decisions, read_journal
print(blake2b(decisions(read_journal(HERE / "portfolio" / "journal.bin"))).hexdigest())
"""


def loose_calls(tree: ast.AST) -> Iterator[str]:
    """Functions of `math`, NumPy and arrays, and powers, whose last bits depend on the machine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            library = isinstance(node.value, ast.Name) and node.value.id in ("math", "np")
            if node.attr in LOOSE_METHODS or (library and node.attr in LOOSE):
                yield f"{ast.unparse(node)} in line {node.lineno}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            yield f"@ in line {node.lineno}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and fraction(node.right):
            yield f"** {ast.unparse(node.right)} in line {node.lineno}"


def fraction(exponent: ast.expr) -> bool:
    """Whether an exponent may be no whole number: it is a quotient, or has a float in it."""
    parts = list(ast.walk(exponent))
    quotient = any(isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div) for part in parts)
    return quotient or any(isinstance(part, ast.Constant) and isinstance(part.value, float) for part in parts)


def deciding() -> dict[str, list[str]]:
    """By file of the packages that decide, its calls of loose functions."""
    found = {}
    for package in DECIDING:
        for path in sorted((STREAMS / package).glob("*.py")):
            if calls := list(loose_calls(ast.parse(path.read_text()))):
                found[f"{package}/{path.name}"] = calls
    return found


def test_what_decides_calls_no_function_whose_last_bits_depend_on_the_machine() -> None:
    """Whoever needs one takes streams.margin.elementary, or says in HARMLESS why it decides nothing."""
    found = deciding()
    assert {name: calls for name, calls in found.items() if name not in HARMLESS} == {}
    assert set(HARMLESS) <= set(found), "what calls none needs no excuse"


def test_a_fold_gives_the_same_bytes_without_fused_multiply_add(capsys: pytest.CaptureFixture[str]) -> None:
    """Another processor, as far as one can be had here: the C library's own functions do give other bits on it."""
    root = str(STREAMS.parent)
    environment = os.environ | PLAIN | {"PYTHONPATH": root}
    asked = [sys.executable, "-c", LIBRARY + FOLD]
    done = subprocess.run(asked, env=environment, cwd=root, capture_output=True, text=True, check=True)
    library, fold = done.stdout.split()
    exec(LIBRARY, {})
    if capsys.readouterr().out.strip() == library:
        pytest.skip("this C library gives the same bits with and without fused multiply-add")
    assert fold == hashlib.blake2b((HERE / "portfolio" / "decisions.jsonl").read_bytes()).hexdigest()
