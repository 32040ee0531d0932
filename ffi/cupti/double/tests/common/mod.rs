//! Where the built things lie.
#![allow(dead_code)]
use std::path::PathBuf;

fn beside_the_test(file: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let path = folder.join(file);
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// The collector, as it is injected.
pub fn collector() -> PathBuf {
    beside_the_test("libtacho_cupti.so")
}

/// The double of libcupti.
pub fn cupti() -> PathBuf {
    beside_the_test("libtacho_cupti_double.so")
}

/// The double of a program that starts CUDA; also a cell of the simulated engine.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tacho-cell-traced-double");
