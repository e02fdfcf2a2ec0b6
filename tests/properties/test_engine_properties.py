"""What holds of a shard for any journal: batching, restores, repetitions, neighbours, collateral, limits."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import state
from streams.engine.book_view import BookView
from streams.engine.decisions import Output
from streams.engine.judge import numbers_of, view_of
from streams.engine.shard import Shard
from streams.engine.views import account_view, shard_view
from tests.builders import Json, Leg, Market
from tests.journals import ACCOUNTS, ALL_TERMS, TERMS, Step, journals, mixed_journals

DECISIONS = ("margin-calls", "liquidations")
ROWS = ("fills", "collateral", "settings")


def played(steps: list[Step]) -> Market:
    market = Market(ALL_TERMS, None)
    for one in steps:
        one.play(market)
    return market


def fold(journal: list[bytes]) -> tuple[Shard, list[Output]]:
    """The journal applied from its start, with all that it gives."""
    shard, outputs = Shard(0), []
    for offset, data in enumerate(journal):
        outputs += shard.apply(offset, data)
    return shard, outputs


def ledger_of(shard: Shard) -> Json:
    """All money and positions, whatever the block offsets were."""
    accounts = {}
    for name in sorted(shard.ledger.accounts):
        view = account_view(shard, name)
        assert view is not None
        held = [(book["bucket"], book["balances"], book["positions"]) for book in (view, *view["isolated"])]
        accounts[name] = sorted(held, key=lambda book: str(book[0]))
    whole = shard_view(shard)
    return {"accounts": accounts, **{part: whole[part] for part in ("assets", "lots", "rows")}}


@settings(max_examples=60)
@given(mixed_journals())
def test_double_entry_is_zero_after_every_block(steps: list[Step]) -> None:
    """Money that appears or vanishes anywhere shows here: the page of the shard adds up to zero, always."""
    market = Market(ALL_TERMS, None)
    for one in steps:
        one.play(market)
        view = shard_view(market.shard)
        assert {row["total"] for part in ("assets", "lots") for row in view[part].values()} <= {"0"}


@settings(max_examples=60)
@given(mixed_journals(), st.sets(st.integers(0, 25)), st.sets(st.integers(0, 25)))
def test_any_flush_and_any_restart_give_the_same_bytes(
    steps: list[Step], flushes: set[int], restarts: set[int]
) -> None:
    """A worker that dies anywhere goes on from its changelog as if it had lived; each flush holds all that changed."""
    journal = played(steps).journal
    calm, expected = fold(journal)
    shard, outputs, changelog = Shard(0), [], []
    for offset, data in enumerate(journal):
        outputs += shard.apply(offset, data)
        if offset in flushes | restarts:
            changelog += state.dirty(shard)
        if offset in restarts:
            shard = state.restore(0, changelog)
    assert outputs == expected
    assert state.state_hash(shard) == state.state_hash(calm)
    changelog += state.dirty(shard)
    assert dict(changelog) == dict(state.records(calm))


@settings(max_examples=60)
@given(mixed_journals())
def test_a_flush_holds_what_changed_and_no_more(steps: list[Step]) -> None:
    """An account left out would be lost at a restart; all accounts at every flush would cost more than the work."""
    market = Market(ALL_TERMS, None)
    state.dirty(market.shard)
    for one in steps:
        before = dict(state.records(market.shard))
        one.play(market)
        now, flushed = dict(state.records(market.shard)), dict(state.dirty(market.shard))
        assert {key for key, value in now.items() if before.get(key) != value} <= set(flushed)
        assert all(now[key] == value for key, value in flushed.items())
        # nothing is written of who has no row and did not change
        named = {row["account"] if isinstance(row, dict) else row.account for row in one.rows if one.kind in ROWS}
        quiet = {key for key in flushed if before.get(key) == now[key]}
        assert {key.decode() for key in quiet} <= named
    assert [key for key, _ in state.dirty(market.shard)] == [state.SHARD_KEY]


@settings(max_examples=60)
@given(mixed_journals(live=False), st.integers(0, 1 << 60))
def test_recut_blocks_change_no_ledger(steps: list[Step], cuts: int) -> None:
    """How a producer happened to batch its rows must not move a single unit."""
    whole = played(steps)
    recut = Market(ALL_TERMS, None)
    for kind, group in groupby(steps, key=lambda one: one.kind):
        blocks = list(group)
        if kind not in ("fills", "collateral"):
            for one in blocks:
                one.play(recut)
            continue
        rows = [row for one in blocks for row in one.rows]
        while rows:
            cuts, size = divmod(cuts, 7)
            getattr(recut, kind)(*rows[: size + 1])
            rows = rows[size + 1 :]
    assert ledger_of(recut.shard) == ledger_of(whole.shard)


@settings(max_examples=60)
@given(mixed_journals(), st.integers(0, 1 << 60))
def test_repeated_rows_change_nothing(steps: list[Step], where: int) -> None:
    """A source that sends again after a time-out gets the same decisions, byte by byte, and the same books."""
    # a row without a mode means the account's mode of then: nobody changes it
    steps = [one for one in steps if one.kind != "settings" or all(row["mode"] == "cross" for row in one.rows)]
    once, again = played(steps), Market(ALL_TERMS, None)
    seen: dict[str, list[Any]] = {"fills": [], "collateral": [], "funding": []}
    for one in steps:
        rows = list(one.rows)
        if one.kind in seen:
            seen[one.kind] += rows
            for _ in range(3):
                where, at = divmod(where, 97)
                rows.append(seen[one.kind][at % len(seen[one.kind])])
        one._replace(rows=tuple(rows)).play(again)
    assert again.sent == once.sent
    found, expected = ledger_of(again.shard), ledger_of(once.shard)
    assert found["rows"].pop("duplicate") >= expected["rows"].pop("duplicate")
    assert found == expected


def kept(steps: list[Step], keep: Callable[[Any], bool]) -> Iterator[Step]:
    """The steps with only those rows that concern kept accounts."""
    for one in steps:
        if one.kind in ("fills", "collateral"):
            yield one._replace(rows=tuple(row for row in one.rows if keep(row.account)))
        elif one.kind == "settings":
            yield one._replace(rows=tuple(row for row in one.rows if keep(row["account"])))
        else:
            yield one


def told(market: Market, account: str) -> list[Any]:
    return [one for one in market.sent if one.topic in DECISIONS and one.key == account]


@settings(max_examples=40)
@given(mixed_journals(), st.permutations(ACCOUNTS))
def test_neighbours_change_nothing(steps: list[Step], order: list[str]) -> None:
    """An account's decisions are its own: who shares its shard, and in which order, must not show in a single bit."""
    together = played(steps)
    for account in ACCOUNTS:
        alone = played(list(kept(steps, lambda name, own=account: name == own)))
        assert told(alone, account) == told(together, account)
    # the same blocks with their rows sorted by another order of accounts
    sorted_steps = [
        one._replace(rows=tuple(sorted(one.rows, key=lambda row: order.index(row.account))))
        if one.kind in ("fills", "collateral")
        else one
        for one in steps
    ]
    shuffled = played(sorted_steps)
    for account in ACCOUNTS:
        assert told(shuffled, account) == told(together, account)
        found, expected = (account_view(market.shard, account) for market in (shuffled, together))
        assert found is not None
        assert expected is not None
        assert {**found, "isolated": by_bucket(found)} == {**expected, "isolated": by_bucket(expected)}


def by_bucket(view: Json) -> list[Json]:
    return sorted(view["isolated"], key=lambda book: str(book["bucket"]))


WORSE = ("ok", "margin_call", "liquidation", "bankrupt")


@settings(max_examples=60)
@given(journals(), st.sampled_from(ACCOUNTS), st.sampled_from((("USDC", "0.000001"), ("ETH", "0.7"), ("BTC", "0.03"))))
def test_more_collateral_never_hurts(steps: list[Step], account: str, gift: tuple[str, str]) -> None:
    """Whoever pays in must not be worse off for it, not by a haircut tier and not by a rounding."""
    market = played(steps)
    if market.shard.prices.live and market.status(account) == "bankrupt":
        return
    book = np.array([market.book(account)])
    before, status = numbers_of(market.shard, book), market.status(account)
    market.collateral(Leg("a-gift", account, gift[1], gift[0]))
    after = numbers_of(market.shard, book)
    if np.isnan(before.equity[0]):
        return
    scale = 1e-12 * (abs(before.equity[0]) + before.initial[0] + 1e6)
    assert after.equity[0] >= before.equity[0] - scale
    assert after.adjusted[0] >= before.adjusted[0] - scale
    assert after.initial_equity[0] >= before.initial_equity[0] - scale
    assert after.maintenance[0] == before.maintenance[0]
    if market.shard.prices.trust is None:
        assert after.initial[0] == before.initial[0]
    else:  # a debt that is repaid counts at the lower of price and check price from then on
        assert after.initial[0] <= before.initial[0]
    if market.shard.prices.live and status in WORSE:
        assert WORSE.index(market.status(account)) <= WORSE.index(status)


@settings(max_examples=60)
@given(mixed_journals())
def test_initial_margin_is_never_below_maintenance_margin(steps: list[Step]) -> None:
    """A position that may be opened and is called at once would be a trap."""
    shard = played(steps).shard
    numbers = numbers_of(shard, np.arange(shard.ledger.books))
    priced = ~np.isnan(numbers.equity)
    assert (numbers.initial[priced] >= numbers.maintenance[priced]).all()


@settings(max_examples=80)
@given(journals())
def test_closing_everything_at_its_limits_leaves_nothing_owed(steps: list[Step]) -> None:
    """The worst fills that the engine's limits allow, fees included, end at zero equity or above: never a shortfall.

    Who is bankrupt already and may not be taken over, for the state of a price, loses nothing more.
    """
    everything = {"liquidation_target": "1e15"}
    market = Market((*TERMS, *costly()), None)
    for account in ACCOUNTS:
        market.settings({"account": account, "mode": "cross", "levels": everything})
    for one in steps:
        if one.kind in ("settings", "tell"):
            continue
        sent = one.play(market)
        for record in [s.record for s in sent if s.kind == "liquidation"]:
            if record["report"]["positions"]:
                view = view_of(market.shard, market.book(record["account"], record["bucket"]))
                assert equity_after(view, record) >= min(view.equity(), 0)


def costly() -> list[Json]:
    """Terms with liquidation fees, newer than TERMS."""
    fees = {"BTC-PERP": "0.005", "ETH-PERP": "0.0125", "BTC-COIN": "0.02"}
    return [
        {**record, "liquidation_fee": fees[record["id"]], "version": 99} for record in TERMS if record["id"] in fees
    ]


def equity_after(view: BookView, record: Json) -> Fraction:
    """Exact equity once every order of a full close has filled at its limit and paid its fee; halted legs stay."""
    halted = {left["instrument"] for left in record.get("withheld", ())}
    orders = {order["instrument"]: order for order in record["orders"]}
    net = dict(view.balances)
    for leg in view.legs:
        if leg.names.id in halted:
            net[int(view.parameters.settlement[leg.index])] += view.unrealized_pnl(leg) + leg.accrued
            continue
        order = orders[leg.names.id]
        assert Decimal(order["quantity"]) == -leg.quantity
        limit, asset = Fraction(order["limit_price"]), int(view.parameters.settlement[leg.index])
        size = Fraction(leg.quantity) * leg.names.multiplier
        inverse = bool(view.parameters.inverse[leg.index])
        received = -size / limit if inverse else size * limit
        net[asset] += received - leg.cost + leg.accrued - abs(received) * leg.names.liquidation_fee
    return sum((amount * view.price(asset) for asset, amount in net.items()), Fraction(0))
