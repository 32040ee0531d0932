#!/usr/bin/env bash
# The long tests, which CI runs the short forms of. About half an hour, the fuzzing apart.
#
#   scripts/soak.sh [SECONDS] [PART...]    how long each reader is fuzzed, by each of two fuzzers (60); which parts (all of them)
#
# kills     200 kills of a sweep at random moments, each resumed
# faults    1,000 faults in cells and some tens of kills; p99 from a cell's death to the next one's start
# disk      every call to the disk fails once
# points    10,000 points: memory, descriptors, threads, processes
# fuzz      blind mutations, then scripts/fuzz.sh where there is a nightly toolchain
# sanitize  scripts/sanitize.sh
#
# CARGO names another cargo.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

cargo=${CARGO:-cargo}
export TACHO_FUZZ_SECONDS=60
if [[ ${1:-} =~ ^[0-9] ]]; then
    [[ $1 =~ ^[0-9]+$ ]] || die "expected a number of seconds, found '$1'"
    TACHO_FUZZ_SECONDS=$1
    shift
fi
parts=("$@")
[ $# -gt 0 ] || parts=(kills faults disk points fuzz sanitize)
PYO3_PYTHON=$(scripts/bootstrap.sh --python)
export PYO3_PYTHON

# The ignored test of tests/survive whose name has these words; it prints its counts.
survive() {
    local output
    output=$("$cargo" test --release --locked -p tacho --test survive -- --ignored --nocapture --test-threads=1 "$1" 2>&1 | tee /dev/stderr)
    [[ $output == *"1 passed"* ]] || die "the test '$1' did not pass"
}

for part in "${parts[@]}"; do
    say "== $part"
    case $part in
    kills) survive two_hundred_kills ;;
    faults) survive a_thousand_faults ;;
    disk) survive every_single_call ;;
    points) survive ten_thousand_points ;;
    fuzz)
        "$cargo" test --release --locked -p tacho --test fuzz -- --nocapture --test-threads=1
        if rustc "+${TACHO_NIGHTLY:-nightly}" --version >/dev/null 2>&1; then
            scripts/fuzz.sh "$TACHO_FUZZ_SECONDS"
        else
            say "skipped: no nightly toolchain for scripts/fuzz.sh"
        fi
        ;;
    sanitize) scripts/sanitize.sh ;;
    *) die "unknown part '$part'; expected kills, faults, disk, points, fuzz or sanitize" ;;
    esac
done
