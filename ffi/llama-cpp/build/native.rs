//! Builds llama.cpp with cmake and ninja, once: the result is kept outside the clone and used again.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::FlockOperation;

use crate::{Outcome, cpu, source::Source};

/// Libraries only: no tools, no server, no download of a web page.
const ARGS: &[&str] = &[
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_NATIVE=OFF",
    "-DLLAMA_BUILD_COMMON=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
];

/// What to link, and what to say of it.
pub struct Built {
    pub include: Vec<PathBuf>,
    pub lib_dir: PathBuf,
    /// Where the source came from.
    pub origin: String,
    /// The cmake options that Tacho gave, or that it gave none.
    pub how: String,
}

/// The libraries: ready ones as they are, else from the cache, else built into it.
pub fn provide(source: &Source) -> Outcome<Built> {
    let (tree, version, pinned) = match source {
        Source::Ready { include, lib_dir, version } => {
            let how = "the user's own build, linked as it is".to_owned();
            return Ok(Built { include: include.clone(), lib_dir: lib_dir.clone(), origin: version.clone(), how });
        }
        Source::Pinned { tree, version } => (tree, version, true),
        Source::Checkout { tree, version } => (tree, version, false),
    };
    let mut args: Vec<String> = ARGS.iter().map(|&arg| arg.to_owned()).collect();
    args.extend(cpu::cmake_args());
    let own = env::var("TACHO_LLAMA_CPP_CMAKE_ARGS").unwrap_or_default();
    args.extend(own.split_whitespace().map(str::to_owned));

    let compilers = [compiler("CC", "cc")?, compiler("CXX", "c++")?];
    // A checkout changes under its path, so its key is the path, and ninja looks for changes each time.
    let tree_key = if pinned { version.clone() } else { tree.display().to_string() };
    let key = blake3::hash([tree_key.as_str(), &args.join(" "), &compilers.join(" ")].join("\n").as_bytes());
    let home = cache_dir()?.join("llama-cpp").join(&key.to_hex()[..16]);
    let build = home.join("build");
    let stamp = home.join("complete");

    fs::create_dir_all(&home).map_err(|error| {
        format!("Cannot create {}: {error}. Set TACHO_CACHE_DIR to a folder that can be written.", home.display())
    })?;
    // Two cargo runs with different target folders meet here.
    let lock = fs::File::create(home.join("lock"))
        .map_err(|error| format!("Cannot create a lock file in {}: {error}.", home.display()))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| format!("Cannot lock {}: {error}.", home.display()))?;
    if !pinned {
        for part in ["CMakeLists.txt", "include", "src", "ggml/CMakeLists.txt", "ggml/include", "ggml/src"] {
            println!("cargo::rerun-if-changed={}", tree.join(part).display());
        }
    }
    println!("cargo::rerun-if-changed={}", stamp.display());
    if !(pinned && stamp.is_file()) {
        require("cmake", "CMake 3.14 or newer")?;
        require("ninja", "Ninja")?;
        if pinned && build.exists() {
            // Cut off half-way: which half is unknown.
            fs::remove_dir_all(&build)
                .map_err(|error| format!("Cannot remove the unfinished {}: {error}.", build.display()))?;
        }
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(tree).arg("-B").arg(&build).args(["-G", "Ninja"]).args(&args);
        run(&mut configure, &home.join("configure.log"), "configuring llama.cpp")?;
        let mut ninja = Command::new("ninja");
        ninja.arg("-C").arg(&build);
        if let Ok(jobs) = env::var("NUM_JOBS") {
            ninja.arg("-j").arg(jobs);
        }
        run(&mut ninja, &home.join("build.log"), "building llama.cpp")?;
        fs::write(&stamp, format!("{version}\n{}\n{}\n", args.join(" "), compilers.join("\n")))
            .map_err(|error| format!("Cannot write {}: {error}.", stamp.display()))?;
    }
    let lib_dir = build.join("bin");
    if !lib_dir.join("libllama.so").is_file() {
        return Err(format!(
            "Expected libllama.so in {}, but it is not there: remove {} and build again; if TACHO_LLAMA_CPP_CMAKE_ARGS switches BUILD_SHARED_LIBS off, take that out.",
            lib_dir.display(),
            home.display()
        ));
    }
    Ok(Built {
        include: vec![tree.join("include"), tree.join("ggml/include")],
        lib_dir,
        origin: version.clone(),
        how: args.join(" "),
    })
}

fn cache_dir() -> Outcome<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("TACHO_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("tacho")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/tacho")))
        .ok_or_else(|| "Neither TACHO_CACHE_DIR, XDG_CACHE_HOME nor HOME is set: set TACHO_CACHE_DIR to a folder for llama.cpp's build.".to_owned())
}

fn require(program: &str, name: &str) -> Outcome<()> {
    match Command::new(program).arg("--version").output() {
        Ok(done) if done.status.success() => Ok(()),
        _ => Err(format!(
            "`{program}` is needed to build llama.cpp and was not found: install {name} (Debian: apt-get install cmake ninja-build), or set TACHO_LLAMA_CPP_DIR to a checkout that is built already."
        )),
    }
}

/// Which compiler cmake will take, by its own first line.
fn compiler(variable: &str, default: &str) -> Outcome<String> {
    let program = env::var(variable).unwrap_or_else(|_| default.to_owned());
    match Command::new(&program).arg("--version").output() {
        Ok(done) if done.status.success() => {
            Ok(String::from_utf8_lossy(&done.stdout).lines().next().unwrap_or(&program).to_owned())
        }
        _ => Err(format!(
            "`{program}` is needed to build llama.cpp and did not run: install a C and C++ compiler (Debian: apt-get install g++), or set {variable}."
        )),
    }
}

fn run(command: &mut Command, log: &Path, what: &str) -> Outcome<()> {
    let done = command.output().map_err(|error| format!("{what} could not start: {error}."))?;
    let text = [done.stdout, done.stderr].concat();
    fs::write(log, &text).map_err(|error| format!("Cannot write {}: {error}.", log.display()))?;
    if done.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&text);
    let wrong: Vec<&str> = text.lines().filter(|line| line.to_lowercase().contains("error")).take(3).collect();
    Err(format!("{what} failed ({}): {} The whole log is in {}.", done.status, wrong.join(" / "), log.display()))
}
