#!/usr/bin/env bash
# Runs the tests of the TensorRT-LLM bridge, over the double, with the C++ side under AddressSanitizer (leaks included) and
# UndefinedBehaviorSanitizer. CARGO names another cargo. Afterwards an ordinary build compiles the C++ side again.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

cargo=${CARGO:-cargo}
export CXXFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
# Its time is the sanitizer's, and its count of the heap holds the sanitizer's own: leaks are looked for by it instead.
export TACHO_SANITIZED=1
status=0
for test in double many; do
    # The flags of the last link only: Rust's own code is as ever.
    program=$("$cargo" rustc --release --locked -p tacho-tensorrt-llm --test "$test" --message-format=json -- \
        -Clink-arg=-fsanitize=address,undefined |
        sed -n "s/.*\"name\":\"$test\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -1)
    [ -x "$program" ] || die "the test $test was not built"
    "$program" --test-threads=2 || status=$?
done
[ "$status" -eq 0 ] || die "a sanitizer or a test complained"
say "no complaint of AddressSanitizer, LeakSanitizer or UndefinedBehaviorSanitizer"
