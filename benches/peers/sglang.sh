#!/usr/bin/env bash
# Tacho's SGLang cell side by side with SGLang's own benchmarks without a server, over the very same SGLang environment.
#
#   benches/peers/sglang.sh --python PYTHON --model FOLDER [OPTION...]
#
#   --python PYTHON       the environment's python, or what `tacho engines install sglang` printed
#   --model FOLDER        weights, or a configuration alone with `--engine load_format=dummy`
#   --rounds N            default 6, the fewest whose extremes are a 95 % interval of the median
#   --trials N            timed trials a process, of which the median counts (default 3)
#   --warmups N           calls before them that are not timed (default 3; Tacho stops earlier once they are steady); one-batch has
#                         a warm-up of its own and Tacho one beside it
#   --requests N          requests, all handed over in one call (default 32)
#   --input N, --output N exact lengths in tokens (default 128 and 64)
#   --tool NAME           offline (default), its offline throughput, or one-batch, a batch without a scheduler; see below
#   --boundary NAME       Tacho's: child-core (default), which is how the offline benchmark runs SGLang, or in-core, where that ratio
#                         also says what SGLang's processes and messages cost; in-core for one-batch unless named
#   --engine NAME=VALUE   a field of SGLang's ServerArgs, for both sides: true or false for a flag; repeatable
#   --tacho PROGRAM       a built `tacho` with its cells beside it; without it, this clone's is built
#   --keep FOLDER         keeps each round's files there
#   --seconds N           starts no further round once N seconds have passed
#
# In a round both sides are measured right after each other, in fresh processes, each after warm-ups of as many requests of
# the same lengths; rounds alternate who goes first. The figure is output tokens a second: requests x output / seconds of a
# timed `Engine.generate` call, which is all that the benchmark times. What is the same: the environment, the model,
# SGLang's arguments and environment variables, the number of requests and their exact lengths, greedy decoding, ids in and
# ids out (no tokenizer), no prefix cache, no end-of-sequence.
#
# What differs: the ids are random on both sides, not the same ones. The benchmark's own `random` requests are not used: it
# fetches ShareGPT for them, and its `--random-range-ratio 0.0` means lengths uniform from 1 up to the given one.
#
# `--tool one-batch` is `python -m sglang.benchmark.one_batch` as it ships: SGLang's model runner in the benchmark's own process, prompt
# and decode steps of a batch called one after the other, each waited for. No scheduler, no requests, no stop conditions, no result
# for anyone: the ratio says what SGLang's own scheduler and Tacho together cost. Its ids are below 10000; its warm-up is one batch with at most 32 output
# tokens; the model needs a tokenizer, which it loads and does not use.
#
# The table has a row by rounds (a process's median against the other's) and one by trials (the first against the first, and so
# on). Rounds are independent of each other; trials of one process are not, so that their interval is narrower than it should
# be if processes differ. Figures count on a quiet machine only.
# shellcheck source=benches/peers/lib.sh
. "$(dirname "$0")/lib.sh"

python='' model='' rounds=6 trials=3 warmups=3 requests=32 input=128 output=64 boundary='' tool=offline tacho='' keep='' seconds=''
engine=()
read_options python model rounds trials warmups requests input output boundary tool engine tacho keep seconds -- "$@"
[ -x "$python" ] || die "--python: expected the python of an environment with SGLang, found '$python'"
[ -f "$model/config.json" ] || die "--model: expected a folder with config.json, found '$model'"
whole_numbers "$rounds" "$trials" "$warmups" "$requests" "$input" "$output" "${seconds:-1}"
case $tool in
offline) boundary=${boundary:-child-core} ;;
one-batch)
    boundary=${boundary:-in-core} warmups=1
    [ -f "$model/tokenizer.json" ] || die "--tool one-batch: expected a model with a tokenizer, found no $model/tokenizer.json"
    ;;
*) die "--tool: offline or one-batch" ;;
esac
case $boundary in in-core | child-core) ;; *) die "--boundary: in-core or child-core" ;; esac
tacho_program

results_folder

# Arguments that decide the work, the same for both sides; --engine has the last word.
declare -A shared=([max_running_requests]=$requests [context_length]=$((input + output + 6)) [random_seed]=1)
# As the shim has it on a CPU, where SGLang's own choices need its kernels or take most of the memory.
if [ ! -e /dev/nvidiactl ]; then
    shared+=([device]=cpu [attention_backend]=torch_native [sampling_backend]=pytorch [disable_cuda_graph]=true)
    shared+=([max_total_tokens]=$((requests * (input + output + 70) + 4096)) [mem_fraction_static]=0.9)
    export SGLANG_USE_CPU_ENGINE=1
fi
for pair in "${engine[@]}"; do
    [[ $pair == ?*=* ]] || die "--engine: expected NAME=VALUE, found '$pair'"
    shared[${pair%%=*}]=${pair#*=}
done
ours=() theirs=()
for name in "${!shared[@]}"; do
    value=${shared[$name]}
    ours+=(--engine-option "sglang.$name=$value")
    flag=--${name//_/-}
    case $value in
    true) theirs+=("$flag") ;;
    false) ;;
    *) theirs+=("$flag" "$value") ;;
    esac
done

# What a cell sets for its engine, for the peer too.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 DO_NOT_TRACK=1 PYTHONNOUSERSITE=1
export SGLANG_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo NCCL_SOCKET_IFNAME=lo
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

bench=("$python" "$here/sglang_ids.py" --skip-tokenizer-init --dataset-name random --num-prompts "$requests" --random-input-len "$input"
    --random-output-len "$output" --seed 1)
if [ "$tool" = one-batch ]; then
    bench=("$python" -m sglang.benchmark.one_batch --input-len "$input" --output-len "$output" --batch-size)
    for ((trial = 0; trial < trials; trial++)); do bench+=("$requests"); done
fi

measure_peer() {
    rm -f "$out/peer.$1.jsonl"
    PEER_TRIALS=$trials PEER_WARMUPS=$warmups PEER_TIMES=$out/peer.$1.times "${bench[@]}" --model-path "$model" --disable-radix-cache --grammar-backend none \
        --log-level error --result-filename "$out/peer.$1.jsonl" "${theirs[@]}" >"$out/peer.$1.log" 2>&1 ||
        die "SGLang's benchmark failed: $(tail -n 20 "$out/peer.$1.log")"
}
measure_tacho() {
    rm -rf "$out/run.$1"
    "$tacho" run --engine sglang --python "$python" --model "$model" --batch "$requests" --input "$input" --output "$output" \
        --engine-option "sglang.boundary=$boundary" "${ours[@]}" --max-warmup "$warmups" --max-repeats 0 --min-trials "$trials" --max-trials "$trials" \
        --latency-trials 0 --quiet --out "$out/run.$1" >"$out/tacho.$1.log" 2>&1 ||
        die "tacho run failed: $(tail -n 20 "$out/tacho.$1.log" "$out/run.$1"/logs/* 2>/dev/null)"
}
alternate
"$python" "$here/sglang_table.py" "$out" "$measured" "$requests" "$input" "$output" "$boundary" "$tool"
