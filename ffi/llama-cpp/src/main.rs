//! The cell program that hosts llama.cpp.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use tacho::engine::{Engine, LoadConfig};
use tacho_llama_cpp::LlamaCpp;

fn main() -> ExitCode {
    let load = |config: &LoadConfig| Ok(Box::new(LlamaCpp::load(config)?) as Box<dyn Engine>);
    tacho::cell::serve_clocked(load, tacho_cuda::clock::open)
}
