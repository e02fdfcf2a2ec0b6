"""Equity, adjusted equity and initial equity of a book, worked by hand.

If one of these failed, an account would be lent against money it does not have, or liquidated with money it has.
"""

import pytest

from tests.notation import check, evaluated, portfolio
from tests.tables import Row, rows

EQUITY = rows(
    """
case | assets | instruments | balances | positions | expect

cash alone | USDC 1 | | USDC 10000 | | equity 10000; adjusted_equity 10000; initial_equity 10000; free_margin 10000
# nothing is required, so the ratio is not known
nothing required | USDC 1 | | USDC 10000 | | initial_margin 0; maintenance_margin 0; margin_ratio none; status ok
nothing at all | USDC 1 | | | | equity 0; adjusted_equity 0; free_margin 0; margin_ratio none; status ok
haircut on a holding | ETH 2000 haircut 0.10 | | ETH 2 | | equity 4000; adjusted_equity 3600; initial_equity 3600
# 2 x 2000 = 4000; 4000 x 0.9 = 3600
charge on a debt | USDC 1; ETH 2000 haircut 0.10 borrow_haircut 0.05 | | USDC 10000; ETH -2 | | equity 6000; \
    adjusted_equity 5800
# 10000 - 4000 = 6000; 10000 - 4000 x 1.05 = 5800: the haircut reduces no debt
whole haircut | ETH 2000 haircut 1 | | ETH 2 | | equity 4000; adjusted_equity 0; status ok
initial haircuts | USDC 1; ETH 2000 haircut 0.10 initial_haircut 0.25 | | USDC 500; ETH 2 | | adjusted_equity 4100; \
    initial_equity 3500
# 500 + 3600 = 4100; 500 + 4000 x 0.75 = 3500
initial charge on a debt | USDC 1; ETH 2000 borrow_haircut 0.05 initial_borrow_haircut 0.20 | | USDC 9000; ETH -2 | | \
    adjusted_equity 4800; initial_equity 4200
# 9000 - 4000 x 1.05 = 4800; 9000 - 4000 x 1.2 = 4200
long gains | USDC 1 | P 50000 {} | USDC 10000 | P 1 @ 48000 | equity 12000; P.unrealized_pnl 2000
long loses | USDC 1 | P 50000 {} | USDC 10000 | P 1 @ 52000 | equity 8000; P.unrealized_pnl -2000
short gains | USDC 1 | P 50000 {} | USDC 10000 | P -1 @ 52000 | equity 12000; P.unrealized_pnl 2000
short loses | USDC 1 | P 50000 {} | USDC 10000 | P -1 @ 48000 | equity 8000; P.unrealized_pnl -2000
multiplier | USDC 1 | P 50000 multiplier 0.01 {} | USDC 1000 | P 300 @ 49000 | equity 4000; P.notional 150000
# 300 x 0.01 x 1000 = 3000; 300 x 0.01 x 50000 = 150000
future | USDC 1 | P 50000 type future {} | USDC 10000 | P 1 @ 48000 | equity 12000
funding received | USDC 1 | P 50000 {} | USDC 10000 | P 1 @ 50000 accrued_funding 25.5 | equity 10025.5; \
    P.unrealized_pnl 0
funding owed | USDC 1 | P 50000 {} | USDC 10000 | P 1 @ 50000 accrued_funding -25.5 | equity 9974.5
other currency | USDC 1; EUR 1.10 | P 100 settlement EUR {} | USDC 50 | P 3 @ 90 | equity 83; P.notional 330
# 3 x 10 = 30 EUR = 33; notional 300 EUR = 330
inverse long gains | BTC 50000 | P 50000 type inverse_perpetual settlement BTC {} | BTC 1 | P 100000 @ 40000 | \
    equity 75000; P.unrealized_pnl 0.5; P.notional 100000
# 100000 x (1/40000 - 1/50000) = 2.5 - 2 = 0.5 BTC
inverse short loses | BTC 50000 | P 50000 type inverse_perpetual settlement BTC {} | BTC 1 | P -100000 @ 40000 | \
    equity 25000; P.unrealized_pnl -0.5
inverse of ten dollars | BTC 50000 | P 50000 type inverse_perpetual settlement BTC multiplier 10 {} | BTC 1 | \
    P 10000 @ 40000 | equity 75000
the net is cut, not its parts | BTC 50000 haircut 0.10 | P 50000 type inverse_perpetual settlement BTC {} | BTC 2 | \
    P 100000 @ 100000 | equity 50000; adjusted_equity 45000
# 100000 x (1/100000 - 1/50000) = -1; net 2 - 1 = 1; 1 x 0.9 x 50000 = 45000, not (2 x 0.9 - 1) x 50000 = 40000
a loss makes a debt | USDC 1; BTC 50000 haircut 0.10 borrow_haircut 0.05 | \
    P 50000 type inverse_perpetual settlement BTC {} | BTC 0.5; USDC 50000 | P 100000 @ 100000 | equity 25000; \
    adjusted_equity 23750
# net 0.5 - 1 = -0.5; 50000 - 25000 x 1.05 = 23750
a gain is cut like a holding | USDC 1 haircut 0.02 | P 50000 {} | USDC 1000 | P 1 @ 48000 | equity 3000; \
    adjusted_equity 2940
flat position | USDC 1 | P 50000 {} | USDC 1000 | P 0 @ 48000 | equity 1000; P.notional 0; P.initial_margin 0; \
    margin_ratio none
"""
)

TIERS = rows("""
case | eth | adjusted
# price 100; 5% up to 10 units, 20% up to 20, nothing beyond counts
inside the first slice | 4 | 380
# 4 x 0.95 x 100
exactly on the first edge | 10 | 950
# 10 x 0.95 x 100
one hundredth past the first edge | 10.01 | 950.8
# 950 + 0.01 x 0.80 x 100
exactly on the second edge | 20 | 1750
# 950 + 10 x 0.80 x 100
past the last edge | 35 | 1750
nothing | 0 | 0
a debt has no slices | -35 | -3850
# -35 x 1.1 x 100
""")


def with_rates(text: str | None) -> str:
    return (text or "").replace("{}", "initial_margin 0.10 maintenance_margin 0.05")


@pytest.mark.parametrize("row", EQUITY)
def test_equity(row: Row) -> None:
    """An account's worth is what its assets and P&L would bring, cut and charged once each."""
    document = portfolio(
        assets=row["assets"] or "",
        instruments=with_rates(row["instruments"]),
        balances=row["balances"] or "",
        positions=row["positions"] or "",
    )
    check(evaluated(document), row["expect"] or "")


@pytest.mark.parametrize("row", TIERS)
def test_haircut_tiers(row: Row) -> None:
    """A large holding counts less, slice by slice: no edge makes the whole holding worth less."""
    document = portfolio(
        assets="USDC 1; ETH 100 borrow_haircut 0.10 haircut_tiers 0:0.05,10:0.20,20:1",
        balances=f"ETH {row['eth']}; USDC 100000",
    )
    check(evaluated(document), f"adjusted_equity {100000 + float(row['adjusted'] or 0)}")


def test_initial_haircut_of_tiers() -> None:
    """A tier's initial haircut is its own where it states one, else the larger of its haircut and the asset's."""
    document = portfolio(assets="ETH 100 initial_haircut 0.10 haircut_tiers 0:0.05,10:0.20,20:0.30", balances="ETH 30")
    document["assets"]["ETH"]["haircut_tiers"][2]["initial_haircut"] = "0.50"
    # 10 x 0.90 + 10 x 0.80 + 10 x 0.50 = 22; 10 x (0.95 + 0.80 + 0.70) = 24.5
    check(evaluated(document), "initial_equity 2200; adjusted_equity 2450")
