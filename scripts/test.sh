#!/usr/bin/env bash
# Everything that must pass: format, lints, docs, the cell programs, all tests, each bench once.
#
#   scripts/test.sh         all of it
#   scripts/test.sh lint    format, lints and docs only
#
# Every engine that TACHO_CI_ENGINES names must be there: a test that would be skipped for want of its engine fails instead,
# and the environment of a Python engine is made where it is not in the cache. Under CI=true the default is all engines,
# otherwise none: those of Python engines are gigabytes. Tests find the model by TACHO_TEST_MODEL (a GGUF file) and
# TACHO_TEST_MODEL_DIR (a folder with the same weights), which this sets.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

case ${1:-} in '' | lint) ;; *) die "unknown argument '$1'; expected lint or none" ;; esac
if [ "${CI:-}" = true ]; then
    export TACHO_CI_ENGINES=${TACHO_CI_ENGINES:-sim llama.cpp echo vllm max sglang}
fi
log=$(mktemp)
engines_log=$(mktemp)
# What a phase passed over, a line each.
TACHO_SKIPPED=$(mktemp)
export TACHO_SKIPPED
trap 'rm -f "$log" "$engines_log" "$TACHO_SKIPPED"' EXIT
timings=()

# phase NAME COMMAND...: runs it, keeps its time, and ends everything when it fails.
phase() {
    local name=$1 start=$SECONDS status=0
    shift
    say "== $name"
    "$@" || status=$?
    timings+=("$(printf '%6d s  %s' $((SECONDS - start)) "$name")")
    [ "$status" -eq 0 ] && return
    summary
    die "$name failed (exit $status)"
}

summary() {
    printf '\nmake test, by phase:\n'
    printf '%s\n' "${timings[@]}"
    printf '%6d s  in all\n' "$SECONDS"
    sed 's/^/skipped: /' "$TACHO_SKIPPED"
}

bootstrap() {
    PYO3_PYTHON=$(scripts/bootstrap.sh --python) || return
    export PYO3_PYTHON
    say "CPython to build against: $PYO3_PYTHON"
}

promised() { [[ " ${TACHO_CI_ENGINES:-} " == *" $1 "* ]]; }

# The cell program of each promised engine must lie beside `tacho`, or its tests would have nothing to start.
promised_cells() {
    local engine program
    for engine in ${TACHO_CI_ENGINES:-}; do
        case $engine in
        sim) program=tacho ;;
        llama.cpp) program=tacho-cell-llama ;;
        echo | vllm | max | sglang) program=tacho-cell-python ;;
        *)
            say "TACHO_CI_ENGINES names '$engine', which scripts/test.sh knows no cell program for"
            return 1
            ;;
        esac
        if [ ! -x "$(target_dir)/release/$program" ]; then
            say "engine $engine is promised but $program was not built"
            return 1
        fi
        say "$engine: $program"
    done
}

# A build that runs out of disk fails in some test that says something else.
room() {
    local free
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    say "$free GiB free"
    [ "$free" -ge "$1" ] || { say "expected $1 GiB of free disk for the build and what the tests write"; return 1; }
}

# What cargo-deny says of licences and sources, and of advisories where their database can be had (scripts/audit.sh).
audit() { PYO3_PYTHON=$PYO3_PYTHON scripts/audit.sh --known; }

model() {
    TACHO_TEST_MODEL=$(scripts/model.sh --verify) || return
    export TACHO_TEST_MODEL
    say "model: $TACHO_TEST_MODEL"
}

model_folder() {
    TACHO_TEST_MODEL_DIR=$(scripts/model.sh --safetensors) || return
    export TACHO_TEST_MODEL_DIR
    say "the same weights for Python engines: $TACHO_TEST_MODEL_DIR"
}

# The environment of a Python engine, by the command that users run; nothing is done when it is in the cache. An engine
# without dummy weights is checked with real ones.
environment() {
    local engine=$1 weights=() python
    TACHO_UV=$(uv_program "$PYO3_PYTHON") || return
    # The Python that the cell is built against.
    export TACHO_UV TACHO_PYTHON=$PYO3_PYTHON
    if [ "$engine" = max ]; then weights=(--model "$TACHO_TEST_MODEL_DIR"); fi
    python=$("$(target_dir)/release/tacho" engines install "$engine" --variant cpu "${weights[@]}") || return
    case $engine in
    vllm) export TACHO_TEST_VLLM=$python ;;
    max) export TACHO_TEST_MAX=$python ;;
    sglang) export TACHO_TEST_SGLANG=$python ;;
    esac
    say "$engine: $python"
}

tests() { cargo test --release --workspace --locked --no-fail-fast 2>&1 | tee "$log"; }

environments_tests() {
    local scratch status=0
    scratch=$(mktemp -d)
    TACHO_CACHE_DIR=$scratch engine_tests --package tacho --test environments || status=$?
    rm -rf "$scratch"
    return $status
}

# Tests that are ignored where nobody promises their engine.
engine_tests() { cargo test --release --locked --no-fail-fast "$@" -- --ignored --nocapture 2>&1 | tee -a "$engines_log"; }

phase 'bootstrap' bootstrap
# Not asked of a target folder that is built already.
[ -d "$(target_dir)/release" ] || phase 'room on the disk' room 12
phase 'format' cargo fmt --all --check
phase 'lints' cargo clippy --release --workspace --all-targets --locked -- -D warnings
phase 'licences, sources, advisories' audit
phase 'docs' env RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --locked
if [ "${1:-}" = lint ]; then
    summary
    exit
fi
phase 'model' model
phase 'build (tacho and its cells)' scripts/build.sh
phase 'promised engines' promised_cells
if promised vllm || promised max || promised sglang; then phase 'the model folder' model_folder; fi
for engine in echo vllm max sglang; do
    if promised "$engine"; then phase "environment of $engine" environment "$engine"; fi
done
phase 'tests' tests
# In a cache of its own: it removes what it made.
if promised echo; then
    phase 'environments are made and removed' environments_tests
fi
if promised vllm; then phase 'vLLM' engine_tests --package tacho-python --test vllm --test vllm_cells; fi
if promised max; then phase 'MAX' engine_tests --package tacho-python --test max; fi
if promised sglang; then phase 'SGLang' engine_tests --package tacho-python --test sglang --test sglang_child --test sglang_child_text; fi
phase 'Python package and notebook' env TACHO_BIN="$(target_dir)/release/tacho" scripts/python.sh
phase 'benches, once each' cargo test --release --locked --package tacho --benches
# Its doubles follow the shims.
phase 'the bench of a step' cargo test --release --locked --package tacho-python --bench step_cost
summary
# Of those ignored in the first pass, some ran with their engines afterwards.
awk '/^test result:/ { passed += $4; failed += $6; skipped += FILENAME == ARGV[1] ? $8 : -$4 - $6 }
    END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log" "$engines_log"
