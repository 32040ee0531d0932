//! The header of a GGUF file: metadata and the tensors' table. No tensor is read.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Every length is checked against the file before it
//! is followed, so that no file can make this side allocate what it does not have.
use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::Path,
};

use serde_json::{Map, Value};

/// What to do about a damaged file.
pub const AGAIN: &str = "fetch the file again";
/// What llama.cpp itself takes at most.
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
/// The longest text and the longest array of numbers that are read where not all is wanted.
const SHORT_TEXT: u64 = 1 << 10;
const SHORT_ARRAY: u64 = 1 << 12;
/// The longest that are read at all: a file with holes can promise far more than memory has.
const LONGEST: u64 = 1 << 26;

/// Which values of the metadata are read; the others are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What is short: no vocabulary, no chat template.
    Short,
    /// What is short, and all of the keys `tokenizer.…`.
    Tokenizer,
    /// All.
    All,
}

impl Keep {
    fn whole(self, key: &str) -> bool {
        match self {
            Self::Short => false,
            Self::Tokenizer => key.starts_with("tokenizer."),
            Self::All => true,
        }
    }
}

/// A tensor as the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Its lengths, the fastest first.
    pub dims: Vec<u64>,
    /// Its type, by ggml's number.
    pub kind: u32,
    /// Where it begins, from the start of the data.
    pub offset: u64,
}

impl Tensor {
    /// How many elements it has; None when that overflows.
    pub fn elements(&self) -> Option<u64> {
        self.dims.iter().try_fold(1_u64, |product, length| product.checked_mul(*length))
    }
}

/// A file's header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// By key: numbers, texts, truth values, and arrays of them. A value that was passed over is null, and so is a number that
    /// JSON has not (NaN).
    pub metadata: Map<String, Value>,
    /// In the table's order.
    pub tensors: Vec<Tensor>,
    /// Where the tensors' data begin in the file.
    pub data_start: u64,
    /// How long the file is.
    pub file_bytes: u64,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence for a person: what was expected, what was found and what to do. It does not name the file.
    pub fn read(path: &Path, keep: Keep) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => "expected a GGUF model file, but there is none: check the path".to_owned(),
            _ => format!("expected a readable GGUF model file, found: {error}"),
        })?;
        let meta = file.metadata().map_err(|error| format!("cannot be looked at: {error}"))?;
        if meta.is_dir() {
            return Err("expected a GGUF model file, found a folder: name the .gguf file in it".to_owned());
        }
        Walk { file: BufReader::with_capacity(1 << 16, file), at: 0, size: meta.len(), keep }.header()
    }

    /// Bytes of each tensor with its padding, in the table's order: up to where the next one begins.
    pub fn spans(&self) -> Vec<u64> {
        let end = self.file_bytes.saturating_sub(self.data_start);
        let mut starts: Vec<u64> = self.tensors.iter().map(|tensor| tensor.offset).collect();
        starts.sort_unstable();
        let next = |offset: u64| starts.get(starts.partition_point(|start| *start <= offset)).copied().unwrap_or(end);
        self.tensors.iter().map(|tensor| next(tensor.offset).saturating_sub(tensor.offset)).collect()
    }
}

struct Walk {
    file: BufReader<File>,
    at: u64,
    size: u64,
    keep: Keep,
}

impl Walk {
    fn header(mut self) -> Result<Header, String> {
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
        let mut metadata = Map::new();
        for index in 0..pairs {
            let key = self.string("a metadata key").map_err(|error| format!("metadata entry {index}: {error}"))?;
            let kind = self.u32("a value's type")?;
            let key = String::from_utf8_lossy(&key).into_owned();
            let value = self.value(kind, self.keep.whole(&key))?;
            metadata.insert(key, value);
        }
        let alignment = metadata.get("general.alignment").and_then(Value::as_u64).unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_power_of_two() {
            return Err(format!("expected an alignment that is a power of two, found {alignment}: {AGAIN}"));
        }
        let mut table = Vec::new();
        for index in 0..tensors {
            table.push(self.tensor().map_err(|error| format!("tensor {index} of {tensors}: {error}"))?);
        }
        // Without tensors there is no data section to align.
        let data_start = if table.is_empty() { Some(self.at) } else { self.at.checked_next_multiple_of(alignment) };
        let data_start = data_start.ok_or_else(|| format!("the alignment of {alignment} makes no sense: {AGAIN}"))?;
        Ok(Header { metadata, tensors: table, data_start, file_bytes: self.size })
    }

    fn tensor(&mut self) -> Result<Tensor, String> {
        let name = String::from_utf8_lossy(&self.string("a tensor's name")?).into_owned();
        let count = self.u32("the number of dimensions")?;
        if count > MAX_DIMS {
            return Err(format!("expected at most {MAX_DIMS} dimensions, found {count}: {AGAIN}"));
        }
        let dims = (0..count).map(|_| self.u64("a dimension")).collect::<Result<_, _>>()?;
        Ok(Tensor { name, dims, kind: self.u32("the type")?, offset: self.u64("the offset")? })
    }

    fn value(&mut self, kind: u32, whole: bool) -> Result<Value, String> {
        match kind {
            8 => self.text(whole),
            9 => self.array(whole),
            _ => self.number(kind),
        }
    }

    /// A number or a truth value.
    fn number(&mut self, kind: u32) -> Result<Value, String> {
        const WHAT: &str = "a value";
        Ok(match kind {
            0 => u8::from_le_bytes(self.bytes(WHAT)?).into(),
            1 => i8::from_le_bytes(self.bytes(WHAT)?).into(),
            2 => u16::from_le_bytes(self.bytes(WHAT)?).into(),
            3 => i16::from_le_bytes(self.bytes(WHAT)?).into(),
            4 => self.u32(WHAT)?.into(),
            5 => i32::from_le_bytes(self.bytes(WHAT)?).into(),
            6 => shortest(f32::from_le_bytes(self.bytes(WHAT)?)).into(),
            7 => (u8::from_le_bytes(self.bytes(WHAT)?) != 0).into(),
            10 => self.u64(WHAT)?.into(),
            11 => i64::from_le_bytes(self.bytes(WHAT)?).into(),
            12 => f64::from_le_bytes(self.bytes(WHAT)?).into(),
            _ => return Err(format!("expected a metadata type from 0 to 12, found {kind}: {AGAIN}")),
        })
    }

    fn text(&mut self, whole: bool) -> Result<Value, String> {
        let length = self.u64("a string's length")?;
        if length > SHORT_TEXT && !whole {
            self.skip(length, "a string")?;
            return Ok(Value::Null);
        }
        self.room(length, "a string")?;
        bounded(length, "a string")?;
        let mut text = vec![0; length as usize];
        self.read(&mut text, "a string")?;
        Ok(String::from_utf8_lossy(&text).into_owned().into())
    }

    fn array(&mut self, whole: bool) -> Result<Value, String> {
        let kind = self.u32("an array's type")?;
        let length = self.u64("an array's length")?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 if !whole => {
                for _ in 0..length {
                    let length = self.u64("a string's length")?;
                    self.skip(length, "a string")?;
                }
                return Ok(Value::Null);
            }
            8 => 8,
            _ => return Err(format!("expected a metadata type from 0 to 12, found {kind}: {AGAIN}")),
        };
        let bytes = length.checked_mul(width).ok_or_else(|| format!("an array's size overflows: {AGAIN}"))?;
        if length > SHORT_ARRAY && !whole {
            self.skip(bytes, "an array")?;
            return Ok(Value::Null);
        }
        self.room(bytes, "an array")?;
        bounded(length, "an array")?;
        // Grown as values arrive: a lying length cannot make this side allocate it.
        (0..length).map(|_| self.value(kind, true)).collect::<Result<Vec<_>, _>>().map(Value::Array)
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

fn bounded(length: u64, what: &str) -> Result<(), String> {
    if length <= LONGEST {
        Ok(())
    } else {
        Err(format!("expected {what} of at most {LONGEST}, found {length}: {AGAIN}"))
    }
}

/// The number as people write it: 1e-5 and not 9.999999747378752e-6.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
pub(crate) mod testing {
    //! GGUF files for tests, written by hand.

    /// A file with this metadata (values as type number and bytes) and these tensors (dims, bytes).
    pub(crate) fn file(metadata: &[(&str, u32, Vec<u8>)], tensors: &[(&str, &[u64], u64)]) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((metadata.len() as u64).to_le_bytes());
        for (key, kind, value) in metadata {
            bytes.extend(text(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        let mut offset = 0_u64;
        for (name, dims, size) in tensors {
            bytes.extend(text(name));
            bytes.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|length| bytes.extend(length.to_le_bytes()));
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset += size.next_multiple_of(32);
        }
        bytes.resize(bytes.len().next_multiple_of(32) + offset as usize, 0);
        bytes
    }

    /// A text value.
    pub(crate) fn text(value: &str) -> Vec<u8> {
        [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{testing::*, *};

    #[test]
    fn a_header_is_read_and_long_things_are_skipped() {
        let numbers =
            [4_u32.to_le_bytes().to_vec(), 2_u64.to_le_bytes().to_vec(), 7_u32.to_le_bytes().repeat(2)].concat();
        let words = [8_u32.to_le_bytes().to_vec(), 1_u64.to_le_bytes().to_vec(), text("token")].concat();
        let metadata = [
            ("general.architecture", 8, text("llama")),
            ("template", 8, text(&"x".repeat(5000))),
            ("counts", 9, numbers),
            ("words", 9, words),
            ("negative", 5, (-1_i32).to_le_bytes().to_vec()),
            ("scale", 6, 0.1_f32.to_le_bytes().to_vec()),
        ];
        let bytes = file(&metadata, &[("a", &[4, 3], 48), ("b", &[8], 32)]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        std::fs::write(&path, &bytes).unwrap();
        let header = Header::read(&path, Keep::Short).unwrap();
        let short = json!({
            "general.architecture": "llama", "template": null, "counts": [7, 7], "words": null, "negative": -1, "scale": 0.1,
        });
        assert_eq!(Value::Object(header.metadata.clone()), short);
        let whole = Header::read(&path, Keep::All).unwrap().metadata;
        assert_eq!(whole["template"].as_str().map(str::len), Some(5000));
        assert_eq!(whole["words"], json!(["token"]));
        assert_eq!(header.tensors[0].elements(), Some(12));
        assert_eq!(header.spans(), [64, 32]);
        // Cut anywhere in the header, it says so and never panics. For Miri some places are enough: it takes seconds for each.
        for length in (0..bytes.len() - 96).step_by(if cfg!(miri) { 211 } else { 1 }) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            if let Err(error) = Header::read(&path, Keep::Short) {
                assert!(error.contains(AGAIN) || error.contains("check the path"), "{length}: {error}");
            } else {
                assert!(length as u64 >= header.data_start - 31, "{length}");
            }
        }
    }
}
