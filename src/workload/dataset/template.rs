//! Chat templates: Jinja as `transformers` renders it.
//!
//! What templates of the hub use beyond plain Jinja is here: Python's methods of texts and lists, `raise_exception`,
//! `strftime_now`, `tojson` as Python's `json` writes it, loop controls, trimmed blocks. `{% generation %}`, which marks what to
//! train on, is not.
use std::collections::BTreeMap;

use minijinja::{
    Environment, Error, ErrorKind, Value, context,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde},
};
use serde::{Deserialize, Serialize};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

/// The variable that pins `strftime_now`, in seconds since 1970 (<https://reproducible-builds.org/specs/source-date-epoch/>).
const EPOCH_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// A template and the special tokens that it may name.
pub(super) struct Template {
    environment: Environment<'static>,
    tokens: Value,
    pub(super) digest: String,
}

impl Template {
    /// Compiles a template. `tokens` are texts by names such as `bos_token`.
    ///
    /// # Errors
    /// Where it is no Jinja.
    pub(super) fn new(text: &str, tokens: Vec<(String, String)>) -> Result<Self, String> {
        let mut environment = Environment::new();
        let trimmed = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(trimmed.map_err(|error| said(&error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format, now()));
        environment.add_filter("tojson", tojson);
        environment.add_template_owned("chat", text.to_owned()).map_err(|error| said(&error))?;
        let tokens: BTreeMap<String, String> = tokens.into_iter().collect();
        Ok(Self {
            environment,
            tokens: Value::from(Serde(tokens)),
            digest: blake3::hash(text.as_bytes()).to_hex().to_string(),
        })
    }

    /// The prompt: the conversation and the beginning of the answer.
    ///
    /// # Errors
    /// What the template raised.
    pub(super) fn render(&self, messages: &[Message]) -> Result<String, String> {
        let template = self.environment.get_template("chat").map_err(|error| said(&error))?;
        let own = context! { messages => Serde(messages), add_generation_prompt => true, tools => (), documents => () };
        template.render(context! { ..own, ..self.tokens.clone() }).map_err(|error| said(&error))
    }
}

fn said(error: &Error) -> String {
    let line = error.line().map(|line| format!(" on its line {line}")).unwrap_or_default();
    format!("the chat template fails{line}: {error}")
}

/// As Python's `json.dumps` with `ensure_ascii=False`: a blank after each comma and colon, or lines with an indent.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    match indent {
        Some(width) => {
            let blanks = " ".repeat(width);
            let formatter = serde_json::ser::PrettyFormatter::with_indent(blanks.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)).map_err(wrong)?;
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Blanks)).map_err(wrong)?,
    }
    String::from_utf8(out).map(Value::from).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// Python's separators.
struct Blanks;

impl serde_json::ser::Formatter for Blanks {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// Seconds since 1970, in UTC.
fn now() -> u64 {
    let pinned = std::env::var(EPOCH_VARIABLE).ok().and_then(|text| text.parse().ok());
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    pinned.unwrap_or_else(clock)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The directives of `strftime` that templates use.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let text =
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).to_string();
    let field = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let (year, month, day) = (field(0, 4), field(5, 7), field(8, 10));
    let month_name =
        month.parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).copied().unwrap_or("");
    let weekday = DAYS[(seconds / 86_400 % 7) as usize];
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('Y') => out.push_str(year),
            Some('y') => out.push_str(&year[2..]),
            Some('m') => out.push_str(month),
            Some('d') => out.push_str(day),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(month_name.get(..3).unwrap_or_default()),
            Some('A') => out.push_str(weekday),
            Some('a') => out.push_str(&weekday[..3]),
            Some('H') => out.push_str(field(11, 13)),
            Some('M') => out.push_str(field(14, 16)),
            Some('S') => out.push_str(field(17, 19)),
            Some('%') => out.push('%'),
            other => {
                let found = other.map_or("nothing".to_owned(), |c| format!("%{c}"));
                let why = format!("strftime_now knows %Y %y %m %d %B %b %A %a %H %M %S, found {found}");
                return Err(Error::new(ErrorKind::InvalidOperation, why));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, String> {
        let messages = [
            Message { role: "system".to_owned(), content: " be brief ".to_owned() },
            Message { role: "user".to_owned(), content: "hi \"you\" <b>é".to_owned() },
        ];
        Template::new(template, vec![("bos_token".to_owned(), "<s>".to_owned())])?.render(&messages)
    }

    #[test]
    fn conversations_become_prompts() {
        let template = "{{ bos_token }}{% for m in messages %}\n    {% if loop.first %}\n[{{ m['content'].strip() }}]\n    \
                        {% continue %}{% endif %}\n{{ m.role | upper }}: {{ m.content }}\n{% endfor %}\n\
                        {% if add_generation_prompt and not tools %}>{% endif %}";
        assert_eq!(render(template).unwrap(), "<s>[be brief]\nUSER: hi \"you\" <b>é\n>");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let found = render("{{ messages[1] | tojson }} {{ {'a': [1, none]} | tojson(indent=2) }}").unwrap();
        assert_eq!(
            found,
            "{\"role\": \"user\", \"content\": \"hi \\\"you\\\" <b>é\"} {\n  \"a\": [\n    1,\n    null\n  ]\n}"
        );
    }

    #[test]
    fn what_a_template_raises_is_told() {
        assert!(render("{{ raise_exception('no system role') }}").unwrap_err().contains("no system role"));
        assert!(render("{% if %}").unwrap_err().contains("line 1"));
        assert!(render("{{ strftime_now('%j') }}").unwrap_err().contains("%j"));
    }

    #[test]
    fn dates_are_written_as_strftime_does() {
        // `date -u -d @1722000000 '+%A %d %B %Y %b %y %H:%M:%S'`
        assert_eq!(
            strftime("%A %d %B %Y %b %y %H:%M:%S %%", 1_722_000_000).unwrap(),
            "Friday 26 July 2024 Jul 24 13:20:00 %"
        );
    }
}
