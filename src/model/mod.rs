//! Models before a run: fetched from the Hugging Face hub, converted from GGUF, or made with random weights from a shape.
//!
//! A cell never downloads or converts: a run is given what is made here. Weights in GGUF are read by ggml, in llama.cpp's
//! cell program (`export`); `tacho` itself links no engine.

mod config;
mod convert;
mod export;
mod fetch;
mod gguf;
mod gguf_shape;
mod hub_files;
mod layout;
mod names;
mod random;
mod safetensors;
mod shape;
mod throttle;
pub(crate) mod tokenizer;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use crate::cell::trust::check as check_trusted;
pub use config::{Config, Family};
pub use convert::{Converted, gguf_to_gguf, gguf_to_safetensors};
pub use export::Exporter;
pub use fetch::{Fetch, FetchNews, Wanted, fetch};
pub(crate) use hub_files::data_files;
pub use random::{Init, SPREAD};
pub use shape::{Shape, shapes, write_config, write_gguf, write_safetensors};
pub(crate) use tokenizer::from_gguf as tokenizer_from_gguf;

/// What went wrong; each is a sentence or two for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// What was named is not something that can be fetched, converted or made.
    #[error("{0}")]
    Unsupported(String),
    /// A file cannot be read or written.
    #[error("{0}")]
    Storage(String),
    /// The program that reads GGUF is absent or stale, or it failed.
    #[error("{0}")]
    Cell(String),
    /// The hub did not give the files, or gave other ones.
    #[error("{0}")]
    Hub(String),
}

impl ModelError {
    fn storage(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Storage(format!("{}: cannot be {what}: {error}", path.display()))
    }
}

/// Is told how far writing is.
pub trait Progress {
    /// So many bytes will be written.
    fn begin(&self, bytes: u64) {
        let _ = bytes;
    }
    /// So many more have been.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Nobody wants to know.
impl Progress for () {}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits, 11 of them for the fraction.
    F16,
    /// 16 bits, the upper half of a float32.
    Bf16,
    /// Bytes of a packed format.
    U8,
}

impl Dtype {
    /// As people and command lines write it: `f32`, `f16`, `bf16`.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] for another word.
    pub fn parse(word: &str) -> Result<Self, ModelError> {
        match word.to_ascii_lowercase().as_str() {
            "f32" | "float32" => Ok(Self::F32),
            "f16" | "float16" => Ok(Self::F16),
            "bf16" | "bfloat16" => Ok(Self::Bf16),
            _ => Err(ModelError::Unsupported(format!("expected the type f32, f16 or bf16, found '{word}'"))),
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }

    /// The word in a model's `config.json`.
    pub fn torch(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::U8 => "uint8",
        }
    }

    /// The short word.
    pub fn short(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::U8 => "u8",
        }
    }
}

/// Output that appears under its name only when it is whole: it is made beside it, under the name plus `.part`.
struct Staged {
    part: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// For a target that does not exist yet, or is an empty folder.
    fn new(target: &Path) -> Result<Self, ModelError> {
        let empty_dir = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
        if target.exists() && !empty_dir {
            return Err(ModelError::Storage(format!(
                "{} exists already: name another place, or remove it first",
                target.display()
            )));
        }
        let name = target
            .file_name()
            .ok_or_else(|| ModelError::Unsupported(format!("{}: expected a path to make", target.display())))?;
        let mut part = name.to_owned();
        part.push(".part");
        let staged = Self { part: target.with_file_name(part), target: target.to_owned() };
        staged.clear()?;
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| ModelError::storage(parent, "created", &error))?;
        }
        Ok(staged)
    }

    /// As [`Self::new`], with the folder made.
    fn folder(target: &Path) -> Result<Self, ModelError> {
        let staged = Self::new(target)?;
        fs::create_dir_all(&staged.part).map_err(|error| ModelError::storage(&staged.part, "created", &error))?;
        Ok(staged)
    }

    /// Where to write.
    fn path(&self) -> &Path {
        &self.part
    }

    fn clear(&self) -> Result<(), ModelError> {
        let removed = match fs::symlink_metadata(&self.part) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&self.part),
            Ok(_) => fs::remove_file(&self.part),
            Err(_) => Ok(()),
        };
        removed.map_err(|error| ModelError::storage(&self.part, "removed", &error))
    }

    fn finish(self) -> Result<(), ModelError> {
        if self.part.is_dir() && self.target.is_dir() {
            fs::remove_dir(&self.target).map_err(|error| ModelError::storage(&self.target, "replaced", &error))?;
        }
        fs::rename(&self.part, &self.target).map_err(|error| ModelError::storage(&self.target, "written", &error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After `finish` there is nothing there any more.
        let _ = self.clear();
    }
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), ModelError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| ModelError::storage(path, "written", &error))?;
    text.push('\n');
    fs::write(path, text).map_err(|error| ModelError::storage(path, "written", &error))
}
