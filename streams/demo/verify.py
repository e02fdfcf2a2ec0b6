"""The closing checks: the books the worker serves against themselves and against what the demo sent. Pure.

A shard's books are the answer of `GET /shards/{p}`: amounts in minor units and positions in lots, as decimal
strings; `accounts` is the sum over the shard's accounts, `house` the engine's own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from schemas.sharding import shard_of
from streams.demo.exchange import Exchange
from streams.demo.score import Score
from streams.demo.tally import Tally
from streams.demo.universe import Universe

#: What the seeded market must cause among 1,000 accounts, and 1,000 of them or more.
EVENTS_MIN, EVENTS_ACCOUNTS = 20, 1000
FAULTS_SHOWN = 3


class Check(NamedTuple):
    """One thing that must hold, and whether it did."""

    name: str
    holds: bool
    detail: str


def conservation(shards: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Double entry: per shard, and `~market` over all shards, since both sides of each trade were fed."""
    sums: list[tuple[str, int, int]] = []
    positions: list[tuple[str, int, int]] = []
    market: defaultdict[str, int] = defaultdict(int)
    for shard in shards:
        for kind, totals in (("assets", sums), ("lots", positions)):
            for what, books in shard[kind].items():
                house = {name: int(amount) for name, amount in books["house"].items()}
                totals.append(
                    (f"{what} in shard {shard['partition']}", int(books["accounts"]) + sum(house.values()), 0)
                )
                for name, amount in house.items():
                    if name.startswith("~market"):
                        market[f"{what} at {name}"] += amount
    return [
        _equal("every asset's double entry is zero in every shard", sums),
        _equal("every instrument's positions are zero in every shard", positions),
        _equal("~market is zero over all shards", [(name, value, 0) for name, value in market.items()]),
    ]


def agreement(shards: Sequence[Mapping[str, Any]], tally: Tally, universe: Universe) -> list[Check]:
    """The worker's books against the sums over the messages that the demo sent."""
    house: defaultdict[tuple[str, str], int] = defaultdict(int)
    for shard in shards:
        for asset, books in shard["assets"].items():
            for name, amount in books["house"].items():
                house[name, asset] += int(amount)
    fees, external = [], []
    for asset, listed in universe.assets.items():
        unit = 10**listed.precision
        fees.append((asset, house["~fees", asset], tally.fees[asset] * unit))
        external.append((asset, house["~external", asset], -tally.external[asset] * unit))
    return [
        _equal("~fees are the fees sent", fees),
        _equal("~external is what was deposited less what was withdrawn", external),
        _equal("both sides of every conversion cancel", [(a, n, 0) for a, n in tally.converted.items()]),
        _equal("positions are those of the fills sent", _positions(shards, tally, universe)),
    ]


def orderly(score: Score, exchange: Exchange, *, seeded: bool) -> list[Check]:
    """What must hold of the outputs themselves."""
    refused = [f"{letter.get('reason', letter)}" for letter in score.refused]
    checks = [
        _none("no message was refused", refused),
        _none("no output id came twice", score.repeated),
        _none("every liquidation step replaces the one before", exchange.misplaced),
    ]
    if seeded:
        calls, orders = score.count("margin-calls", "called"), score.count("liquidations", "liquidation")
        enough = min(calls, orders) > EVENTS_MIN
        wanted = f"more than {EVENTS_MIN} margin calls and liquidations"
        checks.append(Check(wanted, enough, f"{calls} and {orders}"))
    return checks


def _positions(
    shards: Sequence[Mapping[str, Any]], tally: Tally, universe: Universe
) -> Iterable[tuple[str, Fraction, Fraction]]:
    """(where, found, expected) of each instrument's accounts in each shard, in units of quantity."""
    for shard in shards:
        members = {name for name in tally.accounts if shard_of(name, len(shards)) == shard["partition"]}
        expected = tally.positions(members)
        for name, listed in universe.instruments.items():
            lots = int(shard["lots"].get(name, {}).get("accounts", 0))
            found = Fraction(lots, 10**listed.quantity_precision)
            yield f"{name} in shard {shard['partition']}", found, expected.get(name, Fraction(0))


def _equal(name: str, compared: Iterable[tuple[str, Any, Any]]) -> Check:
    """Holds where every found value is the expected one."""
    rows = list(compared)
    wrong = [f"{where}: must be {expected}, found {found}" for where, found, expected in rows if found != expected]
    return Check(name, not wrong, "; ".join(wrong[:FAULTS_SHOWN]) or f"{len(rows)} compared")


def _none(name: str, found: Sequence[str]) -> Check:
    """Holds where nothing was found."""
    return Check(name, not found, "; ".join(found[:FAULTS_SHOWN]) if found else "none")
