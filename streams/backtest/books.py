"""Books to test: weights of assets, as shares of capital; long is positive, short negative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import orjson

from streams.backtest.panel import BacktestError

Book = dict[str, float]


def books(assets: Sequence[str]) -> dict[str, Book]:
    """The four every panel is tested with, each of gross weight 1.

    All assets long; all short; the first half long against the others short (neutral); the first against the second
    (pair).

    Examples
    --------
    >>> books(["BTC", "ETH", "XRP"])["neutral"]
    {'BTC': 0.25, 'ETH': 0.25, 'XRP': -0.5}
    """
    count, half = len(assets), (len(assets) + 1) // 2
    found = {
        "long": dict.fromkeys(assets, 1.0 / count),
        "short": dict.fromkeys(assets, -1.0 / count),
    }
    if count > 1:
        found["neutral"] = {name: 0.5 / half if at < half else -0.5 / (count - half) for at, name in enumerate(assets)}
        found["pair"] = {assets[0]: 0.5, assets[1]: -0.5}
    return found


def read(path: Path, assets: Sequence[str]) -> dict[str, Book]:
    """Own books of a JSON file: {"name": {"BTC": 0.6, "ETH": -0.4}, ...}.

    Raises
    ------
    BacktestError
        where the file is no such document, an asset is not in the panel, or a weight is no number.
    """
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise BacktestError(f"books must be a readable JSON file, {error} ({path})") from None
    if not isinstance(document, dict) or not document:
        raise BacktestError(f"books must be an object by name, found {str(document)[:80]} ({path})")
    for name, book in document.items():
        if not isinstance(book, dict) or not book:
            raise BacktestError(f"a book must be weights by asset, found {str(book)[:80]} ({path}: {name})")
        for asset, weight in book.items():
            if asset not in assets:
                raise BacktestError(f"an asset must be one of {', '.join(assets)}, found {asset} ({path}: {name})")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
                raise BacktestError(f"a weight must be a finite number, found {weight!r} ({path}: {name}.{asset})")
        if not any(book.values()):
            raise BacktestError(f"a book must have a weight other than 0, found none ({path}: {name})")
    return {name: {asset: float(weight) for asset, weight in book.items()} for name, book in document.items()}
