"""What is closed, how much of it and at which limits, worked by hand.

If one of these failed, too much of an account would be sold, or it would be sold at prices that leave a hole.
"""

import pytest

from tests.notation import Json, check, evaluated, portfolio
from tests.tables import Row, rows

SIZES = rows("""
case | instruments | usdc | positions | levels | expect

# close x so that (E - fee x P) = 1.10 (MM - mmr x P)
to the target (Q2) | P 60000 im 0.1 mm 0.02 fee 0.005 | 2800 | P 2.5 @ 60000 | | \
    order.P.quantity -0.490196078431373
# x = (1.1 x 3000 - 2800) / (60000 (1.1 x 0.02 - 0.005)) = 500 / 1020
to the target, short | P 60000 im 0.1 mm 0.02 fee 0.005 | 2800 | \
    P -2.5 @ 60000 | | order.P.quantity 0.490196078431373
up to the lot | P 60000 quantity_precision 3 im 0.1 mm 0.02 fee 0.005 | 2800 | \
    P 2.5 @ 60000 | | order.P.quantity -0.491
target met exactly by whole lots | P 50000 quantity_precision 3 im 0.1 mm 0.05 | 2475 | \
    P 1 @ 50000 | | order.P.quantity -0.1
# 1.1 x 0.9 x 2500 = 2475
more than all would be needed (Q2) | P 60000 im 0.1 mm 0.02 fee 0.005 | 100 | \
    P 2.5 @ 60000 | | order.P.quantity -2.5
fee eats what closing frees (Q2) | P 60000 im 0.1 mm 0.004 fee 0.005 | 500 | \
    P 2.5 @ 60000 | | order.P.quantity -2.5
# 1.1 x 0.004 < 0.005: no part helps, so all
fee equal to what closing frees | P 60000 im 0.1 mm 0.01 fee 0.011 | 1400 | \
    P 2.5 @ 60000 | | order.P.quantity -2.5
own target of 1, two fees in one (Q1) | P 100 im 0.1 mm 0.05 fee 0.015 | 4000 | \
    P 1000 @ 100 | liquidation_exit 1 liquidation_target 1 | order.P.quantity -285.714285714286; status liquidation
# shortage 1000 / (100 x (0.05 - 0.01) - 100 x 0.005)
own target of 2 | P 50000 im 0.1 mm 0.05 | 2000 | P 1 @ 50000 | liquidation_target 2 | \
    order.P.quantity -0.6
# 2000 = 2 x 0.4 x 2500
multiplier | P 50000 multiplier 0.01 quantity_precision 0 im 0.1 mm 0.05 | 2475 | \
    P 100 @ 50000 | | order.P.quantity -10
through marginal tiers | P 50000 tiers 0:0.1:0.05,1000000:0.2:0.1 | 95000 | P 30 @ 50000 | | \
    order.P.quantity -2.72727272727273
# MM = 50000 + 0.1 x (n - 1000000) = 95000 / 1.1; n = 1363636.36; 30 - 27.2727
to below the edge of a whole tier | P 50000 quantity_precision 1 tiers 0:0.1:0.05,1000000:0.2:0.1 tier_method whole | \
    100000 | P 30 @ 50000 | | order.P.quantity -10.1
# at 20.0 the notional is on the edge and 100000 x 1.1 > 100000; at 19.9 the margin is 49750
with the size premium | P 1 im 0.1 mm 0.05 size_premium_factor 0.001 | 55 | P 900 @ 1 | | \
    order.P.quantity -156.662679415
# the rate is 0.04 + 0.001 sqrt(q): 0.04 q + 0.001 q sqrt(q) = 55 / 1.1 at q = 743.337321

best first: most margin per fee | A 1000 im 0.2 mm 0.1 fee 0.005; \
    B 1000 im 0.2 mm 0.02 fee 0.005 | 1100 | A 10 @ 1000; B 10 @ 1000 | | \
    order.A.quantity -2.09523809523810; orders 1
# 1100 - 5 x = 1.1 (1200 - 100 x); x = 220 / 105
best first: the leg without a fee | A 1000 im 0.2 mm 0.1 fee 0.005; \
    B 1000 im 0.2 mm 0.02 | 1100 | A 10 @ 1000; B 10 @ 1000 | | \
    order.B.quantity -10; orders 1
# 1100 = 1.1 x 1000: B alone, whole, is exactly enough
best first: no fees, the larger margin | A 1000 im 0.2 mm 0.02; \
    B 1000 im 0.2 mm 0.1 | 1155 | A 10 @ 1000; B 10 @ 1000 | | \
    order.B.quantity -1.5; orders 1
# 1155 = 1.1 (1200 - 100 x)
the second leg after the whole first | A 1000 im 0.2 mm 0.1 fee 0.005; \
    B 1000 im 0.2 mm 0.02 fee 0.005 | 240 | A 10 @ 1000; B 10 @ 1000 | | \
    order.A.quantity -10; order.B.quantity -1.76470588235294
# 240 - 50 - 5 x = 1.1 (200 - 20 x); x = 30 / 17
a hedge is two legs | A 1000 im 0.2 mm 0.1 underlying X; \
    B 1000 im 0.2 mm 0.1 underlying X | 1100 | A 10 @ 1000; B -10 @ 1000 | | \
    order.A.quantity -10; orders 1
# 1100 = 1.1 x 1000; equal legs close in the order of their names
""")

LIMITS = rows("""
case | instruments | usdc | positions | expect

# long: L = (mark - E / q) / (1 - fee), up to the tick; short: L = (mark + E / q) / (1 + fee), down to the tick
long, no fee (Q3) | P 60000 im 0.1 mm 0.03 | 1500 | P 2 @ 60000 | order.P.limit_price 59250
# 60000 - 1500 / 2: the bankruptcy price
long | P 50000 price_precision 1 im 0.1 mm 0.05 fee 0.005 | 2400 | P 1 @ 50000 | \
    order.P.limit_price 47839.2
# 47600 / 0.995 = 47839.1960
long, exact price on the tick | P 50000 price_precision 1 im 0.1 mm 0.05 | 2400 | \
    P 1 @ 50000 | order.P.limit_price 47600
short | P 50000 price_precision 1 im 0.1 mm 0.05 fee 0.005 | 2400 | \
    P -1 @ 50000 | order.P.limit_price 52139.3
# 52400 / 1.005 = 52139.3035
without precision | P 50000 im 0.1 mm 0.05 fee 0.005 | 2400 | P 1 @ 50000 | \
    order.P.limit_price 47839.1959798995
expected fee | P 50000 im 0.1 mm 0.05 fee 0.005 price_precision 1 \
    quantity_precision 3 | 2400 | P 1 @ 50000 | order.P.quantity -0.14; order.P.expected_fee 33.48744
# x = 350 / (50000 (0.055 - 0.005)) = 0.14; 0.14 x 47839.2 x 0.005
shares by maintenance margin | A 1000 im 0.2 mm 0.1; \
    B 1000 im 0.2 mm 0.02 | 120 | A 10 @ 1000; B -10 @ 1000 | \
    order.A.limit_price 990; order.B.limit_price 1002
# 120 = 100 for A (1000 of 1200) and 20 for B (200 of 1200)
""")

INVERSE = rows("""
case | terms | btc | positions | expect

long, no fee | im 0.01 mm 0.005 | 0.002 | P 60000 @ 50000 | order.P.limit_price 49916.8053244592
# 60000 (1/L - 1/50000) = 0.002; L = 60000 / 1.202
long, fee | im 0.01 mm 0.005 fee 0.001 | 0.002 | P 60000 @ 50000 | \
    order.P.limit_price 49966.7221297837
# 60000 (1.001/L - 1/50000) = 0.002; L = 60060 / 1.202
short, no fee | im 0.01 mm 0.005 | 0.002 | P -60000 @ 50000 | \
    order.P.limit_price 50083.4724540902
# 60000 (1/50000 - 1/L) = 0.002; L = 60000 / 1.198
to the target | im 0.01 mm 0.005 fee 0.001 | 0.0055 | P 60000 @ 50000 | \
    order.P.quantity -12222.2222222222
# 275 - 0.001 x = 1.1 (300 - 0.005 x); x = 55 / 0.0045
bankruptcy price at leverage 50 (Q6) | im 0.05 mm 0.03 | 0.02 | P 7890.08 @ 7890.08 | \
    order.P.limit_price 7735.37254901961
# 7890.08 x 50 / 51
""")

CONVERSIONS = rows("""
case | assets | balances | expect

debt against a coin | USDC 1; ETH 2000 haircut 0.10 | USDC -1000; ETH 0.52 | order.ETH.amount 0.5; \
    order.ETH.buy_asset USDC; order.ETH.limit_price 1920; orders 1
# all of the debt: 1000 / 2000; the equity of 40 may be lost on it: (1000 - 40) / 0.5
all there is, and a little debt stays | USDC 1; ETH 2000 haircut 0.10; X 1 | USDC -1000; ETH 0.4; X 250 | \
    order.ETH.amount 0.4; order.X.amount 200; orders 2; status liquidation
# 800 + 200 = 1000: the larger haircut is sold first
amount to the minor unit | USDC 1 precision 6; ETH 3000 precision 4 haircut 0.5 | USDC -1000; ETH 0.5 | \
    order.ETH.amount 0.3334
# 0.33333... up
amount of an asset without decimals | USDC 1; YEN 0.01 precision 0 haircut 0.2 | USDC -1000.005; YEN 120000 | \
    order.YEN.amount 100001
""")

SHORTFALLS = rows("""
case | usdc | positions | shortfall
# one long from 50000 at 48000
a thousand | 1000 | P 1 @ 50000 | 1000
rounded up to the millionth | 1000.0000009 | P 1 @ 50000 | 1000
rounded up past the millionth | 999.9999999 | P 1 @ 50000 | 1000.000001
""")


def liquidated(document: Json, expected: str) -> Json:
    report = evaluated(document)
    pairs = [pair.strip() for pair in expected.split(";")]
    counts = [pair for pair in pairs if pair.startswith("orders ")]
    for count in counts:
        assert len(report["liquidation"]["orders"]) == int(count.split()[1])
    check(report, ";".join(pair for pair in pairs if pair not in counts))
    return report


@pytest.mark.parametrize("row", SIZES)
def test_size(row: Row) -> None:
    """The least that reaches the target is closed, from the legs that free most margin per fee first."""
    document = portfolio(
        instruments=row["instruments"] or "",
        balances=f"USDC {row['usdc']}",
        positions=row["positions"] or "",
        levels=row["levels"] or "",
    )
    liquidated(document, row["expect"] or "")


@pytest.mark.parametrize("row", LIMITS)
def test_limit(row: Row) -> None:
    """The book's equity is what closing it may lose, shared by maintenance margin and rounded in its favour."""
    document = portfolio(
        instruments=row["instruments"] or "", balances=f"USDC {row['usdc']}", positions=row["positions"] or ""
    )
    liquidated(document, row["expect"] or "")


@pytest.mark.parametrize("row", INVERSE)
def test_inverse(row: Row) -> None:
    """Coin-margined positions are sized and limited in coins."""
    (position,) = [row["positions"] or ""]
    mark = position.split("@")[1]
    document = portfolio(
        assets=f"BTC {mark}",
        instruments=f"P {mark} type inverse_perpetual underlying BTC settlement BTC {row['terms']}",
        balances=f"BTC {row['btc']}",
        positions=position,
    )
    liquidated(document, row["expect"] or "")


@pytest.mark.parametrize("row", CONVERSIONS)
def test_conversion(row: Row) -> None:
    """Where only debt is left, collateral is sold for it, for no less than leaves equity."""
    document = portfolio(assets=row["assets"] or "", balances=row["balances"] or "")
    liquidated(document, row["expect"] or "")


@pytest.mark.parametrize("row", SHORTFALLS)
def test_shortfall(row: Row) -> None:
    """What a bankrupt book owes past zero is stated in the reporting currency, never too small."""
    document = portfolio(
        instruments="P 48000 im 0.10 mm 0.05",
        balances=f"USDC {row['usdc']}",
        positions=row["positions"] or "",
    )
    check(evaluated(document), f"status bankrupt; shortfall {row['shortfall']}; liquidation none")


def test_flat_positions_are_no_positions() -> None:
    """A position of zero beside a debt leaves the debt to be converted."""
    document = portfolio(
        assets="USDC 1; ETH 2000 haircut 0.10",
        instruments="P 50000 im 0.10 mm 0.05",
        balances="USDC -1000; ETH 0.52",
        positions="P 0 @ 50000",
    )
    check(evaluated(document), "order.ETH.amount 0.5")


def test_nothing_is_ordered_from_a_safe_book() -> None:
    """A called account is warned, not touched."""
    document = portfolio(
        instruments="P 50000 im 0.10 mm 0.05",
        balances="USDC 2500",
        positions="P 1 @ 50000",
    )
    check(evaluated(document), "status margin_call; liquidation none")
