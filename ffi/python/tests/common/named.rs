//! What the tests of real engines are given by environment variables; `scripts/test.sh` sets them.
use std::path::PathBuf;

/// The path that the variable names. Fails without it: these tests run only where somebody asked for them.
pub fn named(variable: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set; see the top of the test")),
    )
}
