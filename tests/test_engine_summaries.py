"""Summaries written in bulk: the same bytes as one record after another, encoded by itself."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import summaries as engine_summaries
from streams.engine.decisions import SUMMARIES
from streams.engine.judge import numbers_of, view_of
from streams.engine.report import decimal_text, summary, units_text
from streams.engine.restraint import restrictions
from streams.engine.shard import Shard
from streams.engine.summaries import balances_of, summaries, sweep
from streams.engine.texts import SLOT, Texts, number_texts, put_amount
from tests.builders import STANDARD, Fill, Leg, Market, rules
from tests.journals import TERMS, Step, journals


def written(texts: Texts) -> list[str]:
    data = texts.data.tobytes()
    return [data[first : first + size].decode() for first, size in zip(texts.start.tolist(), texts.size, strict=True)]


def one_by_one(shard: Shard, offset: int, account: int) -> bytes:
    """A record as a dictionary says it."""
    books = np.array(shard.ledger.books_of(account))
    numbers, held = np.column_stack(numbers_of(shard, books)).tolist(), balances_of(shard, books)
    parts: list[dict[str, Any]] = [
        {**summary(own, int(shard.standing.status[book])), "balances": balances}
        for book, own, balances in zip(books, numbers, held, strict=True)
    ]
    for part, book in zip(parts, books, strict=True):
        if restricted := restrictions(view_of(shard, int(book))):
            part["restrictions"] = restricted
    for part, book in zip(parts[1:], books[1:], strict=True):
        part["bucket"] = shard.terms.instruments[int(shard.ledger.book_instrument[book])]
    record = {
        **parts[0],
        "account": shard.ledger.accounts[account],
        "isolated": parts[1:],
        "journal": {"partition": shard.partition, "offset": offset},
        "time": shard.prices.time,
    }
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


@settings(max_examples=60)
@given(journals())
def test_summaries_are_the_bytes_of_their_records(steps: list[Step]) -> None:
    """The topic is compacted and compared between runs: a byte that differs is a change that never happened."""
    market = Market(TERMS, None)
    for one in steps:
        one.play(market)
    shard = market.shard
    total = len(shard.ledger.accounts)
    found = list(summaries(shard, 7, np.arange(total)))
    assert found == [(shard.ledger.accounts[n].encode(), one_by_one(shard, 7, n)) for n in range(total)]


@pytest.mark.parametrize(
    "name", ['a "b"', "back\\slash", "tab\tand\nnew line", "Zoë", "株式会社", "\U0001f4c8", "\x7f\x01"]
)
def test_any_name_is_escaped_as_json_does(name: str) -> None:
    """One account with a quotation mark in its name would make the record of all readers' nightmares."""
    market = Market()
    market.deposit(name, "5000")
    market.collateral(Leg("m", name, "600", bucket="BTC-PERP"))
    market.fills(Fill("1", name, "BTC-PERP", "0.1", "50000", mode="isolated"))
    (found,) = summaries(market.shard, 3, np.array([0]))
    assert found == (name.encode(), one_by_one(market.shard, 3, 0))
    assert market.sent[-1].record["account"] == name


def test_no_account_is_no_record() -> None:
    """Most marks blocks of a small shard have nobody's turn."""
    assert len(summaries(Market().shard, 0, np.zeros(0, dtype=np.int64))) == 0


NUMBERS = st.one_of(
    st.floats(allow_infinity=False),
    st.integers(-(10**17), 10**17).map(float),
    # sixteen digits that end in 5: the last one asks to be rounded, up or down by less than a float can tell
    st.builds(
        lambda digits, places, sign: sign * float(f"{digits}5e{places}"),
        st.integers(10**14, 10**15 - 1),
        st.integers(-24, 2),
        st.sampled_from((1, -1)),
    ),
    st.builds(
        lambda power, steps: float(np.nextafter(10.0**power, steps)), st.integers(-10, 17), st.sampled_from((0, 1e30))
    ),
)


@settings(max_examples=500)
@given(st.lists(NUMBERS, max_size=20))
def test_numbers_are_written_as_one_by_one(values: list[float]) -> None:
    """The same number with another last digit is another number to whoever compares records."""
    found = written(number_texts(np.array(values, dtype=np.float64)))
    assert found == ["" if value != value else decimal_text(value) for value in values]


@settings(max_examples=300)
@given(st.integers(-(2**62), 2**62), st.integers(0, 12))
def test_an_amount_is_written_as_its_text(amount: int, places: int) -> None:
    """A balance is exact, to the last minor unit of the largest one."""
    out = np.zeros(3 + SLOT, dtype=np.uint8)
    end = put_amount(out, 3, amount, places)
    assert out[:end].tobytes() == b"\0\0\0" + units_text(amount, places).encode()


def test_all_accounts_have_their_turn_once_an_interval() -> None:
    """A reader who starts today must know every account within an interval, and not at one moment."""
    market = Market((*STANDARD, rules(summary_interval_ms=1_000)))
    market.collateral(*(Leg("d", f"user-{n}", "1") for n in range(10)))
    turns = []
    start = market.shard.prices.time
    market.shard.sweep = (start // 1_000, 0)
    for after in (0, 100, 250, 900, 1_000, 3_500):
        market.shard.prices.time = start - start % 1_000 + after
        turns.append(sweep(market.shard).tolist())
    assert turns == [[], [0], [1], [2, 3, 4, 5, 6, 7, 8], [9], [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]]


def test_after_a_leap_of_shard_time_summaries_come_in_parts() -> None:
    """All at once they would not fit into a transaction, and the worker would end each time that it tried."""
    market = Market((*STANDARD, rules(summary_interval_ms=1_000)))
    market.collateral(*(Leg("d", f"user-{n}", "1") for n in range(2_500)))
    market.shard.sweep = (market.shard.prices.time // 1_000, 0)
    market.shard.prices.time += 500_000
    turns = [sweep(market.shard) for _ in range(4)]
    assert [len(turn) for turn in turns] == [1_000, 1_000, 500, 0]
    assert sorted(np.concatenate(turns)) == list(range(2_500))


def test_going_live_tells_everybody_in_parts() -> None:
    """What they hold may have changed while the shard caught up."""
    market = Market()
    market.collateral(*(Leg("d", f"user-{n}", "1") for n in range(1_500)))
    market.marks(after=1)
    market.marks(after=1)
    market.marks(after=1, mode="catching_up")
    told = [[one.key for one in market.marks(after=1) if one.topic == SUMMARIES] for _ in range(3)]
    assert [len(part) for part in told] == [1_000, 500, 0]
    assert len({*told[0], *told[1]}) == 1_500


def test_a_shard_of_very_many_goes_on_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million summaries at each return made it fall behind again, so that it returned every four seconds."""
    monkeypatch.setattr(engine_summaries, "SWEEP_LEAST", 6)
    market = Market()
    market.collateral(*(Leg("d", f"user-{n}", "1") for n in range(100)))  # more than 16 x 6

    def told(after: int, mode: str = "live") -> set[bytes]:
        return {one.key for one in market.marks(after=after, mode=mode) if one.topic == SUMMARIES}

    while told(1):
        pass
    part = told(1_200)  # of the interval of 60 s
    assert len(part) == 2
    told(600, "catching_up")
    back = told(600)
    assert len(back) == 2
    assert not back & part
    assert len(told(1_200)) == 2


def test_summaries_go_out_between_decisions_and_dead_letters() -> None:
    """Order is part of the promise that equal journals give equal bytes."""
    market = Market()
    market.deposit("alice", "5000")
    most = [Leg(transfer, "bob", "4611686018427") for transfer in ("h", "i")]
    sent = market.collateral(Leg("w", "alice", "-1"), *most)
    assert [one.topic for one in sent] == [SUMMARIES, SUMMARIES, "dead-letters"]
