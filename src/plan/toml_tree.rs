//! A TOML tree with the place of everything in it, read one typed value at a time.
use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    PlanError,
    origin::{Origin, Source, suggest},
};

/// A value in the tree.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    source: &'a Source,
    value: &'a Spanned<DeValue<'a>>,
}

/// A key with its value.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a str,
    key_at: (&'a Source, usize, usize),
    pub(crate) value: Node<'a>,
}

/// Reads the text into a tree.
pub(crate) fn tree(source: &Source) -> Result<Spanned<DeTable<'_>>, PlanError> {
    DeTable::parse(source.text()).map_err(|error| {
        let at = source.place(error.span().unwrap_or(0..0));
        PlanError::at(&at, format!("this is not TOML: {}", error.message()))
    })
}

/// The entries of a table in the order of the file.
pub(crate) fn entries<'a>(source: &'a Source, table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref(),
            key_at: (source, key.span().start, key.span().end),
            value: Node { source, value },
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_at.1);
    entries
}

impl<'a> Entry<'a> {
    /// The key's place.
    pub(crate) fn at(&self) -> Origin {
        let (source, start, end) = self.key_at;
        source.place(start..end)
    }

    /// The error for a key that does not belong here.
    pub(crate) fn unknown(&self, table: &str, known: &[&str]) -> PlanError {
        PlanError::at(&self.at(), format!("unknown key '{}' in {table}", self.key)).help(suggest(
            self.key,
            known.iter().copied(),
            "keys",
        ))
    }
}

impl<'a> Node<'a> {
    pub(crate) fn at(&self) -> Origin {
        self.source.place(self.value.span())
    }

    pub(crate) fn wrong(&self, expected: &str) -> PlanError {
        PlanError::at(&self.at(), format!("expected {expected}, found {}", self.kind()))
    }

    fn kind(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) => format!("the text \"{text}\""),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    pub(crate) fn str(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    pub(crate) fn text(&self, expected: &str) -> Result<&'a str, PlanError> {
        self.str().ok_or_else(|| self.wrong(expected))
    }

    /// The number as it would stand in a list on the command line, or the text.
    pub(crate) fn scalar(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            _ => None,
        }
    }

    /// A whole number from 0 on.
    pub(crate) fn whole<T: TryFrom<u64>>(&self, expected: &str) -> Result<T, PlanError> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.wrong(expected))
    }

    pub(crate) fn number(&self, expected: &str) -> Result<f64, PlanError> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(expected))
    }

    pub(crate) fn list(&self) -> Option<Vec<Node<'a>>> {
        let items = self.value.get_ref().as_array()?;
        Some(items.iter().map(|value| Node { source: self.source, value }).collect())
    }

    pub(crate) fn table(&self) -> Option<Vec<Entry<'a>>> {
        self.value.get_ref().as_table().map(|table| entries(self.source, table))
    }

    pub(crate) fn entries(&self, expected: &str) -> Result<Vec<Entry<'a>>, PlanError> {
        self.table().ok_or_else(|| self.wrong(expected))
    }

    /// The same value as JSON; dates become text.
    pub(crate) fn json(&self) -> Result<Json, PlanError> {
        Ok(match self.value.get_ref() {
            DeValue::String(text) => Json::from(text.as_ref()),
            DeValue::Boolean(value) => Json::from(*value),
            DeValue::Datetime(date) => Json::from(date.to_string()),
            DeValue::Integer(number) => {
                let (text, radix) = (number.as_str(), number.radix());
                let signed = i64::from_str_radix(text, radix).map(Json::from);
                signed
                    .or_else(|_| u64::from_str_radix(text, radix).map(Json::from))
                    .map_err(|_| self.wrong("a number of at most 64 bits"))?
            }
            DeValue::Float(number) => {
                let finite = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
                Json::Number(finite.ok_or_else(|| self.wrong("a finite number"))?)
            }
            DeValue::Array(_) => {
                Json::Array(self.list().unwrap_or_default().iter().map(Self::json).collect::<Result<_, _>>()?)
            }
            DeValue::Table(_) => {
                let entries = self.table().unwrap_or_default();
                let pairs = entries.iter().map(|entry| Ok((entry.key.to_owned(), entry.value.json()?)));
                Json::Object(pairs.collect::<Result<_, PlanError>>()?)
            }
        })
    }
}
