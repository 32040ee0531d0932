#!/usr/bin/env bash
# Every engine's own tool beside Tacho on the same work, alternating, and one table of all at the end.
#
#   benches/peers/all.sh [OPTION...]     also `make peers ARGS="OPTION..."`
#
#   --rounds N       of each peer (default 6, the fewest with a 95 % interval)
#   --seconds N      a peer starts no further round once N seconds have passed (default 1200)
#   --only LIST      of llama,vllm,vllm-latency,sglang,sglang-one-batch,max,trtllm,load
#                    (default all)
#   --tacho PROGRAM  a built `tacho` with its cells beside it; without it, this clone's is built
#   --keep FOLDER    keeps each peer's output and files there
#
# What cannot run here is listed with the reason and is no failure; a peer that starts and then fails is. The scripts beside this
# one say what is the same on both sides of each comparison and what differs. Figures count on a quiet machine only.
# shellcheck source=benches/peers/lib.sh
. "$(dirname "$0")/lib.sh"

rounds=6 seconds=1200 only=llama,vllm,vllm-latency,sglang,sglang-one-batch,max,trtllm,load tacho='' keep=''
read_options rounds seconds only tacho keep -- "$@"
whole_numbers "$rounds" "$seconds"
for name in ${only//,/ }; do
    case $name in llama | vllm | vllm-latency | sglang | sglang-one-batch | max | trtllm | load) ;; *) die "--only: no peer is called '$name'" ;; esac
done
have python3 || die "python3 is needed to read the figures"
tacho_program
results_folder
rm -f "$out"/*.table "$out"/*.missing "$out"/*.failed

# The python of an engine's installed environment; nothing where there is none.
environment() {
    "$tacho" engines --json | python3 -c '
import json, sys
found = [one["python"] for entry in json.load(sys.stdin) if entry["id"] == sys.argv[1] for one in entry["environments"]]
print(found[0] if found else "")' "$1"
}

# peer NAME COMMAND...: runs it and keeps what it prints.
peer() {
    local name=$1
    shift
    say "== $name"
    # The table last: what a peer prints before it fails is no result.
    if "$@" >"$out/$name.out"; then mv "$out/$name.out" "$out/$name.table"; else mv "$out/$name.out" "$out/$name.failed"; fi
}
missing() {
    say "== $1: not run: $2"
    printf '%s\n' "$2" >"$out/$1.missing"
}

# python_peer NAME ID OPTION...: a Python engine: its environment, and weights.
python_peer() {
    local name=$1 id=$2 python model
    shift 2
    python=$(environment "$id")
    if [ -z "$python" ]; then
        missing "$name" "its environment is not installed: tacho engines install $id"
    elif ! model=$("$root/scripts/model.sh" --safetensors); then
        missing "$name" "there is no model folder: scripts/model.sh --safetensors"
    else
        peer "$name" "$here/$id.sh" --python "$python" --model "$model" --rounds "$rounds" --seconds "$seconds" --tacho "$tacho" \
            --keep "$out/$name" "$@"
    fi
}

# On a CPU without bfloat16 units float32 is the fast type, and the one that all engines have.
dtype=()
[ -e /dev/nvidiactl ] || dtype=(--engine dtype=float32)
for name in ${only//,/ }; do
    case $name in
    llama)
        lacking=$(for tool in cargo cmake ninja; do have "$tool" || printf '%s ' "$tool"; done)
        if [ -n "$lacking" ]; then
            missing llama "building llama-batched-bench needs ${lacking% }: make bootstrap"
        else
            peer llama "$here/llama.sh" "$rounds"
        fi
        ;;
    vllm | sglang) python_peer "$name" "$name" "${dtype[@]}" ;;
    vllm-latency) python_peer "$name" vllm --tool latency "${dtype[@]}" ;;
    sglang-one-batch) python_peer "$name" sglang --tool one-batch "${dtype[@]}" ;;
    max) python_peer max max ;;
    trtllm)
        # No environment of Tacho's: the library's wheels come from its vendor. The python beside its benchmark is its own.
        if ! bench=$(command -v trtllm-bench); then
            missing trtllm "trtllm-bench is not on PATH"
        elif ! model=$("$root/scripts/model.sh" --safetensors); then
            missing trtllm "there is no model folder: scripts/model.sh --safetensors"
        else
            python=$(dirname "$bench")/python3
            [ -x "$python" ] || python=$(command -v python3)
            peer trtllm "$here/trtllm.sh" --python "$python" --bench "$bench" --model "$model" --rounds "$rounds" --seconds "$seconds" \
                --tacho "$tacho" --keep "$out/trtllm"
        fi
        ;;
    load)
        if have rustc; then
            python=$(environment vllm)
            peer load "$here/load.sh" --seconds 10 --minutes 1 --ceiling 1000,4000,16000,64000 --tacho "$tacho" ${python:+--vllm "$python"}
        else
            missing load "its server that does nothing is compiled by rustc, which is not on PATH"
        fi
        ;;
    esac
done
python3 "$here/all_table.py" "$out"
