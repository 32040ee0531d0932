//! What the build says of a TensorRT-LLM that it cannot be built against.
#[path = "../build/library.rs"]
#[allow(dead_code, reason = "the build uses what the tests do not")]
mod library;

use std::{fs, path::Path};

use library::Library;

const EXECUTOR: &str = "_ZN12tensorrt_llm8executor8ExecutorC1ERKNSt10filesystem7__cxx114pathENS0_9ModelTypeE";
const OLD_ABI: &str = "_ZN12tensorrt_llm8executor8ExecutorC1ERKNSt10filesystem4pathENS0_9ModelTypeE";

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Each step adds what the sentence before it asked for.
#[test]
fn every_lack_is_a_sentence_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let find = |version: Option<&str>| {
        Library::at(Some(root.to_owned()), version.map(str::to_owned), Some(root.join("cuda"))).map_err(|error| {
            println!("{error}");
            error
        })
    };
    let says = |version: Option<&str>, words: &str| {
        let error = find(version).err().unwrap_or_else(|| panic!("expected a complaint about {words}"));
        assert!(error.contains(words), "{words}: {error}");
    };
    let error = Library::at(None, None, None).err().unwrap();
    assert!(error.contains("TENSORRT_LLM_ROOT is not set") && error.contains("/app/tensorrt_llm"), "{error}");

    says(None, "executor.h in it, found none");
    let header = root.join("include/tensorrt_llm/executor/executor.h");
    write(&header, "class Request;");
    says(None, "declares no Executor");
    write(&header, "std::vector<IdType> enqueueRequests(std::vector<Request> const& requests);");
    says(None, "libtensorrt_llm.so in it, found none");
    let library = root.join("lib/libtensorrt_llm.so");
    write(&library, "\x7fELF");
    says(None, "no TensorRT engine backend");
    write(&root.join("lib/libnvinfer_plugin_tensorrt_llm.so"), "\x7fELF");
    says(None, "has no C++ Executor");
    write(&library, OLD_ABI);
    says(None, "_GLIBCXX_USE_CXX11_ABI=0");
    // Across the border of two pieces of a read.
    write(&library, &("x".repeat((1 << 22) - 20) + EXECUTOR));
    says(Some("0.21.0"), "0.21.0; the bridge is for 1.0 up to 1.3.0rc20");
    for version in ["1.3.0rc21", "1.3.0", "1.4.0rc1", "2.0"] {
        says(Some(version), version);
    }
    write(&root.join("version.py"), "# (c) someone\n__version__ = \"0.20.0\"\n");
    says(None, "0.20.0");
    says(Some("1.2.1"), "cuda_fp16.h");
    write(&root.join("cuda/include/cuda_fp16.h"), "");
    for version in ["1.0.0", "1.2.1", "1.3.0rc1", "1.3.0rc20", "1.2.0rc4"] {
        let found = find(Some(version)).unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(found.lib, root.join("lib"));
    }
}
