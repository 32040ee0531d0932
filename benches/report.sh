#!/usr/bin/env bash
# What `tacho report` costs for ten million token events.
#
#   benches/report.sh [DIR]     makes the run in DIR (a new folder otherwise) with the simulated engine, reports, prints
#
# Prints wall time and peak memory (VmHWM) of `tacho report` on two cores, of the first report, which may have tables to make
# anew, and of one after it, and the page's size. Targets: 3 s, 300 MB, 10 MB. A DIR with a run in it is used as it is.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

tacho=$(target_dir)/release/tacho
[ -x "$tacho" ] || die "there is no $tacho: run make build"
have python3 || die "python3 is missing: it measures the memory"
dir=${1:-}
if [ -z "$dir" ]; then
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    dir=$made/run
fi
if [ ! -e "$dir/run.json" ]; then
    # Step by step without waiting: a token event a token. 10,000 requests of 1000 tokens.
    "$tacho" run --engine sim --engine-option sim.time=virtual --engine-option sim.max_seqs=256 --engine-option sim.jitter=0.1 \
        --concurrency 256 --requests 10000 --input 8 --output 1000 --max-warmup 1 --min-trials 1 --max-trials 1 --max-time 1s \
        --quiet --out "$dir" >/dev/null || die "the run failed"
fi
say "run: $dir"
pin=()
if have taskset; then pin=(taskset -c 0,1); fi
python3 - "$tacho" "$dir" "${pin[@]}" <<'PY'
import json, os, subprocess, sys, time

tacho, folder, pin = sys.argv[1], sys.argv[2], sys.argv[3:]
events = sum(json.loads(line)["rows"]["tokens"] for line in open(f"{folder}/journal.jsonl"))
print(f"token events: {events:,}")
for name in ("first", "again"):
    start = time.monotonic()
    process = subprocess.Popen([*pin, tacho, "report", folder], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        sys.exit(f"tacho report failed ({status})")
    print(f"{name}: {seconds:.2f} s, {usage.ru_maxrss * 1024 / 1e6:.0f} MB")
print(f"report.html: {os.path.getsize(folder + '/report.html') / 1e6:.2f} MB")
PY
