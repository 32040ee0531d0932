//! The script that runs Tacho beside TensorRT-LLM's own benchmark, over doubles of both: nothing here is a measurement.
#[path = "common/trtllm_double.rs"]
mod trtllm_double;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;

#[test]
fn trtllm_bench_and_tacho_are_given_the_same_work_in_turn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (model, keep) = (folder.path().join("model"), folder.path().join("kept"));
    fs::create_dir(&model).unwrap();
    let config = r#"{"model_type": "llama", "vocab_size": 1000, "max_position_embeddings": 512, "eos_token_id": 2}"#;
    fs::write(model.join("config.json"), config).unwrap();
    let python = trtllm_double::environment(folder.path());
    let bench = python.with_file_name("trtllm-bench");
    fs::copy(root.join("tests/doubles/trtllm_bench.py"), &bench).unwrap();
    fs::set_permissions(&bench, PermissionsExt::from_mode(0o755)).unwrap();

    // Beside the cell program, where `cargo build --workspace` puts both.
    let tacho = Path::new(env!("CARGO_BIN_EXE_tacho-cell-python")).with_file_name("tacho");
    let run = |allowed: Option<&str>| {
        let mut command = Command::new(root.join("benches/peers/trtllm.sh"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_")) {
            command.env_remove(name);
        }
        command.args([
            "--rounds",
            "2",
            "--trials",
            "2",
            "--requests",
            "4",
            "--input",
            "16",
            "--output",
            "8",
            "--tacho",
        ]);
        command.arg(&tacho).arg("--python").arg(&python).arg("--model").arg(&model).arg("--keep").arg(&keep);
        command.env("TACHO_CACHE_DIR", folder.path().join("cache"));
        command.envs(allowed.map(|value| ("TACHO_ALLOW_DOUBLES", value)));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (fine, _, said) = run(None);
    assert!(!fine && said.contains("double"), "{said}");
    fs::remove_dir_all(&keep).unwrap();

    let (fine, table, said) = run(Some("1"));
    assert!(fine, "{table}{said}");
    assert!(
        table.contains("NO MEASUREMENT, doubles: tensorrt-llm DOUBLE (not TensorRT-LLM), trtllm-bench DOUBLE"),
        "{table}"
    );
    assert!(table.contains("4 requests, 16 in and 8 out, in-core, medians over 2 rounds"), "{table}");
    // 32 tokens in the second that the double made up.
    assert!(table.lines().last().unwrap().contains(" 32.0 "), "{table}");
    let report: Value = serde_json::from_slice(&fs::read(keep.join("peer.2.json")).unwrap()).unwrap();
    assert_eq!((&report["single_process"], &report["warmup"]), (&Value::from("1"), &Value::from(4)));
}
