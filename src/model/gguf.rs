//! Writes GGUF files: a header, then tensors that are made when they are written.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{ModelError, Progress};

/// Tensors begin at multiples of this many bytes.
const ALIGNMENT: u64 = 32;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// 32 bits, unsigned.
    U32(u32),
    /// 32 bits, floating.
    F32(f32),
    /// A string.
    Text(String),
}

/// How a tensor is stored: ggml's types that are written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgmlType {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
    /// 16 bits, the upper half of a float32.
    Bf16,
    /// 17 bytes for 32 elements.
    Mxfp4,
}

impl GgmlType {
    /// ggml's number for it.
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 30,
            Self::Mxfp4 => 39,
        }
    }

    /// Bytes of so many elements, a multiple of the type's block.
    fn bytes(self, elements: u64) -> u64 {
        match self {
            Self::F32 => elements * 4,
            Self::F16 | Self::Bf16 => elements * 2,
            Self::Mxfp4 => elements / 32 * 17,
        }
    }
}

/// A tensor to write.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufSpec {
    /// Its name.
    pub name: String,
    /// Elements along each dimension, the slowest first (the file has them the other way round).
    pub shape: Vec<u64>,
    /// How it is stored.
    pub kind: GgmlType,
}

impl GgufSpec {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.kind.bytes(self.shape.iter().product())
    }
}

/// Writes a file; `source` gives the bytes of the tensor with a number.
///
/// # Errors
/// [`ModelError::Storage`], also when `source` gives another number of bytes than the tensor has.
pub fn write(
    path: &Path,
    metadata: &[(String, GgufValue)],
    tensors: &[GgufSpec],
    source: &dyn Fn(usize) -> Vec<u8>,
    progress: &dyn Progress,
) -> Result<(), ModelError> {
    let written = || -> io::Result<()> {
        let mut out = Out { to: BufWriter::with_capacity(1 << 20, File::create(path)?), at: 0 };
        header(&mut out, metadata, tensors)?;
        for (index, tensor) in tensors.iter().enumerate() {
            let bytes = source(index);
            if bytes.len() as u64 != tensor.bytes() {
                let (expected, found) = (tensor.bytes(), bytes.len());
                return Err(io::Error::other(format!("{}: expected {expected} bytes, found {found}", tensor.name)));
            }
            out.put(&bytes)?;
            out.align()?;
            progress.advance(bytes.len() as u64);
        }
        out.to.flush()
    };
    written().map_err(|error| ModelError::storage(path, "written", &error))
}

fn header(out: &mut Out<impl Write>, metadata: &[(String, GgufValue)], tensors: &[GgufSpec]) -> io::Result<()> {
    out.put(b"GGUF")?;
    out.put(&3_u32.to_le_bytes())?;
    out.put(&(tensors.len() as u64).to_le_bytes())?;
    out.put(&(metadata.len() as u64).to_le_bytes())?;
    for (key, value) in metadata {
        out.text(key)?;
        match value {
            GgufValue::U32(number) => {
                out.put(&4_u32.to_le_bytes())?;
                out.put(&number.to_le_bytes())?;
            }
            GgufValue::F32(number) => {
                out.put(&6_u32.to_le_bytes())?;
                out.put(&number.to_le_bytes())?;
            }
            GgufValue::Text(text) => {
                out.put(&8_u32.to_le_bytes())?;
                out.text(text)?;
            }
        }
    }
    let mut offset = 0_u64;
    for tensor in tensors {
        out.text(&tensor.name)?;
        out.put(&(tensor.shape.len() as u32).to_le_bytes())?;
        for length in tensor.shape.iter().rev() {
            out.put(&length.to_le_bytes())?;
        }
        out.put(&tensor.kind.number().to_le_bytes())?;
        out.put(&offset.to_le_bytes())?;
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    out.align()
}

struct Out<W> {
    to: W,
    at: u64,
}

impl<W: Write> Out<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.put(&(text.len() as u64).to_le_bytes())?;
        self.put(text.as_bytes())
    }

    fn align(&mut self) -> io::Result<()> {
        let padding = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.put(&[0; ALIGNMENT as usize][..padding as usize])
    }
}
