//! The raw binding, made at build time from the `llama.h` that is linked.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code, clippy::all, missing_docs)]
include!(concat!(env!("OUT_DIR"), "/llama.rs"));
