//! Engines behind HTTP, as a rung of the boundary [`ledger`](crate::ledger) only: a client for OpenAI-compatible
//! `/v1/completions` with streaming, one thread a request in flight, and an engine's own server as a contained process.
//!
//! The client reads bytes and times them; what it read is parsed after the clock has stopped.

mod batch;
mod client;
mod error;
mod guard;
mod recipe;
mod server;
mod stream;
mod version;

pub use batch::{Batch, run_batch};
pub use client::{Client, Endpoint, Key, Prompt, body};
pub use error::HttpError;
pub use guard::{GUARD_ARG, guard};
pub use recipe::{OptionFlags, PromptKind, Recipe, ServerEntry};
pub use server::Server;
pub use stream::Counted;
