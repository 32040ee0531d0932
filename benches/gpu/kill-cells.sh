#!/usr/bin/env bash
# Sends signals to the cell of a run on a GPU, each in the middle of a point's work, and tells what the GPU's memory does.
#
#   CUDA_VISIBLE_DEVICES=0 benches/gpu/kill-cells.sh RUN_DIRECTORY KILL SEGV KILL &
#   CUDA_VISIBLE_DEVICES=0 tacho run --plan benches/gpu/vllm-killed.toml --model benches/shapes/llama-3-8b --power-cap accept --out RUN_DIRECTORY
#
# One GPU without other work; RUN_DIRECTORY as the run's command line has it. Between two signals a point comes to its end.
set -euo pipefail
dir=$1
shift
ask() { nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits -i "${CUDA_VISIBLE_DEVICES:-0}"; }
# The first child of the run.
cell() { pgrep -P "$(pgrep -f "^tacho run .*--out $dir( |\$)" | head -1)" 2>/dev/null | head -1; }
points() { cat "$dir/journal.jsonl" 2>/dev/null | wc -l; }
last=0
for signal in "$@"; do
    # Weights and cache are there, and something computes.
    until [ "$(points)" -gt "$last" ] && [ "$(ask memory.used)" -gt 20000 ] && [ "$(ask utilization.gpu)" -gt 12 ] && [ -n "$(cell)" ]; do
        sleep 0.3
    done
    last=$(points)
    sleep "2.$((RANDOM % 10))"
    pid=$(cell) before=$(ask memory.used) children=$(pgrep -c -P "$(cell)" || true)
    kill "-$signal" "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
    least=$(ask memory.used)
    for _ in 1 2 3 4 5 6 7 8; do
        now=$(ask memory.used)
        if [ "$now" -lt "$least" ]; then least=$now; fi
    done
    echo "$signal to the cell (with $children children): GPU memory in use before $before MiB, least in the second after its end $least MiB"
    until [ "$(points)" -gt "$last" ]; do sleep 0.3; done
    last=$(points)
done
