//! Coverage-guided fuzzing of what Tacho reads from outside. The readers are those of tests/fuzz/targets.rs; `scripts/fuzz.sh`
//! runs them from the corpora in tests/corpus.
#[path = "../../ffi/cupti/src/layout.rs"]
mod cupti;
#[path = "../../ffi/cupti/src/format.rs"]
#[allow(dead_code, reason = "of the writer's half, only what a record becomes is looked at")]
mod format;
#[path = "../../ffi/llama-cpp/src/gguf.rs"]
mod llama_gguf;
#[path = "../../tests/fuzz/targets.rs"]
pub mod targets;
#[path = "../../tests/fuzz/types.rs"]
mod types;

use std::sync::OnceLock;

use tempfile::TempDir;

/// The folder of this process's target. It is left behind: libFuzzer ends the process itself. `scripts/fuzz.sh` removes it.
static FOLDER: OnceLock<TempDir> = OnceLock::new();

/// Gives an input to a target.
///
/// # Panics
/// Where the target finds its reader wrong, which is a finding; and where no temporary folder can be made.
pub fn run(target: targets::Target, input: &[u8]) {
    target(FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path(), input);
}

/// The whole program of a target: a function of [`targets`].
#[macro_export]
macro_rules! target {
    ($target:ident) => {
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::run($crate::targets::$target, input));
    };
}
