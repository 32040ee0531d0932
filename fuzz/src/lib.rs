//! The readers of what comes from outside, and how an input reaches them. The library of the coverage-guided targets beside it
//! (`scripts/fuzz.sh`, with libFuzzer), and a module of the test `fuzz` (tests/fuzz, blind mutations): whatever compiles the one
//! compiles the other. The readers are in tests/fuzz/targets.rs, their corpora in tests/corpus.
#[path = "../../ffi/cupti/src/layout.rs"]
pub(crate) mod cupti;
#[path = "../../ffi/cupti/src/format.rs"]
#[allow(dead_code, reason = "of the writer's half, only what a record becomes is looked at")]
pub(crate) mod format;
#[path = "../../ffi/llama-cpp/src/gguf.rs"]
pub(crate) mod llama_gguf;
#[path = "../../tests/fuzz/targets.rs"]
pub mod targets;
#[path = "../../tests/fuzz/types.rs"]
pub(crate) mod types;

use std::sync::OnceLock;

use tempfile::TempDir;

/// The folder of this process's target. It is left behind: libFuzzer ends the process itself. `scripts/fuzz.sh` removes it.
static FOLDER: OnceLock<TempDir> = OnceLock::new();

/// The reader of that name.
///
/// # Panics
/// Where there is none.
pub fn named(name: &str) -> targets::Target {
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no reader is called '{name}'")).1
}

/// Gives an input to the reader of that name, in a process that has one reader only.
///
/// # Panics
/// Where the target finds its reader wrong, which is a finding; and where no temporary folder can be made.
pub fn run(name: &str, input: &[u8]) {
    named(name)(FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path(), input);
}

/// The whole program of a target, by its name in [`targets::TARGETS`].
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::run($name, input));
    };
}
