//! Makes the whole tables from the points' parts.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::{
    PartRows, ResultsError,
    columns::Table,
    files::sync_dir,
    gather::{Gather, Opened},
    parts::{part_path, remove},
    schema::streamed,
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
            let part = open(&path, expected)?;
            if !has_our_columns(&part.metadata, table) {
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
fn has_our_columns(metadata: &ParquetMetaData, table: &str) -> bool {
    let ours = match table {
        RequestRow::NAME => streamed::<RequestRow>(),
        TokenRow::NAME => streamed::<TokenRow>(),
        StepRow::NAME => streamed::<StepRow>(),
        GpuSample::NAME => streamed::<GpuSample>(),
        _ => streamed::<HostSample>(),
    };
    let found = metadata.file_metadata().schema_descr().columns();
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

fn open(path: &Path, expected: u64) -> Result<Opened, ResultsError> {
    let lost = |found| ResultsError::PartLost { path: path.to_owned(), expected, found };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(lost(0)),
        Err(error) => return Err(ResultsError::io(path, "open")(error)),
    };
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(ResultsError::table(path, "read"))?;
    match u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0) {
        found if found == expected => Ok(Opened { file, metadata }),
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
        let part = |point, rows| open(&part_path(parts, point, R::NAME), rows);
        let mut table = Gather::create::<R>(file, part).map_err(ResultsError::table(&path, "create"))?;
        for (point, rows) in rows.iter().filter(|(_, rows)| count(rows) > 0) {
            table.part(*point, count(rows), &path)?;
        }
        table.close(&path)?;
        fs::rename(&aside, &path).map_err(ResultsError::io(&path, "replace"))
    };
    let done = write();
    if done.is_err() {
        let _ = remove(&aside);
    }
    done.map(|()| path)
}
