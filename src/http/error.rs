//! What can go wrong between a request and the end of its stream, as sentences for a person.

/// Why a server gave no figure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HttpError {
    /// The variable that was named for a server's key.
    #[error("no key from the variable {name}: {why}")]
    Key {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// What was named is no URL of a server.
    #[error("{0}")]
    Url(String),
    /// Nobody listens there.
    #[error("{url}: no connection: {why}; check that the server runs and listens there")]
    Connect {
        /// Where.
        url: String,
        /// The system's words.
        why: String,
    },
    /// It answered with another status than 200.
    #[error("{url}: expected status 200, found {status}{}", behind(.said))]
    Status {
        /// Where.
        url: String,
        /// The status.
        status: u16,
        /// The beginning of the answer.
        said: String,
    },
    /// It did not answer, or did not finish, in time.
    #[error("{url}: no whole answer within {seconds:.0} s: after {events} events of the stream")]
    Timeout {
        /// Where.
        url: String,
        /// The deadline.
        seconds: f64,
        /// What had come.
        events: usize,
    },
    /// The answer broke off.
    #[error("{url}: the stream ended after {events} events without `[DONE]`{}", behind(.why))]
    Half {
        /// Where.
        url: String,
        /// What had come.
        events: usize,
        /// The client's words.
        why: String,
    },
    /// The stream holds something else than was expected.
    #[error("{url}: {what}")]
    Content {
        /// Where.
        url: String,
        /// A sentence.
        what: String,
    },
    /// Other counts than were asked for.
    #[error("{url}: request {request}: {asked} {what} tokens were asked for, the server counts {found} (by {how})")]
    Counts {
        /// Where.
        url: String,
        /// Which request of the batch.
        request: usize,
        /// `prompt` or `output`.
        what: &'static str,
        /// By us.
        asked: u64,
        /// By the server.
        found: u64,
        /// `usage`, or `events of the stream`.
        how: &'static str,
    },
    /// A server that Tacho started did not come up, or is gone.
    #[error("{what}{}", last_words(.last_lines))]
    Server {
        /// A sentence.
        what: String,
        /// The last lines of its log.
        last_lines: Vec<String>,
    },
}

fn behind(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn last_words(lines: &[String]) -> String {
    let last: Vec<&str> = lines.iter().rev().take(12).rev().map(String::as_str).collect();
    if last.is_empty() { String::new() } else { format!("; the last lines of its log:\n  {}", last.join("\n  ")) }
}
