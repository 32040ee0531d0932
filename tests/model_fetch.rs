//! `tacho model fetch` against a hub of our own on this machine, which misbehaves in the ways that hubs and networks do.
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sha2::{Digest, Sha256};

mod hub;
use hub::{COMMIT, Fault, Hub, hex, hub};

fn fetch(address: &str, home: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    for name in ["HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", address).env("HF_HOME", home);
    command.args(["model", "fetch", "org/name", "--patience", "5s"]).args(more).output().unwrap()
}

fn fetched(hub: &Hub, output: &Output) -> PathBuf {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = PathBuf::from(String::from_utf8(output.stdout.clone()).unwrap().trim_end());
    for (name, bytes) in &hub.files {
        assert!(fs::read(folder.join(name)).unwrap() == *bytes, "{name}");
    }
    folder
}

fn refused(fault: Fault, words: &[&str]) {
    let (_hub, address) = hub(fault);
    let home = tempfile::tempdir().unwrap();
    let output = fetch(&address, home.path(), &[]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{fault:?}: {message}");
    let error = message.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(words.iter().all(|word| error.contains(word)), "{fault:?}: {message}");
    assert!(error.contains("org/name"), "{fault:?}: {message}");
    assert!(!message.contains("panicked"), "{fault:?}: {message}");
}

#[test]
fn a_model_arrives_once_and_its_folder_is_named() {
    let (hub, address) = hub(Fault::None);
    let home = tempfile::tempdir().unwrap();
    let folder = fetched(&hub, &fetch(&address, home.path(), &[]));
    assert!(folder.ends_with(format!("hub/models--org--name/snapshots/{COMMIT}")), "{}", folder.display());
    let note = home.path().join("hub/models--org--name/refs/main");
    assert_eq!(fs::read_to_string(note).unwrap(), COMMIT, "other programs find the commit of the branch");
    assert_eq!(hub.asked.lock().unwrap().len(), 2);
    fetched(&hub, &fetch(&address, home.path(), &[]));
    assert_eq!(hub.asked.lock().unwrap().len(), 2, "what is there is not fetched again");
}

#[test]
fn only_what_is_wanted_is_fetched() {
    let (hub, address) = hub(Fault::None);
    let home = tempfile::tempdir().unwrap();
    let output = fetch(&address, home.path(), &["--include", "*.json"]);
    let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end());
    assert!(folder.join("config.json").is_file() && !folder.join("model.safetensors").exists());
    assert_eq!(*hub.asked.lock().unwrap(), ["config.json bytes=0-"]);
    let output = fetch(&address, home.path(), &["--include", "*.gguf"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && message.contains("model.safetensors"), "{message}");
}

#[test]
fn a_file_that_breaks_off_is_gone_on_with() {
    for fault in [Fault::CutOff(2), Fault::CutOffUnannounced(2)] {
        let (hub, address) = hub(fault);
        let home = tempfile::tempdir().unwrap();
        fetched(&hub, &fetch(&address, home.path(), &[]));
        let asked = hub.asked.lock().unwrap();
        let weights: Vec<&String> = asked.iter().filter(|line| line.starts_with("model")).collect();
        assert!(weights.iter().any(|line| line.ends_with("bytes=1500000-")), "{fault:?}: {asked:?}");
    }
}

#[test]
fn a_fetch_that_gave_up_is_finished_by_the_next() {
    for fault in [Fault::CutOff(100), Fault::CutOffUnannounced(100)] {
        let (hub, address) = hub(fault);
        let home = tempfile::tempdir().unwrap();
        let output = fetch(&address, home.path(), &["--include", "model*"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains("run the same command again"), "{message}");
        *hub.fault.lock().unwrap() = Fault::None;
        let before = hub.asked.lock().unwrap().len();
        fetched(&hub, &fetch(&address, home.path(), &[]));
        let asked = hub.asked.lock().unwrap();
        let weights = asked[before..].iter().find(|line| line.starts_with("model")).unwrap();
        assert!(!weights.ends_with("bytes=0-"), "{fault:?}: begun anew: {asked:?}");
    }
}

#[test]
fn a_hub_that_ignores_where_to_go_on_spoils_nothing() {
    let (hub, address) = hub(Fault::CutOff(100));
    let home = tempfile::tempdir().unwrap();
    fetch(&address, home.path(), &["--include", "model*"]);
    *hub.fault.lock().unwrap() = Fault::IgnoresRange;
    let output = fetch(&address, home.path(), &[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && message.contains("checksum"), "{message}");
    fetched(&hub, &fetch(&address, home.path(), &[]));
}

#[test]
fn a_whole_part_that_was_never_renamed_is_taken() {
    let (hub, address) = hub(Fault::None);
    let home = tempfile::tempdir().unwrap();
    let bytes = &hub.files["model.safetensors"];
    let blobs = home.path().join("hub/models--org--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.part", hex(&Sha256::digest(bytes)))), bytes).unwrap();
    fetched(&hub, &fetch(&address, home.path(), &[]));
}

#[test]
fn what_the_hub_says_is_told_in_words() {
    refused(Fault::List(404), &["404", "check the spelling"]);
    refused(Fault::List(401), &["401", "HF_TOKEN"]);
    refused(Fault::List(429), &["429", "3600 s of waiting", "HF_TOKEN"]);
    refused(Fault::List(503), &["503", "try again later"]);
    refused(Fault::File(403), &["403", "terms", "config.json"]);
    refused(Fault::File(429), &["429", "3600 s of waiting", "config.json"]);
    refused(Fault::Html, &["no list of files"]);
    refused(Fault::Outside, &["outside of the model's folder"]);
    refused(Fault::NoChecksum, &["no checksum"]);
    refused(Fault::Corrupt, &["checksum", "removed", "config.json"]);
}

#[test]
fn a_hub_that_wants_fewer_requests_is_given_the_time_that_it_asks_for() {
    // A refused request and our own for the header, twice.
    let (hub, address) = hub(Fault::Throttled(4, 1));
    let home = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    let output = fetch(&address, home.path(), &[]);
    fetched(&hub, &output);
    let took = began.elapsed().as_secs_f64();
    assert!((2.0..10.0).contains(&took), "{took} s");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.matches("wants fewer requests: waiting for 1 s").count() == 2, "{message}");
    assert_eq!(hub.asked.lock().unwrap().iter().filter(|asked| *asked == "429").count(), 4);
}

#[test]
fn a_hub_that_is_away_or_says_nothing_is_not_waited_for_for_ever() {
    refused(Fault::Silent, &["sent nothing for 5 s"]);
    let home = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let address = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let output = fetch(&address, home.path(), &[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && message.contains("cannot be reached"), "{message}");
    assert!(message.contains(&address) && message.contains("HF_ENDPOINT"), "{message}");
}
