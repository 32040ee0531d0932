//! The table at the end of a run.
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, Width, presets};

use super::{
    rows::{Rows, rows},
    text::shorten,
};
use crate::{
    results::{PointRecord, RunInfo},
    validity::certify_all,
};

/// The longest status shown; the report has all of it.
const STATUS_CHARS: usize = 60;
/// The status is the last column, and the one that is broken into lines: with one axis, a table fits 120 characters.
const STATUS_WIDTH: u16 = 26;

/// A table with a row a point: its axes, output throughput with its interval, latencies, trials (throughput + latency)
/// and status. A stand-in for an engine is named as simulated.
pub fn terminal_table(records: &[PointRecord]) -> String {
    table(rows(records, &[]))
}

/// The same with each point's certificate: an invalid one says so.
pub fn certified_table(info: &RunInfo, records: &[PointRecord]) -> String {
    table(rows(records, &certify_all(info, records)))
}

fn table(content: Rows) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let aligned = |text: &str, numeric: bool| {
        Cell::new(text).set_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left })
    };
    // A word a line: headings are wider than figures.
    table.set_header(content.headings.iter().map(|heading| {
        let text = heading.text.replace(' ', "\n").replace("95\n%", "95 %");
        aligned(&text, heading.numeric)
    }));
    for row in &content.rows {
        let cells = row.iter().zip(&content.headings);
        table.add_row(cells.map(|(text, heading)| aligned(&shorten(text, STATUS_CHARS), heading.numeric)));
    }
    if let Some(status) = table.column_iter_mut().last() {
        status.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(STATUS_WIDTH)));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn the_table_shows_figures_doubts_and_failures() {
        insta::assert_snapshot!(terminal_table(&testing::records()));
    }

    #[test]
    fn no_points_are_a_header() {
        assert!(terminal_table(&[]).contains("tok/s"));
    }

    #[test]
    fn a_table_with_one_axis_fits_a_terminal() {
        let mut records = testing::sweep();
        records.retain(|record| record.point.engine.id == "llama.cpp");
        for record in &mut records {
            record.point.axes.truncate(1);
            record.warmup_steady = false;
            record.stopped_by = "max_time".to_owned();
        }
        let table = terminal_table(&records);
        let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 120 && table.contains("not steady"), "{widest}\n{table}");
    }
}
