//! Small tables, made row by row: a list of columns, each with where its value lies. [`super::cell_files`] writes them.
use std::borrow::Cow;

use super::schema::{Column, Kind};

/// A value, or its absence.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Int(u64),
    Float(f64),
    Bool(bool),
    Text(String),
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Int(u64::from(value))
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Cell {
    /// What is no number is missing.
    fn from(value: f64) -> Self {
        if value.is_finite() { Self::Float(value) } else { Self::Null }
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Cell {
    pub(super) fn csv(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Int(value) => value.to_string().into(),
            Self::Float(value) => value.to_string().into(),
            Self::Bool(value) => value.to_string().into(),
            Self::Text(value) => Cow::Borrowed(value),
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Bool(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
        }
    }
}

/// A column and where its value lies in `R`, which may borrow for `'f`.
pub(super) struct CellColumn<'f, R: ?Sized> {
    pub(super) column: Column,
    pub(super) get: Box<dyn Fn(&R) -> Cell + 'f>,
}

/// A column that may be null.
pub(super) fn nullable<'f, R: ?Sized, C: Into<Cell>>(
    name: impl Into<Cow<'static, str>>,
    kind: Kind,
    unit: &'static str,
    doc: impl Into<Cow<'static, str>>,
    get: impl Fn(&R) -> C + 'f,
) -> CellColumn<'f, R> {
    let column = Column { name: name.into(), kind, unit, nullable: true, doc: doc.into() };
    CellColumn { column, get: Box::new(move |row| get(row).into()) }
}

/// A column that is never null.
pub(super) fn required<'f, R: ?Sized, C: Into<Cell>>(
    name: impl Into<Cow<'static, str>>,
    kind: Kind,
    unit: &'static str,
    doc: impl Into<Cow<'static, str>>,
    get: impl Fn(&R) -> C + 'f,
) -> CellColumn<'f, R> {
    let mut made = nullable(name, kind, unit, doc, get);
    made.column.nullable = false;
    made
}
