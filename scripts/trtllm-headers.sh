#!/usr/bin/env bash
# Compiles cpp/bridge.cpp against TensorRT-LLM's real headers, warnings being errors, and compares the symbols that it then
# asks for with cpp/symbols.txt. Needs no library and no GPU.
#
#   scripts/trtllm-headers.sh INCLUDE [CUDA_INCLUDE...]
#
# INCLUDE holds tensorrt_llm/executor/executor.h (cpp/include of the release's source, or /app/tensorrt_llm/include);
# CUDA_INCLUDE holds cuda_fp16.h and what it includes (default: /usr/local/cuda/include; of NVIDIA's wheels, the include folders
# of cuda-runtime, cuda-nvcc and cuda-cccl). cargo must have built the bridge once: cxx's headers are taken from there.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

[ $# -ge 1 ] || die "expected the folder with TensorRT-LLM's headers"
include=$1
shift
[ -f "$include/tensorrt_llm/executor/executor.h" ] || die "$include/tensorrt_llm/executor/executor.h is not there"
[ $# -gt 0 ] || set -- /usr/local/cuda/include
flags=()
for cuda in "$@"; do flags+=(-isystem "$cuda"); done
# The newest, where several builds have left theirs.
cxx=$(find "$(target_dir)" -path '*tacho-tensorrt-llm*/out/cxxbridge/include' -type d -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
[ -n "$cxx" ] || die "the bridge was not built yet: cargo test --release -p tacho-tensorrt-llm --no-run"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for standard in c++17 c++20; do
    c++ "-std=$standard" -O2 -Wall -Wextra -Werror -I cpp -I "$cxx" -isystem "$include" "${flags[@]}" \
        -c cpp/bridge.cpp -o "$scratch/bridge-$standard.o"
    say "$standard: no warnings"
done
asked() { nm -u "$1" | awk '{ print $NF }' | grep -E '12tensorrt_llm|^initTrtLlmPlugins$' | sort -u; }
grep -v '^#' cpp/symbols.txt | LC_ALL=C sort -u >"$scratch/listed"
asked "$scratch/bridge-c++17.o" | LC_ALL=C sort -u >"$scratch/asked"
diff "$scratch/listed" "$scratch/asked" >&2 || die "these headers make the bridge ask for other symbols than cpp/symbols.txt lists"
say "the $(wc -l <"$scratch/asked") symbols are those of cpp/symbols.txt"
