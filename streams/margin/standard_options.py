"""Standard margin of options: what short options require one by one, or an expiry as a whole by its worst payoff.

For accounts that are not on portfolio margin. A long option requires nothing and lends nothing. Requirements
include the value of the short (what closing it costs): where equity already holds that value as a negative
amount, the charge on top is the requirement less the value.

References
----------
Derive v2-core, src/risk-managers/StandardManager.sol (`_getIsolatedMarginForCall`, `_getIsolatedMarginForPut`,
`_calcNetBasicMarginSingleExpiry`), read at commit 70324214, November 2026: RATES of its tests and of its scripts
are parameters here. Deribit standard margin (older parameters) has the same form per coin, with put_value_rate its
maintenance rate and put_offset 1.
"""

from typing import NamedTuple

from streams.compiled import kernel
from streams.margin.black76 import payoff
from streams.margin.parameters import F64


class OptionRates(NamedTuple):
    """Rates of short options, as fractions of the underlying's price.

    The initial rate is `most` less what the option is out of the money, at least `least`; the maintenance rate is
    `call` or `put`, of a put at least `put_value` of its own value; initial margin of a put is at least
    `put_offset` x its maintenance margin. `unpaired_initial` and `unpaired_maintenance` are charged on the forward
    for calls sold without calls bought when the expiry is margined as a whole; 0 turns that off, each option is
    then margined by itself.
    """

    most: float
    least: float
    call: float
    put: float
    put_value: float
    put_offset: float
    unpaired_initial: float
    unpaired_maintenance: float


@kernel
def short_charge(
    rates: OptionRates, right: float, size: float, index_price: float, strike: float, mark: float
) -> tuple[float, float]:
    """Initial and maintenance margin of a short option on top of its value; parameters as of `short_option`.

    Examples
    --------
    G6: a put of 75,000 on 60,000 at 15,500: 0.15 and 0.09 of 60,000; 1.05 x 20,900 less the value would be less

    >>> rates = OptionRates(0.15, 0.13, 0.09, 0.09, 0.09, 1.05, 1.2, 1.1)
    >>> [round(m, 6) for m in short_charge(rates, -1, 1.0, 60_000.0, 75_000.0, 15_500.0)]
    [9000.0, 5400.0]
    """
    out_of_the_money = max(right * (strike - index_price), 0.0) / index_price
    initial = max(rates.most - out_of_the_money, rates.least) * index_price * size
    if right > 0:
        maintenance = rates.call * index_price * size
    else:
        value = mark * size
        maintenance = max(rates.put * index_price * size, rates.put_value * value)
        initial = max(initial, rates.put_offset * maintenance + (rates.put_offset - 1.0) * value)
    return initial, maintenance


@kernel
def short_option(
    rates: OptionRates, right: float, size: float, index_price: float, strike: float, mark: float
) -> tuple[float, float]:
    """Initial and maintenance margin of a short option, both >= its value; of a put initial >= maintenance.

    Call: initial max(most - out of the money / index, least) x index x size + value; maintenance
    call x index x size + value. Put: initial the larger of the same and put_offset x maintenance; maintenance
    max(put x index x size, put_value x value) + value.

    Parameters
    ----------
    right : +1 call, -1 put
    size : units sold (quantity x multiplier), >= 0
    index_price : > 0
    mark : of one unit, >= 0

    Examples
    --------
    G6: 2 calls of 66,000 on 60,000 at 1,200: 0.09 x 60,000 x 2 + 2,400 and (0.15 - 0.10, but 0.13) x 60,000 x 2 + 2,400

    >>> rates = OptionRates(0.15, 0.13, 0.09, 0.09, 0.09, 1.05, 1.2, 1.1)
    >>> [round(m, 6) for m in short_option(rates, 1, 2.0, 60_000.0, 66_000.0, 1_200.0)]
    [18000.0, 13200.0]
    """
    value = mark * size
    initial, maintenance = short_charge(rates, right, size, index_price, strike, mark)
    return initial + value, maintenance + value


@kernel
def worst_payoff(right: F64, quantity: F64, strike: F64) -> float:
    """Least payoff of options of one expiry over settlement prices of 0 and every strike; at most 0.

    Between strikes the payoff is linear, so it is the least wherever it does not fall for good above the highest
    strike: that is what calls sold without calls bought add.
    """
    least = 0.0
    for settlement in range(-1, strike.shape[0]):
        price = 0.0 if settlement < 0 else strike[settlement]
        total = 0.0
        for j in range(strike.shape[0]):
            total += quantity[j] * payoff(right[j], price, strike[j], False)
        least = min(least, total)
    return least


@kernel
def expiry_requirement(
    rates: OptionRates,
    right: F64,
    quantity: F64,
    strike: F64,
    mark: F64,
    index_price: float,
    forward: float,
) -> tuple[float, float]:
    """Initial and maintenance margin of all options of one underlying and expiry, both >= 0.

    The smaller of the sum over the shorts one by one and the worst payoff of the whole expiry, calls sold net
    charged unpaired x forward on top of it. Value of longs counts in neither.

    Parameters
    ----------
    right, quantity, strike, mark : shape (n,), in the order of the account; quantity x multiplier, positive long
    index_price, forward : of the underlying, and of the expiry

    Examples
    --------
    A call spread sold, 1,800 against 2,000, loses 200 at most:

    >>> import numpy as np
    >>> rates = OptionRates(0.15, 0.1, 0.075, 0.075, 0.075, 1.05, 1.2, 1.1)
    >>> spread = np.array([1, 1]), np.array([-1.0, 1.0]), np.array([1800.0, 2000.0]), np.array([215.0, 90.0])
    >>> expiry_requirement(rates, *spread, 2000.0, 2002.8)
    (200.0, 200.0)
    """
    initial = 0.0
    maintenance = 0.0
    calls = 0.0
    for j in range(strike.shape[0]):
        if right[j] > 0:
            calls += quantity[j]
        if quantity[j] < 0.0:
            one = short_option(rates, right[j], -quantity[j], index_price, strike[j], mark[j])
            initial += one[0]
            maintenance += one[1]
    if not rates.unpaired_maintenance > 0.0:
        return initial, maintenance
    loss = -worst_payoff(right, quantity, strike)
    unpaired = max(-calls, 0.0) * forward
    return (
        min(initial, loss + rates.unpaired_initial * unpaired),
        min(maintenance, loss + rates.unpaired_maintenance * unpaired),
    )
