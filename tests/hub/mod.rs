//! A hub of our own on this machine, which misbehaves in the ways that hubs and networks do.
#![allow(dead_code, reason = "each test program uses a part of it")]
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
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
    /// Wants fewer requests: answers so many of them, whatever they ask for, by 429 and this many seconds to wait.
    Throttled(u32, u32),
    /// Takes the question and never answers.
    Silent,
    /// Answers with a page for people.
    Html,
    /// Names a file outside of the model's folder.
    Outside,
    /// Names no checksum.
    NoChecksum,
}

pub struct Hub {
    pub files: BTreeMap<&'static str, Vec<u8>>,
    pub fault: Mutex<Fault>,
    /// `name bytes=N-` for each download that was asked for.
    pub asked: Mutex<Vec<String>>,
}

/// A hub with a small file and a large one, the latter kept elsewhere as the real one's are.
pub fn hub(fault: Fault) -> (Arc<Hub>, String) {
    let weights = (0..3_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let files =
        BTreeMap::from([("config.json", b"{\"model_type\": \"llama\"}".to_vec()), ("model.safetensors", weights)]);
    hub_of(files, fault)
}

/// A hub with these files, of which those of more than 1000 bytes are kept elsewhere.
pub fn hub_of(files: BTreeMap<&'static str, Vec<u8>>, fault: Fault) -> (Arc<Hub>, String) {
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
        if let Fault::Throttled(left, seconds) = fault
            && left > 0
        {
            *self.fault.lock().unwrap() = Fault::Throttled(left - 1, seconds);
            self.asked.lock().unwrap().push("429".to_owned());
            return respond(&mut stream, 429, &format!("Retry-After: {seconds}\r\n"), b"");
        }
        let lists = ["/api/models/org/name/revision/", "/api/datasets/org/name/revision/"];
        if lists.iter().any(|list| path.starts_with(list)) {
            return match fault {
                Fault::List(status) => respond(&mut stream, status, "Retry-After: 3600\r\n", b"no"),
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
            return respond(&mut stream, status, "Retry-After: 3600\r\n", b"no");
        }
        let large = bytes.len() > 1000;
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

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
