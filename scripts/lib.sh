# shellcheck shell=bash
# What the scripts here share. Sourced, not run.
set -euo pipefail

# Where everything that outlives a clone is kept: models, engine builds, tools. The build scripts use the same place.
cache_dir=${TACHO_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:?set HOME or TACHO_CACHE_DIR}/.cache}/tacho}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Says something to the person; standard output stays free for answers.
say() { printf '%s\n' "$*" >&2; }

# Says what is wrong and what to do about it, and ends.
die() {
    say "error: $*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Prints the folder that cargo builds into, whatever decides it.
target_dir() {
    local dir
    dir=$(cd "$root" && cargo metadata --format-version 1 --no-deps --offline 2>/dev/null |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p') || true
    printf '%s\n' "${dir:-${CARGO_TARGET_DIR:-$root/target}}"
}

# Prints an interpreter that has pip: the one given, or a small virtual environment made of it in the cache.
with_pip() {
    local python=$1 tools=$cache_dir/tools
    if "$python" -m pip --version >/dev/null 2>&1; then
        printf '%s\n' "$python"
        return
    fi
    if ! "$tools/bin/python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --clear "$tools" >&2 ||
            die "$python has neither pip nor venv; install its venv package (such as python3-venv) and try again"
    fi
    printf '%s\n' "$tools/bin/python"
}
