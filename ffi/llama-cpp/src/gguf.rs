//! A look at a GGUF file before llama.cpp gets it: is it one, and is all of it there?
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Only lengths are followed, no tensor is read.
use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::Path,
};

use tacho::engine::EngineError;

use crate::types;

const AGAIN: &str = "fetch the file again";
/// What llama.cpp itself takes at most.
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// Checks the file's header and that it is as long as its tensors need.
///
/// # Errors
/// `Load`, naming the file, what was expected, what was found and what to do.
pub fn check(path: &Path) -> Result<(), EngineError> {
    let fail = |what: String| EngineError::load(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => fail("expected a GGUF model file, but there is none: check the path".to_owned()),
        _ => fail(format!("expected a readable GGUF model file, found: {error}")),
    })?;
    let meta = file.metadata().map_err(|error| fail(format!("cannot be looked at: {error}")))?;
    if meta.is_dir() {
        return Err(fail("expected a GGUF model file, found a folder: name the .gguf file in it".to_owned()));
    }
    let mut walk = Walk { file: BufReader::with_capacity(1 << 16, file), at: 0, size: meta.len() };
    let need = walk.needed().map_err(fail)?;
    if meta.len() < need {
        return Err(fail(format!(
            "the file is cut short: its tensors need {need} bytes, found {}: {AGAIN}",
            meta.len()
        )));
    }
    Ok(())
}

struct Walk {
    file: BufReader<File>,
    at: u64,
    size: u64,
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
        data.checked_add(end).ok_or_else(|| format!("the tensors' offsets make no sense: {AGAIN}"))
    }

    /// Where a tensor ends, from the start of the data.
    fn tensor(&mut self) -> Result<u64, String> {
        self.string("a tensor's name")?;
        let dims = self.u32("the number of dimensions")?;
        if dims > MAX_DIMS {
            return Err(format!("expected at most {MAX_DIMS} dimensions, found {dims}: {AGAIN}"));
        }
        let mut elements = Some(1_u64);
        for _ in 0..dims {
            let length = self.u64("a dimension")?;
            elements = elements.and_then(|elements| elements.checked_mul(length));
        }
        let kind = self.u32("the type")?;
        let offset = self.u64("the offset")?;
        let elements = elements.ok_or_else(|| format!("its size overflows: {AGAIN}"))?;
        let bytes = types::tensor_bytes(kind, elements).ok_or_else(|| {
            format!("its type {kind} is not one that this llama.cpp knows: use a newer llama.cpp, or {AGAIN}")
        })?;
        offset.checked_add(bytes).ok_or_else(|| format!("its offset overflows: {AGAIN}"))
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
