"""What positions require: flat rates, tiers, size premium and open interest, worked by hand.

If one of these failed, a position would be held on too little margin, or called on too much.
"""

import pytest

from tests.notation import check, evaluated, portfolio
from tests.tables import Row, rows

FLAT = "initial_margin 0.10 maintenance_margin 0.05"
MARGINAL = "tiers 0:0.10:0.05,1000000:0.20:0.10,3000000:0.50:0.25"
WHOLE = f"{MARGINAL} tier_method whole"
G5 = "initial_margin 0.10 maintenance_margin 0.10"
#: BTCUSDT of Binance, 24 October 2024 (freqtrade binance_leverage_tiers.json): from : 1/leverage : maintenance rate
BRACKETS = (
    "tiers 0:0.008:0.004,50000:0.01:0.005,600000:0.0134:0.0065,3000000:0.02:0.01,12000000:0.04:0.02,"
    "70000000:0.05:0.025,100000000:0.10:0.05,230000000:0.20:0.10,480000000:0.25:0.125"
)

REQUIREMENTS = rows(
    f"""
case | terms | mark | quantity | initial | maintenance

# |q| x mark x rate
flat long | {FLAT} | 50000 | 1 | 5000 | 2500
flat short (G1) | {FLAT} | 2500 | -4 | 1000 | 500
multiplier | {FLAT} multiplier 0.1 | 50000 | 3 | 1500 | 750
no maintenance rate | initial_margin 0.10 maintenance_margin 0 | 50000 | 1 | 5000 | 0
flat position | {FLAT} | 50000 | 0 | 0 | 0

marginal, below the edge | {MARGINAL} | 50000 | 19.99 | 99950 | 49975
# 999500 x 0.10 and x 0.05
marginal, notional exactly on the edge | {MARGINAL} | 50000 | 20 | 100000 | 50000
marginal, past the edge | {MARGINAL} | 50000 | 20.02 | 100200 | 50100
# 100000 + 1000 x 0.20; 50000 + 1000 x 0.10: only the slice pays more
marginal, third slice, short | {MARGINAL} | 50000 | -80 | 1000000 | 500000
# 100000 + 2000000 x 0.20 + 1000000 x 0.50; 50000 + 200000 + 250000

whole, below the edge | {WHOLE} | 50000 | 19.99 | 99950 | 49975
whole, notional exactly on the edge | {WHOLE} | 50000 | 20 | 200000 | 100000
# 1000000 x 0.20: the tier is reached at its edge
whole, past the edge | {WHOLE} | 50000 | 20.02 | 200200 | 100100
whole, exactly on the second edge | {WHOLE} | 50000 | 60 | 1500000 | 750000

brackets 5 million (G2) | {BRACKETS} | 50000 | 100 | 78060 | 38550
# 5000000 x 0.01 - 11450 = 38550; 400 + 5500 + 32160 + 2000000 x 0.02 = 78060
brackets 150 million (G2) | {BRACKETS} | 50000 | 3000 | 9038060 | 4518550
# 150000000 x 0.05 - 2981450 = 4518550; 400 + 5500 + 32160 + 180000 + 2320000 + 1500000 + 50000000 x 0.10 = 9038060

premium below its start | {FLAT} size_premium_factor 0.001 | 1 | 399 | 39.9 | 23.9300187578
# 0.8 x 0.1 + 0.001 x 19.97498 = 0.09997 < 0.1, so 0.1; maintenance 0.8 x 0.05 + 0.01997498 = 0.05997498 > 0.05
premium exactly where it starts | {FLAT} size_premium_factor 0.001 | 1 | 400 | 40 | 24
# 0.08 + 0.001 x 20 = 0.10; 0.04 + 0.02 = 0.06
premium past its start | {FLAT} size_premium_factor 0.001 | 1 | 900 | 99 | 63
# 0.08 + 0.03 = 0.11; 0.04 + 0.03 = 0.07
premium of a short | {FLAT} size_premium_factor 0.001 | 1 | -900 | 99 | 63
premium counts the multiplier | {FLAT} size_premium_factor 0.001 multiplier 100 | 1 | 9 | 99 | 63
premium 5,000 (G5) | {G5} size_premium_factor 0.00045 | 1 | 5000 | 559.099025767 | \
    559.099025767
# 0.08 + 0.00045 x 70.7106781187 = 0.111819805153
premium 200,000 (G5) | {G5} size_premium_factor 0.00045 | 1 | 200000 | \
    56249.2235950 | 56249.2235950
# 0.08 + 0.00045 x 447.213595500 = 0.281246117975
premium on tiers | {MARGINAL} size_premium_factor 0.02 | 50000 | 25 | 245000 | 185000
# notional 1250000: tiers 150000 (0.12) and 75000 (0.06); 0.096 + 0.02 x 5 = 0.196 -> 245000; 0.048 + 0.1 -> 185000

open interest below its bounds | {FLAT} {{oi}} open_interest 19999999 | 1 | 1000 | 100 | 50
open interest exactly at the lower bound | {FLAT} {{oi}} open_interest 20000000 | 1 | 1000 | 100 | 50
open interest half way (G4) | {FLAT} {{oi}} open_interest 35000000 | 1 | 1000 | 550 | 50
# 0.10 + 0.5 x 0.90 = 0.55; the maintenance rate does not move
open interest exactly at the upper bound | {FLAT} {{oi}} open_interest 50000000 | 1 | 1000 | 1000 | 50
open interest past the upper bound | {FLAT} {{oi}} open_interest 99000000 | 1 | 1000 | 1000 | 50
open interest after the premium | {FLAT} {{oi}} open_interest 35000000 size_premium_factor 0.001 | 1 | 900 | 499.5 | 63
# 0.11 + 0.5 x 0.89 = 0.555
a rate past 1 is no lower for open interest | {FLAT} {{oi}} open_interest 35000000 size_premium_factor 0.1 | 1 | 900 | \
    2772 | 2736
# 0.08 + 0.1 x 30 = 3.08; 0.04 + 3 = 3.04
open interest without bounds | {FLAT} open_interest 35000000 | 1 | 1000 | 100 | 50
"""
)

BOUNDS = "open_interest_lower 20000000 open_interest_upper 50000000"


@pytest.mark.parametrize("row", REQUIREMENTS)
def test_requirement(row: Row) -> None:
    """A position's margin is its notional at its tier's rates, lifted by size and crowding, never lowered."""
    document = portfolio(
        instruments=f"P {row['mark']} {row['terms']}".replace("{oi}", BOUNDS),
        balances="USDC 100000000",
        positions=f"P {row['quantity']} @ {row['mark']}",
    )
    check(
        evaluated(document),
        f"P.initial_margin {row['initial']}; P.maintenance_margin {row['maintenance']}; "
        f"initial_margin {row['initial']}; maintenance_margin {row['maintenance']}",
    )


INVERSE = rows("""
case | quantity | notional | initial | maintenance
long | 100000 | 100000 | 10000 | 5000
# 100000 / 50000 = 2 coins at 50000
short | -100000 | 100000 | 10000 | 5000
exactly on the tier edge | 1000000 | 1000000 | 100000 | 50000
past the tier edge | 1001000 | 1001000 | 100200 | 50100
""")


@pytest.mark.parametrize("row", INVERSE)
def test_inverse_requirement(row: Row) -> None:
    """A coin-margined contract is required in the reporting currency, at the coin's price."""
    document = portfolio(
        assets="BTC 50000",
        instruments=f"P 50000 type inverse_perpetual underlying BTC settlement BTC {MARGINAL}",
        balances="BTC 100",
        positions=f"P {row['quantity']} @ 50000",
    )
    check(
        evaluated(document),
        f"P.notional {row['notional']}; P.initial_margin {row['initial']}; P.maintenance_margin {row['maintenance']}",
    )


def test_positions_add_up() -> None:
    """Cross margin is a sum: no offset between positions, whatever their sides."""
    document = portfolio(
        assets="USDC 1; EUR 1.10",
        instruments=f"A 100 {FLAT}; B 10 settlement EUR {FLAT}",
        balances="USDC 1000",
        positions="A 5 @ 100; B -20 @ 10",
    )
    # A 500; B 200 EUR = 220
    check(evaluated(document), "initial_margin 72; maintenance_margin 36; B.notional 220")
