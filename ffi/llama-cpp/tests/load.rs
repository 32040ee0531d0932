//! What cannot be loaded says which file, what was expected, what was found and what to do; it never ends the process.
mod common;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::json;
use tacho::engine::{Engine, EngineError, ErrorKind};
use tacho_llama_cpp::LlamaCpp;

fn refused(path: &Path) -> EngineError {
    match LlamaCpp::load(&common::config(path, &[])) {
        Ok(_) => panic!("{} was loaded", path.display()),
        Err(error) => {
            assert!(error.message.contains(&*path.to_string_lossy()), "names the file: {error}");
            assert_eq!(error.kind, ErrorKind::Load, "{error}");
            error
        }
    }
}

fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::File::create(&path).unwrap().write_all(content).unwrap();
    path
}

#[test]
fn what_is_no_model_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (path, says) in [
        (dir.path().join("none.gguf"), "there is none"),
        (dir.path().to_owned(), "found a folder"),
        (file(dir.path(), "empty.gguf", b""), "found an empty one"),
        (file(dir.path(), "wrong.gguf", b"PK\x03\x04 and so on, for a while"), "starts with the bytes `GGUF`"),
        (file(dir.path(), "short.gguf", b"GG"), "cut short"),
        (file(dir.path(), "old.gguf", b"GGUF\x01\0\0\0\0\0\0\0\0\0\0\0"), "version 2 or 3, found 1"),
    ] {
        let error = refused(&path);
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn lengths_that_lie_are_caught() {
    let dir = tempfile::tempdir().unwrap();
    let header = |tensors: u64, pairs: u64, rest: &[u8]| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(pairs.to_le_bytes());
        bytes.extend(rest);
        bytes
    };
    let huge = u64::MAX.to_le_bytes();
    let mut array = 1_u64.to_le_bytes().to_vec();
    array.extend(b"k\x09\0\0\0\x0a\0\0\0");
    array.extend(huge);
    let mut kind = 1_u64.to_le_bytes().to_vec();
    kind.extend(b"k\x63\0\0\0");
    let mut dims = 1_u64.to_le_bytes().to_vec();
    dims.extend(b"t\xff\0\0\0");
    for (name, bytes) in [
        ("pairs", header(0, u64::MAX, b"")),
        ("tensors", header(u64::MAX, 0, b"")),
        ("key", header(0, 1, &huge)),
        ("array", header(0, 1, &array)),
        ("kind", header(0, 1, &kind)),
        ("dims", header(1, 0, &dims)),
        ("nothing", header(0, 0, b"")),
    ] {
        let error = refused(&file(dir.path(), name, &bytes));
        assert!(error.message.len() > 40, "{name}: {error}");
    }
}

#[test]
fn a_model_cut_anywhere_is_refused() {
    let Some(model) = common::model() else { return };
    let whole = fs::metadata(&model).unwrap().len();
    let dir = tempfile::tempdir().unwrap();
    // In the magic, the header, the vocabulary, the tensors' table, the weights, and one byte before the end.
    for length in [3, 20, 100_000, 1_765_000, 50_000_000, whole - 1] {
        let path = dir.path().join("cut.gguf");
        fs::copy(&model, &path).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let error = refused(&path);
        assert!(error.message.contains("cut short"), "{length}: {error}");
        assert!(error.message.contains("fetch the file again"), "{length}: {error}");
    }
}

#[test]
fn options_are_checked_before_anything_is_loaded() {
    let nowhere = Path::new("/nowhere.gguf");
    for (name, value, says) in [
        ("n_bach", json!(5), "n_batch"),
        ("threads", json!("two"), "threads"),
        ("threads", json!(0), "from 1 to"),
        ("flash_attn", json!("maybe"), "auto"),
        ("type_k", json!("f17"), "q8_0"),
        ("max_seqs", json!(100_000), "at most 256"),
    ] {
        let Err(error) = LlamaCpp::load(&common::config(nowhere, &[(name, value)])) else { panic!("{name} was taken") };
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        // serde names a type or the known values, not always the option.
        assert!(error.message.contains(says) || error.message.contains("invalid type"), "{name}: {error}");
    }
}

#[test]
fn sizes_that_do_not_fit_the_model_are_refused_with_both_numbers() {
    let Some(model) = common::model() else { return };
    let mut config = common::config(&model, &[]);
    config.max_model_len = 10_000;
    let Err(error) = LlamaCpp::load(&config) else { panic!("10,000 tokens were taken") };
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(error.message.contains("10000") && error.message.contains("8192"), "{error}");

    // llama.cpp rounds each of the four sequences' share of 128 tokens up to 256.
    let mut config = common::config(&model, &[("kv_tokens", json!(512))]);
    config.max_model_len = 300;
    let Err(error) = LlamaCpp::load(&config) else { panic!("256 tokens a sequence were taken for 300") };
    assert!(error.message.contains("300") && error.message.contains("leave 256 for each"), "{error}");
}

#[test]
fn what_runs_is_told() {
    let Some(model) = common::model() else { return };
    let options = [("threads", json!(1)), ("n_batch", json!(96)), ("flash_attn", json!("off"))];
    let engine = LlamaCpp::load(&common::config(&model, &options)).unwrap();
    let info = engine.info();
    assert_eq!((info.model.vocab_size, info.model.context_len), (49_152, Some(8192)));
    assert_eq!(info.model.architecture.as_deref(), Some("llama"));
    assert_eq!(info.model.weights_dtype.as_deref(), Some("Q4_1"));
    assert_eq!(info.model.n_params, Some(134_515_008));
    // The first 17 ids are control tokens.
    assert_eq!(info.model.ordinary_ids.first().map(|range| range.start), Some(17));
    assert_eq!(info.kv_capacity_tokens, Some(1024));
    assert_eq!((info.max_seqs, info.max_model_len), (Some(4), Some(256)));
    assert_eq!((&info.effective["threads"], &info.effective["n_batch"]), (&json!(1), &json!(96)));
    assert!(info.device.starts_with("CPU"), "{}", info.device);
    assert!(info.version.starts_with(|c: char| c.is_ascii_digit()), "{}", info.version);
    println!("{}", serde_json::to_string_pretty(&info.effective).unwrap());
}

#[test]
fn gpus_that_no_module_offers_are_refused_by_name() {
    let Some(path) = common::model() else { return };
    let error = match LlamaCpp::load(&common::config(&path, &[("devices", json!("CUDA77"))])) {
        Ok(_) => panic!("loaded on a device that there is not"),
        Err(error) => error,
    };
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    assert!(error.message.contains("found `CUDA77`"), "{error}");
}

#[test]
fn no_devices_is_the_processor() {
    let Some(path) = common::model() else { return };
    let engine = LlamaCpp::load(&common::config(&path, &[("devices", json!("none"))])).unwrap();
    let info = engine.info();
    assert!(info.device.starts_with("CPU"), "{}", info.device);
    assert_eq!(info.gpu_in_process, None);
    assert_eq!(info.effective["n_gpu_layers"], json!(-1));
}
