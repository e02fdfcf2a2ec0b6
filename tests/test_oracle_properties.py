"""What holds of an oracle partition for any quotes, cuts, clocks and restarts."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.index import live_quotes
from streams.oracle.marks import CATCHING_UP, LIVE, OK, STALE, MarksUpdate
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote

T = 1_760_130_900_000
AGE, SKEW, HEARTBEAT = 500, 200, 100

PRICES = st.floats(min_value=1e-6, max_value=1e12)
QUOTES = st.tuples(
    st.sampled_from(["BTC", "ETH"]),
    st.sampled_from(["a", "b", "c"]),
    PRICES,
    st.sampled_from([0.0, 0.25, 3.0]),
    st.integers(T - 300, T + 3_000),
    st.none() | st.integers(0, 50),
).map(lambda fields: Quote(*fields))
Step = tuple[str, Any]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("quotes"), st.lists(QUOTES, max_size=6)),
        st.tuples(st.just("terms"), st.sampled_from([("BTC-PERP", "BTC"), ("ETH-PERP", "ETH"), ("X", "BTC")])),
        st.tuples(st.just("due"), st.tuples(st.integers(-100, 400), st.none() | st.integers(-50, 600))),
    ),
    max_size=30,
)


def new_partition() -> OraclePartition:
    return OraclePartition(2, 3, heartbeat_ms=HEARTBEAT, quote_age_ms_max=AGE, max_source_skew_ms=SKEW)


def take(partition: OraclePartition, step: Step, now_ms: int) -> MarksUpdate | None:
    """One step; `now_ms` and the lag make the moment of a "due"."""
    kind, value = step
    if kind == "quotes":
        partition.quotes(value)
    elif kind == "terms":
        partition.terms([value])
    else:
        return partition.due(now_ms, None if value[1] is None else now_ms - value[1])
    return None


def clocked(steps: list[Step]) -> Iterator[tuple[Step, int]]:
    """Each step with the clock at it, which mostly runs forwards."""
    now_ms = T
    for step in steps:
        if step[0] == "due":
            now_ms += step[1][0]
        yield step, now_ms


def risen(quotes: list[Quote]) -> list[Quote]:
    """The same quotes as honest sources would send them: times and sequences rise."""
    return [quote._replace(time=T + number, sequence=number) for number, quote in enumerate(quotes)]


@given(st.lists(QUOTES, max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_any_batching_of_quotes_gives_the_same_state(quotes: list[Quote], cuts: list[int]) -> None:
    """Which quotes share a fetch is chance; it must not decide a price."""
    whole, pieces = new_partition(), new_partition()
    whole.quotes(quotes)
    bounds = [0, *sorted(cuts), len(quotes)]
    for start, end in pairwise(bounds):
        pieces.quotes(quotes[start:end])
    assert pieces.due(T, None) == whole.due(T, None)
    assert pieces.dirty() == whole.dirty()


@given(STEPS, st.sets(st.integers(0, 29)))
def test_restart_anywhere_changes_nothing(steps: list[Step], restarts: set[int]) -> None:
    """A worker killed between two transactions must go on as if nothing had happened."""
    calm, killed = new_partition(), new_partition()
    calm_log: dict[bytes, bytes] = {}
    killed_log: dict[bytes, bytes] = {}
    for number, (step, now_ms) in enumerate(clocked(steps)):
        assert take(killed, step, now_ms) == take(calm, step, now_ms)
        calm_log |= calm.dirty()
        killed_log |= killed.dirty()
        assert killed_log == calm_log
        if number in restarts:
            killed = new_partition()
            killed.restore(killed_log.items())
            assert (killed.mode, killed.time, killed.refused) == (calm.mode, calm.time, calm.refused)


@given(st.lists(QUOTES, min_size=1, max_size=20), st.data())
def test_repeated_quote_changes_nothing(quotes: list[Quote], data: st.DataObject) -> None:
    """A publisher that sends twice, at once or much later, must not move the price or look alive."""
    sent = risen(quotes)
    once, twice = new_partition(), new_partition()
    once.quotes(sent)
    for number, quote in enumerate(sent):
        twice.quotes([quote, *data.draw(st.lists(st.sampled_from(sent[: number + 1]), max_size=3))])
    assert twice.due(T, None) == once.due(T, None)
    assert twice.dirty()[:-1] == once.dirty()[:-1]  # all but the counters


@given(QUOTES)
def test_repeat_in_the_same_breath_changes_nothing(quote: Quote) -> None:
    """With or without sequence, the quote that is held already is refused."""
    partition = new_partition()
    assert partition.quotes([quote, quote]) == 1
    assert partition.refused["repeated"] == 1


@given(STEPS)
def test_what_every_update_keeps(steps: list[Step]) -> None:
    """Time never decreases, modes turn only in updates, and catching up tells nothing newer than was read."""
    partition = new_partition()
    mode, time = partition.mode, partition.time
    for step, now_ms in clocked(steps):
        update = take(partition, step, now_ms)
        assert (partition.mode, partition.time) == ((update.mode, update.time) if update else (mode, time))
        if update is None:
            continue
        assert update.time >= time
        if update.mode == CATCHING_UP:
            read_to_ms = now_ms - step[1][1]
            assert update.rows == [] if mode != CATCHING_UP else True
            assert all(row.quote_time <= read_to_ms for row in update.rows if row.state == OK)
            assert update.time in (time, read_to_ms)
        assert [row.symbol for row in update.rows] == sorted(row.symbol for row in update.rows)
        mode, time = update.mode, update.time


@given(STEPS)
def test_told_prices_are_those_of_the_quotes_held(steps: list[Step]) -> None:
    """A slow model, asked at every live moment, agrees with all that was told so far: no change is missed."""
    partition = new_partition()
    held: dict[tuple[str, str], Quote] = {}
    told: dict[str, Any] = {}
    for step, now_ms in clocked(steps):
        if step[0] == "quotes":
            for quote in step[1]:
                if partition.quotes([quote]):
                    held[quote.symbol, quote.source] = quote
            continue
        update = take(partition, step, now_ms)
        told |= {row.symbol: row for row in update.rows} if update else {}
        if step[0] != "due" or partition.mode != LIVE:
            continue
        for symbol in {symbol for symbol, _ in held}:
            mine = [quote for (name, _), quote in held.items() if name == symbol]
            live = live_quotes(mine, now_ms=now_ms, quote_age_ms_max=AGE)
            assert told[symbol].state == (OK if live else STALE)
            if live:
                middle = sorted(quote.price for quote in live)
                low, high = middle[(len(live) - 1) // 2], middle[len(live) // 2]
                assert low <= told[symbol].index_price <= high
                assert told[symbol].index_price == (low if low == high else low / 2 + high / 2)
