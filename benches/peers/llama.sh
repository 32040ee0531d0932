#!/usr/bin/env bash
# Tacho's llama.cpp cell side by side with llama.cpp's own llama-batched-bench, over the very same libraries.
#
#   benches/peers/llama.sh [ROUNDS]      default 6, the fewest whose extremes are a 95 % interval of the median
#
# The peer is built from the PyPI sdist llama-cpp-python, which carries llama.cpp with its tools; Tacho's cell is then linked
# against that build, into a target folder of its own, and driven by `tacho run`. Rounds alternate who goes first (A B, B A, ...); each side of a
# round is a fresh process. What is the same: libraries, model, threads, n_batch, n_ubatch, flash attention, KV cache size
# and layout (one cache a sequence), batch sizes, 128 prompt tokens, 64 decode steps.
#
# What differs, and how it is dealt with:
# - llama-batched-bench warms up with 16 tokens only. Its first batch size is given twice and the first row thrown away. Tacho
#   runs one warm-up trial before its timed one (--max-warmup 1), so that both sides time a batch size once a round.
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
input=128
steps=64
n_batch=2048
n_ubatch=512
# A sequence has 128 + 65 tokens; llama.cpp rounds its share of the cache up to 256.
kv_tokens=$((256 * $(tr , '\n' <<<"$batches" | sort -n | tail -n 1)))

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

# --- the rounds
out=$(mktemp -d)
trap 'rm -rf "$out" "${scratch:-}"' EXIT

peer() {
    "$tree/build/bin/llama-batched-bench" -m "$model" -npp $input -ntg $steps -npl "${batches%%,*},$batches" -c $kv_tokens \
        -b $n_batch -ub $n_ubatch -t "$threads" -tb "$threads" -fa auto --output-format jsonl 2>"$out/peer.log" |
        grep '^{' >"$out/peer.$1" || die "llama-batched-bench failed: $(tail -n 3 "$out/peer.log")"
}
tacho() {
    local options=() option
    for option in "threads=$threads" "threads_batch=$threads" "n_batch=$n_batch" "n_ubatch=$n_ubatch" \
        "kv_tokens=$kv_tokens" flash_attn=auto; do
        options+=(--engine-option "llama.cpp.$option")
    done
    "$target/release/tacho" run --engine llama.cpp --model "$model" --batch "$batches" --input $input \
        --output $((steps + 1)) "${options[@]}" --max-warmup 1 --min-trials 1 --max-trials 1 --latency-trials 0 \
        --quiet --out "$out/tacho.$1" >/dev/null 2>"$out/tacho.log" || die "tacho run failed: $(tail -n 3 "$out/tacho.log")"
}
for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds (load $(cut -d' ' -f1 /proc/loadavg))"
    if ((round % 2)); then peer $round; tacho $round; else tacho $round; peer $round; fi
done
"$python" benches/peers/llama_table.py "$out" "$rounds" "$steps"
