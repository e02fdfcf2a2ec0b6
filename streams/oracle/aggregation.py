"""One price out of the live sources of a symbol, by the symbol's rules. Knows no clock and no other symbol."""

from collections.abc import Sequence

from streams.oracle.index import Index, confidence_of, median
from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules


def aggregate(live: Sequence[Quote], rules: SymbolRules) -> Index:
    """The index price from the latest quotes, one a source, at least one, all in one currency.

    The confidence is that of the three votes where these make the price; else max(median of the stated
    confidences, median distance of the sources from the price), which no single one of three can stretch. Without
    rules of its own a symbol has `confidence_of`.

    Examples
    --------
    >>> quotes = [Quote("BTC", name, price, 0.2, 0) for name, price in [("a", 100.0), ("b", 101.0), ("c", 120.0)]]
    >>> found = aggregate(quotes, SymbolRules(clamp=0.005, max_weight=1.0))
    >>> round(found.price, 6), round(found.confidence, 6)
    (101.0, 1.0)
    """
    prices = [quote.price for quote in live]
    confidences = [quote.confidence for quote in live]
    if not rules.judged:
        price, confidence = median(prices), confidence_of(prices, confidences)
    elif rules.method == "confidence":
        price, confidence = three_votes(prices, confidences)
    else:
        price = _price(live, prices, rules)
        confidence = max(median(confidences), median([abs(other - price) for other in prices]))
    return Index(
        price=price,
        confidence=confidence,
        quote_time=max(quote.time for quote in live),
        sources=tuple(sorted(quote.source for quote in live)),
    )


def _price(live: Sequence[Quote], prices: Sequence[float], rules: SymbolRules) -> float:
    if rules.method == "median":
        return median(prices)
    stated = [rules.weight(quote.source) for quote in live]
    weights = capped_weights(stated, rules.max_weight)
    return (
        weighted_median(prices, weights)
        if rules.method == "weighted_median"
        else clamped_mean(prices, weights, rules.clamp)
    )


def capped_weights(weights: Sequence[float], weight_max: float) -> list[float]:
    """The weights as parts of 1, none above `weight_max`; what is cut off goes to the others in proportion.

    That may lift another above the cap, which is then cut too. Where even equal parts are above the cap, equal parts.

    Examples
    --------
    >>> capped_weights([8.0, 1.0, 1.0], 0.4)
    [0.4, 0.3, 0.3]
    >>> capped_weights([3.0, 1.0], 0.4)
    [0.5, 0.5]
    """
    count = len(weights)
    if weight_max * count <= 1:
        return [1 / count] * count
    total = sum(weights)
    found = [weight / total for weight in weights]
    capped: set[int] = set()
    while over := [at for at, weight in enumerate(found) if weight > weight_max and at not in capped]:
        capped.update(over)
        rest = sum(weight for at, weight in enumerate(weights) if at not in capped)
        if not rest:  # only by rounding, where the cap is all but an equal part
            return [1 / count] * count
        left = 1 - weight_max * len(capped)
        found = [weight_max if at in capped else weight / rest * left for at, weight in enumerate(weights)]
    return found


def weighted_median(prices: Sequence[float], weights: Sequence[float]) -> float:
    """The price with half of the weight on either side; the mean of two that share the middle.

    Of equal weights it is the median. Never outside least and greatest.

    Examples
    --------
    >>> weighted_median([100.0, 101.0, 120.0], [0.2, 0.4, 0.4])
    101.0
    >>> weighted_median([100.0, 103.0], [0.5, 0.5])
    101.5
    """
    order = sorted(range(len(prices)), key=lambda at: prices[at])
    half = sum(weights) / 2
    below = 0.0
    for place, at in enumerate(order):
        below += weights[at]
        if abs(below - half) <= 1e-12 * half and place + 1 < len(order):
            return prices[at] / 2 + prices[order[place + 1]] / 2
        if below > half:
            return prices[at]
    return prices[order[-1]]


def clamped_mean(prices: Sequence[float], weights: Sequence[float], clamp: float) -> float:
    """Weighted mean of the prices, each first clamped to median x (1 +- clamp); weights add up to 1.

    So one of three sources moves it by at most weight x clamp beyond what the others say.

    References
    ----------
    Deribit, Index Prices, support article 25944739377309.

    Examples
    --------
    >>> round(clamped_mean([100.0, 101.0, 120.0], [0.25, 0.5, 0.25], 0.005), 9)  # of 100.495, 101, 101.505
    101.0
    """
    middle = median(prices)
    low, high = middle * (1 - clamp), middle * (1 + clamp)
    clamped = [min(max(price, low), high) for price in prices]
    mean = sum(weight * price for weight, price in zip(weights, clamped, strict=True))
    return min(max(mean, min(clamped)), max(clamped))  # rounding must not carry it out


def three_votes(prices: Sequence[float], confidences: Sequence[float]) -> tuple[float, float]:
    """Price and confidence where each source votes for p - c, p and p + c.

    The price is the median vote; the confidence the larger distance from it to the vote a quarter up from the
    lowest, sorted[n >> 2], or down from the highest.

    References
    ----------
    pyth-client, program/c/src/oracle/model/price_model.c; docs.pyth.network, price aggregation.

    Examples
    --------
    >>> three_votes([100.0, 100.0, 101.0], [1.0, 0.5, 1.0])
    (100.0, 1.0)
    """
    votes = sorted(vote for p, c in zip(prices, confidences, strict=True) for vote in (p - c, p, p + c))
    price, quarter = median(votes), len(votes) >> 2
    return price, max(price - votes[quarter], votes[-1 - quarter] - price)
