"""Forward curve of an underlying: annualised log basis of its listed futures, linear in the term, flat at the ends."""

import numpy as np

from streams.compiled import kernel
from streams.margin.elementary import exp, log
from streams.margin.parameters import F64


@kernel
def forward_at(index_price: float, years: F64, futures: F64, term: float) -> float:
    """Forward price at a term.

    basis(T) = ln(F / index) / T of each listed future; between them linear in T, before the first and after the
    last that of the nearest; forward = index x exp(basis x term). Without futures the forward is the index.

    Parameters
    ----------
    index_price : > 0
    years : ascending, > 0, shape (n,)
    futures : marks of the futures, > 0, shape (n,)
    term : >= 0

    Examples
    --------
    5 % a year at a quarter and 9 % at a half: 7 % half way, for 0.375 years

    >>> curve = np.array([0.25, 0.5]), 60_000.0 * np.exp([0.05 * 0.25, 0.09 * 0.5])
    >>> [round(float(forward_at(60_000.0, *curve, term)), 6) for term in (0.375, 0.0, 1.0)]
    [61595.853947, 60000.0, 65650.457022]
    """
    last = years.shape[0] - 1
    if last < 0:
        return index_price
    at = min(max(np.searchsorted(years, term, side="right") - 1, 0), last)
    basis = log(futures[at] / index_price) / years[at]
    if years[at] < term and at < last:
        following = log(futures[at + 1] / index_price) / years[at + 1]
        basis += (term - years[at]) / (years[at + 1] - years[at]) * (following - basis)
    return index_price * exp(basis * term)
