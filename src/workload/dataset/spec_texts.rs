//! A dataset's keys as people write their values.
use super::spec::{Columns, Filter, Format, Wrong};
use crate::{plan::scalar, workload::ThinkTime};

pub(super) fn format(text: &str) -> Result<Option<Format>, Wrong> {
    Ok(Some(match text {
        "auto" => return Ok(None),
        "sharegpt" => Format::Sharegpt,
        "chat" => Format::Chat,
        "completion" => Format::Completion,
        "code_debug" => Format::CodeDebug,
        other => {
            let why = format!("expected auto, sharegpt, chat, completion or code_debug, found '{other}'");
            return Err(("format", why));
        }
    }))
}

pub(super) fn turns(text: &str) -> Result<Option<u32>, Wrong> {
    match text {
        "first" => Ok(None),
        "all" => Ok(Some(u32::MAX)),
        _ => match text.parse() {
            Ok(most @ 1..) => Ok(Some(most)),
            _ => Err(("turns", format!("expected first, all, or the most turns of a conversation, found '{text}'"))),
        },
    }
}

pub(super) fn think_time(text: &str) -> Result<ThinkTime, Wrong> {
    let time = |text: &str| match text.trim() {
        "0" | "0s" | "0ms" => Ok(0),
        // Of seconds or, as other tools have it, of milliseconds?
        text if text.parse::<f64>().is_ok() => {
            Err(("think_time", format!("expected a time with its unit, such as 500ms or 2s, found '{text}'")))
        }
        text => scalar::duration(text).map(|time| time.as_nanos() as u64).map_err(|problem| ("think_time", problem)),
    };
    match text.split_once(':') {
        None => Ok(ThinkTime::Fixed { ns: time(text)? }),
        Some(("exponential", mean)) => Ok(ThinkTime::Exponential { mean_ns: time(mean)? }),
        Some((other, _)) => {
            Err(("think_time", format!("expected a time or exponential:TIME, found the distribution '{other}'")))
        }
    }
}

/// `name=value` pairs, separated by commas.
fn pairs(key: &'static str, text: &str) -> Result<Vec<(String, String)>, Wrong> {
    text.split(',')
        .map(|part| match part.split_once('=') {
            Some((name, value)) if !value.trim().is_empty() => {
                Ok((name.trim().replace('-', "_"), value.trim().to_owned()))
            }
            _ => Err((key, format!("expected NAME=VALUE, several separated by commas, found '{part}'"))),
        })
        .collect()
}

pub(super) fn columns(text: &str) -> Result<Columns, Wrong> {
    let mut columns = Columns::default();
    for (name, value) in pairs("columns", text)? {
        let place = match name.as_str() {
            "prompt" => &mut columns.prompt,
            "messages" => &mut columns.messages,
            "reply" => &mut columns.reply,
            "output_tokens" => &mut columns.output_tokens,
            "id" => &mut columns.id,
            other => {
                let why = format!("expected prompt, messages, reply, output_tokens or id before '=', found '{other}'");
                return Err(("columns", why));
            }
        };
        *place = Some(value);
    }
    Ok(columns)
}

pub(super) fn filter(text: &str) -> Result<Filter, Wrong> {
    let mut filter = match text {
        // What these tools leave out of a ShareGPT file by default.
        "vllm" => {
            return Ok(Filter {
                min_prompt_len: Some(4),
                max_prompt_len: Some(1024),
                min_output_len: Some(4),
                max_output_len: None,
                max_total_len: Some(2048),
            });
        }
        "sglang" => {
            return Ok(Filter {
                min_prompt_len: Some(2),
                max_prompt_len: Some(1024),
                min_output_len: Some(2),
                max_output_len: None,
                max_total_len: Some(2048),
            });
        }
        _ => Filter::default(),
    };
    for (name, value) in pairs("filter", text)? {
        let place = match name.as_str() {
            "min_prompt_len" => &mut filter.min_prompt_len,
            "max_prompt_len" => &mut filter.max_prompt_len,
            "min_output_len" => &mut filter.min_output_len,
            "max_output_len" => &mut filter.max_output_len,
            "max_total_len" => &mut filter.max_total_len,
            other => {
                let why = format!(
                    "expected vllm, sglang, or bounds by the names min-prompt-len, max-prompt-len, min-output-len, \
                     max-output-len, max-total-len, found '{other}'"
                );
                return Err(("filter", why));
            }
        };
        let number = value.parse().map_err(|_| ("filter", format!("expected {name} in tokens, found '{value}'")))?;
        *place = Some(number);
    }
    Ok(filter)
}
