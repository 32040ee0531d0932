#!/usr/bin/env bash
# Looks for undefined behaviour, memory errors, leaks and data races, by running tests under tools that see them. Minutes a part.
#
#   scripts/sanitize.sh [PART...]    miri, address, cupti, thread, run, trtllm (all of them)
#
# miri     pure code: CUPTI's records, texts of crashes, the protocol of cells, GGUF headers, workloads, secrets
# address  AddressSanitizer and LeakSanitizer over the ffi crates that can be built here: crash, llama.cpp; AddressSanitizer over the
#          Python host with its stand-in `echo`
# cupti    the same over the CUPTI collector with its double; with it the whole harness is compiled
# thread   ThreadSanitizer over the library without the harness: cells, the threads that release requests, clocks; the standard library
#          included where rust-src is there; where it is not, without, and with scripts/tsan.supp for what that makes it take for races
# run      the same with the harness: runs, telemetry's threads, cells that are started and stopped
# trtllm   the C++ half of TensorRT-LLM's bridge over its double, by scripts/trtllm-sanitize.sh (a stable compiler)
#
# All but the last need a nightly toolchain (TACHO_NIGHTLY names it), miri its component and rust-src, too; what is missing is told and its
# part skipped. CARGO_TARGET_DIR names where it is all built: not the place of ordinary builds.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

nightly=${TACHO_NIGHTLY:-nightly}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/sanitize}
# Slow code that is soon compiled: the tools cost more than the compiler saves.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64
# Tests must not take this for an ordinary build: times and heap counts are the tool's.
export TACHO_SANITIZED=1
host=$(rustc -vV | sed -n 's/^host: //p')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
told=()

# Whether the toolchain has a component; says so when not.
has_component() {
    rustup component list --toolchain "$nightly" --installed 2>/dev/null | grep "^$1" >/dev/null && return
    told+=("$2: skipped: rustup component add --toolchain $nightly $1")
    return 1
}

# covers PART WHAT COMMAND...: runs tests, and keeps how many of them passed.
covers() {
    local part=$1 what=$2 status=0 passed ignored
    shift 2
    say "== $part: $what"
    "$@" >"$log" 2>&1 || status=$?
    passed=$(awk '/^test result:/ { sum += $4 } END { print sum + 0 }' "$log")
    ignored=$(awk '/^test result:/ { sum += $8 } END { print sum + 0 }' "$log")
    grep -E '^test .*ignored|skipped: ' "$log" | sort -u | head -20 >&2 || true
    if [ "$status" -ne 0 ]; then
        grep -vE '^test .* ok$|Compiling|Checking|Running' "$log" | tail -60 >&2
        failed+=("$part: $what")
        told+=("$part: $what: FAILED (exit $status) after $passed tests")
    elif [ "$passed" -eq 0 ]; then
        failed+=("$part: $what")
        told+=("$part: $what: no test ran")
    else
        told+=("$part: $what: $passed tests passed, $ignored ignored")
    fi
}

# Pure code. What reads files or the clock needs the host; blake3's assembly, processes, sockets, a process's own CPU time and
# scheduling are beyond Miri, so that no trial is driven under it.
miri() {
    has_component miri miri && has_component rust-src miri || return 0
    export MIRIFLAGS=-Zmiri-disable-isolation
    covers miri 'CUPTI records, trace records, names' cargo "+$nightly" miri test --locked -p tacho-cupti --lib
    covers miri 'stack texts of crashed cells' cargo "+$nightly" miri test --locked -p tacho-crash --lib
    # Laws of large numbers take Miri hours, and snapshots start a process.
    local skip=(--skip draws_have --skip uniform_reaches --skip the_reason --skip with_file_and_line --skip think_times)
    covers miri 'protocol, GGUF, device clocks, workloads, secrets, without the harness' \
        cargo "+$nightly" miri test --locked -p tacho --no-default-features --lib -- "${skip[@]}" \
        cell::wire cell::text cell::trust cell::environment cell::oom_kills engine::digest engine::score gguf:: \
        measure::device measure::events secrets workload::length workload::saved workload::turns workload::arrivals::tests \
        workload::arrivals::trace
    unset MIRIFLAGS
}

address() {
    # What the Python host is compiled and run with.
    PYO3_PYTHON=${PYO3_PYTHON:-$(scripts/bootstrap.sh --python)}
    export PYO3_PYTHON
    export RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes"
    export ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0
    covers address 'crash handler' cargo "+$nightly" test --release --locked --target "$host" -p tacho-crash
    local model
    if model=$(scripts/model.sh); then
        # llama.cpp itself is not compiled anew: its allocations are watched (overruns of them by us, leaks), its accesses are not.
        TACHO_TEST_MODEL=$model covers address 'llama.cpp binding, with the test model' \
            cargo "+$nightly" test --release --locked --target "$host" -p tacho-llama-cpp
    else
        told+=("address: llama.cpp: skipped: no test model")
    fi
    # CPython itself is not compiled anew: its allocations are watched, its accesses are not. It leaves much to the process's end
    # (interned strings, types), so leaks are looked for with a list of what is its own. Crashes on purpose are the handlers' own test.
    local cpython
    cpython=$(mktemp)
    printf 'leak:%s\n' _Py PyObject_ PyType_ PyDict_ PyUnicode_ PyMem_ PyInit_ libpython libffi _ctypes dlopen >"$cpython"
    # Its faulthandler gives threads a signal stack of its own, which the sanitizer would take for the one that it gave them and unmap.
    LSAN_OPTIONS=suppressions=$cpython:print_suppressions=0 PYTHONMALLOC=malloc TACHO_CELL_ENV=ASAN_OPTIONS,LSAN_OPTIONS,PYTHONMALLOC \
        ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:use_sigaltstack=0 \
        covers address 'Python host, with the stand-in echo' \
        cargo "+$nightly" test --release --locked --target "$host" -p tacho-python --lib --test conformance --test bad_input
    rm -f "$cpython"
    unset RUSTFLAGS ASAN_OPTIONS
}

cupti() {
    # The collector is loaded by a program of ours and finds the sanitizer in it.
    export RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes -Clink-arg=-rdynamic"
    export ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0
    covers cupti 'CUPTI collector and its double' \
        cargo "+$nightly" test --release --locked --target "$host" -p tacho-cupti -p tacho-cupti-double
    unset RUSTFLAGS ASAN_OPTIONS
}

# under_tsan PART WHAT CARGO-ARGUMENT...: tests of the library and of what is built with it.
under_tsan() {
    local part=$1 what=$2 std=()
    shift 2
    export RUSTFLAGS=-Zsanitizer=thread
    if rustup component list --toolchain "$nightly" --installed 2>/dev/null | grep '^rust-src' >/dev/null; then
        std=(-Zbuild-std)
    else
        # The standard library as it was delivered, which the sanitizer does not see into.
        RUSTFLAGS+=" -Cunsafe-allow-abi-mismatch=sanitizer"
        export TSAN_OPTIONS=suppressions=$root/scripts/tsan.supp
        told+=("$part: without rust-src: the standard library's own synchronisation is not seen, see scripts/tsan.supp")
    fi
    covers "$part" "$what" cargo "+$nightly" test --release --locked "${std[@]}" --target "$host" -p tacho "$@"
    unset RUSTFLAGS TSAN_OPTIONS
}

thread() {
    under_tsan thread 'cells, release of requests, clocks' --no-default-features --lib -- cell:: measure::
}

run() {
    under_tsan run 'measuring, and the run in the library' --lib -- cell:: measure:: run::
    under_tsan run 'cells of the simulated engine, started and stopped' --test cell
}

trtllm() {
    covers trtllm "C++ bridge of TensorRT-LLM over its double" scripts/trtllm-sanitize.sh
}

parts=("$@")
[ $# -gt 0 ] || parts=(miri address cupti thread run trtllm)
for part in "${parts[@]}"; do
    case $part in
    miri | address | cupti | thread | run)
        rustc "+$nightly" --version >/dev/null 2>&1 || { told+=("$part: skipped: no toolchain '$nightly'"); continue; }
        "$part"
        ;;
    trtllm) trtllm ;;
    *) die "unknown part '$part'; expected miri, address, cupti, thread, run or trtllm" ;;
    esac
done
printf '%s\n' "${told[@]}"
[ "${#failed[@]}" -eq 0 ] || die "something was found, see above: ${failed[*]}"
