//! The cell program that hosts llama.cpp, and that reads GGUF weights for `tacho model`.
#![forbid(unsafe_code)]

use std::{ffi::OsString, process::ExitCode};

use tacho_llama_cpp::LlamaCpp;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !args.is_empty() {
        return tacho_llama_cpp::convert(&args);
    }
    tacho::cell::serve(|config| Ok(Box::new(LlamaCpp::load(config)?)))
}
