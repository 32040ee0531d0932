#!/usr/bin/env bash
# Tacho's TensorRT-LLM cell (its LLM API) side by side with the library's own `trtllm-bench throughput`, over the very same environment.
# It was run over doubles of both alone: neither the library nor its benchmark was there.
#
#   benches/peers/trtllm.sh --python PYTHON --model FOLDER [OPTION...]
#
#   --python PYTHON       the python of an environment with tensorrt_llm
#   --model FOLDER        weights with a tokenizer, which the peer loads whatever its prompts are
#   --bench PROGRAM       trtllm-bench (default: beside PYTHON, else on PATH)
#   --rounds N            default 6, the fewest whose extremes are a 95 % interval of the median
#   --trials N            timed trials of Tacho's process a round, of which the median counts (default 3); the peer times one
#   --requests N          requests, all handed over at once (default 32)
#   --input N, --output N exact lengths in tokens (default 128 and 64)
#   --boundary NAME       in-core (default) or child-core, for both sides: trtllm-bench itself defaults to child-core
#   --engine NAME=VALUE   an argument of tensorrt_llm.LLM, for both sides; VALUE as JSON without spaces, or plain text; repeatable
#   --tacho PROGRAM       a built `tacho` with its cells beside it; without it, this clone's is built
#   --keep FOLDER         keeps each round's files there
#   --seconds N           starts no further round once N seconds have passed
#
# In a round both are measured right after each other, in fresh processes, each after a warm-up of as many requests; rounds alternate who
# goes first. The figure is output tokens a second: requests x output / (from the first request's hand-over to the last one's end), the
# peer's "total latency". What is the same: the environment, the model, the library's arguments, the boundary, the number of requests and
# their exact lengths as token ids, greedy decoding without an end-of-sequence, no block reuse, no text.
#
# What differs: the ids are random on both sides, not the same ones; the peer hands its requests over one by one in an event loop, and
# its warm-up is made of requests that it times later, which without block reuse costs it nothing and gains it nothing. The peer sets
# `kv_cache_free_gpu_mem_fraction` 0.9, and this script the same for Tacho. Figures count on a quiet machine only.
# shellcheck source=benches/peers/lib.sh
. "$(dirname "$0")/lib.sh"

python='' model='' bench='' rounds=6 trials=3 requests=32 input=128 output=64 boundary=in-core tacho='' keep='' seconds=''
engine=()
read_options python model bench rounds trials requests input output boundary engine tacho keep seconds -- "$@"
[ -x "$python" ] || die "--python: expected the python of an environment with tensorrt_llm, found '$python'"
[ -f "$model/config.json" ] || die "--model: expected a folder with config.json, found '$model'"
whole_numbers "$rounds" "$trials" "$requests" "$input" "$output" "${seconds:-1}"
if [ -z "$bench" ]; then
    bench=$(dirname "$python")/trtllm-bench
    [ -x "$bench" ] || bench=$(command -v trtllm-bench) || die "--bench: trtllm-bench is neither beside $python nor on PATH"
fi
[ -x "$bench" ] || die "--bench: $bench is not a program"
case $boundary in in-core) single=1 ;; child-core) single=0 ;; *) die "--boundary: in-core or child-core" ;; esac
tacho_program

results_folder

# Arguments that decide the work, the same for both sides; --engine has the last word. The peer reads them from a file, as YAML.
declare -A shared=([max_batch_size]=$requests [max_seq_len]=$((input + output)) [max_num_tokens]=8192
    [kv_cache_config]='{"enable_block_reuse":false,"free_gpu_memory_fraction":0.9}')
for pair in "${engine[@]}"; do
    [[ $pair == ?*=* ]] || die "--engine: expected NAME=VALUE, found '$pair'"
    shared[${pair%%=*}]=${pair#*=}
done
ours=() named=()
for name in "${!shared[@]}"; do
    ours+=(--engine-option "tensorrt-llm.$name=${shared[$name]}")
    named+=("$name=${shared[$name]}")
done
"$python" "$here/trtllm_work.py" "$model" "$out" "$requests" "$input" "$output" "${named[@]}" || die "the peer's work could not be written"

# What a cell sets for its engine, for the peer too.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 DO_NOT_TRACK=1
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME TLLM_WORKER_USE_SINGLE_PROCESS
[ $single = 0 ] || export TLLM_WORKER_USE_SINGLE_PROCESS=1

measure_peer() {
    "$bench" --model "$(basename "$model")" --model_path "$model" --workspace "$out/workspace" throughput --backend pytorch \
        --dataset "$out/requests.jsonl" --num_requests "$requests" --warmup "$requests" --max_batch_size "${shared[max_batch_size]}" \
        --max_num_tokens "${shared[max_num_tokens]}" --max_seq_len "${shared[max_seq_len]}" --extra_llm_api_options "$out/arguments.yaml" --report_json "$out/peer.$1.json" \
        >"$out/peer.$1.log" 2>&1 || die "trtllm-bench failed: $(tail -n 20 "$out/peer.$1.log")"
}
measure_tacho() {
    "$tacho" run --engine tensorrt-llm --python "$python" --model "$model" --batch "$requests" --input "$input" --output "$output" \
        --engine-option "tensorrt-llm.boundary=$boundary" "${ours[@]}" --max-warmup 1 --max-repeats 0 --min-trials "$trials" --max-trials "$trials" \
        --latency-trials 0 --quiet --out "$out/run.$1" >"$out/tacho.$1.log" 2>&1 ||
        die "tacho run failed: $(tail -n 20 "$out/tacho.$1.log" "$out/run.$1"/logs/* 2>/dev/null)"
}
alternate
"$python" "$here/trtllm_table.py" "$out" "$measured" "$requests" "$input" "$output" "$boundary"
