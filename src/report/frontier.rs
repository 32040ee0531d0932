//! Where memory ends, in words: lines for the terminal, a section for the reports.
use std::fmt::Write;

use super::text::{MISSING, escape, one_line};
use crate::results::{
    PointRecord, RunInfo,
    frontier::{Frontier, frontiers},
};

pub(super) const SAYS: &str = "Found by running points between the largest that ran and the smallest that did not, each in a cell of its own that was loaded for \
                               its size.";

/// The frontiers of a run that was asked to look for them.
pub(super) fn of(info: &RunInfo, records: &[PointRecord]) -> Vec<Frontier> {
    let axis = info.plan.pointer("/endurance/bisect_oom").and_then(|axis| axis.as_str());
    axis.map_or_else(Vec::new, |axis| frontiers(axis, records))
}

/// A line a frontier.
pub fn frontier_lines(info: &RunInfo, records: &[PointRecord]) -> Vec<String> {
    of(info, records).iter().map(|found| format!("memory ends: {}", one_line(&found.to_string()))).collect()
}

/// A frontier's row: series, what ran, what did not, whether they are neighbours.
pub(super) fn row(found: &Frontier) -> Vec<String> {
    vec![
        found.series.clone(),
        found.ran.map_or(MISSING.to_owned(), |ran| format!("{} {ran}", found.axis)),
        format!("{} {}", found.axis, found.failed),
        if found.is_exact() { "yes" } else { "no" }.to_owned(),
    ]
}

/// The report's section; none in a run that did not look, or found memory enough.
pub(super) fn section(text: &mut String, info: &RunInfo, records: &[PointRecord]) {
    let found = of(info, records);
    if found.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Where memory ends\n\n{SAYS}\n");
    for frontier in found {
        let _ = writeln!(text, "- {}.", escape(&frontier.to_string()));
    }
    text.push('\n');
}
