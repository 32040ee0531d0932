//! Where a value came from, and errors that name that place.
use std::{fmt, ops::Range, sync::Arc};

use serde::{Serialize, Serializer};

/// A place in a plan file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named, or `plan quick` for a shipped one.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The whole line.
    text: Arc<str>,
    /// How many characters of it are meant.
    width: usize,
}

/// Where a value came from. The order is that of precedence, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag, such as `--batch`.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A plan file.
    Plan(Place),
    /// Nobody said; the text says how it follows, such as `default` or `default: as many as requests`.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Plan(place) => write!(f, "{}:{}", place.file, place.line),
            Self::Default(how) => f.write_str(how),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value with the place it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub at: Origin,
}

impl<T> Sourced<T> {
    /// A value from that place.
    pub fn new(value: T, at: Origin) -> Self {
        Self { value, at }
    }
}

/// What is wrong with a plan: where, what was expected and found, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    at: Option<Origin>,
    problem: String,
    help: Option<String>,
}

impl PlanError {
    /// A problem with the value from that place.
    pub fn at(at: &Origin, problem: impl Into<String>) -> Self {
        Self { at: Some(at.clone()), problem: problem.into(), help: None }
    }

    /// A problem that has no single place.
    pub fn general(problem: impl Into<String>) -> Self {
        Self { at: None, problem: problem.into(), help: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl std::error::Error for PlanError {}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(Origin::Flag(flag)) => write!(f, "{flag}: {}", self.problem)?,
            Some(Origin::Environment(variable)) => write!(f, "{variable} (environment): {}", self.problem)?,
            Some(Origin::Plan(place)) => {
                write!(f, "{}:{}:{}: {}", place.file, place.line, place.column, self.problem)?;
                let number = place.line.to_string();
                let (indent, lead) = (" ".repeat(number.len()), lead_of(place));
                write!(f, "\n {number} | {}", place.text)?;
                write!(f, "\n {indent} | {lead}{}", "^".repeat(place.width.max(1)))?;
            }
            Some(Origin::Default(_)) | None => f.write_str(&self.problem)?,
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// White space as wide as what stands before the place: tabs stay tabs.
fn lead_of(place: &Place) -> String {
    place.text.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect()
}

/// A plan's text under the name by which errors call it.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    text: String,
}

impl Source {
    /// A text under that name.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of the bytes of `span`.
    pub fn place(&self, span: Range<usize>) -> Origin {
        let start = floor(&self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let rest = &self.text[line_start..];
        let line_end = line_start + rest.find('\n').unwrap_or(rest.len());
        let end = floor(&self.text, span.end).clamp(start, line_end.max(start));
        let text = self.text[line_start..line_end.max(line_start)].trim_end_matches('\r');
        Origin::Plan(Place {
            file: Arc::clone(&self.name),
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            text: text.into(),
            width: self.text[start..end].chars().count(),
        })
    }
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// `did you mean 'x'?` when one of the known words is near enough, otherwise all of them.
pub(crate) fn suggest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>, what: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|word| (strsim::jaro_winkler(found, word), word))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, word)) => format!("did you mean '{word}'?"),
        None if known.is_empty() => format!("there are no {what} here"),
        None => format!("known {what}: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let source = Source::new("p.toml", "a = 1\r\n\tß = [2]\n");
        let error = PlanError::at(&source.place(13..16), "no").help("yes").to_string();
        assert_eq!(error, "p.toml:2:6: no\n 2 | \tß = [2]\n   | \t    ^^^\n  help: yes");
    }

    #[test]
    fn a_place_past_the_end_is_no_panic() {
        let source = Source::new("p.toml", "x\n");
        let Origin::Plan(place) = source.place(90..99) else { panic!() };
        assert_eq!((place.line, place.column), (2, 1));
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_listed() {
        assert_eq!(suggest("batchs", ["batch", "input"], "axes"), "did you mean 'batch'?");
        assert_eq!(suggest("zzz", ["batch", "input"], "axes"), "known axes: batch, input");
    }
}
