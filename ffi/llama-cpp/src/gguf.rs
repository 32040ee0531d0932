//! A look at a GGUF file before llama.cpp gets it: is it one, is every tensor of a type that this llama.cpp knows, and is all of
//! it there?
use std::path::Path;

use serde_json::{Map, Value};
use tacho::{
    engine::EngineError,
    gguf::{self, AGAIN, Keep},
};

use crate::types;

/// A tensor as the header describes it; it lies whole inside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Elements along each dimension, the one whose elements are neighbours first.
    pub dims: Vec<u64>,
    /// ggml's number of its type; one that this llama.cpp knows.
    pub kind: u32,
    /// Its first byte, from the start of the file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What a file's header says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// The metadata, as [`gguf::Header::metadata`].
    pub metadata: Map<String, Value>,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
}

/// Checks the file's header and that it is as long as its tensors need.
///
/// # Errors
/// `Load`, naming the file, what was expected, what was found and what to do.
pub fn check(path: &Path) -> Result<(), EngineError> {
    read_keeping(path, Keep::Short).map(drop)
}

/// As [`check`], and returns what the header says.
///
/// # Errors
/// As [`check`].
pub fn read(path: &Path) -> Result<Header, EngineError> {
    read_keeping(path, Keep::All)
}

fn read_keeping(path: &Path, keep: Keep) -> Result<Header, EngineError> {
    checked(path, keep).map_err(|what| EngineError::load(format!("{}: {what}", path.display())))
}

fn checked(path: &Path, keep: Keep) -> Result<Header, String> {
    let gguf::Header { metadata, tensors, data_start, file_bytes } = gguf::Header::read(path, keep)?;
    let count = tensors.len();
    let located =
        |(index, tensor)| locate(tensor, data_start).map_err(|error| format!("tensor {index} of {count}: {error}"));
    let tensors: Vec<TensorInfo> = tensors.into_iter().enumerate().map(located).collect::<Result<_, _>>()?;
    let need = tensors.iter().map(|tensor| tensor.offset + tensor.bytes).max().unwrap_or(data_start);
    if file_bytes < need {
        return Err(format!("the file is cut short: its tensors need {need} bytes, found {file_bytes}: {AGAIN}"));
    }
    Ok(Header { metadata, tensors })
}

/// Where a tensor lies; its end does not overflow.
fn locate(tensor: gguf::Tensor, data_start: u64) -> Result<TensorInfo, String> {
    let elements = tensor.elements().ok_or_else(|| format!("its size overflows: {AGAIN}"))?;
    let gguf::Tensor { name, dims, kind, offset } = tensor;
    let bytes = types::tensor_bytes(kind, elements).ok_or_else(|| {
        format!("its type {kind} is not one that this llama.cpp knows: use a newer llama.cpp, or {AGAIN}")
    })?;
    let start = data_start.checked_add(offset).filter(|start| start.checked_add(bytes).is_some());
    let offset = start.ok_or_else(|| format!("its offset overflows: {AGAIN}"))?;
    Ok(TensorInfo { name, dims, kind, offset, bytes })
}
