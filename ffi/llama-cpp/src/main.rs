//! The cell program that hosts llama.cpp.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use tacho_llama_cpp::LlamaCpp;

fn main() -> ExitCode {
    tacho::cell::serve(|config| Ok(Box::new(LlamaCpp::load(config)?)))
}
