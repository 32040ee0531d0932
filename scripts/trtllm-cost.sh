#!/usr/bin/env bash
# What the TensorRT-LLM bridge costs a response: 100,000 of them through it, and the same by the double alone. Timings: run it
# on a quiet machine. CARGO names another cargo.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

double=tests/doubles/tensorrt_llm
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/rank0.engine" <<'ENGINE'
tensorrt-llm DOUBLE engine
step_us=0
prefill_token_us=0
decode_seq_us=0
max_batch_size=100000
max_num_tokens=10000000
kv_blocks=1000000
ENGINE
c++ -std=c++17 -O3 -I "$double" -I "$double/include" "$double"/{double,config,engine_file,own_cost}.cpp -pthread -o "$scratch/own_cost"
"${CARGO:-cargo}" test --release --locked -p tacho-tensorrt-llm --test many -- --ignored --nocapture 2>/dev/null | grep 'ns a response'
"$scratch/own_cost" "$scratch"
