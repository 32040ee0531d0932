#!/usr/bin/env bash
# Everything that must pass: format, lints, docs, the cell programs, all tests, each bench once.
#
#   scripts/test.sh         all of it
#   scripts/test.sh lint    format, lints and docs only
#
# Under CI=true every engine in TACHO_CI_ENGINES (default: sim llama.cpp) must be there: a test that would be skipped for
# want of its engine fails instead. Tests find the model by TACHO_TEST_MODEL, which this sets.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

case ${1:-} in '' | lint) ;; *) die "unknown argument '$1'; expected lint or none" ;; esac
if [ "${CI:-}" = true ]; then
    export TACHO_CI_ENGINES=${TACHO_CI_ENGINES:-sim llama.cpp}
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
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
}

bootstrap() {
    PYO3_PYTHON=$(scripts/bootstrap.sh --python) || return
    export PYO3_PYTHON
    say "CPython to build against: $PYO3_PYTHON"
}

# The cell program of each promised engine must lie beside `tacho`, or its tests would have nothing to start.
promised_cells() {
    local engine program
    for engine in ${TACHO_CI_ENGINES:-}; do
        case $engine in
        sim) program=tacho ;;
        llama.cpp) program=tacho-cell-llama ;;
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

model() {
    TACHO_TEST_MODEL=$(scripts/model.sh --verify) || return
    export TACHO_TEST_MODEL
    say "model: $TACHO_TEST_MODEL"
}

tests() { cargo test --release --workspace --locked --no-fail-fast 2>&1 | tee "$log"; }

phase 'bootstrap' bootstrap
phase 'format' cargo fmt --all --check
phase 'lints' cargo clippy --release --workspace --all-targets --locked -- -D warnings
phase 'docs' env RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --locked
if [ "${1:-}" = lint ]; then
    summary
    exit
fi
phase 'model' model
phase 'build (tacho and its cells)' scripts/build.sh
phase 'promised engines' promised_cells
phase 'tests' tests
phase 'benches, once each' cargo test --release --locked --package tacho --benches
summary
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
