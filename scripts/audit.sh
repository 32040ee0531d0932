#!/usr/bin/env bash
# Licences, sources and advisories of all dependencies, by cargo-deny; installs it into the cache where it is missing.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

deny=$(command -v cargo-deny || true)
deny=${deny:-$cache_dir/cargo-deny/bin/cargo-deny}
[ -x "$deny" ] || cargo install --locked --root "$cache_dir/cargo-deny" cargo-deny
"$deny" check
