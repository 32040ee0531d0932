//! Compiles `cpp/bridge.cpp` and links what it needs.
use std::path::{Path, PathBuf};

/// Set by `scripts/trtllm-sanitize.sh`: the C++ side is compiled with AddressSanitizer and UndefinedBehaviorSanitizer.
const SANITIZE: &str = "TACHO_SANITIZE_CXX";
const DOUBLE: &str = "tests/doubles/tensorrt_llm";

/// Builds the bridge against the real library or the double.
pub fn build() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cpp = root.join("cpp");
    for path in [cpp.join("bridge.h"), cpp.join("bridge.cpp"), "src/bridge.rs".into()] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let mut bridge = cxx_build::bridge("src/bridge.rs");
    bridge.file(cpp.join("bridge.cpp")).include(&cpp).std("c++17").flag("-Wall").flag("-Wextra");
    if cfg!(feature = "tensorrt-llm") {
        #[cfg(feature = "tensorrt-llm")]
        real(&mut bridge)?;
    } else {
        println!("cargo::rustc-cfg=trtllm_double");
        double(&root, &mut bridge);
    }
    println!("cargo::rerun-if-env-changed={SANITIZE}");
    if std::env::var_os(SANITIZE).is_some() {
        for flag in ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"] {
            bridge.flag(flag);
        }
        // By name: rustc has the compiler link no library by itself.
        for library in ["-lasan", "-lubsan"] {
            println!("cargo::rustc-link-arg={library}");
        }
    }
    bridge.try_compile("tacho_trtllm_bridge").map_err(|error| {
        format!(
            "cpp/bridge.cpp does not compile against this TensorRT-LLM's header: {error}. Its releases 1.0 to 1.3.0rc20 are \
             supported; the compiler's own words stand above"
        )
    })
}

#[cfg(feature = "tensorrt-llm")]
fn real(bridge: &mut cc::Build) -> Result<(), String> {
    let library = crate::library::Library::find()?;
    // As system headers: their warnings are not ours.
    for include in &library.includes {
        bridge.flag("-isystem").flag(include);
    }
    println!("cargo::rustc-env=TACHO_TRTLLM_ROOT={}", library.root.display());
    println!("cargo::rustc-link-search=native={}", library.lib.display());
    for name in ["tensorrt_llm", "nvinfer_plugin_tensorrt_llm"] {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    // What the library itself needs is found by the loader when it runs, not by this link.
    println!("cargo::rustc-link-arg=-Wl,--allow-shlib-undefined");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", library.lib.display());
    Ok(())
}

/// The double, in an archive of its own beside the bridge's.
fn double(root: &Path, bridge: &mut cc::Build) {
    let double = root.join(DOUBLE);
    println!("cargo::rerun-if-changed={}", double.display());
    let sources: Vec<PathBuf> =
        ["double.cpp", "config.cpp", "engine_file.cpp"].iter().map(|name| double.join(name)).collect();
    bridge.include(double.join("include")).include(&double).files(sources);
}
