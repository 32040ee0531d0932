//! Engines side by side: what they say of each other's outputs (`tacho agree`), what differs between them (`tacho.lock.json`),
//! and the fairness modes of a plan. All on the simulated engine, whose differences are declared.
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tacho::{
    fairness::{self, FIELDS, LockRecord, Ratio},
    plan::registry::Registry,
    results::RunInfo,
};

/// `tacho` with its cache in `cache`.
fn tacho(cache: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    // What the caller's shell sets must not steer a test.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_")) {
        command.env_remove(name);
    }
    command.env("TACHO_CACHE_DIR", cache).args(args).output().unwrap()
}

/// How many comparisons are kept in a cache.
fn kept(cache: &Path) -> usize {
    let files = fs::read_dir(cache.join("agreement")).unwrap().filter_map(Result::ok);
    files.filter(|file| file.path().extension().is_some_and(|kind| kind == "json")).count()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

/// Compares configurations of `sim` with these options, without waiting for its costs.
fn agree(options: &[&str]) -> (Option<i32>, Value) {
    let cache = tempfile::tempdir().unwrap();
    let mut args = vec!["agree", "--engine", "sim", "--engine-option", "sim.time=virtual", "--json"];
    args.extend(["--count", "20", "--tokens", "32"]);
    args.extend(options.iter().flat_map(|option| ["--engine-option", option]));
    let output = tacho(cache.path(), &args);
    (output.status.code(), json(&output))
}

#[test]
fn engines_that_say_the_same_are_the_same_model() {
    let (code, found) = agree(&["sim.jitter=0,0.5"]);
    let pair = &found["pairs"][0];
    assert_eq!(
        (code, pair["verdict"].as_str(), pair["identical"].as_u64()),
        (Some(0), Some("same"), Some(20)),
        "{pair}"
    );
    assert_eq!(pair["forced"]["same_top"], pair["forced"]["positions"]);
    assert_eq!(pair["forced"]["positions"], 20 * 32);
}

#[test]
fn what_an_engines_own_noise_explains_is_numerics() {
    let (code, found) = agree(&["sim.logit_error=0,0.05", "sim.logit_error_varies=true"]);
    let (noisy, pair) = (&found["engines"][1], &found["pairs"][0]);
    assert_eq!((code, pair["verdict"].as_str()), (Some(0), Some("numerics")), "{pair}");
    // Its outputs part from its own, and its log-probabilities move by up to twice the declared error.
    let moved = noisy["floor"]["runs_lp"].as_f64().unwrap();
    assert!(moved > 0.08 && moved <= 0.1 + 1e-9, "{moved}");
    assert!(noisy["floor"]["runs_parted"].as_u64().unwrap() > 0, "{}", noisy["floor"]);
    // Where they part, the declared margin is one that two errors can outweigh.
    let parted = pair["divergences"].as_array().unwrap();
    assert!(!parted.is_empty() && pair["identical"].as_u64().unwrap() + parted.len() as u64 == 20);
    for margin in parted.iter().filter_map(|at| at["margin"].as_f64()) {
        assert!(margin <= 0.2, "{margin}");
    }
}

#[test]
fn other_weights_are_different() {
    let (code, found) = agree(&["sim.weights=0,1"]);
    let pair = &found["pairs"][0];
    assert_eq!(
        (code, pair["verdict"].as_str(), pair["identical"].as_u64()),
        (Some(1), Some("different"), Some(0)),
        "{pair}"
    );
}

#[test]
fn configurations_of_one_engine_that_are_different_get_no_verdict_until_it_is_named() {
    let keep = tempfile::tempdir().unwrap();
    let with = |name: &str, compare: &str| -> Value {
        let dir = keep.path().join(name);
        let base =
            ["run", "--engine", "sim", "--engine-option", "sim.time=virtual", "--engine-option", "sim.weights=0,1"];
        let more = ["--batch", "2", "--input", "4", "--output", "4", "--telemetry", "off", "--quiet", "--agree"];
        let end = ["--compare", compare, "--out", dir.to_str().unwrap()];
        let output = tacho(keep.path(), &[&base[..], &more, &end].concat());
        let found =
            fs::read(dir.join("comparison.json")).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
        serde_json::from_slice::<Value>(&found).unwrap()[0].clone()
    };
    let refused = with("refused", "abba,launches=2,blocks=3");
    let why = refused["null_reason"].as_str().unwrap_or_default();
    assert!(refused["result"].is_null() && why.contains("not the same in model_family"), "{refused}");
    let named = with("named", "abba,launches=2,blocks=3,allow=model_family");
    assert_eq!(named["result"]["verdict"], "SAME", "{named}");
    assert!(named["label"].as_str().unwrap().contains("which `tacho agree` found different"), "{named}");
}

#[test]
fn an_error_that_repeats_is_no_noise() {
    // Its outputs repeat, so that nothing explains why they are not the other's.
    let (code, found) = agree(&["sim.logit_error=0,0.5"]);
    let pair = &found["pairs"][0];
    assert_eq!(
        (code, pair["verdict"].as_str(), pair["floor"].as_f64()),
        (Some(1), Some("different"), Some(0.0)),
        "{pair}"
    );
}

#[test]
fn an_engine_that_fails_gets_no_verdict_and_nothing_is_kept() {
    let cache = tempfile::tempdir().unwrap();
    let options = ["--engine-option", "sim.kv_tokens=4,4096", "--json", "--engine-option", "sim.time=virtual"];
    let output = tacho(cache.path(), &[&["agree", "--engine", "sim"][..], &options].concat());
    let found = json(&output);
    assert_eq!((output.status.code(), &found["pairs"][0]["verdict"]), (Some(1), &Value::Null));
    let why = found["pairs"][0]["why"].as_str().unwrap();
    assert!(why.contains("could not take part") && why.contains("at most 4 together"), "{why}");
    assert_eq!(kept(cache.path()), 0);
}

#[test]
fn a_comparison_is_kept_by_what_was_asked() {
    let cache = tempfile::tempdir().unwrap();
    let ask = |more: &[&str]| {
        let base = ["agree", "--engine", "sim", "--engine-option", "sim.time=virtual"];
        let output = tacho(cache.path(), &[&base[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let kept = || kept(cache.path());
    let two = "sim.jitter=0,0.5";
    let first = ask(&["--engine-option", two]);
    assert!(!first.contains("Kept from") && first.contains("same model"), "{first}");
    assert_eq!(kept(), 1);
    let second = ask(&["--engine-option", two]);
    assert!(second.contains("Kept from an earlier time") && second.starts_with(&first), "{second}");
    assert!(!ask(&["--engine-option", two, "--again"]).contains("Kept from"));
    assert_eq!(kept(), 1);
    // Other options, other prompts, other lengths: other questions.
    ask(&["--engine-option", "sim.jitter=0,0.25"]);
    ask(&["--engine-option", two, "--seed", "2"]);
    ask(&["--engine-option", two, "--tokens", "8"]);
    assert_eq!(kept(), 4);
}

#[test]
fn one_engine_is_nothing_to_compare() {
    let cache = tempfile::tempdir().unwrap();
    let output = tacho(cache.path(), &["agree", "--engine", "sim"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("at least two engine configurations to compare, found 1"), "{error}");
}

const QUICK: [&str; 12] = [
    "--engine",
    "sim",
    "--engine-option",
    "sim.time=virtual",
    "--batch",
    "2",
    "--length",
    "8",
    "--max-trials",
    "2",
    "--max-warmup",
    "2",
];

#[test]
fn a_run_locks_what_ran_and_lists_what_differs() {
    let cache = tempfile::tempdir().unwrap();
    let dir = cache.path().join("run");
    let more = ["--engine-option", "sim.kv_tokens=4096,8192", "--agree", "--out", dir.to_str().unwrap(), "--quiet"];
    let output = tacho(cache.path(), &[&["run"][..], &QUICK, &more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap() };
    let lock = read("tacho.lock.json");
    assert_eq!(lock["engines"][0]["fields"]["kv_tokens"]["value"], 4096);
    assert_eq!(lock["engines"][0]["fields"]["sampling"]["value"], "greedy");
    assert_eq!(lock["engines"][0]["fields"]["prefix_cache"]["declared"], "nothing is cached");
    let differences = lock["pairs"][0]["differences"].as_array().unwrap();
    let fields: Vec<&str> = differences.iter().map(|d| d["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["kv_tokens"]);
    assert_eq!(differences[0]["blocking"], Value::Null);
    assert_eq!(read("agreement.json")["pairs"][0]["verdict"], "same");
    let report = fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(
        report.contains("## Fairness") && report.contains("| kv_tokens | (1) 4096; (2) 8192 | is shown |"),
        "{report}"
    );
    assert!(report.contains("## Agreement") && report.contains("| 1 and 2 | same model |"), "{report}");
    // Made anew from the journal, they are the same.
    assert!(tacho(cache.path(), &["report", dir.to_str().unwrap()]).status.success());
    assert_eq!(fs::read_to_string(dir.join("report.md")).unwrap(), report);
}

/// A dry run's points.
fn points(args: &[&str]) -> Vec<Value> {
    let cache = tempfile::tempdir().unwrap();
    let output = tacho(cache.path(), &[&["run", "--dry-run", "--json"][..], args].concat());
    json(&output)["points"].as_array().unwrap().clone()
}

#[test]
fn equal_limits_are_set_by_each_engines_own_options() {
    let args =
        ["--engine", "sim,llama.cpp,vllm,max", "--model", "m", "--batch", "4,16", "--input", "100", "--output", "28"];
    assert!(points(&args).iter().all(|point| point["engine"]["options"] == serde_json::json!({})));
    let equal = points(&[&args[..], &["--fairness", "equal"]].concat());
    // 16 sequences of 128 tokens, each rounded up to what llama.cpp's blocks of 256 and vLLM's of 64 hold exactly.
    let tokens = 16 * 256;
    let expected = [
        ("sim", serde_json::json!({"kv_tokens": tokens, "max_seqs": 16, "prefill_chunk": 2048})),
        ("llama.cpp", serde_json::json!({"kv_tokens": tokens, "max_seqs": 16, "n_batch": 2048})),
        (
            "vllm",
            serde_json::json!({"block_size": 64, "max_num_batched_tokens": 2048, "max_num_seqs": 16,
                "num_gpu_blocks_override": tokens / 64 + 1}),
        ),
        ("max", serde_json::json!({"max_batch_size": 16})),
    ];
    for (id, options) in expected {
        let own: Vec<&Value> = equal.iter().filter(|point| point["engine"]["id"] == id).collect();
        assert!(own.len() == 2 && own.iter().all(|point| point["engine"]["options"] == options), "{id}: {own:?}");
    }
}

/// `sim` plays an engine that does not hold what it was set to.
#[test]
fn equal_limits_that_do_not_hold_after_the_load_are_said_and_forbid_a_ratio() {
    let cache = tempfile::tempdir().unwrap();
    let run = |name: &str, faults: &str| {
        let dir = cache.path().join(name);
        let fault = format!("sim.fault={faults}");
        let base = ["run", "--engine", "sim", "--engine-option", "sim.time=virtual", "--engine-option", &fault];
        let more = ["--batch", "2", "--input", "4", "--output", "4", "--max-trials", "3", "--telemetry", "off"];
        let end = ["--fairness", "equal", "--out", dir.to_str().unwrap()];
        let output = tacho(cache.path(), &[&base[..], &more, &end].concat());
        let report = fs::read_to_string(dir.join("report.md")).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        let lock: Value = serde_json::from_slice(&fs::read(dir.join("tacho.lock.json")).unwrap()).unwrap();
        (text(&output.stdout), text(&output.stderr), report, lock)
    };
    let (out, error, report, lock) = run("held", "two_paces,grow");
    assert!(
        !out.contains("NOT EQUAL") && !error.contains("not equal") && !report.contains("Not equal"),
        "{out}{error}"
    );
    assert_eq!(
        lock["engines"][0]["equal"],
        serde_json::json!({"kv_tokens": 16, "max_batched_tokens": 16, "max_seqs": 2})
    );
    assert_eq!(lock["pairs"][0]["differences"], serde_json::json!([]));

    let (out, error, report, lock) = run("not-held", "two_paces,fewer_kv");
    let said = "was set to 16 and is 15: no ratio is shown across it unless it is named";
    for (text, lead) in [(&out, "NOT EQUAL: "), (&error, "not equal: "), (&report, "- Not equal: ")] {
        let line = text.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("{text}")).replace('\\', "");
        assert!(line.contains(&format!("{lead}kv_tokens of sim fault=\"fewer_kv\"")), "{line}");
        assert_eq!(text.matches(said).count(), 1, "{text}");
    }
    assert!(report.contains("- No ratio between (1) and (2): they differ in kv_tokens."), "{report}");
    let difference = &lock["pairs"][0]["differences"][0];
    assert_eq!(difference["field"], "kv_tokens");
    assert!(difference["blocking"].as_str().unwrap().contains("fairness = equal"), "{difference}");
}

#[test]
fn equal_limits_do_not_overrule_a_plan_in_silence() {
    let cache = tempfile::tempdir().unwrap();
    let args = ["run", "--dry-run", "--engine", "sim", "--fairness", "equal", "--engine-option", "sim.max_seqs=3"];
    let output = tacho(cache.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("fairness = equal needs engine.sim.max_seqs = 16, and the plan sets it to 3"), "{error}");
    let wrong = tacho(cache.path(), &["run", "--dry-run", "--engine", "sim", "--fairness", "fair"]);
    assert!(text(&wrong.stderr).contains("expected defaults, equal or best, found 'fair'"), "{}", text(&wrong.stderr));
}

#[test]
fn best_options_count_in_mode_best_only() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("tuned.toml");
    fs::write(
        &plan,
        "[[engine]]\nid = 'sim'\noptions = { prefill_chunk = 64, jitter = 0.1 }\nbest = { prefill_chunk = 512 }\n",
    )
    .unwrap();
    let plan = plan.to_str().unwrap();
    let chunk = |args: &[&str]| points(&[&["--plan", plan][..], args].concat())[0]["engine"]["options"].clone();
    assert_eq!(chunk(&[]), serde_json::json!({"prefill_chunk": 64, "jitter": 0.1}));
    assert_eq!(chunk(&["--fairness", "best"]), serde_json::json!({"prefill_chunk": 512, "jitter": 0.1}));
    // An engine without best options would stand there as if tuned.
    let without = tacho(dir.path(), &["run", "--dry-run", "--engine", "sim", "--fairness", "best"]);
    assert!(text(&without.stderr).contains("holds no best options for engine 'sim'"), "{}", text(&without.stderr));
}

/// The lock record of a run that is kept in the repository.
fn kept_lock(run: &str) -> LockRecord {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/2026-11-22-h100-engines").join(run).join("run.json");
    let info: RunInfo = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    fairness::of_run(&info).remove(0)
}

#[test]
fn records_of_real_engines_are_in_one_vocabulary() {
    let (vllm, sglang, llama) = (kept_lock("vllm-in-core"), kept_lock("sglang-in-core"), kept_lock("llama.cpp-cuda"));
    let values = |field: &str| [&vllm, &sglang, &llama].map(|lock| lock.get(field).text());
    assert_eq!(values("weights_dtype"), ["bf16", "bf16", "f16"]);
    assert_eq!(values("kv_dtype"), ["bf16", "bf16", "f16"]);
    assert_eq!(values("prefix_cache"), ["false", "false", "false"]);
    assert_eq!(values("chunked_prefill"), ["true", "true", "true"]);
    assert_eq!(values("overlap"), ["true", "true", "false"]);
    assert_eq!(values("max_batched_tokens"), ["16384", "8192", "2048"]);
    assert_eq!(values("device_kind"), ["gpu", "gpu", "gpu"]);
    assert_eq!(values("sampling"), ["greedy", "greedy", "greedy"]);
    assert_eq!(values("attention_backend")[..2], ["FLASH_ATTN", "fa3"]);
    let blocking = |a, b| fairness::blocking_differences(a, b).into_iter().map(|d| d.field).collect::<Vec<_>>();
    // This run is older than the shim that reads vLLM's quantisation back: not known is not the same.
    assert_eq!(blocking(&vllm, &sglang), ["quantisation"]);
    let all = ["model_family", "weights_dtype", "kv_dtype"];
    assert_eq!(blocking(&sglang, &llama), all);
    let allowed: Vec<String> = all.map(str::to_owned).into();
    assert!(matches!(fairness::judge(&sglang, &llama, &allowed[..2]), Ratio::Refused(left) if left.len() == 1));
    assert!(matches!(fairness::judge(&sglang, &llama, &allowed), Ratio::Labelled(labels) if labels.len() == 3));
}

#[test]
fn every_engine_says_where_each_field_stands() {
    for entry in Registry::embedded().unwrap().engines() {
        let known = |name: &String| FIELDS.iter().any(|field| field.name == name);
        let strange: Vec<&String> =
            entry.lock.read.keys().chain(entry.lock.set.keys()).filter(|name| !known(name)).collect();
        assert_eq!(strange, Vec::<&String>::new(), "{}: fields that there are not", entry.id);
        for field in FIELDS {
            // The model's and the requests' are not the engine's to tell.
            let told = field.has_common() || ["model_family", "sampling"].contains(&field.name);
            assert!(told || entry.lock.read.contains_key(field.name), "{} does not map {}", entry.id, field.name);
        }
        for setting in entry.lock.set.values() {
            assert!(
                entry.open_options || entry.options.contains_key(&setting.option),
                "{} {}",
                entry.id,
                setting.option
            );
        }
    }
}

fn promised(id: &str) -> bool {
    std::env::var("TACHO_CI_ENGINES").is_ok_and(|ids| ids.split_whitespace().any(|promised| promised == id))
}

/// Compares an engine with itself under other options, with the caller's own cache: its environment is there.
fn agree_with_itself(id: &str, options: &str, more: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    command.args(["agree", "--engine", id, "--engine-option", options, "--again", "--out", out]);
    let output = command.args(["--count", "3", "--tokens", "8"]).args(more).output().unwrap();
    assert!(output.status.success(), "{id}: {}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&fs::read(dir.path().join("agreement.json")).unwrap()).unwrap()
}

#[test]
fn llama_cpp_thinks_the_same_in_other_pieces() {
    let named = std::env::var_os("TACHO_TEST_MODEL").map(std::path::PathBuf::from);
    let model = named.unwrap_or_else(|| tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf"));
    let cell = Registry::embedded().unwrap().cell_program("llama.cpp");
    let missing = match cell {
        Err(error) => Some(error.to_string()),
        Ok(_) => (!model.is_file()).then(|| "there is no model: run scripts/model.sh".to_owned()),
    };
    if let Some(why) = missing {
        assert!(!promised("llama.cpp"), "engine llama.cpp is promised, but {why}");
        eprintln!("skipped: {why}");
        return;
    }
    // Passes of at most 16 tokens, so that prompts of 32 and their continuations are cut.
    let found = agree_with_itself(
        "llama.cpp",
        "llama.cpp.n_batch=16,512",
        &["--model", model.to_str().unwrap(), "--engine-option", "llama.cpp.threads=1"],
    );
    let pair = &found["pairs"][0];
    assert_eq!(pair["forced"]["positions"], 3 * 8, "{pair}");
    // The likeliest id is what greedy decoding said, but where quantised arithmetic tips the scales.
    let (scores, outputs) = (&found["engines"][0]["scores"], &found["engines"][0]["outputs"]);
    let said = |prompt: usize, place: usize| scores[prompt][place]["top1"] == outputs[prompt][place];
    let agreeing =
        (0..3).flat_map(|prompt| (0..8).map(move |place| (prompt, place))).filter(|(p, i)| said(*p, *i)).count();
    assert!(agreeing >= 22, "{agreeing} of 24: {scores} {outputs}");
}

#[test]
fn echo_scores_what_it_says() {
    let spec = tacho::environment::specs().unwrap().into_iter().find(|spec| spec.engine == "echo").unwrap();
    let cell = Registry::embedded().unwrap().cell_program("echo");
    if cell.is_err() || tacho::environment::status(&spec).is_none() {
        assert!(!promised("echo"), "engine echo is promised, but it has no environment or no cell program");
        eprintln!("skipped: echo has no environment (tacho engines install echo) or no cell program");
        return;
    }
    let found = agree_with_itself("echo", "echo.step_us=0,1", &[]);
    let (scores, pair) = (&found["engines"][1]["scores"], &found["pairs"][0]);
    assert_eq!(
        (pair["verdict"].as_str(), scores[2][7]["top1"].as_u64()),
        (Some("same"), found["engines"][1]["outputs"][2][7].as_u64())
    );
}
