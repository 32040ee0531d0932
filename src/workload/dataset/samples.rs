//! Records to prompts: which text is asked, which text answered.
use serde_json::Value;

use super::{
    records::Record,
    spec::{Columns, DatasetSpec, Format, Kind},
    template::Message,
};

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prompt {
    /// One text.
    Text(String),
    /// A conversation.
    Messages(Vec<Message>),
}

/// A record as a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// Where it stands, for messages.
    pub(super) place: String,
    /// What tells it from others, where the data say.
    pub(super) id: Option<String>,
    pub(super) prompt: Prompt,
    /// The answer in the data: its length is the output length.
    pub(super) reply: Option<String>,
    /// The output length, where the data say it in tokens.
    pub(super) output_tokens: Option<u32>,
}

/// Why a record cannot be used: a short name by which such are counted, and a sentence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unusable {
    pub(super) why: &'static str,
    pub(super) problem: String,
}

pub(super) fn unusable(why: &'static str, problem: impl Into<String>) -> Unusable {
    Unusable { why, problem: problem.into() }
}

/// The usual names of columns, tried in order.
const CONVERSATIONS: &[&str] = &["conversations", "conversation"];
const MESSAGES: &[&str] = &["messages", "conversation", "conversations"];
const PROMPTS: &[&str] = &["prompt", "question", "instruction", "text", "input"];
const REPLIES: &[&str] = &["completion", "response", "answer", "output"];
const LENGTHS: &[&str] = &["output_tokens", "output_len", "max_tokens"];
const IDS: &[&str] = &["id"];

/// The format of a dataset, by its kind or by its first record.
///
/// # Errors
/// A sentence that says which columns there are.
pub(super) fn format(spec: &DatasetSpec, first: &Record) -> Result<Format, String> {
    if let Some(format) = spec.format {
        return Ok(format);
    }
    match spec.kind {
        Kind::Sharegpt => return Ok(Format::Sharegpt),
        Kind::CodeDebug => return Ok(Format::CodeDebug),
        Kind::Chat => return Ok(Format::Chat),
        _ => {}
    }
    if spec.columns.messages.is_some() {
        return Ok(Format::Chat);
    }
    if spec.columns.prompt.is_some() {
        return Ok(Format::Completion);
    }
    let has = |names: &[&str]| names.iter().any(|name| get(&first.value, name).is_some());
    let listed = |names: &[&str]| names.iter().any(|name| get(&first.value, name).is_some_and(Value::is_array));
    if has(&["context"]) && has(&["input"]) && has(&["options"]) {
        Ok(Format::CodeDebug)
    } else if listed(&["conversations"]) {
        Ok(Format::Sharegpt)
    } else if listed(MESSAGES) {
        Ok(Format::Chat)
    } else if has(PROMPTS) {
        Ok(Format::Completion)
    } else {
        Err(format!(
            "{}: no column is known to hold prompts; it has {}: name one by --dataset-columns prompt=NAME or messages=NAME",
            first.place,
            keys(&first.value)
        ))
    }
}

/// Reads a record; as a whole conversation where its turns will be requests.
///
/// # Errors
/// [`Unusable`], without the place.
pub(super) fn sample(record: Record, format: Format, columns: &Columns, turns: bool) -> Result<Sample, Unusable> {
    let Record { place, value } = record;
    if !value.is_object() {
        return Err(unusable("not an object", format!("expected a JSON object, found {}", kind(&value))));
    }
    let id = match column(&value, &columns.id, IDS) {
        Some(Value::String(id)) => Some(id.clone()),
        Some(Value::Number(id)) => Some(id.to_string()),
        _ => None,
    };
    let (prompt, reply) = match format {
        Format::Sharegpt if turns => (Prompt::Messages(messages(&value, &columns.messages, CONVERSATIONS)?), None),
        Format::Chat if turns => (Prompt::Messages(messages(&value, &columns.messages, MESSAGES)?), None),
        _ if turns => return Err(unusable("no conversation", "it is a single prompt: leave out --dataset-turns")),
        Format::Sharegpt => sharegpt(&value, columns)?,
        Format::Chat => chat(&value, columns)?,
        Format::Completion => completion(&value, columns)?,
        Format::CodeDebug => code_debug(&value)?,
    };
    let output_tokens = match column(&value, &columns.output_tokens, LENGTHS) {
        None | Some(Value::Null) => None,
        Some(length) => Some(tokens(length)?),
    };
    let blank = match &prompt {
        Prompt::Text(text) => text.trim().is_empty(),
        Prompt::Messages(messages) => messages.iter().all(|message| message.content.trim().is_empty()),
    };
    if blank {
        return Err(unusable("empty prompt", "its prompt is empty"));
    }
    Ok(Sample { place, id, prompt, reply: reply.filter(|reply| !reply.is_empty()), output_tokens })
}

fn sharegpt(value: &Value, columns: &Columns) -> Result<(Prompt, Option<String>), Unusable> {
    let turns = messages(value, &columns.messages, CONVERSATIONS)?;
    let asked = turns.iter().position(|turn| turn.role == "user");
    let asked = asked.ok_or_else(|| unusable("no user's turn", "its conversation has no turn of a user (human)"))?;
    let reply = turns.get(asked + 1).filter(|turn| turn.role == "assistant").map(|turn| turn.content.clone());
    Ok((Prompt::Text(turns[asked].content.clone()), reply))
}

fn chat(value: &Value, columns: &Columns) -> Result<(Prompt, Option<String>), Unusable> {
    let mut turns = messages(value, &columns.messages, MESSAGES)?;
    let reply = turns.pop_if(|turn| turn.role == "assistant").map(|turn| turn.content);
    if !turns.iter().any(|turn| turn.role == "user") {
        return Err(unusable("no user's turn", "its conversation has no turn of a user"));
    }
    let named = columns.reply.as_deref().and_then(|name| get(value, name)).and_then(Value::as_str);
    Ok((Prompt::Messages(turns), named.map(str::to_owned).or(reply)))
}

fn completion(value: &Value, columns: &Columns) -> Result<(Prompt, Option<String>), Unusable> {
    let prompt = column(value, &columns.prompt, PROMPTS).ok_or_else(|| missing(value, &columns.prompt, PROMPTS))?;
    let prompt = prompt
        .as_str()
        .ok_or_else(|| unusable("not a text", format!("expected its prompt as text, found {}", kind(prompt))))?;
    let reply = column(value, &columns.reply, REPLIES).and_then(Value::as_str);
    Ok((Prompt::Text(prompt.to_owned()), reply.map(str::to_owned)))
}

/// The program, the question and the choices, one below the other. InfiniteBench has the answer first in a list.
fn code_debug(value: &Value) -> Result<(Prompt, Option<String>), Unusable> {
    let part = |name: &'static str| {
        get(value, name).and_then(Value::as_str).ok_or_else(|| missing(value, &None, std::slice::from_ref(&name)))
    };
    let mut text = format!("{}\n\n{}", part("context")?, part("input")?);
    let options = get(value, "options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (letter, option) in ('A'..='Z').zip(options.iter().filter_map(Value::as_str)) {
        text.push_str(&format!("\n{letter}. {option}"));
    }
    let answer = get(value, "answer");
    let answer = answer.and_then(|answer| answer.as_str().or_else(|| answer.get(0)?.as_str()));
    Ok((Prompt::Text(text), answer.map(str::to_owned)))
}

/// A conversation: roles by either convention, contents as text or as parts of text.
fn messages(value: &Value, named: &Option<String>, usual: &[&'static str]) -> Result<Vec<Message>, Unusable> {
    let list = column(value, named, usual).ok_or_else(|| missing(value, named, usual))?;
    let list = list
        .as_array()
        .ok_or_else(|| unusable("not a list", format!("expected its conversation as a list, found {}", kind(list))))?;
    if list.is_empty() {
        return Err(unusable("empty conversation", "its conversation is empty"));
    }
    list.iter()
        .enumerate()
        .map(|(number, turn)| {
            let turn_number = number + 1;
            let role = ["role", "from"].iter().find_map(|key| turn.get(key)?.as_str()).ok_or_else(|| {
                let found = keys(turn);
                unusable("missing field", format!("turn {turn_number} has no 'role' or 'from'; it has {found}"))
            })?;
            let content = ["content", "value"].iter().find_map(|key| turn.get(key)).ok_or_else(|| {
                let found = keys(turn);
                unusable("missing field", format!("turn {turn_number} has no 'content' or 'value'; it has {found}"))
            })?;
            let content = content_text(content).ok_or_else(|| {
                unusable("not a text", format!("turn {turn_number} is no text (images and sounds are not supported)"))
            })?;
            Ok(Message { role: role_name(role).to_owned(), content })
        })
        .collect()
}

fn content_text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part.get("text")?.as_str()).collect::<Option<String>>(),
        _ => None,
    }
}

/// By the name that chat templates know.
fn role_name(role: &str) -> &str {
    match role {
        "human" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "model" => "assistant",
        other => other,
    }
}

fn tokens(length: &Value) -> Result<u32, Unusable> {
    let number = match length {
        Value::Number(number) => number.as_u64(),
        // CSV has texts only.
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0).ok_or_else(|| {
        unusable("wrong output length", format!("expected its output length as a number of at least 1, found {length}"))
    })
}

fn column<'a>(value: &'a Value, named: &Option<String>, usual: &[&str]) -> Option<&'a Value> {
    match named {
        Some(name) => get(value, name),
        None => usual.iter().find_map(|name| get(value, name)),
    }
}

/// A field by its name, or by names with dots between them.
fn get<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).or_else(|| name.split_once('.').and_then(|(first, rest)| get(value.get(first)?, rest)))
}

fn missing(value: &Value, named: &Option<String>, usual: &[&str]) -> Unusable {
    let expected = named.as_deref().map_or_else(|| usual.join("' or '"), str::to_owned);
    unusable("missing field", format!("expected a field '{expected}', found {}", keys(value)))
}

fn keys(value: &Value) -> String {
    match value.as_object() {
        Some(object) if object.is_empty() => "no field".to_owned(),
        Some(object) => object.keys().take(12).cloned().collect::<Vec<_>>().join(", "),
        None => kind(value).to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(format: Format, value: Value) -> Result<Sample, Unusable> {
        sample(Record { place: "x:1".to_owned(), value }, format, &Columns::default(), false)
    }

    #[test]
    fn sharegpt_takes_the_first_user_turn_and_its_answer() {
        let turns = json!([{"from": "system", "value": "s"}, {"from": "human", "value": "ask"},
                           {"from": "gpt", "value": "answer"}, {"from": "human", "value": "more"}]);
        let found = read(Format::Sharegpt, json!({"id": "a", "conversations": turns})).unwrap();
        assert_eq!(found.prompt, Prompt::Text("ask".to_owned()));
        assert_eq!((found.reply.as_deref(), found.id.as_deref()), (Some("answer"), Some("a")));
    }

    #[test]
    fn a_chat_is_asked_up_to_its_last_answer() {
        let turns = json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                           {"role": "assistant", "content": "c"}]);
        let found = read(Format::Chat, json!({"messages": turns, "max_tokens": 9})).unwrap();
        let asked = Message { role: "user".to_owned(), content: "ab".to_owned() };
        assert_eq!(found.prompt, Prompt::Messages(vec![asked]));
        assert_eq!((found.reply.as_deref(), found.output_tokens), (Some("c"), Some(9)));
    }

    #[test]
    fn columns_may_lie_inside_of_objects() {
        let columns = Columns { prompt: Some("body.ask".to_owned()), ..Columns::default() };
        let record = Record { place: String::new(), value: json!({"body": {"ask": "hi"}}) };
        assert_eq!(sample(record, Format::Completion, &columns, false).unwrap().prompt, Prompt::Text("hi".to_owned()));
    }

    #[test]
    fn a_program_is_asked_with_its_choices() {
        let value = json!({"context": "code", "input": "which?", "options": ["f", "g"], "answer": ["g", "B"]});
        let found = read(Format::CodeDebug, value).unwrap();
        assert_eq!(found.prompt, Prompt::Text("code\n\nwhich?\nA. f\nB. g".to_owned()));
        assert_eq!(found.reply.as_deref(), Some("g"));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let why = |format, value| read(format, value).unwrap_err().why;
        assert_eq!(why(Format::Sharegpt, json!({"conversations": []})), "empty conversation");
        assert_eq!(why(Format::Sharegpt, json!({"items": []})), "missing field");
        assert_eq!(why(Format::Sharegpt, json!({"conversations": [{"value": "x"}]})), "missing field");
        assert_eq!(why(Format::Sharegpt, json!({"conversations": [{"from": "gpt", "value": "x"}]})), "no user's turn");
        assert_eq!(why(Format::Chat, json!({"messages": [{"role": "user", "content": {"image": 1}}]})), "not a text");
        assert_eq!(why(Format::Completion, json!({"prompt": " "})), "empty prompt");
        assert_eq!(why(Format::Completion, json!({"prompt": "x", "max_tokens": 0})), "wrong output length");
        assert_eq!(why(Format::Completion, json!(["prompt"])), "not an object");
    }
}
