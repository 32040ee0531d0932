//! Makes the whole tables from the points' parts: row groups are copied as they are, not encoded again.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use parquet::{
    arrow::ArrowWriter,
    column::writer::ColumnCloseResult,
    errors::ParquetError,
    file::{
        reader::{FileReader, SerializedFileReader},
        writer::SerializedFileWriter,
    },
};

use super::{
    PartRows, ResultsError,
    columns::Table,
    encode::{close, properties},
    files::sync_dir,
    parts::{part_path, remove},
    schema::{arrow, streamed},
};
use crate::{
    cell::protocol::{RequestRow, StepRow, TokenRow},
    measure::telemetry::{GpuSample, HostSample},
};

/// Writes every streamed table into `dir`.
pub(super) fn merge_all(
    dir: &Path,
    parts: &Path,
    rows: &BTreeMap<u32, PartRows>,
) -> Result<Vec<PathBuf>, ResultsError> {
    let paths = vec![
        merge::<RequestRow>(dir, parts, rows, |rows| rows.requests)?,
        merge::<TokenRow>(dir, parts, rows, |rows| rows.tokens)?,
        merge::<StepRow>(dir, parts, rows, |rows| rows.steps)?,
        merge::<GpuSample>(dir, parts, rows, |rows| rows.gpu)?,
        merge::<HostSample>(dir, parts, rows, |rows| rows.host)?,
    ];
    sync_dir(dir)?;
    Ok(paths)
}

/// Whether a point's parts are what the journal says.
pub(super) fn check(parts: &Path, point: u32, rows: &PartRows) -> Result<(), ResultsError> {
    for (table, expected) in rows.tables() {
        if expected > 0 {
            let path = part_path(parts, point, table);
            let (_, reader) = open(&path, expected)?;
            if !has_our_columns(&reader, table) {
                return Err(ResultsError::PartOfOther { path });
            }
        }
    }
    if rows.digest != 0 && rows.digest_of(parts, point)? != rows.digest {
        return Err(ResultsError::PartDamaged { path: part_path(parts, point, "*") });
    }
    Ok(())
}

/// Whether a part has the columns that this tacho gives its table: parts of another version cannot be put together with ours.
fn has_our_columns(reader: &SerializedFileReader<File>, table: &str) -> bool {
    let ours = match table {
        RequestRow::NAME => streamed::<RequestRow>(),
        TokenRow::NAME => streamed::<TokenRow>(),
        StepRow::NAME => streamed::<StepRow>(),
        GpuSample::NAME => streamed::<GpuSample>(),
        _ => streamed::<HostSample>(),
    };
    let found = reader.metadata().file_metadata().schema_descr().columns();
    found.iter().map(|column| column.name()).eq(ours.iter().map(|column| column.name.as_ref()))
}

/// Whether every whole table is there, has as many rows as its parts, and is younger than they are.
pub(super) fn is_current(dir: &Path, parts: &Path, rows: &BTreeMap<u32, PartRows>) -> bool {
    type Count = (&'static str, fn(&PartRows) -> u64);
    let counts: [Count; 5] = [
        (RequestRow::NAME, |rows| rows.requests),
        (TokenRow::NAME, |rows| rows.tokens),
        (StepRow::NAME, |rows| rows.steps),
        (GpuSample::NAME, |rows| rows.gpu),
        (HostSample::NAME, |rows| rows.host),
    ];
    let made = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    counts.iter().all(|(table, count)| {
        let path = dir.join(format!("{table}.parquet"));
        let younger = |point: &u32| made(&part_path(parts, *point, table)).is_none_or(|part| made(&path) >= Some(part));
        open(&path, rows.values().map(count).sum()).is_ok() && rows.keys().all(younger)
    })
}

fn open(path: &Path, expected: u64) -> Result<(File, SerializedFileReader<File>), ResultsError> {
    let lost = |found| ResultsError::PartLost { path: path.to_owned(), expected, found };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(lost(0)),
        Err(error) => return Err(ResultsError::io(path, "open")(error)),
    };
    let again = file.try_clone().map_err(ResultsError::io(path, "open"))?;
    let reader = SerializedFileReader::new(again).map_err(ResultsError::table(path, "read"))?;
    match u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0) {
        found if found == expected => Ok((file, reader)),
        found => Err(lost(found)),
    }
}

fn merge<R: Table>(
    dir: &Path,
    parts: &Path,
    rows: &BTreeMap<u32, PartRows>,
    count: fn(&PartRows) -> u64,
) -> Result<PathBuf, ResultsError> {
    let path = dir.join(format!("{}.parquet", R::NAME));
    let aside = dir.join(format!(".{}.parquet.new", R::NAME));
    let write = || -> Result<(), ResultsError> {
        let file = File::create(&aside).map_err(ResultsError::io(&path, "create"))?;
        let columns = streamed::<R>();
        let (mut writer, _) = ArrowWriter::try_new(file, arrow(&columns), Some(properties(&columns).build()))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(ResultsError::table(&path, "create"))?;
        for (point, rows) in rows {
            if count(rows) > 0 {
                let part = part_path(parts, *point, R::NAME);
                let (file, reader) = open(&part, count(rows))?;
                append(&mut writer, &file, &reader).map_err(ResultsError::table(&path, "write"))?;
            }
        }
        close(writer, &path)?;
        fs::rename(&aside, &path).map_err(ResultsError::io(&path, "replace"))
    };
    let done = write();
    if done.is_err() {
        let _ = remove(&aside);
    }
    done.map(|()| path)
}

fn append(
    writer: &mut SerializedFileWriter<File>,
    file: &File,
    reader: &SerializedFileReader<File>,
) -> Result<(), ParquetError> {
    for group in reader.metadata().row_groups() {
        let mut out = writer.next_row_group()?;
        for column in group.columns() {
            let close = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size())?,
                rows_written: u64::try_from(group.num_rows())?,
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            out.append_column(file, close)?;
        }
        out.close()?;
    }
    Ok(())
}
