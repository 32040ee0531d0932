//! Stands for ggml's table of tensor types, which the cell's GGUF reader asks llama.cpp for: a few of its rows, so that the
//! reader can be fuzzed without llama.cpp.

/// (ggml's number, elements of a block, bytes of a block): F32, F16, Q4_0, Q8_0.
const KINDS: [(u32, u64, u64); 4] = [(0, 1, 4), (1, 1, 2), (2, 32, 18), (8, 32, 34)];

/// As `tacho_llama_cpp`'s: bytes of a tensor of `elements` elements; None for a type that is not known.
pub(crate) fn tensor_bytes(kind: u32, elements: u64) -> Option<u64> {
    let (_, block, bytes) = KINDS.iter().find(|(known, ..)| *known == kind)?;
    (elements / block).checked_mul(*bytes)
}
