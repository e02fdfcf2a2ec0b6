"""The examples in the docstrings of the contract, of ingest, of the formulas and of the oracle are true."""

import doctest
import importlib
import pkgutil

import pytest

import schemas
import streams.ingest
import streams.margin
import streams.oracle

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (schemas, streams.ingest, streams.margin, streams.oracle)
    for module in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    """An example that lies teaches the wrong thing."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
