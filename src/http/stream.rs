//! A stream of server-sent events, read after it has ended.
use serde_json::Value;

use super::HttpError;
use crate::secrets;

/// What a stream came to, checked against what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Prompt tokens by the server's count; None where it gives none.
    pub input_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: u64,
    /// Whether those are the server's own `usage`, or events that were counted.
    pub by_usage: bool,
    /// Characters of text.
    pub characters: u64,
    /// Events that carried text.
    pub events: usize,
}

/// What one request was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub url: &'a str,
    pub request: usize,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// The `data:` of each event.
fn data(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| Some(line.strip_prefix(b"data:")?.trim_ascii()))
}

/// How many events have come.
pub(super) fn events(bytes: &[u8]) -> usize {
    data(bytes).count()
}

/// Reads a stream and holds it against what was asked.
pub(super) fn read(bytes: &[u8], asked: Asked<'_>) -> Result<Counted, HttpError> {
    let Asked { url, request, .. } = asked;
    let content = |what: String| HttpError::Content { url: url.to_owned(), what: secrets::redact(&what) };
    let (mut done, mut finish, mut usage): (bool, Option<String>, Option<(u64, u64)>) = (false, None, None);
    let (mut characters, mut with_text) = (0, 0);
    for event in data(bytes) {
        if event == b"[DONE]" {
            done = true;
            continue;
        }
        let told: Value = serde_json::from_slice(event).map_err(|error| {
            // Redacted before it is cut: half of a key is one, too.
            let event: String = secrets::redact(&String::from_utf8_lossy(event)).chars().take(200).collect();
            content(format!("request {request}: an event is no JSON ({error}): {event}"))
        })?;
        if let Some(error) = told.get("error").filter(|error| !error.is_null()) {
            return Err(content(format!("request {request}: the server says in its stream: {error}")));
        }
        let choice = &told["choices"][0];
        if let Some(text) = choice["text"].as_str() {
            characters += text.chars().count() as u64;
            // A server may hold text back until its bytes are whole, and end with an event without any.
            with_text += usize::from(!text.is_empty() || choice["finish_reason"].is_null());
        }
        finish = choice["finish_reason"].as_str().map(str::to_owned).or(finish);
        let count = |name: &str| told["usage"][name].as_u64();
        usage = count("prompt_tokens").zip(count("completion_tokens")).or(usage);
    }
    if !done {
        return Err(HttpError::Half { url: url.to_owned(), events: events(bytes), why: String::new() });
    }
    let counts = |what, asked, found, how| HttpError::Counts { url: url.to_owned(), request, what, asked, found, how };
    let (output_tokens, how) = match usage {
        Some((_, output)) => (output, "usage"),
        None => (with_text as u64, "events of the stream"),
    };
    if let Some((input, _)) = usage.filter(|(input, _)| *input != asked.input_tokens) {
        return Err(counts("prompt", asked.input_tokens, input, how));
    }
    if output_tokens != asked.output_tokens {
        return Err(counts("output", asked.output_tokens, output_tokens, how));
    }
    match finish.as_deref() {
        Some("length") => {}
        other => {
            let other = other.unwrap_or("none");
            return Err(content(format!("request {request}: expected the finish reason length, found {other}")));
        }
    }
    let input_tokens = usage.map(|(input, _)| input);
    Ok(Counted { input_tokens, output_tokens, by_usage: usage.is_some(), characters, events: with_text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked { url: "http://a", request: 2, input_tokens: 8, output_tokens: 2 };

    fn said(events: &[&str]) -> Result<Counted, HttpError> {
        let text: String = events.iter().map(|event| format!("data: {event}\r\n\r\n")).collect();
        read(text.as_bytes(), ASKED)
    }

    const ONE: &str = r#"{"choices":[{"text":"ab","finish_reason":null}]}"#;
    const LAST: &str = r#"{"choices":[{"text":"cé","finish_reason":"length"}]}"#;

    #[test]
    fn counts_come_from_usage_or_else_from_events() {
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}"#;
        let counted = said(&[ONE, LAST, usage, "[DONE]"]).unwrap();
        assert_eq!((counted.input_tokens, counted.output_tokens, counted.by_usage), (Some(8), 2, true));
        assert_eq!((counted.characters, counted.events), (4, 2));
        let counted = said(&[ONE, LAST, "[DONE]"]).unwrap();
        assert_eq!((counted.input_tokens, counted.output_tokens, counted.by_usage), (None, 2, false));
    }

    #[test]
    fn what_is_not_as_asked_is_told_with_both_numbers() {
        let error = |events: &[&str]| said(events).unwrap_err().to_string();
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
        assert!(
            error(&[ONE, LAST, usage, "[DONE]"])
                .contains("request 2: 8 prompt tokens were asked for, the server counts 9 (by usage)")
        );
        assert!(error(&[LAST, "[DONE]"]).contains("2 output tokens were asked for, the server counts 1 (by events"));
        assert!(error(&[ONE, LAST]).contains("ended after 2 events without `[DONE]`"));
        assert!(error(&[ONE, ONE, "[DONE]"]).contains("expected the finish reason length, found none"));
        assert!(error(&[r#"{"error":{"message":"out of blocks"}}"#]).contains("out of blocks"));
        assert!(error(&["{nonsense"]).contains("is no JSON"));
    }
}
