"""Correlation of factor returns: exponentially weighted, shrunk, valid, and as low and high as stress may make it.

Refreshed on a schedule, never per account: what a decision uses is the matrix that was written down.
"""

import math

import numpy as np

from streams.compiled import kernel
from streams.margin.parameters import F64

#: Sweeps of Jacobi's method: it converges quadratically, five or six are enough.
SWEEPS = 30


@kernel
def ewma_correlation(returns: F64, decay: float) -> F64:
    """Correlation matrix of returns about 0, the newest weighing 1, the one before `decay`, ...

    Parameters
    ----------
    returns : oldest first, shape (n_periods, n_factors), finite

    Notes
    -----
    A factor that never moved is uncorrelated with all others.
    """
    n = returns.shape[1]
    covariance = np.zeros((n, n))
    for t in range(returns.shape[0]):
        for i in range(n):
            for j in range(i + 1):
                covariance[i, j] = decay * covariance[i, j] + (1.0 - decay) * returns[t, i] * returns[t, j]
    found = np.eye(n)
    for i in range(n):
        for j in range(i):
            size = math.sqrt(covariance[i, i] * covariance[j, j])
            if size > 0.0:
                found[i, j] = found[j, i] = min(max(covariance[i, j] / size, -1.0), 1.0)
    return found


def shrunk(correlation: F64, share: float) -> F64:
    """Moved toward the matrix of one constant correlation, the mean of all pairs (V8).

    Examples
    --------
    >>> shrunk(np.array([[1.0, 0.8, 0.2], [0.8, 1.0, 0.5], [0.2, 0.5, 1.0]]), 0.3).round(3).tolist()
    [[1.0, 0.71, 0.29], [0.71, 1.0, 0.5], [0.29, 0.5, 1.0]]
    """
    n = len(correlation)
    if n < 2:
        return correlation.copy()
    mean = (float(correlation.sum()) - n) / (n * (n - 1))
    found: F64 = (1.0 - share) * correlation + share * mean
    np.fill_diagonal(found, 1.0)
    return found


@kernel
def eigen(matrix: F64) -> tuple[F64, F64]:
    """Eigenvalues and eigenvectors (columns) of a symmetric matrix, by Jacobi's rotations in a fixed order."""
    n = matrix.shape[0]
    a = matrix.copy()
    vectors = np.eye(n)
    for _ in range(SWEEPS):
        off = 0.0
        for p in range(n):
            for q in range(p):
                off += a[p, q] * a[p, q]
        if off < 1e-30:
            break
        for p in range(n):
            for q in range(p):
                if a[p, q] == 0.0:
                    continue
                theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
                t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    t = -t
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(n):
                    one, other = a[k, p], a[k, q]
                    a[k, p], a[k, q] = c * one - s * other, s * one + c * other
                for k in range(n):
                    one, other = a[p, k], a[q, k]
                    a[p, k], a[q, k] = c * one - s * other, s * one + c * other
                for k in range(n):
                    one, other = vectors[k, p], vectors[k, q]
                    vectors[k, p], vectors[k, q] = c * one - s * other, s * one + c * other
    values = np.empty(n)
    for k in range(n):
        values[k] = a[k, k]
    return values, vectors


@kernel
def made_valid(matrix: F64, least: float) -> F64:
    """The nearest use of a matrix as a correlation: eigenvalues at least `least`, the diagonal 1 again."""
    n = matrix.shape[0]
    values, vectors = eigen(matrix)
    clipped = False
    for k in range(n):
        if values[k] < least:
            clipped = True
    if not clipped:
        return matrix.copy()
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            for k in range(n):
                found[i, j] += vectors[i, k] * max(values[k], least) * vectors[j, k]
    scale = np.empty(n)
    for i in range(n):
        scale[i] = math.sqrt(found[i, i])
    for i in range(n):
        for j in range(n):
            found[i, j] = 1.0 if i == j else found[i, j] / (scale[i] * scale[j])
    return found


def stressed(correlation: F64, floor: float, least: float = 1e-8) -> F64:
    """Correlations as a crash makes them: no pair below `floor`; made valid again."""
    found = np.maximum(correlation, floor)
    np.fill_diagonal(found, 1.0)
    return made_valid(found, least)


def low_and_high(correlation: F64, *, fall: float, rise: float, least: float = 1e-8) -> tuple[F64, F64]:
    """The pair of matrices that offsets are tested with: correlations x (1 - fall), and moved to 1 by `rise`.

    Examples
    --------
    >>> low, high = low_and_high(np.array([[1.0, 0.8], [0.8, 1.0]]), fall=0.25, rise=0.5)
    >>> float(round(low[0, 1], 6)), float(round(high[0, 1], 6))
    (0.6, 0.9)
    """
    low = correlation * (1.0 - fall)
    high = correlation + rise * (1.0 - correlation)
    np.fill_diagonal(low, 1.0)
    np.fill_diagonal(high, 1.0)
    return made_valid(low, least), made_valid(high, least)
