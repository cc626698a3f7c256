"""The median of ratios, how far it can be trusted, and what may be said of it.

The bounds are order statistics: of n pairs the k-th lowest and k-th highest ratio hold the true median between them
with at least 95 %, whatever the ratios' distribution (the sign test turned round). Fewer than six pairs have none.
"""

import math
import statistics

ALLOWED = 1.03  # a ratio up to this is "not worse"
_TAIL = 0.025
NOT_WORSE, WORSE, INCONCLUSIVE = "not worse", "WORSE", "inconclusive: run again"


def bounds(ratios):
    """The lower and the upper 95 % bound of the median; 0 and infinity where there are too few ratios for any."""
    ordered, count = sorted(ratios), len(ratios)
    below, outside = 0.0, -1
    for rank in range(count // 2):
        below += math.comb(count, rank) / 2**count
        if below > _TAIL:
            break
        outside = rank
    if outside < 0:
        return 0.0, math.inf
    return ordered[outside], ordered[count - 1 - outside]


def verdict(ratios):
    """The median, its bounds, and whether that is worse."""
    low, high = bounds(ratios)
    median = statistics.median(ratios) if ratios else math.nan
    said = NOT_WORSE if high <= ALLOWED else WORSE if low > ALLOWED else INCONCLUSIVE
    return median, low, high, said
