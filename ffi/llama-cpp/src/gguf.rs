//! A look at a GGUF file before llama.cpp gets it: is it one, is all of it there, and, when asked, what does its header say?
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Only lengths are followed, no tensor is read.
use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::Path,
};

use serde_json::{Map, Value};
use tacho::engine::EngineError;

use crate::types;

const AGAIN: &str = "fetch the file again";
/// What llama.cpp itself takes at most.
const MAX_DIMS: u32 = 4;
/// The longest string and array that are kept: a file with holes can promise far more than memory has.
const KEEP: u64 = 1 << 26;
const DEFAULT_ALIGNMENT: u64 = 32;

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
    /// The metadata: numbers, strings, booleans, and arrays of them. A number that JSON has not (NaN) is null.
    pub metadata: Map<String, Value>,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
}

/// Checks the file's header and that it is as long as its tensors need.
///
/// # Errors
/// `Load`, naming the file, what was expected, what was found and what to do.
pub fn check(path: &Path) -> Result<(), EngineError> {
    walk(path, None).map(drop)
}

/// As [`check`], and returns what the header says.
///
/// # Errors
/// As [`check`].
pub fn read(path: &Path) -> Result<Header, EngineError> {
    walk(path, Some(Header::default())).map(Option::unwrap_or_default)
}

fn walk(path: &Path, kept: Option<Header>) -> Result<Option<Header>, EngineError> {
    let fail = |what: String| EngineError::load(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => fail("expected a GGUF model file, but there is none: check the path".to_owned()),
        _ => fail(format!("expected a readable GGUF model file, found: {error}")),
    })?;
    let meta = file.metadata().map_err(|error| fail(format!("cannot be looked at: {error}")))?;
    if meta.is_dir() {
        return Err(fail("expected a GGUF model file, found a folder: name the .gguf file in it".to_owned()));
    }
    let mut walk = Walk { file: BufReader::with_capacity(1 << 16, file), at: 0, size: meta.len(), kept };
    let need = walk.needed().map_err(fail)?;
    if meta.len() < need {
        return Err(fail(format!(
            "the file is cut short: its tensors need {need} bytes, found {}: {AGAIN}",
            meta.len()
        )));
    }
    Ok(walk.kept)
}

struct Walk {
    file: BufReader<File>,
    at: u64,
    size: u64,
    /// Filled when the header's content is wanted: a vocabulary takes a while to read, and most callers need none.
    kept: Option<Header>,
}

impl Walk {
    /// Bytes that the file must have, from its header.
    fn needed(&mut self) -> Result<u64, String> {
        if self.size == 0 {
            return Err(format!("expected a GGUF model file, found an empty one: {AGAIN}"));
        }
        let magic: [u8; 4] = self.bytes("the magic number")?;
        if &magic != b"GGUF" {
            return Err(format!(
                "expected a GGUF model file, which starts with the bytes `GGUF`, found {:?}: convert the model with \
                 llama.cpp's convert_hf_to_gguf.py, or check the path",
                String::from_utf8_lossy(&magic)
            ));
        }
        let version = self.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(format!("expected GGUF version 2 or 3, found {version}: convert the model again"));
        }
        let tensors = self.u64("the number of tensors")?;
        let pairs = self.u64("the number of metadata entries")?;
        let mut alignment = DEFAULT_ALIGNMENT;
        for index in 0..pairs {
            let key = self.string("a metadata key").map_err(|error| format!("metadata entry {index}: {error}"))?;
            let kind = self.u32("a value's type")?;
            if key == b"general.alignment" && kind == 4 {
                alignment = u64::from(self.u32("the alignment")?);
                if !alignment.is_power_of_two() {
                    return Err(format!("expected an alignment that is a power of two, found {alignment}: {AGAIN}"));
                }
            } else if self.kept.is_some() {
                let value = self.kept_value(kind, 0)?;
                if let Some(header) = &mut self.kept {
                    header.metadata.insert(String::from_utf8_lossy(&key).into_owned(), value);
                }
            } else {
                self.value(kind, 0)?;
            }
        }
        let mut end = 0_u64;
        for index in 0..tensors {
            let tensor = self.tensor().map_err(|error| format!("tensor {index} of {tensors}: {error}"))?;
            end = end.max(tensor);
        }
        // Without tensors there is no data section to align.
        let data = if tensors == 0 { self.at } else { self.at.next_multiple_of(alignment) };
        let senseless = || format!("the tensors' offsets make no sense: {AGAIN}");
        for tensor in self.kept.iter_mut().flat_map(|header| &mut header.tensors) {
            tensor.offset = tensor.offset.checked_add(data).ok_or_else(senseless)?;
        }
        data.checked_add(end).ok_or_else(senseless)
    }

    /// Where a tensor ends, from the start of the data.
    fn tensor(&mut self) -> Result<u64, String> {
        let name = self.string("a tensor's name")?;
        let dims = self.u32("the number of dimensions")?;
        if dims > MAX_DIMS {
            return Err(format!("expected at most {MAX_DIMS} dimensions, found {dims}: {AGAIN}"));
        }
        let mut elements = Some(1_u64);
        let mut lengths = Vec::new();
        for _ in 0..dims {
            let length = self.u64("a dimension")?;
            elements = elements.and_then(|elements| elements.checked_mul(length));
            lengths.push(length);
        }
        let kind = self.u32("the type")?;
        let offset = self.u64("the offset")?;
        let elements = elements.ok_or_else(|| format!("its size overflows: {AGAIN}"))?;
        let bytes = types::tensor_bytes(kind, elements).ok_or_else(|| {
            format!("its type {kind} is not one that this llama.cpp knows: use a newer llama.cpp, or {AGAIN}")
        })?;
        if let Some(header) = &mut self.kept {
            let name = String::from_utf8_lossy(&name).into_owned();
            header.tensors.push(TensorInfo { name, dims: lengths, kind, offset, bytes });
        }
        offset.checked_add(bytes).ok_or_else(|| format!("its offset overflows: {AGAIN}"))
    }

    /// Reads a value instead of passing over it. What it allocates is bounded by what is left of the file.
    fn kept_value(&mut self, kind: u32, depth: u32) -> Result<Value, String> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.bytes("a value")?).into(),
            1 => i8::from_le_bytes(self.bytes("a value")?).into(),
            2 => u16::from_le_bytes(self.bytes("a value")?).into(),
            3 => i16::from_le_bytes(self.bytes("a value")?).into(),
            4 => self.u32("a value")?.into(),
            5 => i32::from_le_bytes(self.bytes("a value")?).into(),
            6 => shortest(f32::from_le_bytes(self.bytes("a value")?)).into(),
            7 => (u8::from_le_bytes(self.bytes("a value")?) != 0).into(),
            8 => {
                let length = self.u64("a string's length")?;
                self.room(length, "a string")?;
                keep(length, "a string")?;
                let mut text = vec![0; length as usize];
                self.read(&mut text, "a string")?;
                String::from_utf8_lossy(&text).into_owned().into()
            }
            9 if depth == 0 => {
                let kind = self.u32("an array's type")?;
                let length = self.u64("an array's length")?;
                self.room(length, "an array")?;
                keep(length, "an array")?;
                let values = (0..length).map(|_| self.kept_value(kind, depth + 1));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            10 => self.u64("a value")?.into(),
            11 => i64::from_le_bytes(self.bytes("a value")?).into(),
            12 => f64::from_le_bytes(self.bytes("a value")?).into(),
            _ => return Err(format!("expected a metadata type from 0 to 12, found {kind}: {AGAIN}")),
        })
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<(), String> {
        match kind {
            0 | 1 | 7 => self.skip(1, "a value"),
            2 | 3 => self.skip(2, "a value"),
            4..=6 => self.skip(4, "a value"),
            10..=12 => self.skip(8, "a value"),
            8 => {
                let length = self.u64("a string's length")?;
                self.skip(length, "a string")
            }
            9 if depth == 0 => {
                let kind = self.u32("an array's type")?;
                let length = self.u64("an array's length")?;
                let width = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    10..=12 => 8,
                    _ => {
                        for _ in 0..length {
                            self.value(kind, depth + 1)?;
                        }
                        return Ok(());
                    }
                };
                let bytes = length.checked_mul(width).ok_or_else(|| format!("an array's size overflows: {AGAIN}"))?;
                self.skip(bytes, "an array")
            }
            _ => Err(format!("expected a metadata type from 0 to 12, found {kind}: {AGAIN}")),
        }
    }

    fn string(&mut self, what: &str) -> Result<Vec<u8>, String> {
        let length = self.u64(what)?;
        self.room(length, what)?;
        // What is left of the file bounds it; a key of more than this is no key.
        if length > 1 << 16 {
            return Err(format!("expected {what} of at most 65536 bytes, found {length}: {AGAIN}"));
        }
        let mut text = vec![0; length as usize];
        self.read(&mut text, what)?;
        Ok(text)
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.room(N as u64, what)?;
        self.read(&mut bytes, what)?;
        Ok(bytes)
    }

    fn read(&mut self, into: &mut [u8], what: &str) -> Result<(), String> {
        self.file.read_exact(into).map_err(|error| format!("{what} cannot be read: {error}"))?;
        self.at += into.len() as u64;
        Ok(())
    }

    fn skip(&mut self, length: u64, what: &str) -> Result<(), String> {
        self.room(length, what)?;
        let length = i64::try_from(length).map_err(|_| format!("{what} is too long: {AGAIN}"))?;
        self.file.seek_relative(length).map_err(|error| format!("{what} cannot be skipped: {error}"))?;
        self.at += length as u64;
        Ok(())
    }

    fn room(&self, length: u64, what: &str) -> Result<(), String> {
        let left = self.size - self.at;
        if length <= left {
            return Ok(());
        }
        Err(format!(
            "the file is cut short or corrupt: expected {length} bytes for {what} at byte {}, found {left} before its \
             end at {}: {AGAIN}",
            self.at, self.size
        ))
    }
}

fn keep(length: u64, what: &str) -> Result<(), String> {
    match length <= KEEP {
        true => Ok(()),
        false => Err(format!("expected {what} of at most {KEEP}, found {length}: {AGAIN}")),
    }
}

/// The number as people write it: 1e-5 and not 9.999999747378752e-6.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
