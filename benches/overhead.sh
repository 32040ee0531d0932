#!/usr/bin/env bash
# What watching costs: the same point with telemetry on and off, in rounds of ABBA.
#
#   benches/overhead.sh [ROUNDS] ARGUMENTS OF tacho run...
#   benches/overhead.sh 6 --engine llama.cpp --model model.gguf --batch 1 --input 128 --output 128
#
# Each round runs off, on, on, off, each in a cell of its own with a fixed number of trials, and gives one ratio: the mean of
# its two medians with telemetry over that of the two without. The order cancels a drift that is linear in time. Printed are
# the ratios, their median and its 95 % interval by order statistics, which needs 6 rounds. Target: within 0.5 % of 1.
#
# OFF and ON hold the arguments of either side, so that other pairs can be compared too:
#   OFF="--telemetry off" ON="--telemetry 100ms" (the default)
# TRIALS is the number of timed trials of a run (default 7).
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

rounds=6
case ${1:-} in [0-9]*) rounds=$1; shift ;; esac
[ $# -gt 0 ] || die "usage: benches/overhead.sh [ROUNDS] ARGUMENTS OF tacho run..."
tacho=${TACHO:-$(target_dir)/release/tacho}
[ -x "$tacho" ] || die "there is no $tacho: run make build"
read -r -a off <<<"${OFF:---telemetry off}"
read -r -a on <<<"${ON:---telemetry 100ms}"
trials=${TRIALS:-7}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# throughput NAME ARGUMENTS: median output tokens a second of one run.
throughput() {
    local name=$1
    shift
    "$tacho" run "$@" --min-trials "$trials" --max-trials "$trials" --latency-trials 0 --quiet --json --out "$out/$name" >"$out/$name.json" ||
        die "the run $name failed: $(tail -n 5 "$out/$name.json")"
    python3 -c '
import json, sys
summary = json.load(open(sys.argv[1]))["summary"]
if len(summary) != 1:
    sys.exit(f"expected one point, found {len(summary)}: give no axes")
print(summary[0]["output_token_throughput_median"])' "$out/$name.json"
}

for round in $(seq "$rounds"); do
    a1=$(throughput "$round-a1" "$@" "${off[@]}")
    b1=$(throughput "$round-b1" "$@" "${on[@]}")
    b2=$(throughput "$round-b2" "$@" "${on[@]}")
    a2=$(throughput "$round-a2" "$@" "${off[@]}")
    echo "round $round: off $a1 $a2, on $b1 $b2 tokens/s" >&2
    echo "$a1 $b1 $b2 $a2" >>"$out/rounds"
done
python3 - "$out/rounds" <<'PYTHON'
import math, sys

ratios = sorted((b1 + b2) / (a1 + a2) for a1, b1, b2, a2 in (map(float, line.split()) for line in open(sys.argv[1])))
n = len(ratios)
median = (ratios[(n - 1) // 2] + ratios[n // 2]) / 2
print("on / off, a ratio a round:", " ".join(f"{ratio:.5f}" for ratio in ratios))
# The interval from the k-th smallest to the k-th largest covers the median with 1 - 2 P(B <= k - 1), B binomial(n, 1/2).
below = lambda k: sum(math.comb(n, i) for i in range(k)) / 2**n
ranks = [k for k in range(1, n // 2 + 1) if 1 - 2 * below(k) >= 0.95]
if ranks:
    k = ranks[-1]
    low, high = ratios[k - 1], ratios[n - k]
    verdict = "met" if max(abs(low - 1), abs(high - 1)) < 0.005 else "NOT shown"
    print(f"median {median:.5f}, 95 % interval {low:.5f} to {high:.5f} ({n} rounds; target within 0.5 %: {verdict})")
else:
    print(f"median {median:.5f}, no interval: {n} rounds, 6 are needed")
PYTHON
