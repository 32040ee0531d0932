#!/usr/bin/env bash
# Builds llama.cpp's CUDA module, libggml-cuda.so, and nothing else, for the cell tacho-cell-llama that is built already.
#
#   scripts/llama-cuda.sh [--arch LIST] [--source DIR] [--out DIR] [--build DIR] [--jobs N] [-- CMAKE_ARGS...]
#
#   --arch     CUDA architectures, as cmake's: "90-real" or "89-real;90-real". Without it: those of the cards that nvidia-smi lists.
#   --source   llama.cpp (or its ggml folder). Without it: the tree that Cargo.lock pins for the cell. A module from another
#              version than the cell's is refused by ggml or, worse, crashes: name a tree only with the same version.
#   --out      folder for the module. Without it: target/release/ggml, where the cell looks (docs/engines/llama.cpp.md).
#   --build    folder for cmake's files. Without it: a folder for this source and these architectures in Tacho's cache.
#   --jobs     compilers at once. Without it: one a core.
#
# Needs nvcc (in PATH or /usr/local/cuda/bin), cuBLAS with its headers (the toolkit's, or the wheel nvidia-cublas of the
# python3 in PATH), cmake 3.18 and ninja. About 90 core-minutes for one architecture.
set -euo pipefail

die() { echo "llama-cuda: $*" >&2; exit 1; }
root=$(cd "$(dirname "$0")/.." && pwd)
arch="" source="" out="" build="" jobs=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --arch | --source | --out | --build | --jobs) [ $# -ge 2 ] || die "expected a value after $1" ;;
  esac
  case $1 in
    --arch) arch=$2; shift 2 ;;
    --source) source=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --build) build=$2; shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    --) shift; break ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"; exit 0 ;;
    *) die "expected --arch, --source, --out, --build, --jobs or --, found $1" ;;
  esac
done

# What it is built with.
export PATH=$PATH:/usr/local/cuda/bin
nvcc=$(command -v nvcc) || die "nvcc is not in PATH nor in /usr/local/cuda/bin: install the CUDA toolkit (12.8 or newer for Hopper and Blackwell)"
nvcc=$(readlink -f "$nvcc")
for tool in cmake ninja; do
  command -v $tool >/dev/null || die "$tool is not in PATH: install it (Debian: apt-get install cmake ninja-build)"
done
if [ -z "$arch" ]; then
  command -v nvidia-smi >/dev/null || die "no nvidia-smi to ask for the card's architecture: say --arch, such as 90-real for an H100"
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d '. ' | sort -u | sed 's/$/-real/' | paste -sd';')
  [ -n "$arch" ] || die "nvidia-smi lists no card: say --arch, such as 90-real for an H100"
fi

# What is built: the ggml folder of the tree that the cell was built from.
if [ -z "$source" ]; then
  command -v cargo >/dev/null || die "no cargo to ask where the pinned source is: name it with --source"
  source=$(cd "$root" && cargo metadata --format-version 1 --locked | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
found = [p["manifest_path"] for p in packages if p["name"] == "llama-cpp-sys-2"]
print(os.path.join(os.path.dirname(found[0]), "llama.cpp") if found else "")')
  [ -n "$source" ] || die "Cargo.lock pins no llama-cpp-sys-2: name a llama.cpp tree with --source"
fi
[ -f "$source/ggml/CMakeLists.txt" ] && source=$source/ggml
[ -f "$source/src/ggml-cuda/CMakeLists.txt" ] || die "$source holds no src/ggml-cuda: name a llama.cpp tree with --source"
source=$(cd "$source" && pwd)
out=${out:-$root/target/release/ggml}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cache=${TACHO_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tacho}
build=${build:-$cache/llama-cuda/$(echo "$source $nvcc $arch $*" | cksum | cut -d' ' -f1)}

# CMake refuses a build without cuBLAS, its headers, and something to link for the driver.
toolkit=$(dirname "$(dirname "$nvcc")")
extra=() flags="" rpath="\$ORIGIN"
# shellcheck disable=SC2086 # $1 is a pattern.
has() { ls "$toolkit"/$1 "$toolkit"/targets/x86_64-linux/$1 >/dev/null 2>&1; }
if has "lib*/libcublas.so"; then
  rpath="$rpath;$toolkit/lib64;$toolkit/lib"
else
  wheel=$(python3 -c '
import os, nvidia
print(next(p for base in nvidia.__path__ for p in [os.path.join(base, "cu13")] if os.path.isdir(p)))' 2>/dev/null) ||
    die "$toolkit has no libcublas.so, and python3 has no wheel nvidia-cublas: install one of the two"
  mkdir -p "$build/links"
  for library in cublas cublasLt; do
    ln -sfn "$wheel/lib/lib$library.so.13" "$build/links/lib$library.so"
    extra+=("-DCUDA_${library}_LIBRARY=$build/links/lib$library.so")
  done
  # cublas links cublasLt, which lies beside it under its own version's name.
  extra+=("-DCMAKE_MODULE_LINKER_FLAGS=-Wl,-rpath-link,$wheel/lib")
  has include/cublas_v2.h || flags="-I$wheel/include"
  rpath="$rpath;$wheel/lib;$toolkit/lib64;$toolkit/lib"
fi
if ! find "$toolkit/" -path '*stubs*' -name libcuda.so 2>/dev/null | grep -q .; then
  driver=$(ldconfig -p | awk '/libcuda\.so\.1 .*x86-64/ { print $NF; exit }')
  if [ -n "$driver" ]; then
    extra+=("-DCUDA_cuda_driver_LIBRARY=$driver")
  else
    # Without a driver to link, ggml leaves out its pool of virtual memory, and takes plain allocations.
    extra+=(-DGGML_CUDA_NO_VMM=ON)
  fi
fi

mkdir -p "$build/project"
log=$build/llama-cuda.log
# ggml alone, as a part of this project: by itself it wants files that the crate leaves out.
cat >"$build/project/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.18)
project(tacho-ggml-cuda C CXX)
add_subdirectory("$source" ggml)
END
echo "llama-cuda: $source for ${arch//;/, }, by $("$nvcc" --version | sed -n 's/^Cuda.*release/release/p'), in $build"
# The options that meet the rest of ggml (shared, loadable, version) are those of ffi/llama-cpp/build/native.rs. The CPU module and
# OpenMP are the cell's own business. One GPU a context: no NCCL.
cmake -G Ninja -S "$build/project" -B "$build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON \
  -DGGML_NATIVE=OFF -DGGML_CPU=OFF -DGGML_OPENMP=OFF -DGGML_CCACHE=OFF -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF \
  -DGGML_CUDA=ON -DGGML_CUDA_GRAPHS=ON -DGGML_CUDA_NCCL=OFF -DCMAKE_CUDA_RUNTIME_LIBRARY=Shared "-DCMAKE_CUDA_ARCHITECTURES=$arch" "-DCMAKE_CUDA_COMPILER=$nvcc" \
  "-DCMAKE_CUDA_FLAGS=$flags" "-DCMAKE_CXX_FLAGS=$flags" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "-DCMAKE_INSTALL_RPATH=$rpath" \
  ${extra[@]+"${extra[@]}"} "$@" >"$log" 2>&1 || { tail -n 25 "$log" >&2; die "cmake failed: the whole log is $log"; }
ninja -C "$build" -j "$jobs" ggml-cuda >>"$log" 2>&1 || { grep -n -i -m 20 'error' "$log" >&2; die "the build failed: the whole log is $log"; }
[ -f "$build/bin/libggml-cuda.so" ] || die "the build ended well and made no $build/bin/libggml-cuda.so: see $log"
# By copy and rename: a cell that runs keeps the file that it has.
cp -L "$build/bin/libggml-cuda.so" "$out/.libggml-cuda.so.new"
strip --strip-unneeded "$out/.libggml-cuda.so.new"
mv "$out/.libggml-cuda.so.new" "$out/libggml-cuda.so"
echo "llama-cuda: $(du -h "$out/libggml-cuda.so" | cut -f1) in $out/libggml-cuda.so"
