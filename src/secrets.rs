//! What must never stand in a log, a journal, a report or `run.json`: tokens, keys and passwords.
//!
//! A cell gets no variable whose name says that it holds one; text that is stored is searched for the values of those that
//! this program itself was given.
use std::ffi::OsStr;

/// Stands where a secret stood.
pub const NOT_KEPT: &str = "(not kept)";
/// Words by which a variable's or an option's name tells that it holds a secret; a word ends at `_`, `-` or `.`.
const WORDS: &[&str] = &["TOKEN", "KEY", "KEYS", "PASS", "PWD", "PAT", "CREDENTIAL", "CREDENTIALS"];
/// As [`WORDS`], at the end of a word too: `PGPASSWORD`.
const ENDINGS: &[&str] = &["APIKEY", "SECRET", "SECRETS", "PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE"];
/// Folders, of every shell.
const OPEN: &[&str] = &["PWD", "OLDPWD"];
/// A shorter value would be found by chance, inside of words that are no secret.
pub(crate) const SHORTEST: usize = 8;

/// Whether a variable of that name holds a secret: `HF_TOKEN`, `AWS_SECRET_ACCESS_KEY`, `AWS_ACCESS_KEY_ID`; not
/// `TOKENIZERS_PARALLELISM`.
pub fn is_secret_name(name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref().to_string_lossy().to_ascii_uppercase();
    let tells = |word: &str| WORDS.contains(&word) || ENDINGS.iter().any(|ending| word.ends_with(ending));
    !OPEN.contains(&name.as_str()) && name.split(['_', '-', '.']).any(tells)
}

/// Whether an engine's option of that name would carry a secret. Narrower: `eos_token` is none.
pub fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.replace('-', "_");
    let exact = ["token", "hf_token", "auth_token", "access_token", "use_auth_token", "secret", "password"];
    exact.contains(&name.as_str()) || name.ends_with("api_key") || name.ends_with("secret_key")
}

/// Whether an option of an engine carries a secret, by its name, by the name of anything in its value, or by a value that
/// [`redact`] knows. Names in capitals are variables, which engines take as options.
pub fn carries_secret(name: &str, value: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    let by_name = is_secret_option(name) || (!name.chars().any(char::is_lowercase) && is_secret_name(name));
    by_name
        || match value {
            Json::Object(table) => table.iter().any(|(name, value)| carries_secret(name, value)),
            Json::Array(values) => values.iter().any(|value| carries_secret("", value)),
            Json::String(text) => redact(text) != *text,
            _ => false,
        }
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
        for secret in [
            "HF_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "DB_PASSWORD",
            "openai_api_key",
            "TOKEN",
            "PGPASSWORD",
            "MYSQL_PWD",
            "DB_PASS",
            "GH_PAT",
            "SSH_PASSPHRASE",
        ] {
            assert!(is_secret_name(secret), "{secret}");
        }
        for open in ["TOKENIZERS_PARALLELISM", "HOME", "KEYBOARD", "VLLM_MAX_TOKENS", "TACHO_SEED", "PATH", "PWD"] {
            assert!(!is_secret_name(open), "{open}");
        }
        assert!(is_secret_option("hf_token") && is_secret_option("x-api-key") && !is_secret_option("eos_token"));
    }

    #[test]
    fn an_option_tells_by_its_name_by_names_inside_and_by_its_value() {
        let json = |text: &str| serde_json::from_str(text).unwrap();
        for (name, value) in [
            ("AWS_SECRET_ACCESS_KEY", "1"),
            ("AWS_SESSION_TOKEN", "1"),
            ("HUGGING_FACE_HUB_TOKEN", "1"),
            ("loader", r#"{"extra": {"api_key": 1}}"#),
            ("loader", r#"[{"env": {"PGPASSWORD": 1}}]"#),
            ("endpoint", r#"{"url": "http://me:word@host"}"#),
        ] {
            assert!(carries_secret(name, &json(value)), "{name} {value}");
        }
        for (name, value) in
            [("eos_token", "1"), ("VLLM_MAX_TOKENS", "1"), ("rope", r#"{"key": "x", "url": "http://h"}"#)]
        {
            assert!(!carries_secret(name, &json(value)), "{name} {value}");
        }
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
