#!/usr/bin/env bash
# The main job: sweeps llama.cpp on this machine's CPU with a small model, and leaves a run directory.
# Arguments are passed on to `tacho run`, after the defaults. TACHO_BENCH_MODEL names another GGUF file.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

PYO3_PYTHON=$(scripts/bootstrap.sh --python)
export PYO3_PYTHON
model=${TACHO_BENCH_MODEL:-$(scripts/model.sh)}
scripts/build.sh
exec "$(target_dir)/release/tacho" run --plan quick --engine llama.cpp --model "$model" "$@"
