#!/usr/bin/env bash
# Installs what building and testing Tacho needs and this machine lacks; quiet when nothing is missing.
#
#   scripts/bootstrap.sh            install what is missing
#   scripts/bootstrap.sh --python   the same, and print the CPython to build against (for PYO3_PYTHON)
#   scripts/bootstrap.sh --check    install nothing; name what is missing, exit 1 if anything is
#
# TACHO_PYTHON names the CPython to use (3.11 to 3.13, with headers and a shared library).
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

want_python=false
check_only=false
case ${1:-} in
'') ;;
--python) want_python=true ;;
--check) check_only=true ;;
*) die "unknown argument '$1'; expected --python, --check or none" ;;
esac

# Prints the interpreter's own path if Rust can embed it: CPython 3.11 to 3.13 with Python.h and a shared library.
usable_python() {
    "$1" - 2>/dev/null <<'PYTHON'
import os, sys, sysconfig
get = sysconfig.get_config_var
names = [get("LDLIBRARY"), get("INSTSONAME")]
dirs = [get("LIBDIR"), os.path.join(get("LIBDIR") or "", get("MULTIARCH") or "")]
shared = get("Py_ENABLE_SHARED") and any(os.path.exists(os.path.join(d, n)) for d in dirs if d for n in names if n)
header = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
version = sys.implementation.name == "cpython" and (3, 11) <= sys.version_info[:2] <= (3, 13)
if not (shared and header and version):
    sys.exit(1)
print(sys.executable)
PYTHON
}

# Prints the best interpreter that is here already: 3.12 before the others, what is on PATH before pyenv's.
find_python() {
    local version candidate
    for version in 3.12 3.13 3.11; do
        for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python \
            "$cache_dir/python/cpython-$version"*/bin/"python$version"; do
            have "$candidate" && usable_python "$candidate" && return
        done
    done
    usable_python python3
}

has_libclang() {
    local dir
    [ -n "${LIBCLANG_PATH:-}" ] && return
    # The library alone is not enough: bindgen needs the compiler's own headers (stddef.h) that lie beside it.
    for dir in /usr/lib/llvm-*/lib /usr/lib64 /usr/local/lib; do
        compgen -G "$dir/libclang*.so*" >/dev/null && compgen -G "$dir/clang/*/include/stddef.h" >/dev/null && return
    done
    return 1
}

# Not `grep -q`: it would close the pipe on ldconfig, which pipefail takes for a failure.
has_library() { { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep "$1" >/dev/null; }

# Installs packages by the system's package manager.
install() {
    local sudo=()
    have apt-get || die "missing: $*. This machine has no apt-get; install the like of these packages by hand and try again"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "missing: $*. Not root and no sudo here; as root run: apt-get install $*"
        sudo=(sudo)
    fi
    say "installing by apt-get: $*"
    "${sudo[@]}" apt-get update -q >&2 || say "apt-get update failed; going on with the lists that are here"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 ||
        die "apt-get could not install: $*. Its own message is above"
}

# A Chromium, in which the report's page is tested: CI gets one where it can, and says so where it cannot.
browser() {
    local start=$SECONDS
    if [ -n "${TACHO_CHROMIUM:-}" ] || have chromium || have chromium-headless-shell || have google-chrome; then return; fi
    if ! have apt-get || { [ "$(id -u)" -ne 0 ] && ! have sudo; }; then
        say "skipped: no Chromium, and no apt-get as root to install it: the report's page is not tested in a browser"
        return
    fi
    # In shells of their own: without it all other tests are still worth running. The smaller package is not everywhere.
    if (install chromium-headless-shell fonts-dejavu-core) || (install chromium fonts-dejavu-core); then
        say "Chromium for the tests of the report's page: installed in $((SECONDS - start)) s"
    else
        say "skipped: no Chromium could be installed: the report's page is not tested in a browser"
    fi
}

# The oldest way to a CPython: uv, from PyPI, which brings one of its own builds.
install_python_by_uv() {
    local uv
    have python3 || install python3 python3-venv
    say "no CPython 3.11 to 3.13 in the system's packages; getting 3.12 with uv into $cache_dir/python"
    python3 -c 'import ensurepip' 2>/dev/null || install python3-venv
    uv=$(uv_program python3) || die "without uv there is no CPython; set TACHO_PYTHON to a CPython 3.11 to 3.13"
    UV_PYTHON_INSTALL_DIR=$cache_dir/python "$uv" python install 3.12 >&2 ||
        die "uv could not install CPython 3.12; set TACHO_PYTHON to a CPython 3.11 to 3.13 with headers and a shared library"
}

install_python() {
    local version
    if have apt-get; then
        for version in 3.12 3.13 3.11; do
            if apt-cache show "python$version-dev" >/dev/null 2>&1; then
                install "python$version-dev" "python$version-venv"
                return
            fi
        done
    fi
    install_python_by_uv
}

missing=()
have cc && have c++ || missing+=(build-essential)
have make || missing+=(make)
have cmake || missing+=(cmake)
have ninja || missing+=(ninja-build)
have git || missing+=(git)
has_libclang || missing+=(libclang-dev)
# vLLM's CPU build loads it.
has_library 'libnuma\.so\.1' || missing+=(libnuma1)
have cargo || die "cargo is not on PATH: install Rust ($(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml") or later) with rustup"

if [ -n "${TACHO_PYTHON:-}" ]; then
    python=$(usable_python "$TACHO_PYTHON") ||
        die "TACHO_PYTHON=$TACHO_PYTHON cannot be used: expected a CPython 3.11 to 3.13 with Python.h and a shared libpython"
else
    python=$(find_python) || python=
fi

if $check_only; then
    [ -n "$python" ] || missing+=("a CPython 3.11 to 3.13 with headers and a shared library")
    [ ${#missing[@]} -eq 0 ] && exit
    printf 'missing: %s\n' "${missing[@]}" >&2
    exit 1
fi

[ ${#missing[@]} -eq 0 ] || install "${missing[@]}"
if [ -z "$python" ]; then
    # Package names are only known once the lists are here.
    [ ${#missing[@]} -eq 0 ] && have apt-get && [ "$(id -u)" -eq 0 ] && apt-get update -q >&2
    install_python
    python=$(find_python) || die "CPython was installed but still cannot be found; set TACHO_PYTHON to it"
fi
[ "${CI:-}" != true ] || browser
if ! "$python" -m pip --version >/dev/null 2>&1 && ! "$python" -c 'import ensurepip' 2>/dev/null; then
    install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
fi
if $want_python; then printf '%s\n' "$python"; fi
