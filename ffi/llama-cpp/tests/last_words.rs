//! llama.cpp's own last words go with a failed load. A test program of its own, because its log is the process's.
mod common;

use tacho_llama_cpp::LlamaCpp;

#[test]
fn a_whole_file_of_no_known_architecture_is_refused_in_llama_cpps_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("strange.gguf");
    // A whole GGUF file without tensors: `general.architecture` = `tachometer`.
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    for (text, kind) in [("general.architecture", Some(8_u32)), ("tachometer", None)] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(kind.map(u32::to_le_bytes).into_iter().flatten());
    }
    std::fs::write(&path, bytes).unwrap();
    let Err(error) = LlamaCpp::load(&common::config(&path, &[])) else { panic!("it was loaded") };
    assert!(error.message.contains("llama.cpp said") && error.message.contains("'tachometer'"), "{error}");
    assert!(error.message.contains("strange.gguf"), "{error}");
}
