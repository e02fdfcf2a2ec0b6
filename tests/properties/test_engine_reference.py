"""The engine against a slow shard in fractions, on random journals: ledger, house, statuses and decisions."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings

from streams.engine.valuation import STATUSES
from tests.builders import Market, Sent
from tests.journals import TERMS, Step, journals
from tests.reference.shard import NearError, ReferenceShard, UnpricedError

Json = dict[str, Any]


def decisions(sent: list[Sent]) -> list[tuple[Any, ...]]:
    """(account, bucket, kind, step) of all decisions, sorted."""
    decided = [one.record for one in sent if one.topic in ("margin-calls", "liquidations")]
    return sorted((r["account"], r["bucket"], r["kind"], r.get("step", 0)) for r in decided)


def books(market: Market) -> dict[tuple[str, str], Json]:
    """Every bucket of the shard in units: balances, positions, where it stands."""
    shard, found = market.shard, {}
    ledger, standing, terms = shard.ledger, shard.standing, market.terms
    for book in range(ledger.books):
        number = int(ledger.book_instrument[book])
        name = "cross" if number < 0 else shard.terms.instruments[number]
        balances, positions = {}, {}
        for at in range(
            int(ledger.balances.start[book]), int(ledger.balances.start[book] + ledger.balances.size[book])
        ):
            coin = shard.terms.assets[ledger.balances.key[at]]
            balances[coin] = Fraction(int(ledger.balances.amount[at]), 10 ** terms[coin]["precision"])
        first = int(ledger.positions.start[book])
        for at in range(first, first + int(ledger.positions.size[book])):
            held = shard.terms.instruments[ledger.positions.key[at]]
            positions[held] = (
                Fraction(int(ledger.positions.lots[at]), 10 ** terms[held]["quantity_precision"]),
                Fraction(int(ledger.positions.cost[at]), 10 ** terms[terms[held]["settlement"]]["precision"]),
                int(ledger.positions.funding[at]),
            )
        found[ledger.accounts[ledger.book_account[book]], name] = {
            "balances": {coin: amount for coin, amount in balances.items() if amount},
            "positions": positions,
            "stands": (STATUSES[standing.status[book]], bool(standing.called[book]), int(standing.step[book])),
            "taken_over": int(ledger.taken_over[book]),
        }
    return found


def expected_books(reference: ReferenceShard) -> dict[tuple[str, str], Json]:
    return {
        (name, bucket): {
            "balances": {coin: amount for coin, amount in own.balances.items() if amount},
            "positions": {i: (held.quantity, held.cost, held.index) for i, held in own.positions.items()},
            "stands": (own.status, own.called, own.step),
            "taken_over": own.taken_over,
        }
        for name, account in reference.accounts.items()
        for bucket, own in account.buckets.items()
    }


def house(market: Market) -> dict[tuple[str, str], Fraction]:
    """Every house entry that is not zero, in units."""
    terms, found = market.shard.terms, {}
    for (name, number), amount in market.shard.ledger.house_assets.items():
        kind, _, at = name.partition(":")
        coin = terms.assets[number]
        key = (f"{kind}:{terms.instruments[int(at)]}" if at else kind, coin)
        found[key] = Fraction(amount, 10 ** market.terms[coin]["precision"])
    for (name, number), lots in market.shard.ledger.house_lots.items():
        held = terms.instruments[number]
        found[f"{name}:{held}", "lots"] = Fraction(lots, 10 ** market.terms[held]["quantity_precision"])
    return {key: amount for key, amount in found.items() if amount}


def play(reference: ReferenceShard, market: Market, one: Step) -> list[Any]:
    """The step on the reference; marks are those that the market has already seen."""
    if one.kind != "marks":
        return list(getattr(reference, one.kind)(*one.rows))
    (index,) = one.rows
    marks = {i: index[t["underlying"]] for i, t in market.terms.items() if t.get("underlying") in index}
    trust = {name: one.options.get(name, {}) for name in ("states", "check", "widening")}
    return reference.marked(index, marks, time=market.time, live=one.options["mode"] == "live", **trust)


def check_numbers(market: Market, reference: ReferenceShard) -> None:
    """Summaries of the engine against the fractions, to 9 digits."""
    for (name, bucket), own in expected_books(reference).items():
        try:
            wanted = reference.numbers(reference.accounts[name].buckets[bucket])
        except UnpricedError:
            assert market.bucket(name, bucket)["equity"] is None
            continue
        cautious = reference.numbers(reference.accounts[name].buckets[bucket], prices="cautious")
        wanted = replace(wanted, initial_equity=cautious.initial_equity, initial_margin=cautious.initial_margin)
        shown = market.bucket(name, bucket)
        turnover = sum((abs(cost) for _, cost, _ in own["positions"].values()), Fraction(1))
        for field in ("equity", "adjusted_equity", "initial_equity", "initial_margin", "maintenance_margin"):
            value = getattr(wanted, field)
            scale = float(abs(value) + turnover * 60_000)
            assert float(Fraction(shown[field])) == pytest.approx(float(value), rel=1e-12, abs=1e-12 * scale), field


@settings(max_examples=100)
@given(journals())
def test_the_engine_equals_the_reference(steps: list[Step]) -> None:
    """Money that the fast ledger misplaces, or an account that it judges otherwise, is found by the slow one."""
    market = Market(TERMS, None)
    scale = market.shard.posting.funding_scale.tolist()
    reference = ReferenceShard(dict(zip(market.shard.terms.instruments, scale, strict=True)))
    reference.tell(*TERMS)
    for one in steps:
        sent = one.play(market)
        try:
            decided = play(reference, market, one)
        except NearError:
            return
        assert decisions(sent) == sorted(decided)
        assert books(market) == expected_books(reference)
        assert house(market) == {key: amount for key, amount in reference.house.items() if amount}
    check_numbers(market, reference)
