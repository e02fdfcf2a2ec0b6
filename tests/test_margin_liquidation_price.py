"""The price at which a book meets its maintenance margin, solved by hand.

If one of these failed, a trader would be told a wrong price to fear.
"""

import pytest

from tests.notation import check, evaluated, portfolio
from tests.tables import Row, rows

RATES = "initial_margin 0.10 maintenance_margin 0.05"
BRACKETS = (
    "tiers 0:0.008:0.004,50000:0.01:0.005,600000:0.0134:0.0065,3000000:0.02:0.01,12000000:0.04:0.02,"
    "70000000:0.05:0.025,100000000:0.10:0.05,230000000:0.20:0.10"
)
#: net long 0.1 of one underlying in two instruments; past a notional of 60000 each leg pays half
STRADDLE = (
    "A 50000 underlying BTC tiers 0:0.02:0.02,60000:0.5:0.5; B 50000 underlying BTC tiers 0:0.02:0.02,60000:0.5:0.5"
)
INVERSE = "P 50000 type inverse_perpetual underlying BTC settlement BTC initial_margin 0.02"

PRICES = rows(f"""
case | assets | instruments | balances | positions | expect

long | USDC 1 | P 50000 {RATES} | USDC 10000 | P 1 @ 52000 | P.liquidation_price 44210.5263157895
# 10000 + L - 52000 = 0.05 L; L = 42000 / 0.95
long beside other collateral | USDC 1; ETH 2000 haircut 0.10 | P 50000 {RATES} | USDC 10000; ETH 2 | P 1 @ 52000 | \
    P.liquidation_price 40421.0526315789
# 13600 + L - 52000 = 0.05 L; L = 38400 / 0.95
short | USDC 1 | P 50000 {RATES} | USDC 10000 | P -1 @ 50000 | P.liquidation_price 57142.8571428571
# 60000 - L = 0.05 L
long, to the tick toward the mark | USDC 1 | P 50000 price_precision 1 {RATES} | USDC 10000 | P 1 @ 52000 | \
    P.liquidation_price 44210.6
short, to the tick toward the mark | USDC 1 | P 50000 price_precision 1 {RATES} | USDC 10000 | P -1 @ 50000 | \
    P.liquidation_price 57142.8
exactly at the line | USDC 1 | P 50000 {RATES} | USDC 2500 | P 1 @ 50000 | P.liquidation_price 50000; status margin_call
already past it: where it would be safe again | USDC 1 | P 50000 {RATES} | USDC 1500 | P 1 @ 50000 | \
    P.liquidation_price 51052.6315789474; status liquidation
# 1500 + L - 50000 = 0.05 L; L = 48500 / 0.95
funding counts | USDC 1 | P 50000 {RATES} | USDC 10000 | P 1 @ 52000 accrued_funding -950 | \
    P.liquidation_price 45210.5263157895

none: fully paid long | USDC 1 | P 50000 {RATES} | USDC 50000 | P 1 @ 50000 | P.liquidation_price none
# L > 0.05 L at every price
none: nothing held | USDC 1 | P 50000 {RATES} | USDC 50000 | P 0 @ 50000 | P.liquidation_price none
hedged: only the requirement grows | USDC 1 | A 50000 underlying BTC {RATES}; B 50000 underlying BTC {RATES} | \
    USDC 10000 | A 1 @ 50000; B -1 @ 50000 | A.liquidation_price 100000; B.liquidation_price 100000
# 10000 = 2 x 0.05 L
another underlying is held | USDC 1 | A 50000 {RATES}; B 2000 {RATES} | USDC 10000 | A 1 @ 50000; B 10 @ 2000 | \
    A.liquidation_price 43157.8947368421; B.liquidation_price 1315.78947368421
# A: 10000 + L - 50000 = 0.05 L + 1000; L = 41000 / 0.95. B: 10000 + 10 L - 20000 = 0.5 L + 2500; L = 12500 / 9.5

within the bracket (G3) | USDC 1 | P 60000 {BRACKETS} | USDC 40000 | P 10 @ 60000 | P.liquidation_price 56276.3819095477
# (40000 + 50 - 600000) / (10 x 0.005 - 10)
three brackets on (G3) | USDC 1 | P 60000 {BRACKETS} | USDC 2000000 | P 200 @ 60000 | \
    P.liquidation_price 50447.2222222222
# (2000000 + 11450 - 12000000) / (200 x 0.01 - 200)
at the jump of a whole tier | USDC 1 | P 50000 tiers 0:0.1:0.05,1000000:0.2:0.1 tier_method whole | USDC 120000 | \
    P -19 @ 50000 | P.liquidation_price 52631.5789473684
# at 1000000 / 19 the equity is 70000, the margin 50000 just below and 100000 at the edge
before the jump of a whole tier | USDC 1 | P 50000 tiers 0:0.1:0.05,1000000:0.2:0.1 tier_method whole | USDC 80000 | \
    P -19 @ 50000 | P.liquidation_price 51629.0726817043
# 80000 - 19 (L - 50000) = 0.05 x 19 L; L = 1030000 / 19.95

the coin as collateral moves too (L1) | USDC 1; BTC 60000 haircut 0.05 | \
    P 60000 underlying BTC initial_margin 0.04 maintenance_margin 0.02 | USDC 50000; BTC 2 | P -5 @ 60000 | \
    P.liquidation_price 109375
# 50000 + 1.9 L - 5 (L - 60000) = 0.1 L; L = 350000 / 3.2
the same collateral under another name is held (L1) | USDC 1; COIN 60000 haircut 0.05 | \
    P 60000 underlying BTC initial_margin 0.04 maintenance_margin 0.02 | USDC 50000; COIN 2 | P -5 @ 60000 | \
    P.liquidation_price 90980.3921568627
# 50000 + 114000 - 5 (L - 60000) = 0.1 L; L = 464000 / 5.1
debt in the coin | USDC 1; BTC 50000 borrow_haircut 0.10 | P 50000 underlying BTC {RATES} | USDC 70000; BTC -1 | \
    P 0.1 @ 50000 | P.liquidation_price 64676.6169154229
# 70000 + 0.1 (L - 50000) - 1.1 L = 0.05 x 0.1 L; L = 65000 / 1.005
inverse long | BTC 50000 | {INVERSE} maintenance_margin 0.005 | BTC 0.12 | P 60000 @ 50000 | \
    P.liquidation_price 45681.8181818182
# 0.12 + 60000 (1/50000 - 1/L) = 0.005 x 60000 / L; L = 60300 / 1.32
inverse short | BTC 50000 | {INVERSE} maintenance_margin 0.005 | BTC 0.12 | P -60000 @ 50000 | \
    P.liquidation_price 55277.7777777778
# L = 59700 / 1.08
inverse long, margin of the entry set aside (L2) | BTC 50000 | {INVERSE} maintenance_margin 0 | BTC 0.114 | \
    P 60000 @ 50000 | P.liquidation_price 45662.1004566210
# 60000 / (1.2 + 0.114): initial 0.12 less maintenance 0.006, both on the value at entry
inverse short, margin of the entry set aside (L2) | BTC 50000 | {INVERSE} maintenance_margin 0 | BTC 0.114 | \
    P -60000 @ 50000 | P.liquidation_price 55248.6187845304

two roots, the upper one nearer | USDC 1 | {STRADDLE} | USDC 3000 | A 1.1 @ 50000; B -1 @ 50000 | \
    A.liquidation_price 57021.2765957447
# down: 3000 + 0.1 (L - 50000) = 0.042 L; L = 34482.8. Up, past 60000 / 1.1: 0.1 L - 2000 = 1200 + 0.5 (1.1 L - 60000)
# + 0.02 L; L = 26800 / 0.47
two roots, the lower one nearer | USDC 1 | {STRADDLE} | USDC 2300 | A 1.1 @ 50000; B -1 @ 50000 | \
    A.liquidation_price 46551.7241379310
# down: 2700 / 0.058; up: 26100 / 0.47 = 55531.9
two roots inside one curve | USDC 1; X 100 | P 100 underlying X settlement X {RATES} | USDC 1600; X 20 | P 1 @ 100 | \
    P.liquidation_price 51.5202862167
# 1600 + L (20 + L - 100) = 0.05 L x L; 0.95 L^2 - 80 L + 1600 = 0; L = (80 + sqrt(320)) / 1.9, the other 32.69
""")


@pytest.mark.parametrize("row", PRICES)
def test_liquidation_price(row: Row) -> None:
    """All marks and the price of one underlying move by one factor, nothing else does."""
    document = portfolio(
        assets=row["assets"] or "",
        instruments=row["instruments"] or "",
        balances=row["balances"] or "",
        positions=row["positions"] or "",
    )
    check(evaluated(document), row["expect"] or "")
