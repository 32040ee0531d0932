//! Datasets of a hub that is on this machine, and misbehaves.
use super::{
    hub::{Fault, hub_of},
    *,
};

fn hub_files(large: bool) -> BTreeMap<&'static str, Vec<u8>> {
    let record =
        |index: usize| json!({"id": index, "prompt": format!("question {index}"), "completion": "yes"}).to_string();
    let lines: Vec<String> = (0..if large { 400 } else { 3 }).map(record).collect();
    BTreeMap::from([
        ("README.md", b"words".to_vec()),
        ("train.jsonl", lines.join("\n").into_bytes()),
        ("test.jsonl", b"{\"id\": 0, \"prompt\": \"q\", \"completion\": \"a\"}\n".to_vec()),
    ])
}

/// `tacho workload save` of a hub's dataset.
fn from_hub(place: &Place, address: &str, more: &[&str]) -> Output {
    let (out, tokenizer) = (place.path("hub-w"), data("tokenizer"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    for name in ["HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", address).env("HF_HOME", place.path("hf"));
    command.args([
        "workload",
        "save",
        "--dataset",
        "hf:org/name",
        "--hf-patience",
        "5s",
        "--tokenizer",
        text(&tokenizer),
        "-o",
        text(&out),
    ]);
    command.args(more).output().unwrap()
}

#[test]
fn a_dataset_of_the_hub_arrives_once() {
    let (hub, address) = hub_of(hub_files(true), Fault::CutOff(2));
    let place = Place::new();
    let output = from_hub(&place, &address, &["--hf-split", "train", "--requests", "50"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(Saved::read(&place.path("hub-w")).unwrap().len(), 50);
    let asked = hub.asked.lock().unwrap().len();
    fs::remove_file(place.path("hub-w")).unwrap();
    assert!(from_hub(&place, &address, &["--hf-split", "train", "--requests", "50"]).status.success());
    assert_eq!(hub.asked.lock().unwrap().len(), asked, "what is there is not fetched again");
    fs::remove_file(place.path("hub-w")).unwrap();
    let several = stderr(&from_hub(&place, &address, &[]));
    assert!(several.contains("--hf-split") && several.contains("test.jsonl"), "{several}");
}

#[test]
fn a_hub_that_misbehaves_is_told_in_words() {
    let cases = [
        (Fault::List(404), &["404", "check the spelling"][..]),
        (Fault::List(429), &["429", "wait"]),
        (Fault::File(429), &["429", "train.jsonl"]),
        (Fault::File(403), &["403", "terms"]),
        (Fault::CutOff(100), &["run the same command again"]),
        (Fault::CutOffUnannounced(100), &["run the same command again"]),
        (Fault::Corrupt, &["checksum", "removed"]),
        (Fault::NoChecksum, &["no checksum"]),
        (Fault::Html, &["no list of files"]),
        (Fault::Outside, &["outside"]),
        (Fault::Silent, &["sent nothing for 5 s"]),
    ];
    let told = |fault: Fault, words: &[&str]| {
        let (_hub, address) = hub_of(hub_files(true), fault);
        let place = Place::new();
        let output = from_hub(&place, &address, &["--hf-split", "train"]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{fault:?}: {message}");
        assert!(
            words.iter().all(|word| message.contains(word)) && message.contains("org/name"),
            "{fault:?}: {message}"
        );
        assert!(!place.path("hub-w").exists() && !message.contains("panicked"), "{fault:?}: {message}");
    };
    // Together, because some take their time.
    std::thread::scope(|scope| {
        for (fault, words) in cases {
            scope.spawn(move || told(fault, words));
        }
    });
}
