//! What must never stand in a log, a journal, a report or `run.json`: tokens, keys and passwords.
//!
//! A cell gets no variable whose name says that it holds one; text that is stored is searched for the values of those that
//! this program itself was given.
use std::ffi::OsStr;

/// Stands where a secret stood.
pub const NOT_KEPT: &str = "(not kept)";
/// Words by which a variable's or an option's name tells that it holds a secret; a word ends at `_`, `-` or `.`.
const WORDS: &[&str] = &["TOKEN", "KEY", "APIKEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "CREDENTIALS"];
/// A shorter value would be found by chance, inside of words that are no secret.
const SHORTEST: usize = 8;

/// Whether a variable of that name holds a secret: `HF_TOKEN`, `AWS_SECRET_ACCESS_KEY`, `AWS_ACCESS_KEY_ID`; not
/// `TOKENIZERS_PARALLELISM`.
pub fn is_secret_name(name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref().to_string_lossy().to_ascii_uppercase();
    name.split(['_', '-', '.']).any(|word| WORDS.contains(&word))
}

/// Whether an engine's option of that name would carry a secret. Narrower: `eos_token` is none.
pub fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.replace('-', "_");
    let exact = ["token", "hf_token", "auth_token", "access_token", "use_auth_token", "secret", "password"];
    exact.contains(&name.as_str()) || name.ends_with("api_key") || name.ends_with("secret_key")
}

/// `text` without the values of this process's secret variables, and without passwords in URLs.
pub fn redact(text: &str) -> String {
    let mut secrets: Vec<String> = std::env::vars_os()
        .filter(|(name, _)| is_secret_name(name))
        .filter_map(|(_, value)| value.into_string().ok())
        .collect();
    // The longer first: one may be the beginning of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    redact_values(text, &secrets)
}

fn redact_values(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(|secret| secret.trim()).filter(|secret| secret.len() >= SHORTEST) {
        if text.contains(secret) {
            text = text.replace(secret, NOT_KEPT);
        }
    }
    without_passwords(&text)
}

/// `http://me:word@host` → `http://(not kept)@host`.
fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                out.push_str(NOT_KEPT);
                &after[at..]
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// A command line without secrets: what [`redact`] finds, and the value of any `NAME=VALUE` or `--name VALUE` whose name tells.
pub fn redact_command(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut hide_next = false;
    let mut kept = Vec::new();
    for argument in arguments {
        if std::mem::take(&mut hide_next) && !argument.starts_with("--") {
            kept.push(NOT_KEPT.to_owned());
            continue;
        }
        let telling =
            |name: &str| is_secret_option(name.trim_start_matches('-').rsplit(['.', '=']).next().unwrap_or(name));
        match argument.rsplit_once('=') {
            Some((name, _)) if telling(name) || is_environment_secret(name) => {
                kept.push(format!("{name}={NOT_KEPT}"));
            }
            None if argument.starts_with("--") && telling(&argument) => {
                hide_next = true;
                kept.push(argument);
            }
            _ => kept.push(redact(&argument)),
        }
    }
    kept
}

/// `HF_TOKEN`, as in `env HF_TOKEN=…`.
fn is_environment_secret(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') && is_secret_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        for secret in
            ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "openai_api_key", "TOKEN"]
        {
            assert!(is_secret_name(secret), "{secret}");
        }
        for open in ["TOKENIZERS_PARALLELISM", "HOME", "KEYBOARD", "VLLM_MAX_TOKENS", "TACHO_SEED"] {
            assert!(!is_secret_name(open), "{open}");
        }
        assert!(is_secret_option("hf_token") && is_secret_option("x-api-key") && !is_secret_option("eos_token"));
    }

    #[test]
    fn values_and_passwords_are_taken_out_of_text() {
        let secrets = ["hf_0123456789".to_owned(), "short".to_owned()];
        assert_eq!(redact_values("got hf_0123456789, short", &secrets), "got (not kept), short");
        let url = "get https://me:pass@host/x@y and http://host/a, ftp://u@h";
        assert_eq!(redact_values(url, &[]), "get https://(not kept)@host/x@y and http://host/a, ftp://(not kept)@h");
    }

    #[test]
    fn a_command_line_keeps_all_but_secrets() {
        let line =
            ["tacho", "run", "--engine-option=vllm.hf_token=abc", "HF_TOKEN=abc", "--token", "abc", "--batch", "1"];
        let kept = redact_command(line.map(str::to_owned));
        assert!(!kept.join(" ").contains("abc"), "{kept:?}");
        assert_eq!(&kept[kept.len() - 2..], ["--batch", "1"]);
    }
}
