//! Beside the real things: llama.cpp, vLLM, and the Python of `transformers`.
use super::*;

fn ours(tokenizer: &Path, texts: &[String], chats: &[Vec<Message>]) -> Value {
    let tokens = Tokens::find(None, Some(tokenizer), &ChatTemplate::Auto).unwrap();
    let raw = tokens.encode(texts.iter().map(String::as_str).collect(), true).unwrap();
    let chats: Vec<Vec<u32>> = chats.iter().map(|chat| tokens.chat(chat).unwrap()).collect();
    json!({ "raw": raw, "chats": chats })
}

/// The `python` of vLLM's environment, which has `transformers`.
fn transformers() -> Option<PathBuf> {
    let installed = || {
        let spec = environment::specs().unwrap().into_iter().find(|spec| spec.engine == "vllm")?;
        environment::status(&spec).map(|installed| installed.python)
    };
    env::var_os("TACHO_TEST_VLLM").map(PathBuf::from).or_else(installed)
}

#[test]
fn ids_are_those_of_transformers() {
    let Some(python) = transformers() else {
        absent("vllm", "no Python with transformers: run `tacho engines install vllm`, or set TACHO_TEST_VLLM");
        return;
    };
    let records = fs::read_to_string(data("chats.jsonl")).unwrap();
    let chats: Vec<Vec<Message>> = records
        .lines()
        .map(|line| serde_json::from_value(serde_json::from_str::<Value>(line).unwrap()["messages"].clone()).unwrap())
        .collect();
    let mut texts: Vec<String> = chats.iter().flatten().map(|message| message.content.clone()).collect();
    texts.push("<s> <|user|>\t  two  blanks\r\n١٢٣ 你好 <|im_start|>".to_owned());
    let model = tacho::cache::dir().join("models/SmolLM2-135M-Instruct-f32");
    let mut tokenizers = vec![data("tokenizer")];
    if model.join("tokenizer.json").is_file() {
        tokenizers.push(model);
    } else {
        absent("vllm", "the tokenizer of SmolLM2 is not in the cache");
    }
    const SCRIPT: &str = "import json, sys\n\
        from transformers import AutoTokenizer\n\
        ask = json.load(sys.stdin)\n\
        for folder in ask['tokenizers']:\n    \
            t = AutoTokenizer.from_pretrained(folder, local_files_only=True)\n    \
            raw = [t(text).input_ids for text in ask['texts']]\n    \
            chats = [t.apply_chat_template(c, add_generation_prompt=True, tokenize=True, return_dict=False) for c in ask['chats']]\n    \
            print('ANSWER', json.dumps({'raw': raw, 'chats': chats}))\n";
    let place = Place::new();
    let ask = json!({ "tokenizers": tokenizers, "texts": texts, "chats": chats }).to_string();
    let input = fs::File::open(place.file("ask.json", ask.as_bytes())).unwrap();
    let output = Command::new(&python).args(["-c", SCRIPT]).env("HF_HUB_OFFLINE", "1").stdin(input).output().unwrap();
    assert!(output.status.success(), "{}: {}", python.display(), stderr(&output));
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        answers.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("ANSWER ")?).ok()).collect();
    assert_eq!(answers.len(), tokenizers.len());
    for (tokenizer, theirs) in tokenizers.iter().zip(answers) {
        let ours = ours(tokenizer, &texts, &chats);
        for kind in ["raw", "chats"] {
            for (index, (ours, theirs)) in
                ours[kind].as_array().unwrap().iter().zip(theirs[kind].as_array().unwrap()).enumerate()
            {
                assert_eq!(ours, theirs, "{} {kind} {index}", tokenizer.display());
            }
        }
    }
}

fn absent(engine: &str, why: &str) {
    let promised = env::var("TACHO_CI_ENGINES").is_ok_and(|ids| ids.split_whitespace().any(|id| id == engine));
    assert!(!promised, "engine {engine} is promised, but {why}");
    eprintln!("skipped: {why}");
}

#[test]
fn llama_cpp_takes_datasets_offline_closed_and_under_poisson_load_with_exact_counts() {
    if let Err(error) = Registry::embedded().unwrap().cell_program("llama.cpp") {
        return absent("llama.cpp", &error.to_string());
    }
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let gguf = env::var_os("TACHO_TEST_MODEL").map(PathBuf::from).or(Some(cached)).filter(|path| path.is_file());
    let Some(gguf) = gguf else {
        return absent("llama.cpp", "there is no model: run scripts/model.sh, or set TACHO_TEST_MODEL");
    };
    let place = Place::new();
    let folder = place.path("smollm2");
    let made = place.tacho(&["model", "convert", "--dtype", "f16", "--quiet", text(&gguf), text(&folder)]);
    assert!(made.status.success(), "{}", stderr(&made));
    let chats = format!("chat:{}", text(&data("chats.jsonl")));
    let file = place.path("own");
    let saving =
        ["workload", "save", "--quiet", "--dataset", &chats, "--model", text(&gguf), "--tokenizer", text(&folder)];
    let saved = place.tacho(&[&saving[..], &["-o", text(&file)]].concat());
    assert!(saved.status.success(), "{}", stderr(&saved));
    let saved = Saved::read(&file).unwrap();
    let (input, output) = (saved.inputs().map(u64::from).sum::<u64>(), saved.outputs().map(u64::from).sum::<u64>());
    assert!(input > 200 && output > 100, "{input} {output}");
    let dataset = sharegpt();
    let raw = ["--dataset", &dataset, "--tokenizer", text(&folder)];
    let sharegpt_file = place.path("sharegpt");
    let other = place.tacho(&[&["workload", "save", "--quiet", "-o", text(&sharegpt_file)][..], &raw[..]].concat());
    assert!(other.status.success(), "{}", stderr(&other));
    let answers = Saved::read(&sharegpt_file).unwrap().outputs().map(u64::from).sum::<u64>();
    let saved_again = format!("saved:{}", text(&file));
    let common = [
        "--engine",
        "llama.cpp",
        "--model",
        text(&gguf),
        "--requests",
        "12",
        "--min-trials",
        "1",
        "--max-trials",
        "1",
        "--max-warmup",
        "1",
    ];
    let offline = place.run(&[&common[..], &["--dataset", &saved_again, "--latency-trials", "1"]].concat());
    assert_eq!(offline.len(), 2, "one by generate, one by steps");
    for row in &offline {
        assert_eq!((&row["status"], &row["requests_done"]), (&json!("ok"), &json!(12)));
        assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(input), &json!(output)));
        assert_eq!(row["load_mode"], "offline");
    }
    let closed = place.run(&[&common[..], &raw, &["--concurrency", "4"]].concat());
    assert_eq!(closed.len(), 1);
    assert_eq!(
        (&closed[0]["status"], &closed[0]["requests_done"], &closed[0]["output_tokens"]),
        (&json!("ok"), &json!(12), &json!(answers))
    );
    assert!(closed[0]["ttft_p50_ms"].as_f64().unwrap() > 0.0);
    let asked = Saved::read(&sharegpt_file).unwrap().inputs().map(u64::from).sum::<u64>();
    let open = place.run(&[&common[..], &raw, &["--rate", "20", "--slo", "ttft=60s,tpot=60s"]].concat());
    assert_eq!(open.len(), 1);
    let row = &open[0];
    assert_eq!((&row["status"], &row["requests_done"]), (&json!("ok"), &json!(12)));
    assert_eq!((&row["arrivals"], &row["load_mode"]), (&json!("poisson"), &json!("open")));
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(asked), &json!(answers)));
    every_figure_is_finite(row);
}

/// Every latency, throughput and lateness of an open load's row.
fn every_figure_is_finite(row: &serde_json::Value) {
    for latency in ["ttft", "itl", "tpot", "e2e"] {
        for statistic in ["mean", "p50", "p90", "p95", "p99"] {
            let name = format!("{latency}_{statistic}_ms");
            let found = row[&name].as_f64().unwrap_or_else(|| panic!("{name} is {} in {row}", row[&name]));
            assert!(found > 0.0, "{name} = {found}");
        }
    }
    for name in ["request_throughput", "output_token_throughput", "total_token_throughput", "goodput", "offered_rate"] {
        assert!(row[name].as_f64().is_some_and(|found| found > 0.0), "{name} is {} in {row}", row[name]);
    }
    for name in ["lateness_p50_ms", "lateness_p99_ms", "lateness_p999_ms", "admission_p99_ms"] {
        assert!(row[name].as_f64().is_some_and(|found| found >= 0.0), "{name} is {} in {row}", row[name]);
    }
}

/// vLLM's environment and the folder with the weights.
fn vllm() -> Result<(PathBuf, PathBuf), String> {
    Registry::embedded().unwrap().cell_program("vllm").map_err(|error| error.to_string())?;
    let python =
        transformers().ok_or("there is no environment: run `tacho engines install vllm`, or set TACHO_TEST_VLLM")?;
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct-f32");
    let model = env::var_os("TACHO_TEST_MODEL_DIR").map(PathBuf::from).unwrap_or(cached);
    if !model.join("tokenizer.json").is_file() {
        return Err("there is no model folder with a tokenizer: set TACHO_TEST_MODEL_DIR".to_owned());
    }
    Ok((python, model))
}

#[test]
fn vllm_takes_sharegpt_under_poisson_load_with_exact_counts() {
    let (python, model) = match vllm() {
        Ok(found) => found,
        Err(why) => return absent("vllm", &why),
    };
    let place = Place::new();
    let file = place.path("own");
    let dataset = sharegpt();
    let saving = ["workload", "save", "--quiet", "--dataset", &dataset, "--model", text(&model), "-o", text(&file)];
    assert!(place.tacho(&saving).status.success());
    let saved = Saved::read(&file).unwrap();
    let (input, output) = (saved.inputs().map(u64::from).sum::<u64>(), saved.outputs().map(u64::from).sum::<u64>());
    let saved_again = format!("saved:{}", text(&file));
    let rows = place.run(&[
        "--engine",
        "vllm",
        "--python",
        text(&python),
        "--model",
        text(&model),
        // One thread: OpenMP's others would spin while they wait, where processors are busy.
        "--engine-option",
        "vllm.OMP_NUM_THREADS=1",
        "--engine-option",
        "vllm.enforce_eager=true",
        "--dataset",
        &saved_again,
        "--rate",
        "6",
        "--requests",
        "12",
        "--min-trials",
        "1",
        "--max-trials",
        "1",
        "--max-warmup",
        "0",
        "--slo",
        "ttft=60s,tpot=60s",
    ]);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((&row["boundary"], &row["arrivals"]), (&json!("in-core"), &json!("poisson")));
    assert_eq!((&row["status"], &row["requests_done"]), (&json!("ok"), &json!(12)));
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(input), &json!(output)));
    every_figure_is_finite(row);
    // The ids themselves were compared, by their hash.
    assert!(!row["not_checked"].to_string().contains("input_ids"), "{row}");
    assert!(!row["invalid_reasons"].to_string().contains("input_ids"), "{row}");
}

#[test]
fn a_gguf_file_s_own_vocabulary_gives_llama_cpps_ids() {
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let gguf = env::var_os("TACHO_TEST_MODEL").map(PathBuf::from).or(Some(cached)).filter(|path| path.is_file());
    let Some(gguf) = gguf else {
        return absent("llama.cpp", "there is no model: run scripts/model.sh, or set TACHO_TEST_MODEL");
    };
    let tokens = Tokens::find(None, Some(&gguf), &ChatTemplate::Auto).unwrap();
    assert!(tokens.template_digest().is_some(), "its chat template is in the file too");
    let kept = fs::read_to_string(data("smollm2_ids.jsonl")).unwrap();
    let rows: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let found = tokens.encode(texts.clone(), true).unwrap();
    assert!(rows.len() > 300);
    for ((row, found), text) in rows.iter().zip(found).zip(texts) {
        assert_eq!(row["ids"], json!(found), "{text:?}");
    }
}
