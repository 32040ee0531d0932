//! A run in the words of other tools, for the scripts and plots that people have for those.
//!
//! A format has its tool's field names and units. Values come from the run directory alone; a field that Tacho knows
//! nothing for is null. What a format cannot say of a point is left out with a note, never bent to fit.
//! `docs/exports.md` says field by field what a value is.

mod benchmark_serving;
mod llama_bench;
mod vllm_bench;

use serde_json::{Map, Value, json};

use crate::results::{PointRecord, RunInfo, TrialRecord};

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `vllm bench throughput --output-json`.
    VllmBench,
    /// `vllm bench serve --save-result`, which was `benchmark_serving.py` before.
    BenchmarkServing,
    /// `llama-bench -o json`.
    LlamaBench,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::VllmBench, Self::BenchmarkServing, Self::LlamaBench];

    /// As the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::VllmBench => "vllm-bench",
            Self::BenchmarkServing => "benchmark-serving",
            Self::LlamaBench => "llama-bench",
        }
    }
}

/// What came of an export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// The rows, in the order of points and trials.
    pub rows: Vec<Map<String, Value>>,
    /// What was left out and why, a sentence each.
    pub notes: Vec<String>,
}

impl Export {
    /// A JSON array, an object a row, ending in a line feed.
    pub fn json(&self) -> String {
        // A map of texts to values always has a text.
        let mut text = serde_json::to_string_pretty(&self.rows).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Says a run in a format's words.
pub fn export(format: Format, info: &RunInfo, records: &[PointRecord]) -> Export {
    let mut done = Export::default();
    for record in records {
        let rows = match format {
            Format::VllmBench => vllm_bench::rows(info, record),
            Format::BenchmarkServing => benchmark_serving::rows(info, record),
            Format::LlamaBench => llama_bench::row(info, record).map(|row| vec![row]),
        };
        match rows {
            Ok(rows) => done.rows.extend(rows),
            Err(why) => {
                done.notes.push(format!("point {} ({}) is left out: {why}", record.point.number, record.point.label()));
            }
        }
    }
    done
}

/// An object with these fields.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What tells a row from another tool's, under names that no tool has. A simulated engine must not pass for one.
fn origin(info: &RunInfo, record: &PointRecord) -> Map<String, Value> {
    let engine = record.engine.as_ref();
    object([
        ("tacho_version", json!(info.tacho.version)),
        ("tacho_run_id", json!(info.run_id)),
        ("tacho_point", json!(record.point.number)),
        ("tacho_engine", json!(record.point.engine.id)),
        ("tacho_engine_version", json!(engine.map(|engine| &engine.version))),
        ("tacho_double", json!(engine.and_then(|engine| engine.double.as_ref()))),
        ("tacho_virtual_time", json!(engine.map(|engine| engine.virtual_time))),
        ("tacho_boundary", json!(engine.map(|engine| engine.boundary.as_str()))),
    ])
}

/// [`origin`], with the trial and its door.
fn trial_origin(info: &RunInfo, record: &PointRecord, trial: &TrialRecord) -> Map<String, Value> {
    let mut fields = origin(info, record);
    fields.insert("tacho_trial".to_owned(), json!(trial.trial));
    fields.insert("tacho_method".to_owned(), json!(trial.method.as_str()));
    fields
}

/// The model by its own name, else its file's.
fn model_name(record: &PointRecord) -> Option<String> {
    let own = record.engine.as_ref().map(|engine| engine.model.name.clone()).filter(|name| !name.is_empty());
    let file = record.point.model.as_ref().and_then(|path| path.file_name());
    own.or_else(|| file.map(|name| name.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests;
