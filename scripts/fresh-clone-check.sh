#!/usr/bin/env bash
# Clones HEAD into an empty folder and runs `make test` there as a newcomer would: no build outputs, no cache.
# What is committed is what is tested. Arguments replace `test` (such as `bench`).
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git -C "$root" diff --quiet HEAD || say "note: uncommitted changes are not part of the check"
git clone --quiet --no-local "$root" "$scratch/tacho"
[ -d "$root/../shared" ] && ln -s "$(cd "$root/../shared" && pwd)" "$scratch/shared"
cd "$scratch/tacho"
git checkout --quiet --detach "$(git -C "$root" rev-parse HEAD)"
say "in $scratch, at $(git describe --always)"
unset CARGO_TARGET_DIR PYO3_PYTHON
TACHO_CACHE_DIR=$scratch/cache make "${@:-test}" </dev/null
