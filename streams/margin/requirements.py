"""What one position requires: notional, initial and maintenance margin, in the reporting currency.

Plain + - x / sqrt in a fixed order, so the bits depend on nothing but the position. Rates in order: tiers, size
premium, open interest. Options sold have rates of their own, on the price of their underlying.
"""

import math

from streams.compiled import inner, kernel
from streams.margin.parameters import Parameters
from streams.margin.standard_options import OptionRates, short_charge


@kernel(_nrt=False)
def notional(p: Parameters, instrument: int, quantity: float, mark: float, price: float) -> float:
    """|quantity| x multiplier x mark in the reporting currency, >= 0; inverse: |quantity| x multiplier / mark coins.

    Parameters
    ----------
    quantity : units, positive long
    mark : mark price, > 0
    price : price of the settlement asset in the reporting currency, > 0
    """
    size = abs(quantity) * p.multiplier[instrument]
    if p.inverse[instrument]:
        return size / mark * price
    return size * mark * price


@inner(_nrt=False)
def requirement(p: Parameters, instrument: int, quantity: float, value: float) -> tuple[float, float]:
    """Initial and maintenance margin of a position of notional `value`, both >= 0, initial >= maintenance.

    Marginal tiers charge each slice its own rate (Binance's brackets, there written `notional x rate - cum`);
    whole tiers charge all at the rate of the tier reached, which a notional exactly on its edge has. The size
    premium is max(r, 0.8 r + factor x sqrt(|quantity| x multiplier)) (Drift protocol v2, math/margin.rs,
    `calculate_size_premium_liability_weight`); open interest lifts the initial rate linearly to 1 between its
    bounds (dYdX v4, perpetuals/types/liquidity_tier.go).
    """
    first = p.tier_start[instrument]
    last = p.tier_start[instrument + 1] - 1
    tier = first
    for following in range(first + 1, last + 1):
        if value >= p.tier_from[following]:
            tier = following
    if p.whole_tiers[instrument]:
        initial = value * p.tier_initial[tier]
        maintenance = value * p.tier_maintenance[tier]
    else:
        above = value - p.tier_from[tier]
        initial = p.tier_initial_below[tier] + above * p.tier_initial[tier]
        maintenance = p.tier_maintenance_below[tier] + above * p.tier_maintenance[tier]
    factor = p.size_premium_factor[instrument]
    if factor > 0.0:
        premium = factor * math.sqrt(abs(quantity) * p.multiplier[instrument]) * value
        initial = max(initial, 0.8 * initial + premium)
        maintenance = max(maintenance, 0.8 * maintenance + premium)
    share = p.open_interest_share[instrument]
    if share > 0.0 and initial < value:
        initial = min(initial + share * (value - initial), value)
    return initial, maintenance


@inner(_nrt=False)
def position_requirement(
    p: Parameters, instrument: int, quantity: float, mark: float, price: float
) -> tuple[float, float]:
    """Initial and maintenance margin of a position at its mark, both >= 0; parameters as of `notional`.

    An option sold requires its standard margin less its value, which equity has as a debt already; one bought
    requires nothing. Each by itself: options lend each other nothing. Nan where the price of the underlying of one
    sold is not known.
    """
    initial, maintenance = 0.0, 0.0
    if p.right[instrument] == 0.0:
        value = notional(p, instrument, quantity, mark, price)
        initial, maintenance = requirement(p, instrument, quantity, value)
    elif quantity < 0.0:
        index_price = p.index_price[instrument]
        unit = index_price if p.coin_settled[instrument] else 1.0
        rates = OptionRates(
            p.option_rates[instrument, 0],
            p.option_rates[instrument, 1],
            p.option_rates[instrument, 2],
            p.option_rates[instrument, 3],
            p.option_rates[instrument, 4],
            p.option_rates[instrument, 5],
            0.0,
            0.0,
        )
        size = -quantity * p.multiplier[instrument]
        strike = p.strike[instrument] / unit
        initial, maintenance = short_charge(rates, p.right[instrument], size, index_price / unit, strike, mark)
        initial *= price
        maintenance *= price
        if index_price != index_price:
            initial = maintenance = math.nan
    return initial, maintenance
