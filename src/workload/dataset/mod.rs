//! Prompts from data: ShareGPT files, poems, code, chats, columns by name, datasets of the Hugging Face hub, and shared prefixes.
//!
//! A dataset is read, filtered and tokenised once, in the parent, with the model's own tokenizer. What comes out is a
//! [`Saved`](super::saved::Saved) workload: token ids and output lengths in a file, which every engine is given alike.

mod locate;
mod make;
mod parquet;
mod prefix;
mod records;
mod samples;
mod scan;
mod sonnet;
mod spec;
mod spec_texts;
mod template;
mod tokens;
mod turns;

pub use locate::context_of;
pub use make::{Ask, Made, make};
pub use spec::{
    Bad, ChatTemplate, Columns, DatasetSpec, Filter, Format, HubPlace, KEYS, Kind, PrefixSizes, SonnetSizes,
};
pub use template::Message;
pub use tokens::Tokens;

use crate::model::ModelError;

/// Why a dataset gives no workload: a sentence or two for a person, with file and line where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatasetError {
    /// The data, the tokenizer, or what was asked of them.
    #[error("{0}")]
    Input(String),
    /// A file cannot be read or written.
    #[error("{0}")]
    Storage(String),
    /// The hub did not give the files.
    #[error(transparent)]
    Hub(#[from] ModelError),
}

impl DatasetError {
    fn input(problem: impl Into<String>) -> Self {
        Self::Input(problem.into())
    }
}
