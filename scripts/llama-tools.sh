#!/usr/bin/env bash
# Builds llama.cpp's own programs for this machine's processors, and prints the source tree: they lie in its build/bin.
#
#   scripts/llama-tools.sh NAME...      such as llama-server (7 minutes of two cores) or llama-batched-bench
#
# The crate that Tacho's cell is built from leaves the tools out. The sources are those of the PyPI sdist llama-cpp-python, pinned here
# with its SHA-256, which carries llama.cpp whole; its version can differ from the crate's. With TACHO_LLAMA_CPP_DIR=TREE the cell is
# built over the very libraries that these programs use (docs/engines/llama.cpp.md).
#
# The tree and what is built lie in the cache (TACHO_CACHE_DIR), so that only the first call needs a network and time. Built without
# HTTPS and without the server's web page.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

package=llama-cpp-python
version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

[ $# -gt 0 ] || die "expected names of llama.cpp's programs, such as llama-server"
for tool in cmake ninja; do have "$tool" || die "$tool is needed to build llama.cpp; run make bootstrap"; done

folder=$cache_dir/peers/llama_cpp_python-$version
tree=$folder/vendor/llama.cpp
mkdir -p "$cache_dir/peers"
# Two of these at once would spoil each other.
exec 8>"$folder.lock"
flock 8

if [ ! -f "$tree/CMakeLists.txt" ]; then
    say "fetching $package $version"
    python=$("$root/scripts/bootstrap.sh" --python)
    scratch=$(mktemp -d "$cache_dir/peers/.fetch.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    "$(with_pip "$python")" -m pip download --no-deps --no-binary "$package" --dest "$scratch" "$package==$version" >&2 ||
        die "pip could not fetch $package $version"
    sdist=$(echo "$scratch"/llama_cpp_python-*.tar.gz)
    found=$(sha256sum "$sdist" | cut -d' ' -f1)
    [ "$found" = $sha256 ] || die "$package $version: expected SHA-256 $sha256, found $found"
    tar -xzf "$sdist" -C "$scratch"
    rm -rf "$folder"
    mv "$scratch/llama_cpp_python-$version" "$folder"
fi

flags=$(grep -m1 '^flags' /proc/cpuinfo || true)
instructions=()
for pair in avx512f:AVX512 avx512vbmi:AVX512_VBMI avx512_vnni:AVX512_VNNI avx512_bf16:AVX512_BF16 avx_vnni:AVX_VNNI \
    amx_tile:AMX_TILE amx_int8:AMX_INT8 amx_bf16:AMX_BF16; do
    if [[ " $flags " == *" ${pair%%:*} "* ]]; then instructions+=("-DGGML_${pair##*:}=ON"); fi
done
# The sdist is no clone: what the programs say of their commit is where they come from.
cmake -S "$tree" -B "$tree/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON \
    -DGGML_NATIVE=OFF ${instructions[@]+"${instructions[@]}"} -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_NUMBER=0 "-DLLAMA_BUILD_COMMIT=$package-$version" >&2 || die "cmake could not configure llama.cpp"
# Does nothing when all is built. ggml-cpu is loaded when a program runs, and so no program's own dependency.
ninja -C "$tree/build" "$@" ggml-cpu llama >&2 || die "llama.cpp's programs did not build"
printf '%s\n' "$tree"
