//! What an engine can fail with.
use serde::{Deserialize, Serialize};

/// What kind of failure, which decides what the run does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The engine or model could not be loaded.
    Load,
    /// The engine cannot do what was asked; nothing was timed.
    Unsupported,
    /// A request or option that can never work, such as one longer than the model's context.
    BadRequest,
    /// Host or device memory ran out. A result, not an accident.
    OutOfMemory,
    /// What came out is not what was asked: counts, ids or finish reasons.
    Mismatch,
    /// The engine failed while running.
    Engine,
}

/// Which of the things that a figure rests on a mismatch broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// The prompt tokens that the engine consumed.
    InputIds,
    /// How many tokens came out.
    OutputCounts,
    /// Why requests ended.
    FinishReasons,
}

/// An engine's failure: what kind, and a message that says what was expected, what was found and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct EngineError {
    /// The kind.
    pub kind: ErrorKind,
    /// For a person.
    pub message: String,
    /// Of [`ErrorKind::Mismatch`]: what did not match, where the driver knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
}

impl EngineError {
    /// A failure of that kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), broken: None }
    }

    /// [`ErrorKind::Load`].
    pub fn load(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Load, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// [`ErrorKind::Mismatch`].
    pub fn mismatch(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Mismatch, message)
    }

    /// [`ErrorKind::Mismatch`] of something that a verdict names.
    pub fn broken(broken: Broken, message: impl Into<String>) -> Self {
        Self { broken: Some(broken), ..Self::mismatch(message) }
    }

    /// [`ErrorKind::Engine`].
    pub fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }
}
