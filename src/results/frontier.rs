//! Where memory ends along an axis: in each series of points that differ in nothing else, the largest that ran and the smallest
//! that ran out of memory. Running out of memory is a result.
use std::{collections::BTreeMap, fmt};

use super::{PointRecord, PointStatus};
use crate::engine::ErrorKind;

/// The frontier of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// What the series is: the engine and the other axes.
    pub series: String,
    /// The axis.
    pub axis: String,
    /// The largest that ran below `failed`; None where none did.
    pub ran: Option<u32>,
    /// The smallest that ran out of memory.
    pub failed: u32,
    /// Where a point between the two failed in another way: its value and the reason.
    pub otherwise: Option<(u32, String)>,
}

impl Frontier {
    /// Whether nothing lies between: what ran and what failed are neighbours.
    pub fn is_exact(&self) -> bool {
        self.failed - self.ran.unwrap_or(0) == 1
    }
}

impl fmt::Display for Frontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { series, axis, ran, failed, otherwise } = self;
        match (ran, self.is_exact()) {
            (Some(ran), true) => write!(f, "{series}: {axis} {ran} ran, {axis} {failed} ran out of memory"),
            (None, true) => write!(f, "{series}: {axis} {failed}, the least there is, ran out of memory"),
            (Some(ran), false) => {
                write!(
                    f,
                    "{series}: {axis} {ran} ran, {axis} {failed} ran out of memory, and what lies between is not known"
                )
            }
            (None, false) => write!(f, "{series}: {axis} {failed} ran out of memory; no smaller one ran"),
        }?;
        match otherwise {
            Some((value, reason)) => write!(f, " ({axis} {value} failed otherwise: {reason})"),
            None => Ok(()),
        }
    }
}

/// Whether the point ran out of memory.
pub fn out_of_memory(record: &PointRecord) -> bool {
    matches!(&record.outcome, PointStatus::Failed(failure) if failure.kind == Some(ErrorKind::OutOfMemory))
}

/// The frontiers of all series with a point that ran out of memory, in order of first appearance. A value that was measured
/// twice counts by its later record.
pub fn frontiers(axis: &str, records: &[PointRecord]) -> Vec<Frontier> {
    let mut order: Vec<String> = Vec::new();
    let mut series: BTreeMap<String, BTreeMap<u32, &PointRecord>> = BTreeMap::new();
    for record in records {
        let Some(value) = record.point.on(axis) else { continue };
        let key = record.point.series(axis);
        if !order.contains(&key) {
            order.push(key.clone());
        }
        series.entry(key).or_default().insert(value, record);
    }
    order.iter().filter_map(|key| frontier(axis, series.get(key)?)).collect()
}

fn frontier(axis: &str, values: &BTreeMap<u32, &PointRecord>) -> Option<Frontier> {
    let (&failed, first) = values.iter().find(|(_, record)| out_of_memory(record))?;
    let below = values.range(..failed);
    let ran = below
        .clone()
        .filter(|(_, record)| matches!(record.outcome, PointStatus::Ok))
        .map(|(value, _)| *value)
        .next_back();
    let between = values.range(ran.map_or(0, |ran| ran + 1)..failed);
    let otherwise = between.clone().find_map(|(value, record)| match &record.outcome {
        PointStatus::Failed(failure) => Some((*value, failure.reason.clone())),
        PointStatus::Ok => None,
    });
    let mut point = first.point.clone();
    point.axes.retain(|(name, _)| name != axis);
    Some(Frontier { series: point.label(), axis: axis.to_owned(), ran, failed, otherwise })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Failure, testing};

    fn record(value: u32, kind: Option<Option<ErrorKind>>) -> PointRecord {
        let mut record = testing::point(value, "sim", &[]);
        record.point.axes = vec![("batch".to_owned(), value.to_string()), ("input".to_owned(), "16".to_owned())];
        if let Some(kind) = kind {
            record.outcome = PointStatus::Failed(Failure {
                kind,
                reason: "it failed".to_owned(),
                signal: None,
                exit_code: None,
                last_lines: Vec::new(),
                broken: None,
                stacks: Vec::new(),
            });
        }
        record
    }

    #[test]
    fn the_frontier_lies_between_what_ran_and_what_did_not() {
        let oom = Some(Some(ErrorKind::OutOfMemory));
        let found =
            |records: &[PointRecord]| frontiers("batch", records).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(found(&[record(1, None), record(2, Some(None))]).is_empty());
        assert_eq!(
            found(&[record(16, oom), record(8, None), record(32, oom)]),
            ["sim input=16: batch 8 ran, batch 16 ran out of memory, and what lies between is not known"]
        );
        assert_eq!(
            found(&[record(16, oom), record(8, None), record(15, None)]),
            ["sim input=16: batch 15 ran, batch 16 ran out of memory"]
        );
        assert_eq!(found(&[record(1, oom)]), ["sim input=16: batch 1, the least there is, ran out of memory"]);
        assert_eq!(
            found(&[record(4, oom), record(2, Some(None))]),
            ["sim input=16: batch 4 ran out of memory; no smaller one ran (batch 2 failed otherwise: it failed)"]
        );
    }
}
