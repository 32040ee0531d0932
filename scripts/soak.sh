#!/usr/bin/env bash
# The long tests, which CI runs the short forms of: faults, kills, disks, memory, fuzzing, and the sanitizers over the
# TensorRT-LLM bridge. Takes about half an hour, and six times SECONDS for the fuzzing.
#
#   scripts/soak.sh [SECONDS]    how long each reader is fuzzed (60)
#
# CARGO names another cargo.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

cargo=${CARGO:-cargo}
case ${1:-60} in *[!0-9]*) die "expected a number of seconds, found '$1'" ;; esac
export TACHO_FUZZ_SECONDS=${1:-60}
PYO3_PYTHON=$(scripts/bootstrap.sh --python)
export PYO3_PYTHON
"$cargo" test --release --locked -p tacho --test survive -- --ignored --nocapture --test-threads=1
"$cargo" test --release --locked -p tacho --test fuzz -- --nocapture --test-threads=1
CARGO=$cargo scripts/trtllm-sanitize.sh
