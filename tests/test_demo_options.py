"""The demo's options and accounts on portfolio margin, played through ingest, oracle and shards in this process."""

import asyncio
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest

from streams.demo.feed import Heard
from streams.demo.market import market
from streams.demo.option_books import KINDS, TWINS
from streams.demo.options import Contract, value
from streams.demo.run import closing_checks
from streams.demo.score import Score
from streams.demo.script import Script, prepare
from streams.demo.venue import Message
from streams.engine.views import shard_view
from streams.margin.black76 import option_greeks
from tests.demo_line import EngineLine, played

DAY_MS = 86_400_000


class Kept(EngineLine):
    """Remembers the summaries of the moment at which all books were open."""

    def __init__(self, script: Script) -> None:
        super().__init__(2)
        self._script = script
        self.opened: dict[str, float] = {}
        self.models: list[dict[str, str]] = []
        self.decided: list[dict[str, Any]] = []

    async def send(self, messages: Iterable[Message]) -> None:
        messages = list(messages)
        if not self.opened and self.summaries and any(message.topic == "oracle-prices" for message in messages):
            self.opened = {name: float(told["initial_margin"]) for name, told in self.summaries.items()}
        self.models += [
            {message.key: message.value["margin_model"]} for message in messages if message.topic == "accounts"
        ]
        await super().send(messages)

    async def wait_quiet(self, marked_ms: int | None = None) -> list[Heard]:
        heard = await super().wait_quiet(marked_ms)
        self.decided += [one.value for one in heard if one.topic == "liquidations"]
        return heard


@pytest.fixture(scope="module")
def run() -> tuple[Script, Kept, Score]:
    script = prepare(market(1, count=8), accounts=90, seed=1, step_ms=10_000, with_options=30)
    line = Kept(script)
    return script, line, asyncio.run(played(script, line))


@pytest.mark.parametrize("right", ["call", "put"])
@pytest.mark.parametrize("price", [40_000.0, 50_000.0, 61_000.0])
def test_the_venue_trades_options_at_what_they_are_worth(right: str, price: float) -> None:
    """A venue whose own prices are wrong would show losses that nobody has."""
    contract, volatility, years = Contract(right, "50000", 30 * DAY_MS, False), 0.6, 30 / 365
    wanted = option_greeks(1.0 if right == "call" else -1.0, price, 50_000.0, years, volatility, 1.0)
    assert value(contract, price, volatility, 0) == pytest.approx(wanted.value, rel=1e-12)
    in_coins = contract._replace(in_coins=True)
    assert value(in_coins, price, volatility, 0) == pytest.approx(wanted.value / price, rel=1e-12)


def test_everything_is_taken_and_the_books_balance(run: tuple[Script, Kept, Score]) -> None:
    """Options paid out, models changed and books closed by shares, and every unit accounted for."""
    script, line, score = run
    checks = closing_checks(script, score, [shard_view(shard) for shard in line.shards], seeded=False)
    assert [check for check in checks if not check.holds] == []
    assert {book.kind for book in script.books} > set(KINDS)
    changed = [model for told in line.models[len(script.books) :] for model in told.values()]
    assert set(changed) == {"standard", "portfolio"}
    settled = {shard.terms.instruments[number] for shard in line.shards for number in shard.settled}
    assert any(name.endswith("-C") for name in settled)
    assert any(name.endswith("-P") for name in settled)


def test_hedged_books_require_less_on_portfolio_margin(run: tuple[Script, Kept, Score]) -> None:
    """What the demo shows must be so: a delta-neutral book and a spread pay for the risk that is left."""
    script, line, _ = run
    twins = script.twins()
    assert [own.kind for own, _ in twins] == list(TWINS)
    for own, twin in twins:
        assert own.positions == twin.positions
        assert 0.0 < line.opened[own.account] < 0.8 * line.opened[twin.account], own.kind


def test_who_sold_puts_is_closed_by_a_share_of_the_whole_book(run: tuple[Script, Kept, Score]) -> None:
    """A crash that touches no option book would leave half of the engine unshown."""
    script, line, _ = run
    writers = {book.account for book in script.books if book.kind == "writer"}
    steps = [
        (event["report"], event["orders"])
        for event in line.decided
        if event["kind"] == "liquidation" and event["account"] in writers and "portfolio" in event["report"]
    ]
    assert steps
    for report, orders in steps:
        held = {leg["instrument"]: Fraction(leg["quantity"]) for leg in report["positions"]}
        shares = [-Fraction(order["quantity"]) / held[order["instrument"]] for order in orders]
        assert {order["instrument"] for order in orders} == set(held)
        assert max(shares) - min(shares) < Fraction(1, 10), "all legs by the same share, but for whole lots"
