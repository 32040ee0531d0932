//! A look at a GGUF file before llama.cpp gets it: is it one, and is all of it there?
use std::path::Path;

use tacho::{
    engine::EngineError,
    gguf::{AGAIN, Header, Tensor},
};

use crate::types;

/// Checks the file's header and that it is as long as its tensors need.
///
/// # Errors
/// `Load`, naming the file, what was expected, what was found and what to do.
pub fn check(path: &Path) -> Result<(), EngineError> {
    let fail = |what: String| EngineError::load(format!("{}: {what}", path.display()));
    let header = Header::read(path).map_err(fail)?;
    let need = needed(&header).map_err(fail)?;
    if header.file_bytes < need {
        return Err(fail(format!(
            "the file is cut short: its tensors need {need} bytes, found {}: {AGAIN}",
            header.file_bytes
        )));
    }
    Ok(())
}

/// Bytes that the file must have, from its header.
fn needed(header: &Header) -> Result<u64, String> {
    let count = header.tensors.len();
    let mut end = 0_u64;
    for (index, tensor) in header.tensors.iter().enumerate() {
        end = end.max(tensor_end(tensor).map_err(|error| format!("tensor {index} of {count}: {error}"))?);
    }
    header.data_start.checked_add(end).ok_or_else(|| format!("the tensors' offsets make no sense: {AGAIN}"))
}

/// Where a tensor ends, from the start of the data.
fn tensor_end(tensor: &Tensor) -> Result<u64, String> {
    let elements = tensor.elements().ok_or_else(|| format!("its size overflows: {AGAIN}"))?;
    let bytes = types::tensor_bytes(tensor.kind, elements).ok_or_else(|| {
        format!("its type {} is not one that this llama.cpp knows: use a newer llama.cpp, or {AGAIN}", tensor.kind)
    })?;
    tensor.offset.checked_add(bytes).ok_or_else(|| format!("its offset overflows: {AGAIN}"))
}
