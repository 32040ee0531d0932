//! llama.cpp's own ids of some hundred texts, in `tests/data/datasets/smollm2_ids.jsonl`: what Tacho makes of a GGUF file's
//! vocabulary without llama.cpp is held against them (`tests/datasets.rs`). `TACHO_WRITE_DOCS=1` writes them anew.
use std::{
    ffi::{CString, c_char},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{backend::Backend, sys};

unsafe extern "C" {
    /// As `llama.h` has it; the cell does not call it, so that it is not among the bindings.
    fn llama_tokenize(
        vocab: *const sys::llama_vocab,
        text: *const c_char,
        text_len: i32,
        tokens: *mut i32,
        n_tokens_max: i32,
        add_special: bool,
        parse_special: bool,
    ) -> i32;
}

const IDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/datasets/smollm2_ids.jsonl");

fn model() -> Option<PathBuf> {
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("TACHO_TEST_MODEL").map_or(cached, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    let reason = "the test model is neither at TACHO_TEST_MODEL nor in Tacho's cache under models/";
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{reason}");
    eprintln!("skipped: {reason}");
    None
}

#[test]
fn the_kept_ids_are_llama_cpps() {
    let Some(path) = model() else { return };
    let _backend = Backend::get();
    let place = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: plain values.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.vocab_only = true;
    // SAFETY: the path is a C string; the parameters are the library's own but for a flag.
    let model = unsafe { sys::llama_model_load_from_file(place.as_ptr(), params) };
    assert!(!model.is_null());
    // SAFETY: the model is valid, and owns its vocabulary.
    let vocabulary = unsafe { sys::llama_model_get_vocab(model) };
    let kept = std::fs::read_to_string(IDS).unwrap();
    let mut lines = String::new();
    for line in kept.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap();
        let mut ids = vec![0_i32; text.len() + 16];
        // SAFETY: text and ids are as long as told; the library writes no more than that.
        let count = unsafe {
            llama_tokenize(
                vocabulary,
                text.as_ptr().cast(),
                text.len() as i32,
                ids.as_mut_ptr(),
                ids.len() as i32,
                true,
                true,
            )
        };
        ids.truncate(usize::try_from(count).unwrap());
        lines.push_str(&format!("{}\n", json!({ "text": text, "ids": ids })));
    }
    // SAFETY: it came from the library and is freed once.
    unsafe { sys::llama_model_free(model) };
    if std::env::var_os("TACHO_WRITE_DOCS").is_some() {
        std::fs::write(IDS, &lines).unwrap();
    }
    assert!(std::fs::read_to_string(IDS).unwrap() == lines, "{IDS} differs from what llama.cpp makes of its texts");
}
