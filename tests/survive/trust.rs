//! A model's folder may hold Python code. Engines run it only when they are told `trust_remote_code`, and they are told so only
//! by a plan that says it by that name.
use super::*;

/// What each shim hands to its engine for the options of a plan; None, with the reason printed, where there is no Python.
fn handed_over(options: &str) -> Option<BTreeMap<String, Value>> {
    let root = env!("CARGO_MANIFEST_DIR");
    let (script, shims) = (format!("{root}/tests/survive/trust.py"), format!("{root}/python_shims"));
    let output = match Command::new("python3").args([&script, &shims, options]).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: python3 does not start here: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_models_own_code_runs_only_where_the_plan_says_so_by_name() {
    let Some(plain) = handed_over("{}") else { return };
    let shims: Vec<&str> = plain.keys().map(String::as_str).collect();
    assert_eq!(shims, ["max", "sglang", "tensorrt_llm", "vllm"]);
    for (shim, asked) in &plain {
        assert!(asked.as_object().is_some_and(|asked| asked.len() > 3), "{shim}: {asked}");
        assert!(asked.get("trust_remote_code").is_none(), "{shim}: {asked}");
    }
    for (shim, asked) in handed_over(r#"{"trust_remote_code": true}"#).unwrap() {
        assert_eq!(asked["trust_remote_code"], true, "{shim}: {asked}");
    }
    // Nor do the plans and engine files that come with Tacho say it.
    for folder in ["engines", "benches/plans", "python_shims"] {
        let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(content) = fs::read_to_string(&path) {
                    files += 1;
                    // What the plan said may be handed on.
                    let content = content.replace("trust_remote_code=args.trust_remote_code", "");
                    assert!(!content.contains("trust_remote_code"), "{}", path.display());
                }
            }
        }
        assert!(files > 0, "{folder} is empty");
    }
}

#[test]
fn pickled_weights_are_refused_whichever_command_would_load_them() {
    let cell = PathBuf::from(env!("CARGO_BIN_EXE_tacho")).with_file_name("tacho-cell-llama");
    if !cell.is_file() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{} is not built", cell.display());
        eprintln!("skipped: {} is not built (cargo build --release -p tacho-llama-cpp)", cell.display());
        return;
    }
    let scratch = Scratch::new();
    // Its folder's name stands for a token: what is refused is said without it.
    let secret = "hf_a_secret_of_this_test";
    let model = scratch.keep.path().join(secret).join("pytorch_model.bin");
    fs::create_dir(model.parent().unwrap()).unwrap();
    fs::write(&model, b"\x80\x02").unwrap();
    let two = ["--engine-option", "llama.cpp.n_ubatch=128,256"];
    let work = ["--input", "4", "--output", "4"];
    let commands: [(&str, Vec<&str>); 5] = [
        ("run", with(&work, &["--batch", "1"])),
        ("run", with(&with(&work, &two), &["--batch", "1", "--compare", "abba,launches=1,blocks=2"])),
        ("agree", with(&two, &[])),
        ("capacity", with(&work, &["--slo", "ttft=1s"])),
        ("ledger", with(&work, &["--batch", "1", "--launches", "1", "--blocks", "1"])),
    ];
    for (number, (command, args)) in commands.iter().enumerate() {
        let out = scratch.keep.path().join(format!("out-{number}"));
        let output = tacho()
            .args([command, "--engine", "llama.cpp", "--model", model.to_str().unwrap()])
            .args(args)
            .arg("--out")
            .arg(&out)
            .env("HF_TOKEN", secret)
            .env("TACHO_CACHE_DIR", scratch.keep.path().join("cache"))
            .output()
            .unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!output.status.success(), "{command} {args:?}: {said}");
        assert!(
            said.contains("pytorch_model.bin holds weights in Python's pickle format"),
            "{command} {args:?}: {said}"
        );
    }
}
