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
                    assert!(!content.contains("trust_remote_code"), "{}", path.display());
                }
            }
        }
        assert!(files > 0, "{folder} is empty");
    }
}
