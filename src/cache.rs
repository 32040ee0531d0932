//! Where Tacho keeps what it can make again: engine environments, unpacked shims, converted models.
use std::{env, path::PathBuf};

/// The environment variable that moves the cache.
pub const ENV_CACHE: &str = "TACHO_CACHE_DIR";

/// The cache folder: [`ENV_CACHE`], else `tacho` under the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), else
/// under the system's folder for temporary files. It may not exist yet.
pub fn dir() -> PathBuf {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named(ENV_CACHE)
        .or_else(|| named("XDG_CACHE_HOME").map(|base| base.join("tacho")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/tacho")))
        .unwrap_or_else(|| env::temp_dir().join("tacho"))
}
