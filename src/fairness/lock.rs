//! What an engine configuration really ran with, in the fields that all engines share: `tacho.lock.json`.
use std::{collections::BTreeMap, path::Path, sync::LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    FairnessMode,
    difference::{Difference, differences},
    fields::{FIELDS, MODEL_FAMILY, SAMPLING, field},
    mapping::LockMapping,
    shown::{Alike, shown},
};
use crate::{
    agreement::Agreement,
    engine::{EngineInfo, Sampling},
    plan::registry::Registry,
    results::{EngineRecord, ResultsError, RunInfo, files::replace},
};

/// A field's value, or why it is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Known {
    /// The engine does not tell.
    Unknown {
        /// Why.
        unknown: String,
    },
    /// The value.
    Value {
        /// As JSON.
        value: Json,
        /// Set where the adapter's source says so and not the running engine: what makes it so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        declared: Option<String>,
        /// Set where it is what the engine was told to do, and not read back from it: why it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set: Option<String>,
    },
}

impl Known {
    /// A value read back.
    pub fn value(value: impl Into<Json>) -> Self {
        Self::Value { value: value.into(), declared: None, set: None }
    }

    /// Not known, for that reason.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { unknown: why.into() }
    }

    /// How it is known where it was not read back from the running engine: `as set` or `declared`.
    pub fn mark(&self) -> Option<&'static str> {
        match self {
            Self::Value { set: Some(_), .. } => Some("as set"),
            Self::Value { declared: Some(_), .. } => Some("declared"),
            _ => None,
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        match self {
            Self::Unknown { unknown } => format!("unknown ({unknown})"),
            Self::Value { value: Json::String(text), .. } => text.clone(),
            Self::Value { value, .. } => value.to_string(),
        }
    }
}

/// An engine configuration as it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockRecord {
    /// The configuration's name in `run.json`.
    pub label: String,
    /// The engine's id.
    pub engine: String,
    /// The engine's own version.
    pub version: String,
    /// Every field of [`FIELDS`] by its name.
    pub fields: BTreeMap<String, Known>,
    /// In a run whose fairness is `equal`: the limits that it was set to, by the fields' names; those that it has options for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub equal: BTreeMap<String, u64>,
}

impl LockRecord {
    /// From what a running engine said of itself. `sampling` is how the requests ask for tokens.
    pub fn new(label: &str, record: &EngineRecord, mapping: &LockMapping, sampling: Option<&Sampling>) -> Self {
        let info = &record.info;
        let told = serde_json::to_value(info).unwrap_or_default();
        let mut fields: BTreeMap<String, Known> =
            FIELDS.iter().map(|field| (field.name.to_owned(), mapping.read(field, &told))).collect();
        let mut settle = |name: &str, value: Known| fields.insert(name.to_owned(), value);
        settle("stand_in", Known::value(info.double.clone().unwrap_or_else(|| "no".to_owned())));
        settle("device_kind", Known::value(if info.gpu_in_process.is_some() { "gpu" } else { "cpu" }));
        settle(
            MODEL_FAMILY,
            match &record.model_digest {
                Some(digest) => Known::value(digest.clone()),
                None => Known::value(format!("none: {} has no weights", info.engine)),
            },
        );
        settle(
            SAMPLING,
            sampling.map_or_else(|| Known::unknown("the plan names no sampling"), |s| Known::value(rule(s))),
        );
        Self {
            label: label.to_owned(),
            engine: info.engine.clone(),
            version: info.version.clone(),
            fields,
            equal: BTreeMap::new(),
        }
    }

    /// A field's value.
    pub fn get(&self, field: &str) -> Known {
        self.fields.get(field).cloned().unwrap_or_else(|| Known::unknown("not in this record"))
    }
}

/// A sampling as words. The seed is no part of it: it changes which tokens come, not the work.
fn rule(sampling: &Sampling) -> String {
    if sampling.is_greedy() {
        return "greedy".to_owned();
    }
    format!("temperature {}, top_p {}, top_k {}", sampling.temperature, sampling.top_p, sampling.top_k)
}

/// `tacho.lock.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockFile {
    /// The engine configurations of the run.
    pub engines: Vec<LockRecord>,
    /// What differs, for each two of them; where they are more than [`MANY`](super::MANY), for each two of the first kinds of
    /// them, by each kind's first.
    pub pairs: Vec<Pair>,
    /// Pairs that are not listed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub pairs_left_out: usize,
    /// The labels of configurations that are the same in every field, the first of them being in `pairs`; only where not all
    /// pairs are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same: Vec<Vec<String>>,
}

fn is_none(pairs: &usize) -> bool {
    *pairs == 0
}

/// What differs between two configurations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The one, by its label.
    pub a: String,
    /// The other.
    pub b: String,
    /// Every field that is not the same.
    pub differences: Vec<Difference>,
}

/// The engines' `[lock]` tables, read once: a report asks for each pair of points.
static REGISTRY: LazyLock<Option<Registry>> = LazyLock::new(|| Registry::embedded().ok());

/// Whether a running engine was read to prepare a step while another one runs.
pub fn overlaps(info: &EngineInfo) -> bool {
    let mapping = REGISTRY.as_ref().and_then(|registry| registry.get(&info.engine).ok()).map(|entry| &entry.lock);
    let told = || serde_json::to_value(info).unwrap_or_default();
    let found = mapping.zip(field("overlap")).map(|(mapping, field)| mapping.read(field, &told()));
    matches!(found, Some(Known::Value { value: Json::Bool(true), declared: None, set: None }))
}

/// The lock records of a run's engine configurations, in the order of their labels.
pub fn of_run(info: &RunInfo) -> Vec<LockRecord> {
    let Some(registry) = REGISTRY.as_ref() else { return Vec::new() };
    info.engines.iter().map(|(label, record)| of(info, registry, label, record)).collect()
}

/// The lock record of the configuration of that name.
pub(super) fn of_label(info: &RunInfo, label: &str) -> Option<LockRecord> {
    Some(of(info, REGISTRY.as_ref()?, label, info.engines.get(label)?))
}

fn of(info: &RunInfo, registry: &Registry, label: &str, record: &EngineRecord) -> LockRecord {
    let sampling = info.plan.pointer("/points/0/workload/sampling");
    let sampling: Option<Sampling> = sampling.and_then(|found| Sampling::deserialize(found).ok());
    let mapping = registry.get(&record.info.engine).map(|entry| entry.lock.clone()).unwrap_or_default();
    let mut lock = LockRecord::new(label, record, &mapping, sampling.as_ref());
    let mode = info.plan.get("fairness").and_then(|found| FairnessMode::deserialize(found).ok());
    if mode == Some(FairnessMode::Equal) {
        lock.equal = super::equal::limits_set(&mapping, &record.asked.options);
    }
    if let (Some(agreement), Some(digest)) = (&info.agreement, &record.model_digest) {
        agree(&mut lock, agreement, digest);
    }
    lock
}

/// Gives a record the family that its engine and weights were found to agree with.
fn agree(lock: &mut LockRecord, agreement: &Agreement, digest: &str) {
    if let Some(family) = agreement.family(&lock.engine, digest) {
        let why = format!(
            "`tacho agree` {} found the same model in other files",
            &agreement.key[..agreement.key.len().min(12)]
        );
        lock.fields.insert(
            MODEL_FAMILY.to_owned(),
            Known::Value { value: Json::from(family), declared: Some(why), set: None },
        );
    }
}

/// Writes `tacho.lock.json`.
///
/// # Errors
/// [`ResultsError::Io`] when it cannot be written.
pub fn write(dir: &Path, info: &RunInfo) -> Result<(), ResultsError> {
    // Only a map with keys that are not strings could fail here, and there is none.
    let mut text = serde_json::to_vec_pretty(&lock_file(of_run(info))).unwrap_or_default();
    text.push(b'\n');
    replace(&dir.join("tacho.lock.json"), &text)
}

fn lock_file(engines: Vec<LockRecord>) -> LockFile {
    let shown = shown(&engines);
    let mut pairs = Vec::new();
    for (index, a) in shown.kinds.iter().enumerate() {
        for b in &shown.kinds[index + 1..] {
            let (a, b) = (a.first, b.first);
            pairs.push(Pair { a: a.label.clone(), b: b.label.clone(), differences: differences(a, b) });
        }
    }
    let pairs_left_out = shown.pairs_left_out();
    let labels = |kind: &Alike<'_>| -> Vec<String> {
        std::iter::once(kind.first.label.as_str()).chain(kind.others.iter().copied()).map(str::to_owned).collect()
    };
    let same = shown.kinds.iter().filter(|kind| !kind.others.is_empty()).map(labels).collect();
    LockFile { engines, pairs, pairs_left_out, same }
}
