"""The benchmarks' peers: the job they share, the records that check it, and the peers themselves against a broker."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.peers import records
from benchmarks.peers.account import Account, Fill, fill_of, price_of
from benchmarks.peers.check import OPTIONS, Peer
from benchmarks.peers.commands import PEERS
from benchmarks.subjects import AT_HOME, PEERS_PYTHON
from streams.kafka.broker import LocalBroker
from tests.tables import Row, rows

#: Peer -> the package that it needs beyond the project's own.
NEEDS = {
    "plain_aiokafka": "aiokafka",
    "textbook_faust": "faust",
    "quix_streams": "quixstreams",
    "bytewax_flow": "bytewax",
}


@pytest.mark.parametrize(
    "row",
    rows("""
    case                 | quantity | price     | mark  | breach
    no price yet         | 4000     | 50000     |       | no
    equity = maintenance | 40       | 50000     | 50000 | no
    # 100,000 = 5% of 40 x 50,000
    equity < maintenance | 40       | 50000.001 | 50000 | yes
    # 99,999.96 < 100,000
    a short gains        | -30      | 50000     | 49999 | no
    # 100,030 > 74,998.50
    a short loses        | -30      | 50000     | 52000 | yes
    # 40,000 < 78,000
    """),
)
def test_breach_is_equity_below_maintenance(row: Row) -> None:
    """A peer that is laxer or stricter than the others would be compared on another job."""
    account = Account()
    account.book(Fill("a", "BTC-PERP", float(row["quantity"] or 0), float(row["price"] or 0), 0.0))
    prices = {"BTC": float(row["mark"])} if row["mark"] else {"ETH": 1.0}
    breach = account.breach(prices)
    assert (breach is not None) == (row["breach"] == "yes")
    assert account.breach(prices) is None, "an account breaches once"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantity": None}, "must have"),
        ({"price": "NaN"}, "finite"),
        ({"fee": "1e400"}, "finite"),
        ({"fee": "x"}, "x"),
    ],
)
def test_bad_fills_are_refused(changes: dict[str, str | None], says: str) -> None:
    """A NaN that is booked makes an account that never breaches."""
    record = {**records.fill("a", "1", "1", "50000"), **changes}
    with pytest.raises(ValueError, match=says):
        fill_of({name: value for name, value in record.items() if value is not None})


def test_bad_prices_are_refused() -> None:
    """A price of zero or NaN would breach everyone, or no one for ever."""
    for value in ("0", "-1", "inf", "nan"):
        with pytest.raises(ValueError, match="finite and > 0"):
            price_of({"symbol": "BTC", "price": value})


def test_shared_job_agrees_with_exact_arithmetic() -> None:
    """The job that the Python peers share breaches the accounts that the check expects, with its numbers."""
    fills, expected = list(records.fills_of(accounts=60, count=1200, seed=3)), records.Expected()
    accounts: dict[str, Account] = {}
    found = {}
    for fill in fills:
        expected.add(fill)
        checked = fill_of(fill)
        account = accounts.setdefault(checked.account, Account())
        account.book(checked)
        if breach := account.breach({"BTC": float(records.START)}):
            found[checked.account] = breach
    expected.later()
    for price in records.LATER:
        for name, account in accounts.items():
            if breach := account.breach({"BTC": float(price)}):
                found[name] = breach
    exact = {name: book.breach for name, book in expected.books.items() if book.breach}
    assert found.keys() == exact.keys() == accounts.keys()
    assert {breach.phase for breach in exact.values()} == {0, 1, 2, 3}
    for name, breach in exact.items():
        assert found[name]["equity"] == pytest.approx(float(breach.equity), rel=1e-9, abs=1e-6)
        assert found[name]["maintenance_margin"] == pytest.approx(float(breach.maintenance), rel=1e-9)


def test_check_sees_a_peer_that_lost_a_fill(tmp_path: Path) -> None:
    """A check that passes a peer with one fill less proves nothing of the others."""
    options = OPTIONS.parse_args(["--logs", str(tmp_path)])
    peer = Peer("plain_aiokafka", "127.0.0.1:1", options, tmp_path)
    for fill in records.fills_of(accounts=20, count=200, seed=5):
        peer.expected.add(fill)
    peer.expected.later()
    for name, book in peer.expected.books.items():
        assert book.breach is not None
        numbers = {"equity": float(book.breach.equity), "maintenance_margin": float(book.breach.maintenance)}
        peer.breaches[name] = [{"account": name, **numbers}]
    assert peer.verdict()
    name = next(name for name, book in peer.expected.books.items() if book.breach and book.breach.phase)
    peer.expected.books[name].breach = records.Breach(1, Decimal(1), Decimal(2))
    assert not peer.verdict()


@pytest.mark.kafka
@pytest.mark.parametrize("peer", PEERS)
def test_peer_does_the_common_job(broker: LocalBroker, tmp_path: Path, peer: str) -> None:
    """A peer that skips part of the job would look faster than it is."""
    if peer not in AT_HOME and not PEERS_PYTHON.exists():
        pytest.skip("the frameworks of the peers are installed by `make bench`")
    arguments = ["--fills", "1000", "--accounts", "50", "--partitions", "2", "--logs", str(tmp_path)]
    run = Peer(peer, broker.bootstrap, OPTIONS.parse_args(arguments), tmp_path)
    assert asyncio.run(run.check()), run.log.read_text()[-2000:]
