#!/usr/bin/env bash
# The Python package and the notebook: lints, types, tests, and the notebook from top to bottom.
#
#   scripts/python.sh           all of it
#   scripts/python.sh --lint    lints and types only
#
# Needs the built `tacho` (TACHO_BIN names another). The tools live in the cache, in an environment of
# python/requirements-dev.txt's pins that uv makes; where there is no uv or no network, everything is skipped with the
# reason, but under CI=true that is a failure.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

# Skips all of it, or fails where CI promises it.
skip() {
    [ "${CI:-}" = true ] && die "$*"
    say "skipped: $*"
    exit 0
}

pins=$root/python/requirements-dev.txt
python=$(scripts/bootstrap.sh --python)
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
3.1[2-9]) ;;
*) skip "the package needs Python 3.12, found $version; name a newer one in PYO3_PYTHON" ;;
esac
venv=$cache_dir/python/$(cat "$pins" <("$python" --version) | sha256sum | cut -c1-16)
if [ ! -f "$venv/.done" ]; then
    # In a shell of its own: uv_program ends it where there is no uv to be had.
    uv=$(uv_program "$python") || skip "there is no uv; name one in TACHO_UV"
    mkdir -p "${venv%/*}"
    # Two of these at once would spoil each other.
    exec 8>"$venv.lock"
    flock 8
    if [ ! -f "$venv/.done" ]; then
        say "making the Python tools in $venv"
        "$uv" venv -q --clear --python "$python" "$venv" || skip "uv could not make an environment"
        "$uv" pip install -q --python "$venv/bin/python" -r "$pins" || skip "uv could not install $pins"
        touch "$venv/.done"
    fi
    exec 8>&-
fi

say "ruff"
"$venv/bin/ruff" check --quiet python
"$venv/bin/ruff" format --quiet --check python
say "mypy"
(cd python && "$venv/bin/mypy" --no-error-summary --cache-dir "$venv/.mypy_cache")
[ "${1:-}" != --lint ] || exit 0

export TACHO_BIN=${TACHO_BIN:-$(target_dir)/release/tacho}
[ -x "$TACHO_BIN" ] || die "$TACHO_BIN is not built; run scripts/build.sh first"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The package as it would be installed, not its sources.
(cd python && "$venv/bin/hatchling" build -t wheel -d "$scratch" >"$scratch/log" 2>&1) || die "the wheel: $(cat "$scratch/log")"
"$venv/bin/python" -m zipfile -e "$scratch"/tacho-*.whl "$scratch/site"
export PYTHONPATH=$scratch/site PYTHONDONTWRITEBYTECODE=1
say "pytest"
(cd python && "$venv/bin/python" -m pytest -p no:cacheprovider)
say "notebooks/analysis.ipynb"
"$venv/bin/jupyter-execute" notebooks/analysis.ipynb
