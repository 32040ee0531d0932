"""What the side-by-side scripts share: the interval of a median ratio, and the table.

The interval of the median ratio is made of order statistics: with n rounds, the k-th smallest and k-th largest ratio hold
the median with probability 1 - 2 * P(Binomial(n, 1/2) < k), whatever the distribution.
"""

import math
import statistics


def interval(values, level=0.95):
    """The narrowest pair of order statistics that reaches the level, or None with too few values."""
    n = len(values)
    ordered = sorted(values)
    best = None
    for k in range(1, n // 2 + 1):
        outside = 2 * sum(math.comb(n, i) for i in range(k)) / 2**n
        if 1 - outside >= level:
            best = (ordered[k - 1], ordered[n - k])
    return best


def show(title, label, peer, rates):
    """Prints a row for each key of `rates`, whose values are pairs (Tacho's figure, the peer's), one a round."""
    print(title)
    width = max(len(peer), 9)
    print(f"{label:>8} {'tacho':>9} {peer:>{width}} {'ratio':>7}  95 % interval of the median ratio")
    for key, pairs in rates.items():
        ratios = [ours / theirs for ours, theirs in pairs]
        bounds = interval(ratios)
        shown = f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "too few rounds: 6 or more are needed"
        ours, theirs = (statistics.median(side) for side in zip(*pairs))
        print(f"{key:>8} {ours:>9.1f} {theirs:>{width}.1f} {statistics.median(ratios):>7.3f}  {shown}")
