//! The table at the end of a run.
use comfy_table::{Cell, CellAlignment, Table, presets};

use super::{rows::rows, text::shorten};
use crate::results::PointRecord;

/// The longest status shown; the report has all of it.
const STATUS_CHARS: usize = 60;

/// A table with a row a point: its axes, output throughput with its interval, latencies, trials (throughput + latency)
/// and status. A stand-in for an engine is named as simulated.
pub fn terminal_table(records: &[PointRecord]) -> String {
    let content = rows(records);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let aligned = |text: &str, numeric: bool| {
        Cell::new(text).set_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left })
    };
    table.set_header(content.headings.iter().map(|heading| aligned(&heading.text, heading.numeric)));
    for row in &content.rows {
        let cells = row.iter().zip(&content.headings);
        table.add_row(cells.map(|(text, heading)| aligned(&shorten(text, STATUS_CHARS), heading.numeric)));
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
        assert!(terminal_table(&[]).contains("output tok/s"));
    }
}
