//! `tacho model fetch` against a hub of our own on this machine, which misbehaves in the ways that hubs and networks do.
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Answers every question for the list of files so.
    List(u16),
    /// Answers every question for a file so.
    File(u16),
    /// Closes the connection after half of what a download of the large file asks for, this many times.
    CutOff(u32),
    /// As [`Self::CutOff`], without having said how much there would be.
    CutOffUnannounced(u32),
    /// Gives other bytes than those of the checksum.
    Corrupt,
    /// Sends whole files when asked for the rest of one.
    IgnoresRange,
    /// Takes the question and never answers.
    Silent,
    /// Answers with a page for people.
    Html,
    /// Names a file outside of the model's folder.
    Outside,
    /// Names no checksum.
    NoChecksum,
}

struct Hub {
    files: BTreeMap<&'static str, Vec<u8>>,
    fault: Mutex<Fault>,
    /// `name bytes=N-` for each download that was asked for.
    asked: Mutex<Vec<String>>,
}

/// A hub with a small file and a large one, the latter kept elsewhere as the real one's are.
fn hub(fault: Fault) -> (Arc<Hub>, String) {
    let weights = (0..3_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let files =
        BTreeMap::from([("config.json", b"{\"model_type\": \"llama\"}".to_vec()), ("model.safetensors", weights)]);
    let hub = Arc::new(Hub { files, fault: Mutex::new(fault), asked: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (own, base) = (Arc::clone(&hub), address.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (hub, base) = (Arc::clone(&own), base.clone());
            // A client that goes away in the middle is no failure of the test.
            std::thread::spawn(move || stream.and_then(|stream| hub.answer(stream, &base)));
        }
    });
    (hub, address)
}

impl Hub {
    fn answer(&self, mut stream: TcpStream, base: &str) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or(Ok(String::new()))?;
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut range = None;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                range = if name.eq_ignore_ascii_case("range") { Some(value.to_owned()) } else { range };
            }
        }
        let fault = *self.fault.lock().unwrap();
        if fault == Fault::Silent {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        if path.starts_with("/api/models/org/name/revision/") {
            return match fault {
                Fault::List(status) => respond(&mut stream, status, "", b"no"),
                Fault::Html => respond(&mut stream, 200, "", b"<html>Welcome</html>"),
                _ => {
                    let outside = ["../../outside"];
                    let names = self.files.keys().chain(outside.iter().filter(|_| fault == Fault::Outside));
                    let names: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
                    let body = serde_json::json!({ "sha": COMMIT, "siblings": names }).to_string();
                    respond(&mut stream, 200, "Content-Type: application/json\r\n", body.as_bytes())
                }
            };
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(bytes) = self.files.get(name) else { return respond(&mut stream, 404, "", b"none") };
        if let Fault::File(status) = fault {
            return respond(&mut stream, status, "", b"no");
        }
        let large = name.ends_with(".safetensors");
        let etag = if large {
            hex(&Sha256::digest(bytes))
        } else {
            hex(&Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()))
        };
        let etag = if fault == Fault::NoChecksum { "W/\"x\"".to_owned() } else { format!("\"{etag}\"") };
        if large && !path.starts_with("/elsewhere/") {
            let headers =
                format!("X-Linked-Etag: {etag}\r\nX-Repo-Commit: {COMMIT}\r\nLocation: {base}/elsewhere/{name}\r\n");
            return respond(&mut stream, 302, &headers, b"");
        }
        let range = range.unwrap_or_default();
        let headers = format!("ETag: {etag}\r\nX-Repo-Commit: {COMMIT}\r\n");
        if range == "bytes=0-0" {
            let headers = format!("{headers}Content-Range: bytes 0-0/{}\r\n", bytes.len());
            return respond(&mut stream, 206, &headers, &bytes[..1]);
        }
        self.asked.lock().unwrap().push(format!("{name} {range}"));
        self.download(&mut stream, &headers, bytes, &range, fault)
    }

    fn download(
        &self,
        stream: &mut TcpStream,
        headers: &str,
        bytes: &[u8],
        range: &str,
        fault: Fault,
    ) -> std::io::Result<()> {
        let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
        let start = if fault == Fault::IgnoresRange { 0 } else { start };
        let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) else {
            return respond(stream, 416, "", b"");
        };
        let mut rest = rest.to_vec();
        match fault {
            Fault::Corrupt => {
                rest[0] ^= 1;
                respond(stream, 206, headers, &rest)
            }
            Fault::CutOff(left) | Fault::CutOffUnannounced(left) if left > 0 && bytes.len() > 1000 => {
                let announced = matches!(fault, Fault::CutOff(_));
                *self.fault.lock().unwrap() =
                    if announced { Fault::CutOff(left - 1) } else { Fault::CutOffUnannounced(left - 1) };
                let length = if announced { format!("Content-Length: {}\r\n", rest.len()) } else { String::new() };
                write!(stream, "HTTP/1.1 206 Partial\r\n{headers}{length}Connection: close\r\n\r\n")?;
                stream.write_all(&rest[..rest.len() / 2])
            }
            _ => respond(stream, 206, headers, &rest),
        }
    }
}

fn respond(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} So\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

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
    refused(Fault::List(429), &["429", "wait"]);
    refused(Fault::List(503), &["503", "try again later"]);
    refused(Fault::File(403), &["403", "terms", "config.json"]);
    refused(Fault::File(429), &["429", "config.json"]);
    refused(Fault::Html, &["no list of files"]);
    refused(Fault::Outside, &["outside of the model's folder"]);
    refused(Fault::NoChecksum, &["no checksum"]);
    refused(Fault::Corrupt, &["checksum", "removed", "config.json"]);
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
