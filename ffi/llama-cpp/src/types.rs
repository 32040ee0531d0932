//! ggml's tensor types: names for the cache, sizes for the file check.
use crate::{backend::text, sys};

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

/// ggml's name of a type, such as `q4_1`.
pub(crate) fn name(kind: u32) -> String {
    if kind >= sys::GGML_TYPE_COUNT {
        return format!("type {kind}");
    }
    // SAFETY: looks the type up in a table of GGML_TYPE_COUNT rows, and it lies inside; the name is static or null.
    unsafe { text(sys::ggml_type_name(kind)) }
}

/// Elements of `bytes`, a tensor of type `kind`, as float32; None when the type cannot be read so (integers, or one that
/// was taken out of ggml) or when `bytes` is not of `elements` elements.
pub(crate) fn to_f32(kind: u32, bytes: &[u8], elements: usize) -> Option<Vec<f32>> {
    if tensor_bytes(kind, elements as u64)? != bytes.len() as u64 {
        return None;
    }
    if kind == sys::GGML_TYPE_F32 {
        return Some(
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect(),
        );
    }
    // SAFETY: looks the type up in a table of GGML_TYPE_COUNT rows; tensor_bytes knows the type, so it lies inside, and
    // the rows are static.
    let traits = unsafe { sys::ggml_get_type_traits(kind).as_ref() }?;
    let convert = traits.to_float?;
    let block = usize::try_from(traits.blck_size).ok().filter(|block| *block > 0)?;
    if !elements.is_multiple_of(block) {
        return None;
    }
    let mut values = vec![0_f32; elements];
    // SAFETY: the function reads the blocks of `elements` elements, which is the length of `bytes` as checked above, and
    // writes that many floats. The blocks' structures want at most the alignment of their 16-bit scales, 2, and the bytes
    // of a vector of this size come from the allocator, which gives more.
    unsafe { convert(bytes.as_ptr().cast(), values.as_mut_ptr(), elements as i64) };
    Some(values)
}
