#!/usr/bin/env bash
# Memory of Tacho's two processes for a large trial, beyond what a small one needs.
#
#   benches/memory.sh        1,000,000 requests of 8 tokens in and 16 out, 256 in flight, through the simulated engine
#
# Peak resident memory (VmHWM) of `tacho` and of its cell, each less the same process's peak in a run of 2000 requests. The
# simulated engine keeps what is in flight only, so the difference is the harness's. Target: 64 MiB together.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

tacho=$(target_dir)/release/tacho
[ -x "$tacho" ] || die "there is no $tacho: run make build"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# peaks REQUESTS: peak memory of parent and cell in KiB.
peaks() {
    local parent cell=0 hwm=0 now=0 child
    "$tacho" run --engine sim --engine-option sim.step_base_us=0 --engine-option sim.prefill_token_us=0 \
        --engine-option sim.decode_seq_us=0 --engine-option sim.max_seqs=256 --concurrency 256 --requests "$1" --input 8 --output 16 \
        --max-warmup 1 --min-trials 1 --max-trials 1 --quiet --out "$out/$1" >/dev/null &
    parent=$!
    while kill -0 $parent 2>/dev/null; do
        now=$(awk '/VmHWM/ { print $2 }' /proc/$parent/status 2>/dev/null || true)
        hwm=${now:-$hwm}
        child=$(cut -d' ' -f1 /proc/$parent/task/$parent/children 2>/dev/null || true)
        if [ -n "$child" ]; then
            now=$(awk '/VmHWM/ { print $2 }' "/proc/$child/status" 2>/dev/null || true)
            cell=${now:-$cell}
        fi
        sleep 0.005
    done
    wait $parent
    echo "$hwm $cell"
}

read -r parent0 cell0 <<<"$(peaks 2000)"
read -r parent1 cell1 <<<"$(peaks 1000000)"
awk -v p0="$parent0" -v c0="$cell0" -v p1="$parent1" -v c1="$cell1" 'BEGIN {
    p = (p1 - p0) / 1024; c = (c1 - c0) / 1024
    printf "tacho: %.1f MiB beyond %.1f; cell: %.1f MiB beyond %.1f; together %.1f MiB (target 64 or less: %s)\n",
        p, p0 / 1024, c, c0 / 1024, p + c, p + c <= 64 ? "met" : "NOT met"
    exit p + c <= 64 ? 0 : 1
}'
