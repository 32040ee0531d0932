"""The table of benches/peers/llama.sh: output tokens/s of both sides and their ratio, round by round.

The interval of the median ratio is made of order statistics: with n rounds, the k-th smallest and k-th largest ratio hold
the median with probability 1 - 2 * P(Binomial(n, 1/2) < k), whatever the distribution.
"""

import json
import math
import statistics
import sys
from pathlib import Path


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


def main():
    folder, rounds, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    batches = [int(batch) for batch in sys.argv[4].split(",")]
    rates = {}
    for number in range(1, rounds + 1):
        for batch in batches:
            peer = [json.loads(line) for line in (folder / f"peer.{number}.{batch}").read_text().splitlines()]
            ours = json.loads((folder / f"tacho.{number}.{batch}").read_text())
            if any(row["pl"] != batch for row in peer) or any(row["batch"] != batch or row["status"] != "ok" for row in ours):
                sys.exit(f"round {number}, batch {batch}: the peer answered {peer}, Tacho {ours}")
            tokens = steps * batch
            rates.setdefault(batch, []).append(
                (
                    tokens / statistics.median(row["seconds"] for row in ours),
                    tokens / statistics.median(row["t_pp"] + row["t_tg"] for row in peer),
                )
            )
    print(f"output tokens/s of total time (prompt and decode), median of {rounds} rounds")
    print(f"{'batch':>5} {'tacho':>9} {'batched-bench':>14} {'ratio':>7}  95 % interval of the median ratio")
    for batch, pairs in rates.items():
        ratios = [ours / theirs for ours, theirs in pairs]
        bounds = interval(ratios)
        shown = f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "too few rounds: 6 or more are needed"
        ours, theirs = (statistics.median(side) for side in zip(*pairs))
        print(f"{batch:>5} {ours:>9.1f} {theirs:>14.1f} {statistics.median(ratios):>7.3f}  {shown}")


if __name__ == "__main__":
    main()
