#!/usr/bin/env bash
# Runs the tests of the TensorRT-LLM bridge, over the double, with the C++ side under AddressSanitizer (leaks included) and
# UndefinedBehaviorSanitizer of g++. CARGO names another cargo. An ordinary build afterwards compiles the C++ side again.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

cargo=${CARGO:-cargo}
export CXX=${CXX:-g++}
runtime=$("$CXX" -print-file-name=libasan.so)
[ -e "$runtime" ] || die "$CXX has no AddressSanitizer ($runtime): install libasan, or name another g++ in CXX"
# The C++ side and the programs' link; Rust's own code is as ever.
export TACHO_SANITIZE_CXX=1
"$cargo" test --release --locked -p tacho-tensorrt-llm --test double --test many --no-run
# Its time is the sanitizer's, and its count of the heap holds the sanitizer's own: leaks are looked for by it instead.
export TACHO_SANITIZED=1 ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
status=0
for test in double many; do
    program=$("$cargo" test --release --locked -p tacho-tensorrt-llm --test "$test" --no-run --message-format=json 2>/dev/null |
        sed -n "s/.*\"name\":\"$test\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -1)
    [ -x "$program" ] || die "the test $test was not built"
    # Its allocator must come before libc's, and rustc puts libraries of ours last.
    LD_PRELOAD=$runtime "$program" --test-threads=2 || status=$?
done
[ "$status" -eq 0 ] || die "a sanitizer or a test complained"
say "no complaint of AddressSanitizer, LeakSanitizer or UndefinedBehaviorSanitizer"
