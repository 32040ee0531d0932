//! Finds llama.cpp, builds it if nobody has, links it, and writes the binding of the `llama.h` that was linked.
//!
//! Environment: `TACHO_LLAMA_CPP_DIR` (an own checkout or install prefix), `TACHO_LLAMA_CPP_CMAKE_ARGS` (appended to the
//! configure line), `TACHO_CACHE_DIR` (where the build is kept). See docs/engines/llama.cpp.md.
mod bindings;
mod cpu;
mod native;
mod source;

use std::process::ExitCode;

/// A failure: one sentence that says what to do.
type Outcome<T> = Result<T, String>;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Outcome<()> {
    println!("cargo::rerun-if-changed=build");
    for name in ["TACHO_LLAMA_CPP_DIR", "TACHO_LLAMA_CPP_CMAKE_ARGS", "TACHO_CACHE_DIR", "CC", "CXX", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let source = source::find()?;
    let built = native::provide(&source)?;
    bindings::write(&built)?;

    let lib_dir = built.lib_dir.display();
    println!("cargo::rustc-link-search=native={lib_dir}");
    for library in ["llama", "ggml", "ggml-base"] {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    // The folder it was built in, then the program's own: cell and libraries can be moved elsewhere together.
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib_dir}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN");
    println!("cargo::rustc-env=TACHO_LLAMA_LIB_DIR={lib_dir}");
    println!("cargo::rustc-env=TACHO_LLAMA_SOURCE={}", built.origin);
    println!("cargo::rustc-env=TACHO_LLAMA_BUILD={}", built.how);
    Ok(())
}
