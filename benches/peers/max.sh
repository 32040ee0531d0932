#!/usr/bin/env bash
# Tacho's MAX cell side by side with MAX's own timed generation, `max generate`, over the very same MAX environment. MAX's package has
# no benchmark of whole batches without a server; this is what it times by itself: one request.
#
#   benches/peers/max.sh --python PYTHON --model FOLDER [OPTION...]
#
#   --python PYTHON   the environment's python, or what `tacho engines install max` printed
#   --model FOLDER    weights with a tokenizer
#   --rounds N        default 6, the fewest whose extremes are a 95 % interval of the median
#   --trials N        timed trials of Tacho's process a round, of which the median counts (default 3); the peer times one
#   --words N         length of the peer's prompt in words (default 64)
#   --output N        exact length of the output in tokens (default 64)
#   --engine NAME=VALUE   a flat argument of MAX's pipeline, for both sides; repeatable (default quantization_encoding=float32)
#   --tacho PROGRAM   a built `tacho` with its cells beside it; without it, this clone's is built
#   --keep FOLDER     keeps each round's files there
#   --seconds N       starts no further round once N seconds have passed
#
# In a round both are measured right after each other, in fresh processes, each warmed up; rounds alternate who goes first. The
# peer says how many tokens its prompt had; Tacho is asked for as many, so the first round begins with the peer. The figure is output tokens a second of the whole
# request: output / (from the prompt's hand-over to the last token), the peer's "Total Latency".
#
# What differs: the peer's latency includes tokenising the prompt with the chat template, decoding and printing every token, and a turn of an event loop
# a step; the ids are not the same. Figures count on a quiet machine only.
# shellcheck source=benches/peers/lib.sh
. "$(dirname "$0")/lib.sh"

python='' model='' rounds=6 trials=3 words=64 output=64 tacho='' keep='' seconds=''
engine=()
read_options python model rounds trials words output engine tacho keep seconds -- "$@"
[ -x "$python" ] || die "--python: expected the python of an environment with MAX, found '$python'"
[ -f "$model/tokenizer.json" ] || die "--model: expected a folder with weights and tokenizer.json, found '$model'"
whole_numbers "$rounds" "$trials" "$words" "$output" "${seconds:-1}"
[ ${#engine[@]} -gt 0 ] || engine=(quantization_encoding=float32)
max=$(dirname "$python")/max
[ -x "$max" ] || die "--python: expected the program max beside $python"
tacho_program

results_folder

device=cpu
[ ! -e /dev/nvidiactl ] || device=gpu
ours=(--engine-option "max.device=$device") theirs=(--devices "$device")
for pair in "${engine[@]}"; do
    [[ $pair == ?*=* ]] || die "--engine: expected NAME=VALUE, found '$pair'"
    ours+=(--engine-option "max.$pair")
    name=${pair%%=*}
    flag=${name//_/-}
    case ${pair#*=} in
    true) theirs+=("--$flag") ;;
    false) theirs+=("--no-$flag") ;;
    *) theirs+=("--$flag" "${pair#*=}") ;;
    esac
done
prompt=$(for ((word = 0; word < words; word++)); do printf 'word '; done)

# What a cell sets for its engine, for the peer too.
export MODULAR_TELEMETRY_ENABLED=0 MAX_SERVE_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 DO_NOT_TRACK=1 PYTHONNOUSERSITE=1
export MODULAR_CACHE_DIR=${MODULAR_CACHE_DIR:-$cache_dir/max-compiled}
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

# A length is compiled in: the shim rounds it up to a power of two from 512 on, and so does this.
length=512
while [ $length -lt $((4 * words + 256 + output)) ]; do length=$((2 * length)); done

measure_peer() {
    "$max" generate --model-path "$model" --prompt "$prompt" --max-new-tokens "$output" --min-new-tokens "$output" --ignore-eos --top-k 1 \
        --num-warmups "$output" --max-length "$length" --max-batch-size 1 --no-enable-prefix-caching "${theirs[@]}" >"$out/peer.$1" 2>"$out/peer.$1.log" ||
        die "max generate failed: $(tail -n 20 "$out/peer.$1.log")"
    input=$(sed -n 's/^Prompt size: //p' "$out/peer.$1" | tail -n 1)
    [[ $input =~ ^[1-9][0-9]*$ ]] || die "max generate did not say how long its prompt was: $(tail -n 12 "$out/peer.$1")"
}
measure_tacho() {
    rm -rf "$out/run.$1"
    "$tacho" run --engine max --python "$python" --model "$model" --batch 1 --input "$input" --output "$output" \
        --engine-option "max.max_length=$length" "${ours[@]}" --max-warmup 2 --max-repeats 0 --min-trials "$trials" --max-trials "$trials" \
        --latency-trials 0 --quiet --out "$out/run.$1" >"$out/tacho.$1.log" 2>&1 ||
        die "tacho run failed: $(tail -n 20 "$out/tacho.$1.log" "$out/run.$1"/logs/* 2>/dev/null)"
}
alternate
python3 "$here/max_table.py" "$out" "$measured" "$output"
