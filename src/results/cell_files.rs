//! Writes small tables as Parquet, CSV and JSON, a row at a time: what is in memory does not grow with the table.
use std::{
    borrow::Borrow,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::SchemaRef;
use parquet::{arrow::ArrowWriter, errors::ParquetError};

use super::{
    ResultsError,
    cells::{Cell, CellColumn},
    encode::properties,
    files::Replacement,
    schema::{Column, Kind, arrow},
};

/// Rows that are turned into columns at a time.
const BATCH: usize = 1 << 10;
/// Rows of a row group: few, as these tables have many columns.
const ROW_GROUP: usize = 1 << 15;

/// Writes a table into files, each in the form that its extension names: `parquet`, `csv`, or else JSON. Each replaces
/// its predecessor when the table is whole.
pub(super) fn write<R>(
    paths: &[PathBuf],
    columns: &[CellColumn<'_, R>],
    rows: impl IntoIterator<Item: Borrow<R>>,
) -> Result<(), ResultsError> {
    let described: Vec<Column> = columns.iter().map(|column| column.column.clone()).collect();
    let mut files =
        paths.iter().map(|path| TableFile::create(path, &described)).collect::<Result<Vec<TableFile>, _>>()?;
    let mut cells = Vec::with_capacity(columns.len());
    for row in rows {
        cells.clear();
        cells.extend(columns.iter().map(|column| (column.get)(row.borrow())));
        for file in &mut files {
            file.row(&cells)?;
        }
    }
    files.into_iter().try_for_each(TableFile::close)
}

/// A table in one form.
enum TableFile {
    Parquet(Box<Parquet>),
    Csv { path: PathBuf, writer: Box<csv::Writer<Replacement>> },
    Json(Json),
}

impl TableFile {
    fn create(path: &Path, columns: &[Column]) -> Result<Self, ResultsError> {
        let file = Replacement::create(path)?;
        let extension = path.extension().unwrap_or_default();
        if extension == "parquet" {
            return Ok(Self::Parquet(Box::new(Parquet::new(path, file, columns)?)));
        }
        if extension == "csv" {
            let mut writer = Box::new(csv::Writer::from_writer(file));
            writer.write_record(columns.iter().map(|column| column.name.as_bytes())).map_err(csv_failed(path))?;
            return Ok(Self::Csv { path: path.to_owned(), writer });
        }
        // By hand around the values, so that fields stand in the order of the columns.
        let name = |column: &Column| format!("{}: ", serde_json::Value::from(column.name.as_ref()));
        Ok(Self::Json(Json { path: path.to_owned(), file, names: columns.iter().map(name).collect(), rows: 0 }))
    }

    fn row(&mut self, cells: &[Cell]) -> Result<(), ResultsError> {
        match self {
            Self::Parquet(table) => table.row(cells),
            Self::Csv { path, writer } => {
                // Bytes of the text itself where it is one: a record wants all fields to be of one type.
                let fields = cells.iter().map(Cell::csv).collect::<Vec<_>>();
                writer.write_record(fields.iter().map(|field| field.as_bytes())).map_err(csv_failed(path))
            }
            Self::Json(table) => table.row(cells).map_err(ResultsError::io(&table.path, "write")),
        }
    }

    fn close(self) -> Result<(), ResultsError> {
        match self {
            Self::Parquet(table) => table.close(),
            Self::Csv { path, writer } => writer
                .into_inner()
                .map_err(|error| ResultsError::io(&path, "write")(error.into_error()))
                .and_then(Replacement::commit),
            Self::Json(Json { mut file, rows, .. }) => {
                file.put(if rows == 0 { b"[\n]\n" } else { b"\n]\n" })?;
                file.commit()
            }
        }
    }
}

fn csv_failed(path: &Path) -> impl FnOnce(csv::Error) -> ResultsError {
    move |error| ResultsError::io(path, "write")(error.into())
}

/// A table as an array of objects.
struct Json {
    path: PathBuf,
    file: Replacement,
    /// The fields' names with what follows them.
    names: Vec<String>,
    rows: u64,
}

impl Json {
    fn row(&mut self, cells: &[Cell]) -> std::io::Result<()> {
        self.file.write_all(if self.rows == 0 { b"[\n" } else { b",\n" })?;
        self.rows += 1;
        for (place, (name, cell)) in self.names.iter().zip(cells).enumerate() {
            self.file.write_all(if place == 0 { b"{" } else { b", " })?;
            self.file.write_all(name.as_bytes())?;
            serde_json::to_writer(&mut self.file, &cell.json())?;
        }
        self.file.write_all(b"}")
    }
}

/// A table as Parquet.
struct Parquet {
    path: PathBuf,
    schema: SchemaRef,
    kinds: Vec<Kind>,
    writer: ArrowWriter<Replacement>,
    /// Rows that wait, column by column.
    waiting: Vec<Vec<Cell>>,
}

impl Parquet {
    fn new(path: &Path, file: Replacement, columns: &[Column]) -> Result<Self, ResultsError> {
        let schema = arrow(columns);
        let properties = properties(columns).set_max_row_group_row_count(Some(ROW_GROUP)).build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(ResultsError::table(path, "encode"))?;
        let kinds: Vec<Kind> = columns.iter().map(|column| column.kind).collect();
        let waiting = kinds.iter().map(|_| Vec::new()).collect();
        Ok(Self { path: path.to_owned(), schema, kinds, writer, waiting })
    }

    fn row(&mut self, cells: &[Cell]) -> Result<(), ResultsError> {
        for (column, cell) in self.waiting.iter_mut().zip(cells) {
            column.push(cell.clone());
        }
        if self.waiting.first().is_some_and(|column| column.len() == BATCH) { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ResultsError> {
        let arrays = self.kinds.iter().zip(&self.waiting).map(|(kind, cells)| array(*kind, cells)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(ParquetError::from);
        let written = batch.and_then(|batch| self.writer.write(&batch));
        written.map_err(ResultsError::table(&self.path, "encode"))?;
        self.waiting.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    fn close(mut self) -> Result<(), ResultsError> {
        self.flush()?;
        self.writer.into_inner().map_err(ResultsError::table(&self.path, "encode"))?.commit()
    }
}

fn array(kind: Kind, cells: &[Cell]) -> ArrayRef {
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
