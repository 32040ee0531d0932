#!/usr/bin/env bash
# Tacho's llama.cpp cell side by side with llama.cpp's own llama-batched-bench, over the very same libraries.
#
#   benches/peers/llama.sh [ROUNDS]      default 6, the fewest whose extremes are a 95 % interval of the median
#
# The peer is built from the PyPI sdist llama-cpp-python, which carries llama.cpp with its tools; Tacho's cell is then linked
# against that build, into a target folder of its own, and driven by `tacho run`. In a round each batch size is measured by both right after
# each other, in fresh processes; rounds alternate who goes first. What is the same: libraries, model, threads, n_batch, n_ubatch, flash attention, KV cache size
# and layout (one cache a sequence), batch sizes, 128 prompt tokens, 64 decode steps.
#
# What differs, and how it is dealt with:
# - llama-batched-bench warms up with 16 tokens only. Its batch size is given four times and the first row thrown away. Tacho
#   runs one warm-up trial and three timed ones. The median of each side's three counts.
# - llama-batched-bench decodes 64 times after the prompt and samples nothing: it feeds random ids. A request of Tacho gets
#   its first token from the prompt's pass, so Tacho is asked for 65 tokens: the same 64 decode steps, and 65 argmaxes over
#   the vocabulary on top. Both sides' figure is 64 x batch / (time for prompt and decode together): output tokens a second
#   of total time. For the peer that time is t_pp + t_tg.
#
# TACHO_MODEL names another GGUF file, TACHO_BATCH other batch sizes (1,4,8,16), TACHO_CACHE_DIR the cache. Figures count on a quiet machine only.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
cd "$root"

package=llama-cpp-python
version=0.3.36
rounds=${1:-6}
batches=${TACHO_BATCH:-1,4,8,16}

[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "expected a number of rounds, found '$rounds'"
for tool in cmake ninja; do have "$tool" || die "$tool is needed to build the peer; run make bootstrap"; done

python=$(scripts/bootstrap.sh --python)
model=${TACHO_MODEL:-$(scripts/model.sh)}
threads=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
allowed=$(nproc)
threads=$((threads < allowed ? threads : allowed))

# --- the peer
tree=$cache_dir/peers/llama_cpp_python-$version/vendor/llama.cpp
if [ ! -f "$tree/CMakeLists.txt" ]; then
    say "fetching $package $version"
    mkdir -p "$cache_dir/peers"
    scratch=$(mktemp -d "$cache_dir/peers/.fetch.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    "$(with_pip "$python")" -m pip download --no-deps --no-binary "$package" --dest "$scratch" "$package==$version" >&2 ||
        die "pip could not fetch $package $version"
    tar -xzf "$scratch"/llama_cpp_python-*.tar.gz -C "$scratch"
    rm -rf "$cache_dir/peers/llama_cpp_python-$version"
    mv "$scratch/llama_cpp_python-$version" "$cache_dir/peers/"
fi
if [ ! -f "$tree/build/build.ninja" ]; then
    flags=$(grep -m1 '^flags' /proc/cpuinfo || true)
    instructions=()
    for pair in avx512f:AVX512 avx512vbmi:AVX512_VBMI avx512_vnni:AVX512_VNNI avx512_bf16:AVX512_BF16 avx_vnni:AVX_VNNI \
        amx_tile:AMX_TILE amx_int8:AMX_INT8 amx_bf16:AMX_BF16; do
        if [[ " $flags " == *" ${pair%%:*} "* ]]; then instructions+=("-DGGML_${pair##*:}=ON"); fi
    done
    cmake -S "$tree" -B "$tree/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON \
        -DGGML_NATIVE=OFF "${instructions[@]}" -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF >&2 || die "cmake could not configure the peer"
fi
# Does nothing when all is built.
ninja -C "$tree/build" llama-batched-bench ggml-cpu llama >&2 || die "the peer did not build"

# --- Tacho, over the peer's libraries
target=$(target_dir)/peer-llama
TACHO_LLAMA_CPP_DIR=$tree CARGO_TARGET_DIR=$target \
    cargo build --release --locked -p tacho -p tacho-llama-cpp --bins >&2 || die "Tacho did not build over the peer's llama.cpp"

benches/peers/llama_rounds.sh "$tree/build/bin/llama-batched-bench" "$target/release/tacho" "$model" "$rounds" "$threads" "$batches"
