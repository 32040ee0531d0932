#!/usr/bin/env bash
# Builds `tacho` and every cell program of the workspace, release profile. Arguments are passed on to cargo.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

PYO3_PYTHON=${PYO3_PYTHON:-$(scripts/bootstrap.sh --python)}
export PYO3_PYTHON
cargo build --release --workspace --locked "$@"
