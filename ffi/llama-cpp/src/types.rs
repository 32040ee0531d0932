//! ggml's tensor types: names for the cache, sizes for the file check.
use crate::sys;

/// Types that the KV cache may have, by llama.cpp's names.
const CACHE: &[(&str, sys::ggml_type)] = &[
    ("f32", sys::GGML_TYPE_F32),
    ("f16", sys::GGML_TYPE_F16),
    ("bf16", sys::GGML_TYPE_BF16),
    ("q8_0", sys::GGML_TYPE_Q8_0),
    ("q5_1", sys::GGML_TYPE_Q5_1),
    ("q5_0", sys::GGML_TYPE_Q5_0),
    ("q4_1", sys::GGML_TYPE_Q4_1),
    ("q4_0", sys::GGML_TYPE_Q4_0),
    ("iq4_nl", sys::GGML_TYPE_IQ4_NL),
];

/// The cache type with that name.
pub(crate) fn cache_type(name: &str) -> Option<sys::ggml_type> {
    CACHE.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// The names of all cache types.
pub(crate) fn cache_names() -> String {
    CACHE.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Bytes of a tensor of `elements` elements; None for a type that this llama.cpp does not know.
pub(crate) fn tensor_bytes(kind: u32, elements: u64) -> Option<u64> {
    if kind >= sys::GGML_TYPE_COUNT {
        return None;
    }
    // SAFETY: both look the type up in a table of GGML_TYPE_COUNT rows, and it lies inside.
    let (block, bytes) = unsafe { (sys::ggml_blck_size(kind), sys::ggml_type_size(kind)) };
    // Types that were taken out again have blocks of nothing.
    let block = u64::try_from(block).ok().filter(|block| *block > 0)?;
    (elements / block).checked_mul(bytes as u64)
}
