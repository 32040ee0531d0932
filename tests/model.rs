//! `tacho model`: conversions and shape models, read back by other hands (the safetensors library, llama.cpp).
//!
//! What needs llama.cpp's cell program or the model of `scripts/model.sh` is skipped with the reason where they are not,
//! unless `TACHO_CI_ENGINES` promises llama.cpp.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use safetensors::SafeTensors;
use serde_json::json;
use tacho::{
    cell::parent::{Cell, CellProgram},
    engine::LoadConfig,
    plan::registry::Registry,
};

fn model(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tacho")).arg("model").args(args).output().unwrap()
}

fn done(args: &[&str]) {
    let output = model(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), args[2], "the result is named");
}

/// Runs what must fail; the exit code and the message.
fn refused(args: &[&str]) -> (i32, String) {
    let output = model(args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} should fail");
    assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{message}");
    (output.status.code().unwrap(), message)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn absent(why: &str) {
    let promised =
        std::env::var("TACHO_CI_ENGINES").is_ok_and(|ids| ids.split_whitespace().any(|id| id == "llama.cpp"));
    assert!(!promised, "engine llama.cpp is promised, but {why}");
    eprintln!("skipped: {why}");
}

fn llama() -> Option<CellProgram> {
    let program = Registry::embedded().unwrap().cell_program("llama.cpp");
    program.map_err(|error| absent(&error.to_string())).ok()
}

fn gguf() -> Option<PathBuf> {
    let named = std::env::var_os("TACHO_TEST_MODEL").map(PathBuf::from);
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let found = named.or(Some(cached)).filter(|path| path.is_file());
    if found.is_none() {
        absent("there is no model: run scripts/model.sh, or set TACHO_TEST_MODEL");
    }
    found
}

/// Names, shapes and types in a safetensors file.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, String)> {
    let read = SafeTensors::deserialize(bytes).unwrap();
    read.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), format!("{:?}", view.dtype())))).collect()
}

#[test]
fn a_gguf_file_becomes_the_same_weights_by_two_ways() {
    let (Some(_), Some(input)) = (llama(), gguf()) else { return };
    let keep = tempfile::tempdir().unwrap();
    let path = |name: &str| keep.path().join(name);
    done(&["convert", text(&input), text(&path("direct"))]);
    done(&["convert", text(&input), text(&path("wide.gguf")), "--to", "gguf", "--dtype", "f32"]);
    done(&["convert", text(&path("wide.gguf")), text(&path("by-gguf"))]);
    let direct = fs::read(path("direct/model.safetensors")).unwrap();
    assert!(direct == fs::read(path("by-gguf/model.safetensors")).unwrap(), "ggml widened the weights otherwise");
    assert_eq!(fs::read(path("direct/tokenizer.json")).unwrap(), fs::read(path("by-gguf/tokenizer.json")).unwrap());

    // The same tensors as the shape of that name, and none of them empty.
    done(&["shape", "smollm2-135m", text(&path("shape")), "--weights", "random", "--dtype", "f32"]);
    let shape = fs::read(path("shape/model.safetensors")).unwrap();
    assert_eq!(tensors(&direct), tensors(&shape));
    let read = SafeTensors::deserialize(&direct).unwrap();
    for (name, view) in read.iter() {
        let values = view.data().chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
        let squares: f64 = values.map(|value| f64::from(value).powi(2)).sum();
        assert!(squares.is_finite() && squares > 0.0, "{name}");
    }
    let config = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path(name).join("config.json")).unwrap()).unwrap()
    };
    let (found, expected) = (config("direct"), config("shape"));
    assert_eq!(found, expected, "the figures of the file are those of the shape");

    done(&["convert", text(&input), text(&path("narrow")), "--dtype", "bf16"]);
    let narrow = fs::read(path("narrow/model.safetensors")).unwrap();
    assert!(narrow.len() < direct.len() / 2 + 100_000);
    assert!(tensors(&narrow).values().all(|(_, dtype)| dtype == "BF16"));
}

#[test]
fn files_that_cannot_be_converted_say_why_and_leave_nothing() {
    if llama().is_none() {
        return;
    }
    let keep = tempfile::tempdir().unwrap();
    let path = |name: &str| keep.path().join(name);
    fs::write(path("foreign.gguf"), "this is no model at all, is it").unwrap();
    // A header that promises a tensor of 2^80 elements.
    let mut vast = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0x\x02\0\0\0".to_vec();
    vast.extend([(1_u64 << 40).to_le_bytes(); 2].concat());
    vast.extend([0; 12]);
    fs::write(path("vast.gguf"), vast).unwrap();
    // A whole file of another architecture, with no tensors.
    let mut other = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    for word in ["general.architecture", "mamba"] {
        other.extend((word.len() as u64).to_le_bytes());
        other.extend(word.as_bytes());
        if word.contains('.') {
            other.extend(8_u32.to_le_bytes());
        }
    }
    fs::write(path("other.gguf"), other).unwrap();
    let mut wrong = vec![
        ("foreign.gguf", "starts with the bytes `GGUF`"),
        ("vast.gguf", "size overflows"),
        ("other.gguf", "found mamba"),
        ("none.gguf", "there is none"),
        (".", "found a folder"),
    ];
    if let Some(input) = gguf() {
        fs::write(path("short.gguf"), &fs::read(input).unwrap()[..40_000_000]).unwrap();
        wrong.push(("short.gguf", "cut short"));
    }
    for (file, word) in wrong {
        for to in ["safetensors", "gguf"] {
            if (file, to) == ("other.gguf", "gguf") {
                continue; // llama.cpp itself decides on that.
            }
            let (code, message) = refused(&["convert", text(&path(file)), text(&path("out")), "--to", to]);
            assert_eq!(code, 2, "{message}");
            assert!(message.contains(word), "{file}: {message}");
        }
    }
    fs::write(path("out"), "mine").unwrap();
    let (code, message) = refused(&["convert", text(&path("foreign.gguf")), text(&path("out"))]);
    assert!(code == 3 && message.contains("exists already"), "{code}: {message}");
    assert_eq!(fs::read_to_string(path("out")).unwrap(), "mine");
    let (code, message) = refused(&["convert", "a.gguf", "b", "--dtype", "q4_0"]);
    assert!(code == 2 && message.contains("found 'q4_0'"), "{code}: {message}");
    let names = fs::read_dir(keep.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| !name.ends_with(".gguf")).collect();
    assert_eq!(left, ["out"], "half-made results stay behind");
}

/// Small models of each architecture that llama.cpp runs.
fn small() -> Vec<serde_json::Value> {
    let llama = json!({
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 320, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "bfloat16",
    });
    let with = |changes: serde_json::Value| {
        let mut config = llama.clone();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        config
    };
    vec![
        llama.clone(),
        with(json!({ "model_type": "qwen2", "tie_word_embeddings": true })),
        with(json!({
            "model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128,
            "head_dim": 32,
            "rope_scaling": { "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64 },
        })),
    ]
}

#[test]
fn shapes_run_in_llama_cpp() {
    let Some(program) = llama() else { return };
    for config in small() {
        let keep = tempfile::tempdir().unwrap();
        let path = |name: &str| keep.path().join(name);
        let kind = config["model_type"].as_str().unwrap();
        fs::write(path("config.json"), config.to_string()).unwrap();
        for dtype in ["f16", "f32"] {
            let file = path(&format!("{dtype}.gguf"));
            done(&["shape", text(keep.path()), text(&file), "--format", "gguf", "--dtype", dtype]);
            let mut cell = Cell::start(&program, &path("log")).unwrap();
            let load = LoadConfig {
                engine: "llama.cpp".into(),
                model: Some(file),
                max_seqs: 2,
                max_model_len: 64,
                seed: 1,
                options: BTreeMap::new(),
            };
            let (info, _) = cell.load(&load, Duration::from_secs(60)).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(info.model.vocab_size, 320, "{kind}");
            assert_eq!(info.model.ordinary_ids.iter().map(|range| range.end - range.start).sum::<u32>(), 320);
            let ids = cell.generate(vec![vec![1, 2, 3], vec![200; 20]], 8, Duration::from_secs(60));
            let ids = ids.unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert!(ids.iter().all(|ids| ids.len() == 8 && ids.iter().all(|id| *id < 320)), "{kind}: {ids:?}");
            cell.shutdown().unwrap();
        }
    }
}

#[test]
fn random_weights_are_those_of_their_seed() {
    let keep = tempfile::tempdir().unwrap();
    let path = |name: &str| keep.path().join(name);
    for config in small() {
        let dir = path(config["model_type"].as_str().unwrap());
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let mut files = Vec::new();
        for (name, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
            done(&["shape", text(&dir), text(&dir.join(name)), "--weights", "random", "--seed", seed]);
            files.push(fs::read(dir.join(name).join("model.safetensors")).unwrap());
        }
        assert!(files[0] == files[1] && files[0] != files[2]);
        let all = tensors(&files[0]);
        assert_eq!(all["model.embed_tokens.weight"], (vec![320, 64], "BF16".into()));
        assert_eq!(all["model.norm.weight"].0, [64]);
        if let Some((shape, dtype)) = all.get("model.layers.1.mlp.experts.gate_up_proj_blocks") {
            assert_eq!((&shape[..], dtype.as_str()), (&[4, 192, 2, 16][..], "U8"));
        }
        let read: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("a/config.json")).unwrap()).unwrap();
        assert_eq!(read, config, "the figures go along unchanged");
    }
}

#[test]
fn shapes_that_cannot_be_made_say_why() {
    let keep = tempfile::tempdir().unwrap();
    let out = keep.path().join("out");
    let config = keep.path().join("config.json");
    for (args, word) in [
        (vec!["shape", "lama-3-8b", text(&out)], "the shapes are gpt-oss-20b, llama-3-8b"),
        (vec!["shape", "opt-125m", text(&out), "--format", "gguf"], "llama.cpp runs no OPT"),
        (vec!["shape", "llama-3-8b", text(&out), "--format", "gguf", "--weights", "none"], "holds weights"),
        (vec!["shape", "llama-3-8b", text(&out), "--dtype", "f16"], "add --weights random"),
        (vec!["fetch", "../../etc"], "expected the name of a repository"),
        (vec!["fetch", "a/b", "--revision", "x/../y"], "expected a branch"),
    ] {
        let (code, message) = refused(&args);
        assert!(code == 2 && message.contains(word), "{code}: {message}");
    }
    for (change, word) in [
        (json!({ "hidden_size": 1_u64 << 60 }), "hidden_size from 1 to"),
        (json!({ "vocab_size": 0 }), "vocab_size from 1 to"),
        (json!({ "num_hidden_layers": -1 }), "num_hidden_layers"),
        (json!({ "model_type": "rwkv" }), "found rwkv"),
        (json!({ "torch_dtype": "int4" }), "found 'int4'"),
        (json!({ "num_key_value_heads": 3 }), "no multiple"),
    ] {
        let mut figures = small()[0].clone();
        figures.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        fs::write(&config, figures.to_string()).unwrap();
        let (code, message) = refused(&["shape", text(&config), text(&out), "--weights", "random"]);
        assert!(code == 2 && message.contains(word), "{code}: {message}");
    }
    fs::write(&config, "{").unwrap();
    let (code, message) = refused(&["shape", text(&config), text(&out)]);
    assert!(code == 2 && message.contains("not readable"), "{code}: {message}");
    assert!(!out.exists());
}
