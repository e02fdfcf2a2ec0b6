"""A shard written to its changelog and read back: all of it, and only what changed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine import state
from streams.engine.invariants import InvariantViolation
from streams.engine.shard import Shard
from streams.engine.views import shard_view
from streams.rows import Rows
from tests.builders import PRICES, STANDARD, Fill, Leg, Market, Rate, T, control, events, instrument, rules
from tests.journals import TERMS, journal

#: Blocks that leave something of everything behind: calls, open steps, take-overs, expiries, waiting rates.
EVENTFUL = [[seed, seed + 1000, seed + 2000] for seed in range(40)]


def eventful() -> Market:
    market = Market((*TERMS, control("halt", "ETH"), rules(duplicate_window=7, liquidation_step_cap="0.5")), None)
    for one in journal(EVENTFUL):
        one.play(market)
    market.funding(Rate("SOL-PERP", "0.0001", T + 99, "100"))
    return market


PLAYED = eventful()


def restored(shard: Shard) -> Shard:
    return state.restore(shard.partition, state.records(shard))


def test_a_restored_shard_is_the_same_to_the_last_bit() -> None:
    """Anything that a restart forgets is decided otherwise afterwards."""
    market = eventful()
    standing = market.shard.standing
    assert len(set(standing.status[: market.shard.ledger.books].tolist())) >= 4
    assert standing.step.any()
    assert standing.called.any()
    again = restored(market.shard)
    assert dict(state.records(again)) == dict(state.records(market.shard))
    assert state.state_hash(again) == market.hash()
    again.ledger.check(again.terms.assets, again.terms.instruments, again.posting.settlement)


def test_equal_shards_have_one_hash_and_others_another() -> None:
    """The hash is what two runs are compared by."""
    assert eventful().hash() == eventful().hash()
    market = eventful()
    before = market.hash()
    market.deposit("alice", "0.000001")
    assert market.hash() != before


def test_an_empty_changelog_is_a_new_shard() -> None:
    """The first start of all."""
    shard = state.restore(3, ())
    assert (shard.partition, shard.next_offset, len(shard.ledger.accounts)) == (3, 0, 0)


def test_the_last_record_of_a_key_holds() -> None:
    """Compaction lags behind: an account's older records are still there, in parts read before."""
    market = Market()
    market.collateral(Leg("d", "alice", "5"), Leg("d", "bob", "5"))
    market.fills(Fill("1", "alice", "BTC-PERP", "0.1", "50000"), Fill("1", "bob", "ETH-PERP", "1", "2000"))
    parts = [list(state.records(market.shard))]
    market.fills(Fill("2", "alice", "ETH-PERP", "0.1", "2000"), Fill("2", "bob", "ETH-PERP", "-1", "2000"))
    market.collateral(Leg("m", "alice", "2", bucket="BTC-PERP"))
    parts.append(list(state.dirty(market.shard)))
    restoring = state.Restoring(0)
    for part in parts:
        restoring.add(Rows.of(part))
    assert state.state_hash(restoring.finish()) == market.hash()


@pytest.mark.parametrize("missing", ["~shard", "alice"])
def test_a_changelog_with_a_gap_is_refused(missing: str) -> None:
    """Half a state is worse than none: accounts would be judged without their money."""
    market = Market()
    market.collateral(Leg("d", "alice", "5"), Leg("d", "bob", "5"))
    records = [(key, value) for key, value in state.records(market.shard) if key.decode() != missing]
    with pytest.raises(InvariantViolation, match=missing if missing == "~shard" else "without a gap"):
        state.restore(0, records)


def test_an_account_record_that_is_cut_anywhere_is_refused() -> None:
    """A book that lost its last position would be judged as if it had never had it."""
    records = dict(state.records(eventful().shard))
    for name in [key for key in records if not key.startswith(b"~")][:6]:
        for end in range(len(records[name])):
            with pytest.raises(InvariantViolation, match=r"^an account record must (be whole|have format 1), [^\n]+$"):
                state.restore(0, {**records, name: records[name][:end]}.items())
        with pytest.raises(InvariantViolation, match=f"must be whole, found {len(records[name]) + 1} bytes"):
            state.restore(0, {**records, name: records[name] + b"\0"}.items())


@pytest.mark.parametrize("key", ["alice", "~terms", "~trust", "~shard"])
def test_another_format_is_refused_in_one_line(key: str) -> None:
    """Bytes of another version read as if they were ours give balances that nobody has."""
    records = dict(state.records(eventful().shard))
    record = records[key.encode()]
    # a msgpack array of five, as accounts once were; a pair of another format and the rest
    other = b"\x95" + record if key == "alice" else record[:1] + b"\x02" + record[2:]
    with pytest.raises(InvariantViolation, match=r"^[^\n]* must have format 1, found [^\n]+$"):
        state.restore(0, {**records, key.encode(): other}.items())


@pytest.mark.parametrize("key", ["alice", "~terms", "~trust", "~shard"])
@pytest.mark.parametrize("foreign", [b"", b"\x01", b"{}", b"\x92\x01\x01", b"\x92\x01\x93\x01\x02\x03", b"\x01" * 40])
def test_foreign_bytes_are_refused_in_one_line(key: str, foreign: bytes) -> None:
    """A topic that somebody else wrote to, or deleted from."""
    records = dict(state.records(eventful().shard))
    with pytest.raises(InvariantViolation, match=r"^[^\n]+$"):
        state.restore(0, {**records, key.encode(): foreign}.items())


@given(st.integers(0, 1 << 30), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_another_whole_state(where: int, flip: int) -> None:
    """Whatever the bytes are, a restore ends: with a shard whose double entry is zero, or in one line."""
    records = dict(state.records(PLAYED.shard))
    keys = sorted(records)
    key = keys[where % len(keys)]
    value = bytearray(records[key])
    value[where // len(keys) % len(value)] ^= flip
    with contextlib.suppress(InvariantViolation):
        shard = state.restore(0, {**records, key: bytes(value)}.items())
        assert not key.startswith(b"~")
        shard.ledger.check(shard.terms.assets, shard.terms.instruments, shard.posting.settlement)


def test_an_account_of_another_number_is_refused() -> None:
    """Two accounts under one number would share a book."""
    market = Market()
    market.collateral(Leg("d", "alice", "5"), Leg("d", "bob", "5"))
    records = dict(state.records(market.shard))
    with pytest.raises(InvariantViolation, match="must keep their numbers"):
        state.restore(0, {**records, b"carol": records[b"bob"]}.items())


def test_books_that_do_not_add_up_are_refused() -> None:
    """A deposit that is in the account and not in the house's books was never made."""
    market = Market()
    market.deposit("alice", "5")
    poorer = dict(state.records(market.shard))
    market.deposit("alice", "5")
    records = dict(state.records(market.shard))
    with pytest.raises(InvariantViolation, match="all entries of USDC must sum to 0"):
        state.restore(0, {**records, b"alice": poorer[b"alice"]}.items())


def test_a_flush_of_marks_writes_no_account() -> None:
    """Prices move all the time, books don't; check prices and widenings are written where they change."""
    market = eventful()
    market.marks({"USDC": 1.0}, after=1)
    state.dirty(market.shard)
    market.marks({"USDC": 1.0}, after=1)
    assert [key for key, _ in state.dirty(market.shard)] == [state.SHARD_KEY]
    market.marks({"USDC": 1.0}, after=1, check={"USDC": 0.99})
    assert [key for key, _ in state.dirty(market.shard)] == [state.TRUST_KEY, state.SHARD_KEY]


def test_a_flush_writes_who_was_touched_once() -> None:
    """However many rows there were since the last one."""
    market = Market()
    market.collateral(Leg("d", "alice", "5000"), Leg("d", "bob", "500"), Leg("d", "carol", "5"))
    state.dirty(market.shard)
    market.fills(Fill("1", "alice", "BTC-PERP", "0.1", "50000"))
    market.fills(Fill("2", "alice", "BTC-PERP", "0.1", "50000"), Fill("1", "bob", "BTC-PERP", "0.001", "50000"))
    keys = [key.decode() for key, _ in state.dirty(market.shard)]
    assert keys == ["alice", "bob", "~shard"]
    market.tell(instrument("BTC-PERP", maintenance_margin="0.06", version=9))
    assert [key.decode() for key, _ in state.dirty(market.shard)] == ["~terms", "~shard"]


def test_duplicates_are_recognised_after_a_restart() -> None:
    """The venue resends exactly when something has just been restarted."""
    market = Market((*STANDARD, rules(duplicate_window=4)), PRICES)
    market.deposit("alice", "100000")
    # six ids: the ring has wrapped
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in range(6)))
    market.shard = restored(market.shard)
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in (5, 3, 2, 9, 4)))
    # of t2 to t5 all are known; t9 pushes out t2 and the later ones stay
    assert market.shard.ledger.rows["duplicate"] == 4
    market.fills(Fill("t2", "alice", "BTC-PERP", "0.001", "50000"))
    assert market.shard.ledger.rows["duplicate"] == 4
    assert market.shard.window == 4


def test_an_open_step_goes_on_after_a_restart() -> None:
    """Its orders are out: the next step must replace them, after the same time-out."""
    market = Market()
    market.deposit("alice", "5000")
    market.fills(Fill("t", "alice", "BTC-PERP", "1", "50000"))
    market.collateral(Leg("w", "alice", "-2600", type="withdrawal"))
    market.shard = restored(market.shard)
    assert events(market.marks(after=4_999)) == []
    sent = market.marks(after=1)
    assert [(one.record["step"], one.record["replaces"]) for one in sent if one.topic == "liquidations"] == [
        (2, "0-4-alice-cross-liquidation")
    ]


@pytest.mark.parametrize(("stop", "go"), [("pause_liquidations", "resume_liquidations"), ("halt", "resume")])
def test_orders_of_operators_survive_a_restart(stop: str, go: str) -> None:
    """A desk that stopped the machine must not find it running because a worker was restarted."""
    market = Market((*STANDARD, control(stop, "BTC")))
    market.deposit("alice", "5000")
    market.fills(Fill("t", "alice", "BTC-PERP", "1", "50000"))
    market.shard = restored(market.shard)
    assert events(market.collateral(Leg("w", "alice", "-2600", type="withdrawal"))) == ["alice called"]
    assert events(market.tell(control(go, "BTC", version=2))) == ["alice liquidation"]


def test_levels_and_modes_of_accounts_survive_a_restart() -> None:
    """They are told once, perhaps years ago."""
    market = Market()
    market.settings({"account": "alice", "mode": "isolated", "levels": {"margin_call": "3"}})
    market.shard = restored(market.shard)
    market.collateral(Leg("m", "alice", "6000", bucket="BTC-PERP"))
    # isolated by the account's mode; 6,000 / 2,500 = 2.4
    assert events(market.fills(Fill("t", "alice", "BTC-PERP", "1", "50000"))) == ["alice called"]


def test_house_sums_may_outgrow_64_bits() -> None:
    """Years of fees of all accounts together."""
    market = Market(STANDARD, None)
    for n in range(5):
        market.collateral(Leg("d", f"user-{n}", "4000000000000"))
    # 2e13 units are 2e19 minor units
    assert market.house("~external") == "-20000000000000"
    again = restored(market.shard)
    assert again.ledger.house_assets == market.shard.ledger.house_assets
    again.ledger.check(again.terms.assets, again.terms.instruments, again.posting.settlement)


def test_house_entries_of_zero_are_not_part_of_the_state() -> None:
    """Whether an entry was ever used must not change the hash of equal books."""
    market = Market(STANDARD, None)
    market.collateral(Leg("a", "alice", "4294.967296"))
    before = dict(state.records(market.shard))[b"~shard"]
    market.collateral(Leg("b", "alice", "4294.967296", "BTC"), Leg("c", "alice", "-4294.967296", "BTC"))
    market.shard.next_offset, market.shard.ledger.rows["applied"] = 2, 1
    assert dict(state.records(market.shard))[b"~shard"] == before


def test_the_page_of_a_restored_shard_shows_the_same() -> None:
    """Whoever watches a shard's page must not see entries come and go with restarts."""
    market = Market()
    market.deposit("alice", "10")
    market.fills(Fill("o", "alice", "BTC-PERP", "1", "50000", "1"), Fill("c", "bob", "BTC-PERP", "-1", "50000", "-1"))
    assert (market.house("~external"), market.house("~fees"), market.house("~market:BTC-PERP")) == ("-10", "0", "0")
    page = shard_view(market.shard)
    assert page["assets"] == {"USDC": {"accounts": "10000000", "house": {"~external": "-10000000"}, "total": "0"}}
    assert shard_view(restored(market.shard)) == page


def test_restoring_thousands_of_accounts_keeps_their_numbers() -> None:
    """Their number in the shard orders what is sent; it must be the one they had."""
    market = Market(STANDARD, None)
    names = [f"user-{n * 7919 % 3001}" for n in range(3001)]
    market.collateral(*(Leg("d", name, str(n + 1)) for n, name in enumerate(names)))
    market.collateral(*(Leg("m", name, "2", bucket="BTC-PERP") for name in names[::3]))
    opened = list(market.shard.ledger.accounts)
    again = restored(market.shard)
    assert list(again.ledger.accounts) == opened
    assert state.state_hash(again) == market.hash()


@pytest.mark.parametrize("window", [7, 40, 256])
def test_every_remembered_id_comes_back_over_records_of_an_earlier_time(window: int) -> None:
    """A changelog that is not compacted has many records of an account, whose rings have grown and gone round since."""
    market = Market((*STANDARD, rules(duplicate_window=window)), PRICES)
    changelog, sent = [], 0
    for _ in range(7):
        for _ in range(window // 3):
            market.fills(*(Fill(f"f{sent}", name, "BTC-PERP", "0.001", "50000") for name in ("alice", "bob")))
            sent += 1
        changelog += list(state.dirty(market.shard))
        assert state.state_hash(state.restore(0, changelog)) == state.state_hash(market.shard)
