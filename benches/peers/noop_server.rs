//! An OpenAI-compatible server that does nothing, for load generators to be measured against: it notes when each request's
//! head arrived (CLOCK_MONOTONIC as `std::time::Instant` reads it, in nanoseconds after the first) and answers at once.
//!
//! `noop_server ARRIVALS_FILE`: prints its port, and on SIGTERM's end of standard input writes one time a line to the file.
//! Standard library only, one thread a connection: `rustc --edition 2024 -O noop_server.rs`.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Instant,
};

const MODELS: &str = r#"{"object":"list","data":[{"id":"noop","object":"model","owned_by":"nobody"}]}"#;
const WHOLE: &str = r#"{"id":"x","object":"chat.completion","created":0,"model":"noop","choices":[{"index":0,"finish_reason":"length","text":"a","message":{"role":"assistant","content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
const STREAM: &str = concat!(
    r#"data: {"id":"x","object":"chat.completion.chunk","created":0,"model":"noop","choices":[{"index":0,"finish_reason":"length","text":"a","delta":{"role":"assistant","content":"a"}}]}"#,
    "\n\n",
    r#"data: {"id":"x","object":"chat.completion.chunk","created":0,"model":"noop","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
    "\n\ndata: [DONE]\n\n"
);

fn serve(stream: TcpStream, arrivals: &Mutex<Vec<Instant>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let arrived = Instant::now();
        let post = line.starts_with("POST");
        let mut length = 0;
        loop {
            line.clear();
            input.read_line(&mut line)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        input.read_exact(&mut body)?;
        if post && let Ok(mut arrivals) = arrivals.lock() {
            arrivals.push(arrived);
        }
        let text = String::from_utf8_lossy(&body);
        let streamed = text.contains("\"stream\":true") || text.contains("\"stream\": true");
        let (kind, answer) = match (post, streamed) {
            (true, true) => ("text/event-stream", STREAM),
            (true, false) => ("application/json", WHOLE),
            (false, _) => ("application/json", MODELS),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", answer.len());
        output.write_all(format!("{head}{answer}").as_bytes())?;
    }
}

fn main() -> std::io::Result<()> {
    let file = std::env::args().nth(1).ok_or_else(|| std::io::Error::other("expected the file for arrival times"))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let arrivals = Arc::new(Mutex::new(Vec::with_capacity(1 << 20)));
    let shared = Arc::clone(&arrivals);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arrivals = Arc::clone(&shared);
            std::thread::spawn(move || serve(stream, &arrivals));
        }
    });
    // Runs until whoever started it closes its standard input.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let arrivals = arrivals.lock().map_err(|_| std::io::Error::other("a connection's thread panicked"))?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    for arrived in arrivals.iter() {
        writeln!(out, "{}", arrived.duration_since(arrivals[0]).as_nanos())?;
    }
    out.flush()
}
