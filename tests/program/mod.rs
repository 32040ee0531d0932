//! The program under test, for tests that start it.
use std::process::Command;

/// `tacho`, without what the caller's shell sets: it must not steer a test.
pub fn tacho() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_") || name.starts_with("CUDA_")) {
        command.env_remove(name);
    }
    // To name the frames of a program that is not optimised takes seconds, in which deadlines of tests pass.
    command.env_remove("RUST_BACKTRACE");
    command
}
