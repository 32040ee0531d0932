//! A double of a real engine has no place in a run, and where a test lets it in, it is named everywhere.
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// The cell of TensorRT-LLM's double, which `cargo test --workspace` builds beside `tacho`; None with the reason printed.
fn double_cell() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_tacho")).with_file_name("tacho-cell-trtllm-double");
    if beside.is_file() {
        return Some(beside);
    }
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{} was not built", beside.display());
    eprintln!("skipped: {} was not built: cargo test --release -p tacho-tensorrt-llm --no-run", beside.display());
    None
}

fn write_engine(dir: &Path) {
    let config = serde_json::json!({
        "pretrained_config": { "architecture": "LlamaForCausalLM", "dtype": "float16", "vocab_size": 32000 },
        "build_config": { "max_batch_size": 8, "max_input_len": 256, "max_seq_len": 512 },
    });
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::write(dir.join("rank0.engine"), "tensorrt-llm DOUBLE engine\nstep_us=50\n").unwrap();
}

#[test]
fn a_double_is_refused_unless_a_test_asks_for_it_and_then_named_in_every_row() {
    const DOUBLE: &str = "tensorrt-llm DOUBLE (not TensorRT-LLM)";
    let Some(cell) = double_cell() else { return };
    let keep = tempfile::tempdir().unwrap();
    let (cells, engine) = (keep.path().join("cells"), keep.path().join("engine"));
    fs::create_dir(&cells).unwrap();
    // As somebody would have to do by hand: the double under the real cell's name.
    symlink(cell, cells.join("tacho-cell-trtllm")).unwrap();
    write_engine(&engine);
    let run = |out: &Path, allow: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
        command.args(["run", "--engine", "tensorrt-llm-cpp", "--batch", "2", "--input", "8", "--output", "4"]);
        command
            .args(["--max-warmup", "1", "--min-trials", "1", "--max-trials", "1", "--quiet", "--model"])
            .arg(&engine);
        command.arg("--out").arg(out).env("TACHO_CELL_DIR", &cells).env_remove("TACHO_ALLOW_DOUBLES");
        if allow {
            command.env("TACHO_ALLOW_DOUBLES", "1");
        }
        let done = command.output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };

    let out = keep.path().join("refused");
    let (code, said) = run(&out, false);
    assert_eq!(code, Some(4), "{said}");
    let points = fs::read_to_string(out.join("points.csv")).unwrap();
    assert!(points.contains("hosts a double") && points.contains("DOUBLE"), "{points}");

    let out = keep.path().join("allowed");
    let (code, said) = run(&out, true);
    assert_eq!(code, Some(0), "{said}");
    let mut reader = csv::Reader::from_path(out.join("points.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let (double, version) = (column("double"), column("engine_version"));
    let mut rows = 0;
    for row in reader.records() {
        let row = row.unwrap();
        assert_eq!((&row[double], &row[version]), (DOUBLE, DOUBLE));
        rows += 1;
    }
    assert_eq!(rows, 4, "a generate trial and three step-loop trials");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(report.contains("tensorrt-llm DOUBLE"), "{report}");
}

/// A `python` that finds the double of TensorRT-LLM's module.
fn python(folder: &Path, without_builder: bool) -> PathBuf {
    let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doubles/tensorrt_llm_python");
    let path = folder.join("python");
    let later = if without_builder { "TACHO_DOUBLE_WITHOUT_TENSORRT=1" } else { "" };
    let script = format!("#!/bin/sh\nexec env {later} PYTHONPATH={} python3 \"$@\"\n", double.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_engine_is_built_once_for_its_model_and_limits() {
    let keep = tempfile::tempdir().unwrap();
    let model = keep.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), r#"{"model_type": "llama", "vocab_size": 1000}"#).unwrap();
    fs::write(model.join("tokenizer.json"), r#"{"model": {"vocab": {}}}"#).unwrap();
    let build = |python: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
        command
            .args(["engines", "build", "tensorrt-llm", "--model"])
            .arg(&model)
            .arg("--python")
            .arg(python)
            .args(more);
        let done = command.env("TACHO_CACHE_DIR", keep.path().join("cache")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let with = python(keep.path(), false);
    let sizes = ["--max-batch-size", "4", "--max-seq-len", "256"];
    let (code, first, said) = build(&with, &sizes);
    assert_eq!(code, Some(0), "{said}");
    for file in ["config.json", "rank0.engine", "tokenizer.json", "build.log", "tacho-build.json"] {
        assert!(Path::new(&first).join(file).is_file(), "{file} is not in {first}");
    }
    let config = fs::read_to_string(Path::new(&first).join("config.json")).unwrap();
    assert!(
        config.contains(r#""use_paged_context_fmha": true"#) && config.contains(r#""max_seq_len": 256"#),
        "{config}"
    );
    let (_, again, said) = build(&with, &sizes);
    assert_eq!(again, first);
    assert!(said.contains("built before"), "{said}");
    let mut others = vec![first];
    for more in [["--max-seq-len", "128"], ["--dtype", "fp8"], ["--tensor-parallel-size", "2"]] {
        let sizes = ["--max-batch-size", "4"].iter().chain(&more).copied();
        let length: &[&str] = if more[0] == "--max-seq-len" { &[] } else { &["--max-seq-len", "256"] };
        let (code, other, said) = build(&with, &sizes.chain(length.iter().copied()).collect::<Vec<_>>());
        assert_eq!(code, Some(0), "{said}");
        assert!(!others.contains(&other), "{more:?} makes another engine");
        others.push(other);
    }
    // By a plan's largest point.
    let (code, planned, said) = build(&with, &["--plan", "quick"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!others.contains(&planned));

    let (code, _, said) = build(&python(keep.path(), true), &sizes);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("has no engine builder") && said.contains("1.3.0rc20"), "{said}");
    let (code, _, said) = build(Path::new("/bin/false"), &sizes);
    assert_eq!(code, Some(4), "{said}");
    let left = fs::read_dir(keep.path().join("cache/trt-engines")).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("draft")), "a draft was left");
}
