#!/usr/bin/env bash
# Tacho's llama.cpp cell side by side with llama.cpp's own llama-batched-bench, over the very same libraries.
#
#   benches/peers/llama.sh [ROUNDS]      default 6, the fewest whose extremes are a 95 % interval of the median
#
# The peer is built by scripts/llama-tools.sh, from a PyPI sdist that carries llama.cpp with its tools; Tacho's cell is then linked
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

rounds=${1:-6}
batches=${TACHO_BATCH:-1,4,8,16}

[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "expected a number of rounds, found '$rounds'"

model=${TACHO_MODEL:-$(scripts/model.sh)}
threads=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
allowed=$(nproc)
threads=$((threads < allowed ? threads : allowed))

# --- the peer
tree=$(scripts/llama-tools.sh llama-batched-bench)

# --- Tacho, over the peer's libraries
target=$(target_dir)/peer-llama
TACHO_LLAMA_CPP_DIR=$tree CARGO_TARGET_DIR=$target \
    cargo build --release --locked -p tacho -p tacho-llama-cpp --bins >&2 || die "Tacho did not build over the peer's llama.cpp"

benches/peers/llama_rounds.sh "$tree/build/bin/llama-batched-bench" "$target/release/tacho" "$model" "$rounds" "$threads" "$batches"
