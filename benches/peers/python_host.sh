#!/usr/bin/env bash
# The same Python work in a `python` program and in a program that embeds the libpython of the same installation, alternating.
#
#   benches/peers/python_host.sh [PYTHON] [ROUNDS]     default: python3 and 10
#
# Says whether it matters that a cell embeds libpython where the engine's own programs run in that `python`
# (ffi/python/src/guest.rs). Needs a C compiler and the installation's headers and libpython (Debian: libpython3.X-dev). The
# work is benches/peers/python_host.py; each round starts both programs, the order alternates. Figures count on a quiet
# machine only.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

python=$(command -v "${1:-python3}") || die "there is no ${1:-python3}"
rounds=${2:-10}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "expected a number of rounds, found '$rounds'"
work=$root/benches/peers/python_host.py
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
read -r include library version <<<"$("$python" -c "import sysconfig as s
print(s.get_path('include'), s.get_config_var('LIBDIR'), s.get_config_var('LDVERSION'))")"
printf '#include <Python.h>\nint main(int count, char **words) { return Py_BytesMain(count, words); }\n' >"$out/embed.c"
cc -O2 -I"$include" "$out/embed.c" -o "$out/embed" -L"$library" -Wl,-rpath,"$library" "-lpython$version" ||
    die "no program could be linked with libpython$version of $python: are its headers and its shared library installed?"
"$python" -c "import sys; print('python', sys.version.split()[0], 'loads libpython:', '/libpython' in open('/proc/self/maps').read())"
for ((round = 1; round <= rounds; round++)); do
    if ((round % 2)); then
        own=$("$python" "$work") embedded=$("$out/embed" "$work")
    else
        embedded=$("$out/embed" "$work") own=$("$python" "$work")
    fi
    echo "$own $embedded"
done >"$out/times"
PYTHONPATH=$root/benches/peers "$python" - "$out/times" <<'PY'
import statistics, sys

from table import interval

rows = [tuple(map(float, line.split())) for line in open(sys.argv[1])]
ratios = [embedded / own for own, embedded in rows]
bounds = interval(ratios)
shown = f"95 % interval {bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "too few rounds for an interval"
print(f"time embedded / time in python: median {statistics.median(ratios):.3f}, {shown}, {len(rows)} rounds")
PY
