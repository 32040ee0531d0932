//! Some columns of a Parquet file, row group by row group, on all cores.
use std::{fs::File, path::Path};

use parquet::{
    basic::Type as Physical,
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, DataType},
    errors::ParquetError,
    file::reader::{FileReader, RowGroupReader, SerializedFileReader},
};
use rayon::prelude::*;

/// Stands for null: no time, count or size of ours comes near it.
pub(super) const NULL: u64 = u64::MAX;

/// The columns asked for, of one row group. Texts are numbers into `names`.
pub(super) struct Group {
    columns: Vec<Vec<u64>>,
    pub(super) names: Vec<String>,
}

impl Group {
    /// By its place among the columns asked for.
    pub(super) fn column(&self, index: usize) -> &[u64] {
        &self.columns[index]
    }
}

/// Folds the row groups of a file. Each core takes neighbouring groups, in order, and gives one result, in order.
///
/// # Errors
/// A sentence for a person: the file is missing, is no Parquet file, or lacks a column.
pub(super) fn for_each<T: Send>(
    path: &Path,
    columns: &[&str],
    begin: impl Fn() -> T + Sync,
    fold: impl Fn(&mut T, &Group) + Sync,
) -> Result<Vec<T>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let said = |error: &dyn std::fmt::Display| format!("{name} cannot be read: {error}");
    let open = || -> Result<SerializedFileReader<File>, String> {
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{name} is missing"),
            _ => said(&error),
        })?;
        SerializedFileReader::new(file).map_err(|error| said(&error))
    };
    let first = open()?;
    let schema = first.metadata().file_metadata().schema_descr_ptr();
    let place = |column: &&str| {
        let found = schema.columns().iter().position(|known| known.name() == *column);
        found.ok_or_else(|| format!("{name} has no column '{column}': it is of another version of tacho"))
    };
    let places = columns.iter().map(place).collect::<Result<Vec<usize>, String>>()?;
    let groups: Vec<usize> = (0..first.num_row_groups()).collect();
    let share = groups.len().div_ceil(rayon::current_num_threads()).max(1);
    // A reader each: clones of one file share their position.
    let work = |groups: &[usize]| -> Result<T, String> {
        let reader = open()?;
        let mut so_far = begin();
        for group in groups {
            let group = read(&reader, *group, &places).map_err(|error| said(&error))?;
            fold(&mut so_far, &group);
        }
        Ok(so_far)
    };
    groups.par_chunks(share).map(work).collect()
}

fn read(reader: &SerializedFileReader<File>, group: usize, places: &[usize]) -> Result<Group, ParquetError> {
    let group = reader.get_row_group(group)?;
    let rows = usize::try_from(group.metadata().num_rows())?;
    let mut names = Vec::new();
    let columns = places.iter().map(|place| column(group.as_ref(), *place, rows, &mut names));
    Ok(Group { columns: columns.collect::<Result<_, _>>()?, names })
}

fn column(
    group: &dyn RowGroupReader,
    place: usize,
    rows: usize,
    names: &mut Vec<String>,
) -> Result<Vec<u64>, ParquetError> {
    let values = match group.get_column_reader(place)? {
        // Unsigned numbers are stored as signed ones of the same bits.
        ColumnReader::Int32ColumnReader(reader) => all(reader, rows, |value: &i32| u64::from(value.cast_unsigned())),
        ColumnReader::Int64ColumnReader(reader) => all(reader, rows, |value: &i64| value.cast_unsigned()),
        ColumnReader::ByteArrayColumnReader(reader) => all(reader, rows, |value: &ByteArray| {
            let text = String::from_utf8_lossy(value.data());
            let index = names.iter().position(|name| *name == text).unwrap_or_else(|| {
                names.push(text.into_owned());
                names.len() - 1
            });
            index as u64
        }),
        _ => {
            let found: Physical = group.metadata().column(place).column_type();
            Err(ParquetError::General(format!("a column is of type {found}, expected whole numbers or text")))
        }
    }?;
    if values.len() == rows {
        Ok(values)
    } else {
        Err(ParquetError::General(format!("a column has {} rows, expected {rows}", values.len())))
    }
}

fn all<D: DataType>(
    mut reader: ColumnReaderImpl<D>,
    rows: usize,
    mut number: impl FnMut(&D::T) -> u64,
) -> Result<Vec<u64>, ParquetError> {
    let mut levels: Vec<i16> = Vec::new();
    let mut values: Vec<D::T> = Vec::with_capacity(rows);
    let mut read = 0;
    while read < rows {
        let (records, ..) = reader.read_records(rows - read, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            break;
        }
        read += records;
    }
    // A column that cannot be null has no levels.
    if levels.is_empty() {
        return Ok(values.iter().map(number).collect());
    }
    let mut values = values.iter();
    Ok(levels.iter().map(|level| if *level == 0 { NULL } else { values.next().map_or(NULL, &mut number) }).collect())
}
