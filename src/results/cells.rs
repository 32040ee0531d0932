//! Small tables, made row by row: a list of columns, each with where its value lies; written as Parquet, CSV and JSON.
use std::{borrow::Cow, path::Path, sync::Arc};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use parquet::{arrow::ArrowWriter, errors::ParquetError};

use super::{
    ResultsError,
    encode::properties,
    files::replace,
    schema::{Column, Kind, arrow},
};

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
    fn csv(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Int(value) => value.to_string().into(),
            Self::Float(value) => value.to_string().into(),
            Self::Bool(value) => value.to_string().into(),
            Self::Text(value) => Cow::Borrowed(value),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Bool(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
        }
    }
}

/// A column and where its value lies in `R`.
pub(super) struct CellColumn<R: ?Sized> {
    pub(super) column: Column,
    pub(super) get: Box<dyn Fn(&R) -> Cell>,
}

/// A column that may be null.
pub(super) fn nullable<R: ?Sized, C: Into<Cell>>(
    name: impl Into<Cow<'static, str>>,
    kind: Kind,
    unit: &'static str,
    doc: impl Into<Cow<'static, str>>,
    get: impl Fn(&R) -> C + 'static,
) -> CellColumn<R> {
    let column = Column { name: name.into(), kind, unit, nullable: true, doc: doc.into() };
    CellColumn { column, get: Box::new(move |row| get(row).into()) }
}

/// A column that is never null.
pub(super) fn required<R: ?Sized, C: Into<Cell>>(
    name: impl Into<Cow<'static, str>>,
    kind: Kind,
    unit: &'static str,
    doc: impl Into<Cow<'static, str>>,
    get: impl Fn(&R) -> C + 'static,
) -> CellColumn<R> {
    let mut made = nullable(name, kind, unit, doc, get);
    made.column.nullable = false;
    made
}

/// The table as an array of objects.
pub(super) fn write_json<R>(path: &Path, columns: &[CellColumn<R>], rows: &[R]) -> Result<(), ResultsError> {
    let mut text = String::from("[");
    for (index, row) in rows.iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        // By hand around the values, so that fields stand in the order of the columns.
        for (place, column) in columns.iter().enumerate() {
            text.push_str(if place == 0 { "{" } else { ", " });
            let name = serde_json::Value::from(column.column.name.as_ref());
            text.push_str(&format!("{name}: {}", (column.get)(row).json()));
        }
        text.push('}');
    }
    text.push_str("\n]\n");
    replace(path, text.as_bytes())
}

/// The table with a header; a missing value is an empty field.
pub(super) fn write_csv<R>(path: &Path, columns: &[CellColumn<R>], rows: &[R]) -> Result<(), ResultsError> {
    let failed = |error: csv::Error| ResultsError::io(path, "write")(error.into());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| column.column.name.as_bytes())).map_err(failed)?;
    for row in rows {
        let cells: Vec<Cell> = columns.iter().map(|column| (column.get)(row)).collect();
        writer.write_record(cells.iter().map(|cell| cell.csv().into_owned())).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| ResultsError::io(path, "write")(error.into_error()))?;
    replace(path, &bytes)
}

/// The table as Parquet.
pub(super) fn write_parquet<R>(path: &Path, columns: &[CellColumn<R>], rows: &[R]) -> Result<(), ResultsError> {
    let described: Vec<Column> = columns.iter().map(|column| column.column.clone()).collect();
    let schema = arrow(&described);
    let arrays =
        columns.iter().map(|column| array(column.column.kind, rows.iter().map(&*column.get).collect())).collect();
    let encode = || -> Result<Vec<u8>, ParquetError> {
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties(&described).build()))?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    replace(path, &encode().map_err(ResultsError::table(path, "encode"))?)
}

fn array(kind: Kind, cells: Vec<Cell>) -> ArrayRef {
    let int = |cell: &Cell| if let Cell::Int(value) = cell { Some(*value) } else { None };
    match kind {
        Kind::U32 => Arc::new(
            cells.iter().map(|cell| int(cell).and_then(|value| u32::try_from(value).ok())).collect::<UInt32Array>(),
        ),
        Kind::U64 => Arc::new(cells.iter().map(int).collect::<UInt64Array>()),
        Kind::F64 => Arc::new(
            cells
                .iter()
                .map(|cell| if let Cell::Float(value) = cell { Some(*value) } else { None })
                .collect::<Float64Array>(),
        ),
        Kind::Bool => Arc::new(
            cells
                .iter()
                .map(|cell| if let Cell::Bool(value) = cell { Some(*value) } else { None })
                .collect::<BooleanArray>(),
        ),
        Kind::Text => Arc::new(
            cells
                .iter()
                .map(|cell| if let Cell::Text(value) = cell { Some(value.as_str()) } else { None })
                .collect::<StringArray>(),
        ),
    }
}
