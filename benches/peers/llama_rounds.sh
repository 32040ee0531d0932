#!/usr/bin/env bash
# The rounds of benches/peers/llama.sh, for programs that are built already:
#
#   llama_rounds.sh PEER TACHO MODEL ROUNDS THREADS BATCHES
#
# PEER is llama-batched-bench, TACHO the program `tacho` with its llama.cpp cell beside it. In a round each batch size is
# measured by both, right after each other, in fresh processes; who goes first alternates from round to round. A process
# works once for warm-up and then three times; the median of the three counts. TACHO_PEER_CPUS (as `taskset -c` takes it)
# keeps both to the same processors, say one a core: which threads share a core is otherwise left to chance.
set -euo pipefail
peer=$1 tacho=$2 model=$3 rounds=$4 threads=$5 batches=$6
input=128
steps=64
n_batch=2048
n_ubatch=512
trials=3
pin=()
[ -z "${TACHO_PEER_CPUS:-}" ] || pin=(taskset -c "$TACHO_PEER_CPUS")
die() { echo "error: $*" >&2; exit 1; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# A sequence has 128 + 65 tokens; llama.cpp rounds its share of the cache up to 256.
peer() {
    "${pin[@]}" "$peer" -m "$model" -npp $input -ntg $steps -npl "$2,$2,$2,$2" -c $((256 * $2)) -b $n_batch -ub $n_ubatch -t "$threads" \
        -tb "$threads" -fa auto --output-format jsonl 2>"$out/peer.log" | grep '^{' | tail -n $trials >"$out/peer.$1.$2" ||
        die "llama-batched-bench failed: $(tail -n 3 "$out/peer.log")"
}
tacho() {
    local options=() option dir=$out/run.$1.$2
    for option in "threads=$threads" "threads_batch=$threads" "n_batch=$n_batch" "n_ubatch=$n_ubatch" \
        "kv_tokens=$((256 * $2))" flash_attn=auto; do
        options+=(--engine-option "llama.cpp.$option")
    done
    "${pin[@]}" "$tacho" run --engine llama.cpp --model "$model" --batch "$2" --input $input --output $((steps + 1)) "${options[@]}" \
        --max-warmup 1 --max-repeats 0 --min-trials $trials --max-trials $trials --latency-trials 0 --quiet --out "$dir" >/dev/null 2>"$out/tacho.log" ||
        die "tacho run failed: $(tail -n 3 "$out/tacho.log")"
    cp "$dir/points.json" "$out/tacho.$1.$2"
}
table() { python3 "$(dirname "$0")/llama_table.py" "$out" "$1" "$steps" "$batches"; }

for ((round = 1; round <= rounds; round++)); do
    echo "round $round of $rounds (load $(cut -d' ' -f1 /proc/loadavg))" >&2
    for batch in ${batches//,/ }; do
        if ((round % 2)); then
            peer $round "$batch"
            tacho $round "$batch"
        else
            tacho $round "$batch"
            peer $round "$batch"
        fi
    done
    # So far: a table that is cut off is better than none.
    [ "$round" -eq "$rounds" ] || table "$round" >&2
done
table "$rounds"
