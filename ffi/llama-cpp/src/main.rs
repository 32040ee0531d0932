//! The cell program that hosts llama.cpp, and that reads GGUF weights for `tacho model`.
#![forbid(unsafe_code)]

use std::{ffi::OsString, process::ExitCode};

use tacho::engine::{Engine, LoadConfig};
use tacho_llama_cpp::LlamaCpp;

fn main() -> ExitCode {
    tacho_crash::install();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !args.is_empty() {
        return tacho_llama_cpp::convert(&args);
    }
    let load = |config: &LoadConfig| Ok(Box::new(LlamaCpp::load(config)?) as Box<dyn Engine>);
    tacho::cell::serve_clocked(load, tacho_cuda::clock::open)
}
