//! Datasets: files and hubs, good and bad, to saved workloads and to runs.
//!
//! llama.cpp and the Python of an environment with `transformers` are used where they are; a test that cannot run says why,
//! unless `TACHO_CI_ENGINES` promises the engine.
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use tacho::{
    environment,
    plan::registry::Registry,
    workload::{
        dataset::{ChatTemplate, Message, Tokens},
        saved::Saved,
    },
};

mod from_hub;
#[path = "../hub/mod.rs"]
mod hub;
mod real;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/datasets").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with that content; its path.
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    }

    fn tacho(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
        let steering = |name: &str| name.starts_with("TACHO_") && name != "TACHO_CELL_DIR" || name.starts_with("HF_");
        for (name, _) in env::vars().filter(|(name, _)| steering(name)) {
            command.env_remove(name);
        }
        command.env("TACHO_CACHE_DIR", self.path("cache")).env("HF_HOME", self.path("hf"));
        command.args(args).output().unwrap()
    }

    /// Saves the requests of a dataset under the small tokenizer of these tests.
    fn save(&self, dataset: &str, more: &[&str]) -> Output {
        let _ = fs::remove_file(self.path("w"));
        let (out, tokenizer) = (self.path("w"), data("tokenizer"));
        let args = ["workload", "save", "--dataset", dataset, "--tokenizer", text(&tokenizer), "-o", text(&out)];
        self.tacho(&[&args[..], more].concat())
    }

    fn saved(&self, dataset: &str, more: &[&str]) -> Saved {
        let output = self.save(dataset, more);
        assert!(output.status.success(), "{dataset} {more:?}: {}", stderr(&output));
        Saved::read(&self.path("w")).unwrap()
    }

    /// What is said when the requests of a dataset cannot be saved.
    fn refused(&self, dataset: &str, more: &[&str]) -> String {
        let output = self.save(dataset, more);
        let message = stderr(&output);
        assert!(!output.status.success(), "{dataset} {more:?} should fail");
        assert!(!self.path("w").exists() && !message.contains("panicked"), "{message}");
        assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{message}");
        message
    }

    /// The rows of a run's points.
    /// The rows of `points.json`. Other tests run beside: no trial is run again for that.
    fn run(&self, args: &[&str]) -> Vec<Value> {
        let dir = self.path("run");
        let _ = fs::remove_dir_all(&dir);
        let output =
            self.tacho(&[&["run", "--quiet", "--max-machine-load", "100%", "--out", text(&dir)][..], args].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        let rows: Value = serde_json::from_slice(&fs::read(dir.join("points.json")).unwrap()).unwrap();
        rows.as_array().unwrap().clone()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sharegpt() -> String {
    format!("sharegpt:{}", text(&data("sharegpt.json")))
}

const SIM: [&str; 8] =
    ["--engine", "sim", "--engine-option", "sim.time=virtual", "--min-trials", "2", "--max-trials", "2"];

fn prompts(saved: &Saved) -> Vec<Vec<u32>> {
    (0..saved.len()).map(|index| saved.prompt(index).iter().map(|id| id.0).collect()).collect()
}

#[test]
fn a_workload_is_saved_shown_and_replayed_byte_for_byte() {
    let place = Place::new();
    let saved = place.saved(&sharegpt(), &["--seed", "3"]);
    let bytes = fs::read(place.path("w")).unwrap();
    assert_eq!(saved.len(), 12);
    assert_eq!(saved.outputs().count(), 12);
    place.saved(&sharegpt(), &["--seed", "3"]);
    assert!(fs::read(place.path("w")).unwrap() == bytes, "the same seed makes the same file");

    let shown = place.tacho(&["workload", "show", text(&place.path("w")), "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["requests"], 12);
    assert_eq!(shown["digest"], saved.header().digest);
    assert_eq!(shown["prompt_tokens"], saved.inputs().map(u64::from).sum::<u64>());
    assert_eq!(shown["source"]["dataset"]["kind"], "sharegpt");
    let words = place.tacho(&["workload", "show", text(&place.path("w"))]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains(&saved.header().digest) && words.contains("prompt lengths:"), "{words}");

    let dataset = format!("saved:{}", text(&place.path("w")));
    let mut args = [&SIM[..], &["--dataset", &dataset, "--dataset-order", "file", "--requests", "12"]].concat();
    let rows = place.run(&args);
    assert!(rows.len() >= 2);
    for row in &rows {
        assert_eq!(row["workload_digest"], saved.header().digest, "a trial of the whole file has the file's digest");
        assert_eq!(row["dataset_digest"], saved.header().digest);
        assert_eq!(row["input_tokens"], saved.inputs().map(u64::from).sum::<u64>());
        assert_eq!(row["output_tokens"], saved.outputs().map(u64::from).sum::<u64>());
        assert!(row["input"].as_str().unwrap().starts_with("saved("), "{row}");
    }
    args[SIM.len() + 3] = "shuffle";
    let rows = place.run(&args);
    let digests: BTreeSet<&str> = rows.iter().map(|row| row["workload_digest"].as_str().unwrap()).collect();
    assert_eq!(digests.len(), rows.len(), "each trial has another order");
    assert!(rows.iter().all(|row| row["input_tokens"] == saved.inputs().map(u64::from).sum::<u64>()));
}

#[test]
fn a_run_makes_its_requests_itself() {
    let place = Place::new();
    let tokenizer = data("tokenizer");
    let dataset = sharegpt();
    let with = ["--dataset", &dataset, "--tokenizer", text(&tokenizer)];
    let rows = place.run(&[&SIM[..], &with, &["--concurrency", "3", "--requests", "6", "--output", "5"]].concat());
    for row in &rows {
        assert_eq!(
            (&row["load_mode"], &row["requests_done"], &row["output_tokens"]),
            (&json!("closed"), &json!(6), &json!(30))
        );
        assert_eq!(row["dataset"], dataset);
    }
    // The same requests in every trial, whatever their order.
    assert!(rows.iter().all(|row| row["input_tokens"] == rows[0]["input_tokens"]));
    let all = place.saved(&dataset, &[]).inputs().map(u64::from).sum::<u64>();
    assert!(rows[0]["input_tokens"].as_u64().unwrap() < all);

    let dry = place.tacho(&[&["run", "--dry-run"][..], &SIM[..], &with].concat());
    let dry = String::from_utf8(dry.stdout).unwrap();
    assert!(dry.contains("dataset.name") && dry.contains("as the data have"), "{dry}");

    let plan = format!("engine = \"sim\"\ndataset = \"{dataset}\"\n[workload]\nrequests = 4\ninput = 9\n");
    let plan = place.file("p.toml", plan.as_bytes());
    let refused = stderr(&place.tacho(&["run", "--plan", &plan]));
    assert!(refused.contains("p.toml:5") && refused.contains("prompt lengths"), "{refused}");
    let plan = "engine = \"sim\"\n[dataset]\nname = \"sharegpt\"\npth = \"x\"\n";
    let refused = stderr(&place.tacho(&["run", "--plan", &place.file("p.toml", plan.as_bytes())]));
    assert!(refused.contains("p.toml:4") && refused.contains("did you mean 'path'"), "{refused}");
    let other = stderr(&place.tacho(&[&["run"][..], &SIM[..], &["--dataset", "sharegtp:x"]].concat()));
    assert!(other.contains("--dataset") && other.contains("sharegpt"), "{other}");
}

#[test]
fn a_file_that_is_damaged_or_of_another_model_is_refused() {
    let place = Place::new();
    place.saved(&sharegpt(), &[]);
    let good = fs::read(place.path("w")).unwrap();
    let line = good.iter().position(|byte| *byte == b'\n').unwrap();
    let header: Value = serde_json::from_slice(&good[..line]).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header);
        [header.to_string().into_bytes(), good[line..].to_vec()].concat()
    };
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    // The first request's length made longer at the cost of nobody.
    let mut longer = good.clone();
    longer[line + 4] = 0xff;
    for (bytes, words) in [
        (good[..good.len() - 3].to_vec(), "damaged or cut off"),
        (flipped, "expected the checksum"),
        (longer, "damaged"),
        (with(&|header| header["requests"] = json!(u32::MAX)), "damaged or cut off"),
        (with(&|header| header["prompt_tokens"] = json!(u64::MAX)), "damaged or cut off"),
        (with(&|header| header["requests"] = json!(0)), "damaged or cut off"),
        (with(&|header| header["tacho_workload"] = json!(9)), "expected version 1, found 9"),
        (b"[1, 2]\n".to_vec(), "no header"),
        (Vec::new(), "no header"),
    ] {
        let file = place.file("bad", &bytes);
        let shown = place.tacho(&["workload", "show", &file]);
        let message = stderr(&shown);
        assert!(
            shown.status.code() == Some(3) && message.contains(words) && message.contains(&file),
            "{words}: {message}"
        );
    }

    let huge = Saved::new(&[(vec![5, 4_000_000_000], Some(3))], Value::Null).unwrap();
    huge.write(&place.path("huge")).unwrap();
    let dataset = format!("saved:{}", text(&place.path("huge")));
    let output = place.tacho(
        &[
            &["run", "--quiet", "--requests", "1"][..],
            &SIM[..],
            &["--dataset", &dataset, "--out", text(&place.path("r"))],
        ]
        .concat(),
    );
    assert!(output.status.code() == Some(1), "{}", stderr(&output));
    let row = fs::read_to_string(place.path("r/points.json")).unwrap();
    assert!(row.contains("tokenised for another model"), "{row}");
}

#[test]
fn records_that_cannot_be_used_are_told_with_file_and_line() {
    let place = Place::new();
    let good = r#"{"id": 1, "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}"#;
    let cases: [(&str, &str, Vec<u8>, &[&str]); 13] = [
        (
            "sharegpt",
            "fields.jsonl",
            format!("{good}\n\n{{\"id\": 2, \"items\": []}}\n").into(),
            &["fields.jsonl:3", "'conversations'", "id, items", "skip"],
        ),
        (
            "sharegpt",
            "empty.json",
            format!("[\n{good},\n{{\"conversations\": []}}]").into(),
            &["empty.json:3", "conversation is empty"],
        ),
        (
            "sharegpt",
            "turn.json",
            format!("[{good},\n{{\"conversations\": [{{\"from\": \"gpt\", \"value\": \"x\"}}]}}]").into(),
            &["turn.json:2", "no turn of a user"],
        ),
        ("sharegpt", "twice.jsonl", format!("{good}\n{good}\n").into(), &["twice.jsonl:2", "id '1'", "twice.jsonl:1"]),
        (
            "sharegpt",
            "length.jsonl",
            br#"{"conversations": [{"from": "human", "value": "hi"}]}"#.to_vec(),
            &["length.jsonl:1", "neither an answer nor an output length", "--output"],
        ),
        (
            "sharegpt",
            "cut.json",
            format!("[\n{good},\n{{\"conversations\": [{{\"from\"").into(),
            &["cut.json:3", "cut off", "fetch it again"],
        ),
        ("sharegpt", "cut.jsonl", format!("{good}\n{}", &good[..40]).into(), &["cut.jsonl:2", "cut off"]),
        ("sharegpt", "broken.jsonl", format!("{{\"a\": 1,}}\n{good}\n").into(), &["broken.jsonl:1", "no JSON"]),
        (
            "sharegpt",
            "bytes.jsonl",
            [good.as_bytes(), b"\n{\"a\": \"\xff\"}\n"].concat(),
            &["bytes.jsonl:2", "UTF-8", "0xff", "byte 8"],
        ),
        ("sharegpt", "none.json", b"[]".to_vec(), &["none.json", "found none"]),
        ("custom", "names.jsonl", b"{\"ask\": \"hi\"}".to_vec(), &["names.jsonl:1", "ask", "--dataset-columns"]),
        ("custom", "wide.csv", b"prompt,output_tokens\nhi,3\n\"a, b\",4,5\n".to_vec(), &["wide.csv:3", "no CSV"]),
        (
            "custom",
            "number.csv",
            b"prompt,output_tokens\nhi,many\n".to_vec(),
            &["number.csv:2", "output length", "many"],
        ),
    ];
    for (dataset, name, bytes, words) in cases {
        let file = place.file(name, &bytes);
        let message = place.refused(&format!("{dataset}:{file}"), &[]);
        assert!(words.iter().all(|word| message.contains(word)), "{name}: {message}");
    }
    let absent = place.refused("sharegpt:nowhere.json", &[]);
    assert!(absent.contains("nowhere.json") && absent.contains("cannot be read"), "{absent}");
    let parquet = place.file("x.parquet", b"PAR1 not really");
    assert!(place.refused(&format!("custom:{parquet}"), &[]).contains("no Parquet"));
}

#[test]
fn bad_records_are_left_out_and_counted_when_asked() {
    let place = Place::new();
    let lines = [
        r#"{"id": "a", "prompt": "one two", "completion": "three"}"#,
        r#"{"id": "a", "prompt": "again", "completion": "x"}"#,
        r#"{"id": "b", "prompt": " "}"#,
        r#"{"id": "c", "prompt": "no answer"}"#,
        r#"{"id": "d", "text": "its prompt has another name", "completion": "y"}"#,
        r#"{"id": "e", "prompt": "four five", "output_tokens": 7, "completion": "six"}"#,
    ];
    let file = place.file("x.jsonl", lines.join("\n").as_bytes());
    let dataset = format!("custom:{file}");
    let more = ["--dataset-columns", "prompt=prompt", "--dataset-order", "file", "--dataset-bad", "skip"];
    let output = place.save(&dataset, &more);
    let notes = stderr(&output);
    for note in [
        "1 records left out: duplicate id",
        "1 records left out: empty prompt",
        "1 records left out: no output length",
        "missing field",
    ] {
        assert!(notes.contains(note), "{note}: {notes}");
    }
    let saved = Saved::read(&place.path("w")).unwrap();
    assert_eq!(saved.len(), 2);
    assert_eq!(saved.output(1), Some(7), "the data's number wins over the answer's length");
    assert_eq!(saved.header().source["left_out"]["missing field"], 1);
    let refused = place.refused(&dataset, &[&more[..], &["--requests", "3"]].concat());
    assert!(refused.contains("3 requests are asked for, 2 of") && refused.contains("not repeated"), "{refused}");
}

#[test]
fn lengths_are_filtered_and_held_against_the_context() {
    let place = Place::new();
    let all = place.saved(&sharegpt(), &[]);
    let bound = all.inputs().max().unwrap() - 1;
    let filter = format!("max-prompt-len={bound}");
    let kept = place.saved(&sharegpt(), &["--dataset-filter", &filter]);
    assert_eq!(kept.inputs().count(), all.inputs().filter(|length| *length <= bound).count());
    assert_eq!(kept.header().source["left_out"]["prompt above max-prompt-len"], 12 - u64::from(kept.len()));
    let fixed = place.saved(&sharegpt(), &["--output", "4", "--dataset-filter", "min-output-len=5"]);
    assert!(fixed.len() == 12 && fixed.outputs().all(|length| length == 4), "a length of our own is not the data's");

    let model = place.path("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), r#"{"max_position_embeddings": 60}"#).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(data("tokenizer").join(file), model.join(file)).unwrap();
    }
    let refused = place.refused(&sharegpt(), &["--model", text(&model)]);
    assert!(
        refused.contains("sharegpt.json:") && refused.contains("context of 60") && refused.contains("max-total-len=60"),
        "{refused}"
    );
    let fitting = place.saved(&sharegpt(), &["--model", text(&model), "--dataset-filter", "max-total-len=60"]);
    assert!(fitting.len() < 12 && fitting.inputs().zip(fitting.outputs()).all(|(input, output)| input + output <= 60));

    let gguf = place.file("m.gguf", b"GGUF");
    let out = place.path("none");
    let none =
        stderr(&place.tacho(&["workload", "save", "--dataset", &sharegpt(), "--model", &gguf, "--out", text(&out)]));
    assert!(none.contains("no tokenizer.json") && none.contains("--tokenizer") && none.contains("cut short"), "{none}");
}

/// The same conversations as JSON lines, CSV and Parquet.
#[test]
fn formats_of_files_give_the_same_prompts() {
    use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
    let place = Place::new();
    let rows = [("one, two", 3_u32), ("say \"hi\"\nthere", 4), ("ünï", 5)];
    let jsonl: Vec<String> = rows.iter().map(|(p, n)| json!({"prompt": p, "output_tokens": n}).to_string()).collect();
    let jsonl = place.file("x.jsonl", jsonl.join("\n").as_bytes());
    let mut csv = csv::Writer::from_path(place.path("x.csv")).unwrap();
    csv.write_record(["prompt", "output_tokens"]).unwrap();
    rows.iter().for_each(|(p, n)| csv.write_record([*p, &n.to_string()]).unwrap());
    csv.flush().unwrap();
    let columns: [(&str, ArrayRef); 2] = [
        ("prompt", std::sync::Arc::new(rows.iter().map(|(p, _)| Some(*p)).collect::<StringArray>())),
        ("output_tokens", std::sync::Arc::new(rows.iter().map(|(_, n)| *n).collect::<UInt32Array>())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(place.path("x.parquet")).unwrap();
    let snappy = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(snappy)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let digest =
        |file: &str| place.saved(&format!("custom:{file}"), &["--dataset-order", "file"]).header().digest.clone();
    let expected = digest(&jsonl);
    assert_eq!(digest(text(&place.path("x.csv"))), expected);
    assert_eq!(digest(text(&place.path("x.parquet"))), expected);
}

#[test]
fn made_prompts_have_their_exact_lengths() {
    let place = Place::new();
    let poem = format!("sonnet:{}", text(&data("poem.txt")));
    let sizes = ["--requests", "20", "--output", "3", "--sonnet-input-len", "90", "--sonnet-prefix-len", "30"];
    let made = prompts(&place.saved(&poem, &sizes));
    assert!(made.len() == 20 && made.iter().all(|prompt| prompt.len() == 90 && prompt[..30] == made[0][..30]));
    assert_eq!(made.iter().map(|prompt| &prompt[30..]).collect::<BTreeSet<_>>().len(), 20);
    let refused =
        place.refused(&poem, &["--requests", "2", "--sonnet-input-len", "9000", "--sonnet-prefix-len", "8000"]);
    assert!(refused.contains("poem.txt") && refused.contains("8000"), "{refused}");

    let sizes = [
        "--requests",
        "12",
        "--output",
        "3",
        "--prefix-repetition-prefix-len",
        "16",
        "--prefix-repetition-suffix-len",
        "8",
        "--prefix-repetition-num-prefixes",
        "3",
    ];
    let saved = place.saved("prefix", &sizes);
    let made = prompts(&saved);
    assert!(made.iter().all(|prompt| prompt.len() == 24));
    assert_eq!(made.iter().map(|prompt| &prompt[..16]).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(saved.shared_prefix_tokens(), 9 * 16, "three groups of four share their prefix and no more");
    assert!(made.iter().flatten().all(|id| *id >= 6), "no special token is drawn");
}
