//! A run directory that goes with its test.
#![allow(dead_code, reason = "each test program uses a part of it")]
use std::{collections::BTreeMap, fs, path::PathBuf};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row},
};
use serde_json::Value;

/// Columns that no two runs share.
const OWN: [&str; 3] = ["run_id", "load_seconds", "load_ms"];

/// `dir` is the run directory, not made yet, in a folder of its own.
pub struct Scratch {
    pub keep: tempfile::TempDir,
    pub dir: PathBuf,
}

impl Scratch {
    pub fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("run");
        Self { keep, dir }
    }

    pub fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    /// The journal's whole lines.
    pub fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.join("journal.jsonl")).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Rows of `points.csv` by (point, trial), without the columns that no two runs share.
    pub fn figures(&self) -> BTreeMap<(u32, String), BTreeMap<String, String>> {
        let mut reader = csv::Reader::from_path(self.dir.join("points.csv")).unwrap();
        let headers = reader.headers().unwrap().clone();
        let mut rows = BTreeMap::new();
        for row in reader.records() {
            let row = row.unwrap();
            let mut row: BTreeMap<String, String> =
                headers.iter().zip(row.iter()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            row.retain(|name, _| !OWN.contains(&name.as_str()));
            let id = (row["point"].parse().unwrap(), row["trial"].clone());
            assert!(rows.insert(id, row).is_none(), "two rows of one trial");
        }
        rows
    }

    /// Rows of the streamed tables, telemetry's aside, by (table, point): how many, and a hash of them whole and in order. Each
    /// trial's clock begins where its first row does, and the point's number is left out, so that points of the same work can be
    /// compared too.
    pub fn streamed(&self) -> BTreeMap<(&'static str, u32), (u64, blake3::Hash)> {
        let mut records = BTreeMap::new();
        for table in ["requests", "tokens", "steps"] {
            let file = fs::File::open(self.dir.join(format!("{table}.parquet"))).unwrap();
            let reader = SerializedFileReader::new(file).unwrap();
            let mut before = (0, 0, 0);
            let mut hashers: BTreeMap<u32, (u64, blake3::Hasher)> = BTreeMap::new();
            for row in reader.get_row_iter(None).unwrap() {
                let row = row.unwrap();
                let (point, trial) = (number(&row, "point").unwrap(), number(&row, "trial").unwrap());
                assert!((point, trial) >= (before.0, before.1), "{table}: rows out of order");
                if hashers.is_empty() || (point, trial) != (before.0, before.1) {
                    before = (point, trial, times(&row).min().unwrap_or(0));
                }
                let (rows, hasher) = hashers.entry(point as u32).or_default();
                *rows += 1;
                for (name, field) in row.get_column_iter().filter(|(name, _)| *name != "point") {
                    match field {
                        Field::ULong(time) if is_time(name) => {
                            hasher.update(format!("{name}={},", time - before.2).as_bytes())
                        }
                        field => hasher.update(format!("{name}={field},").as_bytes()),
                    };
                }
            }
            records
                .extend(hashers.into_iter().map(|(point, (rows, hasher))| ((table, point), (rows, hasher.finalize()))));
        }
        records
    }
}

/// A moment of the engine's clock, not a duration.
fn is_time(name: &str) -> bool {
    name.ends_with("_ns") && !["gap_ns", "device_ns"].contains(&name)
}

fn times(row: &Row) -> impl Iterator<Item = u64> {
    row.get_column_iter().filter(|(name, _)| is_time(name)).filter_map(|(_, field)| match field {
        Field::ULong(time) => Some(*time),
        _ => None,
    })
}

fn number(row: &Row, column: &str) -> Option<u64> {
    let (_, field) = row.get_column_iter().find(|(name, _)| *name == column)?;
    match field {
        Field::UInt(number) => Some(u64::from(*number)),
        Field::ULong(number) => Some(*number),
        _ => None,
    }
}
