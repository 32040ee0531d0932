//! Hosts llama.cpp in the process: a binding made from the linked `llama.h`, a safe wrapper, and the adapter with its own
//! continuous batching. The wrapper's modules (`backend`, `context`, `log`, `model`, `requantize`, `sampler`, `text`, `types`) are the only ones
//! with `unsafe`.
mod adapter;
mod argmax;
mod backend;
mod compiles;
mod context;
mod convert;
mod gguf;
mod log;
mod model;
mod options;
mod requantize;
mod sampler;
mod scheduler;
mod score;
mod sys;
mod text;
mod threads;
mod told;
mod types;

pub use adapter::{ID, LlamaCpp};
pub use argmax::argmax;
pub use convert::convert;

#[cfg(test)]
mod vocabulary_tests;
