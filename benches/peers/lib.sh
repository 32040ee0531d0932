# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the scripts beside it: what they share in reading options, finding `tacho`, keeping files and alternating.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
here=$root/benches/peers

# read_options NAME... -- ARGUMENT...: sets the variable of each option --NAME VALUE; --engine, repeatable, adds to the array.
read_options() {
    local known=" "
    while [ "$1" != -- ]; do
        known+="$1 "
        shift
    done
    shift
    while [ $# -gt 0 ]; do
        [ $# -gt 1 ] || die "$1 needs a value; the head of $0 says what there is"
        [[ $1 == --[a-z]* && $known == *" ${1#--} "* ]] || die "unknown option '$1'; the head of $0 says what there is"
        if [ "$1" = --engine ]; then engine+=("$2"); else printf -v "${1#--}" %s "$2"; fi
        shift 2
    done
}

# whole_numbers VALUE...: each must be one, of at least 1.
whole_numbers() {
    local number
    for number; do
        [[ $number =~ ^[1-9][0-9]*$ ]] || die "expected a whole number of at least 1, found '$number'"
    done
}

# Sets $tacho to the program of --tacho, else to this clone's, built.
tacho_program() {
    if [ -z "$tacho" ]; then
        "$root/scripts/build.sh" >&2
        tacho=$(target_dir)/release/tacho
    fi
    [ -x "$tacho" ] || die "--tacho: $tacho is not a program"
}

# Sets $out to the folder of --keep, else to one that is gone afterwards.
results_folder() {
    out=$keep
    if [ -z "$out" ]; then
        out=$(mktemp -d)
        trap 'rm -rf "$out"' EXIT
    fi
    mkdir -p "$out"
}

# Up to $rounds rounds of measure_peer and measure_tacho, right after each other; who goes first alternates. No round starts once
# $seconds have passed, where that is set. $measured says how many there were.
alternate() {
    measured=0
    while [ "$measured" -lt "$rounds" ]; do
        if [ -n "$seconds" ] && [ $SECONDS -ge "$seconds" ]; then
            say "$SECONDS s have passed: no round after $measured"
            return
        fi
        measured=$((measured + 1))
        say "round $measured of $rounds (load $(cut -d' ' -f1 /proc/loadavg))"
        if ((measured % 2)); then
            measure_peer $measured
            measure_tacho $measured
        else
            measure_tacho $measured
            measure_peer $measured
        fi
    done
}
