//! One request to `/v1/completions`, read to the end of its stream.
use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use serde_json::{Value, json};
use ureq::{Agent, http::Uri};

use super::{HttpError, stream};
use crate::{measure::monotonic_ns, secrets};

/// How much of an answer that is an error is kept, in bytes.
const SAID: u64 = 2 << 10;
/// For questions other than completions.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// What a server asks for before it answers. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// From the variable of this name, which has to be one whose value is kept from cells and records.
    ///
    /// # Errors
    /// [`HttpError::Key`], which says what is wrong with it and not what it is.
    pub fn from_variable(name: &str) -> Result<Self, HttpError> {
        let refused = |why: &str| Err(HttpError::Key { name: name.to_owned(), why: why.to_owned() });
        if !secrets::is_secret_name(name) {
            return refused(
                "its name does not say that it holds a secret, and then its value is kept out of nothing: call it …_KEY or …_TOKEN",
            );
        }
        match std::env::var(name) {
            Err(_) => refused("it is not set, or is no text"),
            Ok(value) if value.trim().len() < secrets::SHORTEST => refused(&format!(
                "its value is shorter than {} characters, and could not be told from other text",
                secrets::SHORTEST
            )),
            Ok(value) if value.trim().bytes().any(|byte| !byte.is_ascii_graphic()) => {
                refused("its value has characters that no header may have")
            }
            Ok(value) => Ok(Self(value.trim().to_owned())),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(secrets::NOT_KEPT)
    }
}

/// A server's address, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    key: Option<Key>,
}

impl Endpoint {
    /// From a URL: `http://host:port`, with or without `/v1` or `/v1/completions` behind it.
    ///
    /// # Errors
    /// [`HttpError::Url`] for anything else.
    pub fn parse(url: &str) -> Result<Self, HttpError> {
        let refused = |why: &str| {
            HttpError::Url(format!(
                "'{}' is no server's URL: {why}; expected http://HOST:PORT",
                crate::secrets::redact(url)
            ))
        };
        let uri: Uri = url.trim().parse().map_err(|error| refused(&format!("{error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refused("it begins with neither http:// nor https://"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| refused("it names no host"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refused("user names and passwords are not sent"));
        }
        if uri.query().is_some() {
            return Err(refused("it has a query"));
        }
        let path = uri.path().trim_end_matches('/');
        let path = path.strip_suffix("/completions").unwrap_or(path);
        let path = path.strip_suffix("/v1").unwrap_or(path);
        let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self { base: format!("{}://{host}{port}{path}", uri.scheme_str().unwrap_or("http")), key: None })
    }

    /// On this machine.
    pub(super) fn local(port: u16) -> Self {
        Self { base: format!("http://127.0.0.1:{port}"), key: None }
    }

    /// With a key, which every request carries (`Authorization: Bearer`, RFC 6750).
    pub fn with_key(self, key: Option<Key>) -> Self {
        Self { key, ..self }
    }

    /// What `Authorization` is to say.
    fn authorization(&self) -> Option<String> {
        self.key.as_ref().map(|key| format!("Bearer {}", key.0))
    }

    /// `http://host:port`, as it is shown.
    pub fn as_str(&self) -> &str {
        &self.base
    }
}

/// A prompt as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// Token ids.
    Ids(&'a [u32]),
    /// Text, which the server tokenises.
    Text(&'a str),
}

/// A request's body: greedy, streamed, exactly `output_tokens` tokens, with the server's own counts at the end.
pub fn body(model: &str, prompt: Prompt<'_>, output_tokens: u32) -> Vec<u8> {
    let prompt: Value = match prompt {
        Prompt::Ids(ids) => ids.into(),
        Prompt::Text(text) => text.into(),
    };
    let body = json!({
        "model": model,
        "prompt": prompt,
        "max_tokens": output_tokens,
        "min_tokens": output_tokens,
        "ignore_eos": true,
        "temperature": 0.0,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    body.to_string().into_bytes()
}

/// What came back, unread, with its times in nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// When the first event was there.
    pub first_ns: Option<u64>,
    /// When the stream had ended.
    pub done_ns: u64,
    /// The stream.
    pub bytes: Vec<u8>,
}

/// Connections to one server, kept open between requests.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    within: Duration,
}

impl Client {
    /// For at most `in_flight` requests at once, each of which is to be over `within` a time. Nothing is sent through a proxy:
    /// it would be a part of what is timed.
    pub fn new(endpoint: &Endpoint, in_flight: usize, within: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(in_flight)
            .max_idle_connections_per_host(in_flight)
            .timeout_global(Some(within))
            .build();
        Self { agent: config.new_agent(), endpoint: endpoint.clone(), within }
    }

    /// Where to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether a GET of `path` is answered with status 200; what it says otherwise.
    ///
    /// # Errors
    /// Any [`HttpError`] but those of a stream.
    pub fn get(&self, path: &str) -> Result<String, HttpError> {
        let url = format!("{}{path}", self.endpoint.base);
        let failed = |error: ureq::Error| self.failed(&url, &error, 0, ASK_WITHIN.min(self.within));
        let mut ask = self.agent.get(&url);
        if let Some(bearer) = self.endpoint.authorization() {
            ask = ask.header("Authorization", bearer);
        }
        let ask = ask.config().timeout_global(Some(ASK_WITHIN.min(self.within))).build();
        let mut answer = ask.call().map_err(failed)?;
        let status = answer.status().as_u16();
        let mut said = String::new();
        let _ = answer.body_mut().as_reader().take(1 << 20).read_to_string(&mut said);
        if status == 200 { Ok(said) } else { Err(HttpError::Status { url, status, said: shorten(&said) }) }
    }

    /// The first model that the server says it has.
    ///
    /// # Errors
    /// As [`Self::get`], and [`HttpError::Content`] for an answer that names none.
    pub fn first_model(&self) -> Result<String, HttpError> {
        let said = self.get("/v1/models")?;
        let told: Option<Value> = serde_json::from_str(&said).ok();
        let id = told.as_ref().and_then(|told| told["data"][0]["id"].as_str()).map(str::to_owned);
        id.ok_or_else(|| HttpError::Content {
            url: format!("{}/v1/models", self.endpoint.base),
            what: format!("it names no model: {}; name one with --endpoint-model", shorten(&said)),
        })
    }

    /// Sends a body and reads its stream to the end, which may be of at most `most` bytes.
    pub(super) fn complete(&self, body: &[u8], most: usize) -> Result<Raw, HttpError> {
        let url = self.completions();
        let mut ask =
            self.agent.post(&url).header("Content-Type", "application/json").header("Accept", "text/event-stream");
        if let Some(bearer) = self.endpoint.authorization() {
            ask = ask.header("Authorization", bearer);
        }
        let mut answer = ask.send(body).map_err(|error| self.failed(&url, &error, 0, self.within))?;
        let status = answer.status().as_u16();
        let mut reader = answer.body_mut().as_reader();
        if status != 200 {
            let mut said = Vec::new();
            let _ = reader.take(SAID).read_to_end(&mut said);
            return Err(HttpError::Status { url, status, said: shorten(&String::from_utf8_lossy(&said)) });
        }
        let (mut bytes, mut first_ns) = (Vec::with_capacity(1 << 16), None);
        let mut part = [0; 1 << 14];
        loop {
            match reader.read(&mut part) {
                Ok(0) => break,
                Ok(count) => {
                    first_ns = first_ns.or_else(|| Some(monotonic_ns()));
                    bytes.extend_from_slice(&part[..count]);
                    if bytes.len() > most {
                        let what =
                            format!("its stream does not end: expected at most {most} bytes for the tokens asked");
                        return Err(HttpError::Content { url, what });
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let events = stream::events(&bytes);
                    return Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                        Some(ureq::Error::Timeout(_)) => {
                            HttpError::Timeout { url, seconds: self.within.as_secs_f64(), events }
                        }
                        _ if error.kind() == ErrorKind::TimedOut => {
                            HttpError::Timeout { url, seconds: self.within.as_secs_f64(), events }
                        }
                        _ => HttpError::Half { url, events, why: error.to_string() },
                    });
                }
            }
        }
        Ok(Raw { first_ns, done_ns: monotonic_ns(), bytes })
    }

    pub(super) fn completions(&self) -> String {
        format!("{}/v1/completions", self.endpoint.base)
    }

    fn failed(&self, url: &str, error: &ureq::Error, events: usize, within: Duration) -> HttpError {
        match error {
            ureq::Error::Timeout(_) => {
                HttpError::Timeout { url: url.to_owned(), seconds: within.as_secs_f64(), events }
            }
            ureq::Error::Io(why) if matches!(why.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                HttpError::Half { url: url.to_owned(), events, why: why.to_string() }
            }
            other => HttpError::Connect { url: url.to_owned(), why: other.to_string() },
        }
    }
}

fn shorten(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = crate::secrets::redact(&line);
    match line.char_indices().nth(300) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers_are_told_from_others() {
        for url in [
            "http://localhost:8000",
            "http://localhost:8000/",
            "http://localhost:8000/v1",
            "http://localhost:8000/v1/completions",
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().as_str(), "http://localhost:8000", "{url}");
        }
        assert_eq!(Endpoint::parse("https://a.b/llm/v1/").unwrap().as_str(), "https://a.b/llm");
        for bad in ["localhost:8000", "ftp://a", "http://", "http://me:sesame@host", "http://a?x=1", "nonsense"] {
            let error = Endpoint::parse(bad).unwrap_err().to_string();
            assert!(error.contains("expected http://HOST:PORT") && !error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn a_body_asks_for_exact_greedy_streamed_tokens() {
        let body: Value = serde_json::from_slice(&body("m", Prompt::Ids(&[5, 6]), 3)).unwrap();
        assert_eq!(body["prompt"], json!([5, 6]));
        assert_eq!((&body["max_tokens"], &body["min_tokens"]), (&json!(3), &json!(3)));
        assert_eq!((&body["ignore_eos"], &body["stream"]), (&json!(true), &json!(true)));
    }
}
