//! What a point is beside others: which engine configuration, under which load, with which work.
use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};

use serde_json::Value;

use super::{
    rows::engine_name,
    text::{one_line, shorten},
};
use crate::results::{PointRecord, PointStatus};

/// Axes that say how hard the engine is driven, not what it is asked.
const LOADS: [&str; 4] = ["batch", "concurrency", "rate", "requests"];
/// Names of a load mode's own measure, as the plan stores it, and how a page says it.
const MEASURES: [(&str, &str); 3] = [("batch", "batch"), ("concurrency", "concurrency"), ("rate", "requests/s")];

/// How hard the engine is driven.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    /// In which measure, such as `batch`.
    pub(super) name: String,
    /// How much.
    pub(super) value: f64,
}

// No level is NaN: it comes from a plan or is 0.
impl Eq for Level {}

impl Hash for Level {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.value.to_bits().hash(state);
    }
}

impl Level {
    /// Of a point; a load mode without a measure has level 0.
    pub(super) fn of(record: &PointRecord) -> Self {
        let load = serde_json::to_value(&record.point.load).unwrap_or(Value::Null);
        let found = MEASURES.iter().find_map(|(field, name)| Some((*name, load.get(field)?.as_f64()?)));
        let (name, value) = found.unwrap_or(("load", 0.0));
        Self { name: name.to_owned(), value }
    }

    /// `batch 8`.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.name, self.value)
    }
}

/// The engine with those of its options that the plan varies: what a reader chooses between.
pub(super) fn configuration(record: &PointRecord) -> String {
    let own = format!("{}.", record.point.engine.id);
    let options = record.point.axes.iter().filter_map(|(name, value)| {
        let option = name.strip_prefix(&own)?;
        Some(format!("{}={}", one_line(option), one_line(value)))
    });
    let parts: Vec<String> = std::iter::once(engine_name(record)).chain(options).collect();
    shorten(&parts.join(" "), 90)
}

/// What is asked of the engine: figures of different work are not compared.
pub(super) fn work(record: &PointRecord) -> String {
    let engine_option = |name: &str| name.contains('.');
    let named = ["engine", "input", "output", "length"];
    let others = record
        .point
        .axes
        .iter()
        .filter(|(name, _)| !named.contains(&name.as_str()) && !LOADS.contains(&name.as_str()) && !engine_option(name))
        .map(|(name, value)| format!("{} {}", one_line(name), one_line(value)));
    let work = &record.point.workload;
    let lengths = format!("{} tokens in, {} out", work.input, work.output);
    shorten(&others.chain([lengths]).collect::<Vec<_>>().join(", "), 90)
}

/// Whether a point may be compared at all: measured to its end, on a real engine.
pub(super) fn is_comparable(record: &PointRecord) -> bool {
    matches!(record.outcome, PointStatus::Ok)
        && record.engine.as_ref().is_some_and(|engine| engine.double.is_none() && !engine.virtual_time)
}

/// The values of `of` in order of first appearance.
pub(super) fn distinct<T: Hash + Eq>(records: &[&PointRecord], of: impl Fn(&PointRecord) -> T) -> Vec<T> {
    grouped(records, of).into_iter().map(|(value, _)| value).collect()
}

/// The values of `of` in order of first appearance, each with its records in order. `of` is asked once a record, so that ten
/// thousand of them take no longer each than ten.
pub(super) fn grouped<'a, T: Hash + Eq>(
    records: &[&'a PointRecord],
    of: impl Fn(&PointRecord) -> T,
) -> Vec<(T, Vec<&'a PointRecord>)> {
    let mut groups: HashMap<T, (usize, Vec<&'a PointRecord>)> = HashMap::new();
    for record in records {
        let place = groups.len();
        groups.entry(of(record)).or_insert_with(|| (place, Vec::new())).1.push(record);
    }
    let mut ordered: Vec<_> = groups.into_iter().map(|(value, (place, found))| (place, value, found)).collect();
    ordered.sort_unstable_by_key(|(place, ..)| *place);
    ordered.into_iter().map(|(_, value, found)| (value, found)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::protocol::Load, results::testing};

    #[test]
    fn a_point_has_a_configuration_a_level_and_work() {
        let axes = [("model", "m"), ("llama.cpp.n_ubatch", "128"), ("batch", "8"), ("input", "128")];
        let mut record = testing::point(0, "llama.cpp", &axes);
        assert_eq!(configuration(&record), "llama.cpp n_ubatch=128");
        assert_eq!(work(&record), "model m, 128 tokens in, 64 out");
        assert_eq!(Level::of(&record).text(), "batch 8");
        record.point.load = Load::Closed { concurrency: 4 };
        assert_eq!(Level::of(&record).text(), "concurrency 4");
        assert!(is_comparable(&record) && !is_comparable(&testing::point(0, "sim", &[])));
    }
}
