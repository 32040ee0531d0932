//! A run directory that goes with its test.
#![allow(dead_code, reason = "each test program uses a part of it")]
use std::{collections::BTreeMap, fs, path::PathBuf};

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
}
