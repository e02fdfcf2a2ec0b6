"""What a shard refuses, and what it promises of any journal it is given."""

import pytest

from schemas.journal import RULES_VERSION, Block, CorruptBlock
from streams.engine import slack
from streams.engine.invariants import InvariantViolation
from streams.engine.shard import Shard
from streams.engine.views import account_view, shard_view
from streams.engine.warmup import warm_up
from tests.builders import Fill, Leg, Market, instrument


def test_a_block_that_was_applied_is_refused() -> None:
    """Applied twice, a whole block of trades would double: the worker must stop before it sends anything."""
    market = Market()
    with pytest.raises(InvariantViolation, match="journal must go on at 2, found a block at 1"):
        market.shard.apply(1, market.journal[1])


def test_offsets_may_have_gaps() -> None:
    """Kafka's commit markers take offsets too."""
    shard = Shard(0)
    block = Block(kind="marks", extra={"time": 1, "oracle": {"partition": 0, "of": 1, "mode": "live"}}).encode()
    shard.apply(5, block)
    assert shard.next_offset == 6
    shard.apply(9, block)
    assert shard.next_offset == 10


def test_a_block_of_newer_rules_is_refused() -> None:
    """An old worker must not fold by rules that it doesn't know."""
    shard = Shard(0)
    with pytest.raises(InvariantViolation, match=f"rules_version must be 1 to {RULES_VERSION}, found 99"):
        shard.apply(0, Block(kind="terms", rules_version=99).encode())


def test_a_corrupt_block_is_refused() -> None:
    """A flipped bit in the journal is not a trade."""
    market = Market()
    data = bytearray(market.journal[0])
    data[-3] ^= 1
    with pytest.raises(CorruptBlock, match="crc32"):
        Shard(0).apply(0, bytes(data))


def test_an_instrument_needs_its_settlement_asset() -> None:
    """Without its precision no amount means anything; the producer tells both in one block."""
    with pytest.raises(InvariantViolation, match="settlement asset USDC must be known before BTC-PERP"):
        Market((instrument("BTC-PERP"),), None)


def test_blocks_without_rows_change_nothing() -> None:
    """A producer may have nothing but terms to tell."""
    market = Market()
    market.deposit("alice", "1")
    before = market.hash()
    for block in (market.fills_block(()), market.collateral_block(()), market.funding_block(())):
        assert market.apply(block) == []
    market.shard.next_offset -= 3
    assert market.hash() == before


def test_rows_of_one_block_are_judged_together() -> None:
    """A block is atomic: an account is not liquidated between its withdrawal and the deposit beside it."""
    market = Market()
    market.deposit("alice", "5000")
    market.fills(Fill("t", "alice", "BTC-PERP", "1", "50000"))
    sent = market.collateral(Leg("w", "alice", "-4000", type="withdrawal"), Leg("d", "alice", "4000"))
    assert [one.topic for one in sent] == ["margin-accounts"]


def test_the_pages_show_books_and_double_entry() -> None:
    """What an operator looks at when something is wrong."""
    market = Market()
    market.collateral(Leg("d", "alice", "5000"), Leg("m", "alice", "600", bucket="ETH-PERP"))
    market.fills(
        Fill("t", "alice", "BTC-PERP", "0.5", "50000", "5"),
        Fill("i", "alice", "ETH-PERP", "1", "2000", mode="isolated"),
    )
    view = market.view("alice")
    assert (view["account"], view["bucket"], view["balances"]) == ("alice", "cross", {"USDC": "4995"})
    assert [(row["instrument"], row["quantity"]) for row in view["positions"]] == [("BTC-PERP", "0.5")]
    assert [book["bucket"] for book in view["isolated"]] == ["ETH-PERP"]
    assert account_view(market.shard, "nobody") is None
    whole = shard_view(market.shard)
    assert whole["accounts"] == 1
    assert whole["statuses"] == {"ok": 2, "margin_call": 0, "liquidation": 0, "bankrupt": 0, "unpriced": 0}
    # 4,995 + 600 - 25,000 - 2,000
    assert whole["assets"]["USDC"]["accounts"] == "-21405000000"
    assert whole["assets"]["USDC"]["total"] == whole["lots"]["BTC-PERP"]["total"] == "0"


def test_broken_double_entry_is_found() -> None:
    """The check has to see a single missing unit."""
    market = Market()
    market.deposit("alice", "5000")
    market.shard.ledger.house_assets["~external", 0] += 1
    with pytest.raises(InvariantViolation, match="all entries of USDC must sum to 0, found 1"):
        market.deposit("alice", "1")


def test_warming_up_runs() -> None:
    """A worker compiles its kernels before it joins its group; a journal that fails there keeps it from starting."""
    assert warm_up() > 5


def test_warming_up_compiles_what_only_called_accounts_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled in the middle of a crash it would hold the worker up for a minute, and once did."""
    asked = []
    monkeypatch.setattr(slack, "search", lambda *given: asked.append(len(given)))
    warm_up()
    assert asked
