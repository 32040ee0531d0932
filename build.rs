//! Provenance: what this binary was built from, and a hash by which `tacho` knows that a cell program was built from
//! the same sources. Also embeds the engines' descriptions, the shipped plans and the shapes, so that adding one is adding a file.
use std::{
    fs,
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    // The adapters too: a cell of older sources would be measured under this commit's name.
    let mut sources = vec![PathBuf::from("Cargo.lock")];
    for folder in ["src", "ffi", "cpp", "python_shims"] {
        if Path::new(folder).exists() {
            println!("cargo::rerun-if-changed={folder}");
            collect(Path::new(folder), &mut sources);
        }
    }
    sources.retain(|path| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        kind.is_some_and(|kind| ["lock", "rs", "py", "cpp", "h", "toml"].contains(&kind))
    });
    sources.sort();
    let mut hasher = DefaultHasher::new();
    for path in &sources {
        println!("cargo::rerun-if-changed={}", path.display());
        hasher.write(path.to_string_lossy().as_bytes());
        hasher.write(&fs::read(path).unwrap_or_default());
    }
    println!("cargo::rustc-env=TACHO_BUILD_HASH={:016x}", hasher.finish());

    embed_data();

    // Absent when built from an unpacked archive; then the commit is honestly unknown. Not the index: git writes it whenever it looks
    // at the work tree, and each time all would be built anew.
    let git_dir = PathBuf::from(output("git", &["rev-parse", "--git-dir"]));
    for file in ["HEAD", "logs/HEAD"].map(|file| git_dir.join(file)) {
        if file.exists() {
            println!("cargo::rerun-if-changed={}", file.display());
        }
    }
    // Other than `describe --dirty`, `status` can be told not to write the index.
    let status = output("git", &["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"]);
    let dirty = if status.is_empty() || status == "unknown" { "" } else { "-dirty" };
    let commit = output("git", &["describe", "--always", "--abbrev=12"]) + dirty;
    println!("cargo::rustc-env=TACHO_GIT_COMMIT={commit}");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!("cargo::rustc-env=TACHO_RUSTC_VERSION={}", output(&rustc, &["--version"]));
}

/// Writes `FILES`, pairs of a name and a file's text, for the library to include.
fn embed(into: &str, mut files: Vec<(String, PathBuf)>) {
    files.sort();
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let mut code = String::from("pub(super) const FILES: &[(&str, &str)] = &[\n");
    for (name, path) in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let path = Path::new(&root).join(path);
        code += &format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string());
    }
    code += "];\n";
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    fs::write(Path::new(&out).join(into), code).expect("OUT_DIR is writable");
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A folder's name; `qwen2.5-3b` has no extension.
fn name_with_dots(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The engines and the shapes by their folder's name, and the shipped plans by their file's.
fn embed_data() {
    println!("cargo::rerun-if-changed=engines");
    println!("cargo::rerun-if-changed=benches/plans");
    println!("cargo::rerun-if-changed=benches/shapes");
    let mut engines = Vec::new();
    for folder in fs::read_dir("engines").into_iter().flatten().flatten() {
        let file = folder.path().join("engine.toml");
        if file.is_file() {
            engines.push((folder.file_name().to_string_lossy().into_owned(), file));
        }
    }
    embed("engines.rs", engines);
    // What their Python environments are made of: the descriptions again, the lists of pins, and what stands in for a module.
    let mut files = Vec::new();
    collect(Path::new("engines"), &mut files);
    files.retain(|path| {
        path.extension().is_some_and(|extension| ["toml", "txt", "py"].iter().any(|kind| extension == *kind))
    });
    let in_engines = |path: &Path| path.strip_prefix("engines").unwrap_or(path).to_string_lossy().into_owned();
    embed("environments.rs", files.into_iter().map(|path| (in_engines(&path), path)).collect());
    let mut plans = Vec::new();
    collect(Path::new("benches/plans"), &mut plans);
    plans.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    embed("plans.rs", plans.into_iter().map(|path| (name_of(&path), path)).collect());
    let mut shapes = Vec::new();
    collect(Path::new("benches/shapes"), &mut shapes);
    shapes.retain(|path| path.file_name().is_some_and(|name| name == "config.json"));
    let folder = |path: &Path| path.parent().map(name_with_dots).unwrap_or_default();
    embed("shapes.rs", shapes.into_iter().map(|path| (folder(&path), path)).collect());
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn output(program: &str, args: &[&str]) -> String {
    let run = Command::new(program).args(args).output();
    match run {
        Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
