"""The lock-step, against a line that is only a list."""

from collections import Counter
from typing import Any

import pytest

from streams.demo.feed import Heard, status
from streams.demo.market import market
from streams.demo.play import Play
from streams.demo.score import Score
from streams.demo.script import Script, prepare
from streams.demo.venue import Message


class FakeLine:
    """Remembers what was sent; answers quotes of some steps with a liquidation of every third account."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.waves: list[list[Message]] = []
        self._count = 0

    async def send(self, messages: list[Message]) -> None:
        self.waves.append(messages)

    async def wait_quiet(self, marked_ms: int | None = None) -> list[Heard]:  # noqa: ARG002 - as Feed has it; here all is quiet at once
        last = self.waves[-1]
        if last[0].topic != "oracle-prices" or self._count == 3 or len(self.waves) < 6:
            return []
        self._count += 1
        return [Heard("liquidations", value, 0.0) for value in self._liquidations()]

    def _liquidations(self) -> list[dict[str, Any]]:
        report = {"status": "liquidation", "margin_ratio": "0.9", "equity": "1", "positions": []}
        found = []
        for book in self.script.books[6::3]:
            for instrument, bucket, lots in book.positions:
                if bucket == "cross":
                    item = self.script.universe.instruments[instrument]
                    order = {
                        "instrument": instrument,
                        "quantity": item.quantity_text(-lots),
                        "limit_price": "0.0" if lots > 0 else "99999999",
                    }
                    found.append((book.account, order))
        identity = f"{self._count}"
        before = f"{self._count - 1}"
        return [
            {
                "kind": "liquidation",
                "id": f"{identity}-{account}",
                "replaces": None if self._count == 1 else f"{before}-{account}",
                "account": account,
                "bucket": "cross",
                "orders": [order],
                "report": report,
                "time": 0,
            }
            for account, order in dict(found).items()
        ]


def script(seed: int = 1, *, count: int = 4, step_ms: int = 5_000) -> Script:
    return prepare(market(seed, count=count), accounts=60, seed=seed, step_ms=step_ms)


async def play(seed: int = 1) -> tuple[FakeLine, Play, list[int]]:
    shown: list[int] = []

    async def show(score: Score) -> None:
        shown.append(score.step)

    line = FakeLine(script(seed))
    playing = Play(line.script, line, show)
    await playing.run()
    return line, playing, shown


@pytest.fixture(scope="module")
def played() -> tuple[FakeLine, Play, list[int]]:
    import asyncio

    return asyncio.run(play())


def test_orders_of_a_step_are_answered_before_the_next_quotes(played: tuple[FakeLine, Play, list[int]]) -> None:
    """An answer one step late would execute at prices that the order never saw."""
    line, playing, _ = played
    quoted = [number for number, wave in enumerate(line.waves) if wave[0].topic == "oracle-prices"]
    answered = {
        number for number, wave in enumerate(line.waves) if any(message.value.get("liquidation_id") for message in wave)
    }
    assert playing.score.count("liquidations", "liquidation") > 0
    assert answered
    assert answered.isdisjoint(quoted)
    for number in answered:
        quotes_before = max(place for place in quoted if place < number)
        times = {message.value["time"] for message in line.waves[number]}
        assert times == {line.waves[quotes_before][0].value["time"]}


def test_every_step_is_quoted_once_and_in_order(played: tuple[FakeLine, Play, list[int]]) -> None:
    """A price that is skipped or comes twice makes the run another market."""
    line, playing, shown = played
    waves = [wave for wave in line.waves if wave[0].topic == "oracle-prices"]
    times = [wave[0].value["time"] for wave in waves]
    assert len(waves) == playing.score.steps == 48
    assert times == sorted(set(times))
    assert shown == list(range(1, 49))
    for wave in waves:
        assert [message.topic for message in wave].count("oracle-prices") == 30
        assert {message.value["time"] for message in wave} == {wave[0].value["time"]}


def test_terms_come_first_then_prices_money_and_trades(played: tuple[FakeLine, Play, list[int]]) -> None:
    """Trades before terms are dead letters; trades before money are liquidations."""
    line, *_ = played
    order = [sorted({message.topic for message in wave}) for wave in line.waves[:5]]
    priced = ["oracle-prices", "volatilities"]
    assert order == [["instruments"], priced, ["accounts", "collateral"], ["collateral"], ["fills"]]


def test_tally_ends_with_both_sides_of_everything(played: tuple[FakeLine, Play, list[int]]) -> None:
    """What the demo sends must itself balance, or its verdict on the worker means nothing."""
    line, playing, _ = played
    tally = line.script.tally
    assert set(tally.positions(tally.accounts).values()) <= {0}
    assert set(tally.converted.values()) <= {0}
    assert playing.score.sent["fills"] % 2 == 0
    assert playing.score.into == sum(len(wave) for wave in line.waves)


async def collected(seed: int) -> list[list[Message]]:
    line, *_ = await play(seed)
    return line.waves


def test_same_seed_sends_the_same_messages() -> None:
    """Seed and code reproduce a run where the outputs are the same."""
    import asyncio

    assert asyncio.run(collected(2)) == asyncio.run(collected(2))


def test_longer_steps_lengthen_the_liquidation_time_out() -> None:
    """A step longer than the time-out would replace orders that nobody had time to answer."""
    listed = script(step_ms=15_000).listings()
    assert [m.value for m in listed if m.key == "~engine"] == [
        {"id": "~engine", "kind": "engine", "liquidation_timeout_ms": 15_000}
    ]
    assert not [m for m in script().listings() if m.key == "~engine"]


def test_dollar_coins_that_no_file_prices_are_quoted_at_one() -> None:
    """Cash without a price would leave every account unpriced."""
    bars = market(1, count=1)
    bars = type(bars)(length_ms=bars.length_ms, bars=[bar for bar in bars.bars if bar.asset == "BTC"])
    made = prepare(bars, accounts=10, seed=1, step_ms=5_000)
    quotes = next(made.walk()).quotes
    assert {asset for asset, _ in quotes} == {"BTC", "USDC", "USDT"}
    assert quotes["USDC", "peg"] == 1.0


def test_score_counts_repeated_ids_latency_and_shortfall() -> None:
    """The summary must fail where an output came twice."""
    score = Score(steps=1)
    base = {"account": "a", "bucket": "cross", "time": 0, "report": {}}
    score.hear(Heard("liquidations", {**base, "id": "1", "kind": "liquidation"}, 10.5), 10.0)
    score.hear(Heard("liquidations", {**base, "id": "1", "kind": "liquidation"}, 10.5), None)
    score.hear(Heard("liquidations", {**base, "id": "2", "kind": "bankrupt", "shortfall": "12.5"}, 11.0), 10.0)
    score.hear(Heard("dead-letters", {"reason_code": "bad_key"}, 11.0), 10.0)
    assert score.repeated == ["1"]
    assert score.latencies == [0.5]
    assert score.latency(0.99) == 0.5
    assert str(score.shortfall) == "12.5"
    assert score.heard == Counter(
        {("liquidations", "liquidation"): 2, ("liquidations", "bankrupt"): 1, ("dead-letters", "bad_key"): 1}
    )


def test_status_of_an_account_is_its_worst_bucket() -> None:
    """An isolated position in liquidation must not hide behind a healthy cross book."""
    assert status({"status": "ok", "isolated": [{"status": "margin_call"}, {"status": "liquidation"}]}) == "liquidation"
    assert status({"status": "bankrupt", "isolated": []}) == "bankrupt"


def test_a_price_says_how_far_it_is_trusted_where_sources_are_enough() -> None:
    """With a quote each 5 s a source may miss one; a file of one venue has nobody to hold it against."""
    (rules,) = [message.value for message in script().listings() if message.value["kind"] == "oracle"]
    assert rules == {
        "id": "~oracle:BTC",
        "kind": "oracle",
        "sources": {"alpha": {}, "beta": {}, "gamma": {}},
        "max_age_ms": 10_000,
    }
    bars = market(1, count=1)
    bars = type(bars)(length_ms=bars.length_ms, bars=[bar for bar in bars.bars if bar.source == "alpha"])
    alone = prepare(bars, accounts=10, seed=1, step_ms=5_000)
    assert not [message for message in alone.listings() if message.value["kind"] == "oracle"]
