#!/usr/bin/env bash
# Tacho's vLLM cell side by side with `vllm bench throughput` or `latency`, over the very same vLLM environment.
#
#   benches/peers/vllm.sh --python PYTHON --model FOLDER [OPTION...]
#
#   --python PYTHON       the environment's python, or what `tacho engines install vllm` printed
#   --model FOLDER        weights, or a configuration alone with `--engine load_format=dummy`
#   --rounds N            default 6, the fewest whose extremes are a 95 % interval of the median
#   --trials N            timed trials a process, of which the median counts (default 3; one for a shipped peer)
#   --requests N          requests, all handed over in one call (default 32)
#   --input N, --output N exact lengths in tokens (default 128 and 64)
#   --boundary NAME       in-core (default) or child-core, for both sides: `vllm bench` itself defaults to child-core
#   --tool NAME           throughput (default) or latency; see below
#   --peer ids|shipped    what the peer's requests are; see below (default ids)
#   --engine NAME=VALUE   an argument of vLLM's engine, for both sides; VALUE as JSON without spaces, or plain text; repeatable
#   --tacho PROGRAM       a built `tacho` with its cells beside it; without it, this clone's is built
#   --keep FOLDER         keeps each round's files there
#   --seconds N           starts no further round once N seconds have passed
#
# In a round both sides are measured right after each other, in fresh processes, each after a warm-up of as many requests;
# rounds alternate who goes first. The figure is output tokens a second: requests x output / seconds of a timed
# `LLM.generate` call, which is all that `vllm bench throughput` times. What is the same: the environment, the model, vLLM's
# arguments and environment variables, the boundary, the number of requests and their exact lengths (`--random-range-ratio
# 0.0` means exactly the given length), no prefix cache, no end-of-sequence.
#
# What differs:
# - `--peer ids` (benches/peers/vllm_bench.py) runs vLLM's own benchmark with token ids as prompts and greedy decoding, as
#   Tacho asks for: the same work, so that the ratio is the harness's. The ids are random on both sides, not the same ones.
#   vLLM's progress bar stays in its timed call.
# - `--peer shipped` runs it as it ships: prompts are texts, which the timed call encodes; outputs are decoded to text in it;
#   and the next token is drawn at temperature 1. Tacho does none of that, so the ratio also says what that costs.
#   It needs a tokenizer: the model's, or, for a model without one, a word-a-token one that is made here.
# - `--tool latency` is `vllm bench latency`: one call of as many requests, again and again, with ids as it ships (below 10000, drawn
#   without a seed), made greedy and without text as above. It has no progress bar in its timed call, and does not count tokens.
#
# The table has a row by rounds (a process's median against the other's) and one by trials (the first against the first, and so
# on). Rounds are independent of each other; trials of one process are not, so that their interval is narrower than it should
# be if processes differ. Figures count on a quiet machine only.
# shellcheck source=benches/peers/lib.sh
. "$(dirname "$0")/lib.sh"

python='' model='' rounds=6 trials=3 requests=32 input=128 output=64 boundary=in-core peer=ids tool=throughput tacho='' keep='' seconds=''
engine=()
read_options python model rounds trials requests input output boundary peer tool engine tacho keep seconds -- "$@"
[ -x "$python" ] || die "--python: expected the python of an environment with vLLM, found '$python'"
[ -f "$model/config.json" ] || die "--model: expected a folder with config.json, found '$model'"
whole_numbers "$rounds" "$trials" "$requests" "$input" "$output" "${seconds:-1}"
case $boundary in in-core) multiprocessing=0 ;; child-core) multiprocessing=1 ;; *) die "--boundary: in-core or child-core" ;; esac
case $peer in ids | shipped) ;; *) die "--peer: ids or shipped" ;; esac
case $tool.$peer in throughput.* | latency.ids) ;; latency.*) die "--tool latency: with --peer ids alone" ;; *) die "--tool: throughput or latency" ;; esac
tacho_program

results_folder

# Arguments that decide the work, the same for both sides; --engine has the last word.
declare -A shared=([max_num_seqs]=$requests [max_model_len]=$((input + output)))
# On a CPU vLLM would take nearly all memory.
[ -e /dev/nvidiactl ] || shared[kv_cache_memory_bytes]=1073741824
for pair in "${engine[@]}"; do
    [[ $pair == ?*=* ]] || die "--engine: expected NAME=VALUE, found '$pair'"
    shared[${pair%%=*}]=${pair#*=}
done
ours=() theirs=()
for name in "${!shared[@]}"; do
    value=${shared[$name]}
    ours+=(--engine-option "vllm.$name=$value")
    flag=${name//_/-}
    case $value in
    true) theirs+=("--$flag") ;;
    false) theirs+=("--no-$flag") ;;
    *) theirs+=("--$flag" "$value") ;;
    esac
done
bench=("$python" "$here/vllm_bench.py" "$peer")
work=(--num-prompts "$requests" --num-warmups "$requests" --dataset-name random --random-input-len "$input" --random-output-len "$output"
    --random-range-ratio 0.0)
if [ "$tool" = latency ]; then
    bench=("$python" "$here/vllm_bench.py" latency)
    work=(--batch-size "$requests" --input-len "$input" --output-len "$output" --num-iters-warmup 1 --num-iters "$trials" --disable-detokenize)
fi
if [ "$peer" = ids ]; then
    bench+=(--skip-tokenizer-init)
elif [ ! -f "$model/tokenizer.json" ]; then
    "$python" "$here/vllm_tokenizer.py" "$model" "$out/tokenizer" || die "no tokenizer could be made for $model"
    bench+=(--tokenizer "$out/tokenizer")
fi

# What a cell sets for its engine, for the peer too. A Python that may not write its bytecode compiles at every start.
export VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 DO_NOT_TRACK=1
export VLLM_CPU_OMP_THREADS_BIND=${VLLM_CPU_OMP_THREADS_BIND:-nobind}
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

measure_peer() {
    PEER_TRIALS=$trials PEER_TIMES=$out/peer.$1.times VLLM_ENABLE_V1_MULTIPROCESSING=$multiprocessing "${bench[@]}" --model "$model" "${work[@]}" \
        --seed 1 --no-enable-prefix-caching --disable-log-stats "${theirs[@]}" --output-json "$out/peer.$1.json" \
        >"$out/peer.$1.log" 2>&1 || die "vllm bench $tool failed: $(tail -n 20 "$out/peer.$1.log")"
}
measure_tacho() {
    "$tacho" run --engine vllm --python "$python" --model "$model" --batch "$requests" --input "$input" --output "$output" \
        --engine-option "vllm.boundary=$boundary" "${ours[@]}" --max-warmup 1 --max-repeats 0 --min-trials "$trials" --max-trials "$trials" --latency-trials 0 \
        --quiet --out "$out/run.$1" >"$out/tacho.$1.log" 2>&1 ||
        die "tacho run failed: $(tail -n 20 "$out/tacho.$1.log" "$out/run.$1"/logs/* 2>/dev/null)"
}
alternate
"$python" "$here/vllm_table.py" "$out" "$measured" "$requests" "$input" "$output" "$peer" "$boundary" "$tool"
