"""Statuses, and the lines between them by name.

If one of these failed, a safe account would be closed, or one that must be closed would be left to lose other
people's money.
"""

import pytest

from tests.notation import check, evaluated, portfolio
from tests.tables import Row, rows

STATUSES = rows("""
case | usdc | previous | status | ratio
# one long at 50000: maintenance margin 2500; 1.25 x 2500 = 3125, 1.30 x 2500 = 3250, 1.05 x 2500 = 2625
well above | 10000 | | ok | 4
adjusted equity = 1.25 maintenance margin | 3125 | | ok | 1.25
a cent below 1.25 | 3124.99 | | margin_call | 1.249996
called, adjusted equity = 1.25 maintenance margin | 3125 | margin_call | margin_call | 1.25
called, a cent below 1.30 | 3249.99 | margin_call | margin_call | 1.299996
called, adjusted equity = 1.30 maintenance margin | 3250 | margin_call | ok | 1.3
not called, between call and its exit | 3200 | ok | ok | 1.28
adjusted equity = maintenance margin | 2500 | | margin_call | 1
a cent below maintenance margin | 2499.99 | | liquidation | 0.999996
liquidating, a cent below 1.05 | 2624.99 | liquidation | liquidation | 1.049996
liquidating, adjusted equity = 1.05 maintenance margin | 2625 | liquidation | margin_call | 1.05
called, between maintenance margin and 1.05 | 2600 | margin_call | margin_call | 1.04
liquidating, between call and its exit | 3200 | liquidation | margin_call | 1.28
liquidating, adjusted equity = 1.30 maintenance margin | 3250 | liquidation | ok | 1.3
straight from ok into liquidation | 2000 | ok | liquidation | 0.8
equity = 0 | 0 | | liquidation | 0
a cent below 0 | -0.01 | | bankrupt | -0.000004
was bankrupt, opened anew | 10000 | bankrupt | ok | 4
was bankrupt, between call and its exit | 3200 | bankrupt | ok | 1.28
""")

ROUNDING = rows("""
case | instrument | balances | positions | status | expect
# in float64 0.07 x 100 = 7.000000000000001 and 300 - 300.3 + 0.3 = -1.1e-14: neither may decide
maintenance margin of 0.07 x 100, met exactly | 100 initial_margin 0.1 maintenance_margin 0.07 | USDC 7 | P 1 @ 100 | \
    margin_call | margin_ratio 1
equity of exactly 0 | 100 initial_margin 0.1 maintenance_margin 0.05 | USDC 0.3 | P 3 @ 100.1 | liquidation | \
    equity 0; adjusted_equity 0; margin_ratio 0
a millionth below maintenance margin | 100 initial_margin 0.1 maintenance_margin 0.07 | USDC 6.999999 | P 1 @ 100 | \
    liquidation | maintenance_margin 7
a millionth below 0 | 100 initial_margin 0.1 maintenance_margin 0.05 | USDC 0.299999 | P 3 @ 100.1 | bankrupt | \
    equity -0.000001
call of 1.25 x 70 met exactly | 1000 initial_margin 0.1 maintenance_margin 0.07 | USDC 87.5 | P 1 @ 1000 | ok | \
    margin_ratio 1.25
free margin of exactly 0 | 1000.1 initial_margin 0.1 maintenance_margin 0.05 | USDC 300.03 | P 3 @ 1000.1 | ok | \
    free_margin 0
""")

DEBTS = rows("""
case | usdc | status | equity | adjusted
# 2 ETH at 2000, haircut 10%: 3600 count; nothing is required, so a ratio is not known
debt below what counts | -3599.99 | ok | 400.01 | 0.01
debt = what counts | -3600 | ok | 400 | 0
a cent more | -3600.01 | liquidation | 399.99 | -0.01
equity = 0 | -4000 | liquidation | 0 | -400
a cent below 0 | -4000.01 | bankrupt | -0.01 | -400.01
""")

LEVELS = rows("""
case | levels | usdc | previous | status
# maintenance margin 2500
own call | margin_call 1.5 | 3749.99 | | margin_call
own call met exactly | margin_call 1.5 | 3750 | | ok
own call past the common exit | margin_call 1.5 | 3750 | margin_call | ok
own exit of the call | margin_call 1.5 margin_call_exit 2 | 4999.99 | margin_call | margin_call
own exit of the call met exactly | margin_call 1.5 margin_call_exit 2 | 5000 | margin_call | ok
own exit of liquidation | liquidation_exit 1.1 | 2749.99 | liquidation | liquidation
own exit of liquidation met exactly | liquidation_exit 1.1 | 2750 | liquidation | margin_call
call at the maintenance margin | margin_call 1 margin_call_exit 1 | 2500 | | ok
""")

POSITION = {"instruments": "P 50000 initial_margin 0.10 maintenance_margin 0.05", "positions": "P 1 @ 50000"}


@pytest.mark.parametrize("row", STATUSES)
def test_status(row: Row) -> None:
    """Exactly at a line is its safe side, and a status is left only at its own exit."""
    report = evaluated(portfolio(**POSITION, balances=f"USDC {row['usdc']}", previous_status=row["previous"]))
    check(report, f"status {row['status']}; margin_ratio {row['ratio']}")


@pytest.mark.parametrize("row", ROUNDING)
def test_rounding_decides_nothing(row: Row) -> None:
    """A line met exactly in decimals is met, whatever binary fractions make of it."""
    document = portfolio(
        instruments=f"P {row['instrument']}", balances=row["balances"] or "", positions=row["positions"] or ""
    )
    check(evaluated(document), f"status {row['status']}; {row['expect']}")


@pytest.mark.parametrize("row", DEBTS)
def test_status_of_a_debt(row: Row) -> None:
    """Without positions only a debt larger than what the collateral counts for is acted on."""
    report = evaluated(portfolio(assets="USDC 1; ETH 2000 haircut 0.10", balances=f"USDC {row['usdc']}; ETH 2"))
    check(
        report,
        f"status {row['status']}; equity {row['equity']}; adjusted_equity {row['adjusted']}; margin_ratio none",
    )


@pytest.mark.parametrize("row", LEVELS)
def test_own_levels(row: Row) -> None:
    """An account's levels replace the common ones, each by itself."""
    report = evaluated(
        portfolio(
            **POSITION,
            balances=f"USDC {row['usdc']}",
            levels=row["levels"] or "",
            previous_status=row["previous"],
        )
    )
    assert report["status"] == row["status"]
