//! What the report says of conversations: latencies by turn.
use super::{
    rows::{Rows, axis_names, numeric, place, place_headings},
    text::number_or_missing,
};
use crate::{
    metrics::{median, turns::TurnFigures},
    results::PointRecord,
};

/// Turns shown of a point; `turns.csv` has all.
const SHOWN: u32 = 8;

/// Whether there is anything to say.
pub(super) fn known(records: &[PointRecord]) -> bool {
    records.iter().any(|record| record.trials.iter().any(|trial| !trial.figures.turns.is_empty()))
}

/// A row a point and turn: medians over its trials.
pub(super) fn rows(records: &[PointRecord]) -> Rows {
    let axes = axis_names(records);
    let mut headings = place_headings(&axes);
    headings.extend(
        ["turn", "requests", "prompt tokens", "TTFT p50 ms", "TTFT p99 ms", "TPOT p50 ms", "E2E p50 ms"].map(numeric),
    );
    let mut rows = Vec::new();
    for record in records {
        let turns = record.trials.iter().filter(|trial| trial.counts()).map(|trial| &trial.figures.turns);
        for turn in 0..SHOWN {
            let found: Vec<&TurnFigures> = turns.clone().flatten().filter(|figures| figures.turn == turn).collect();
            if found.is_empty() {
                break;
            }
            let middle = |of: &dyn Fn(&TurnFigures) -> Option<f64>| {
                let values: Vec<f64> = found.iter().filter_map(|figures| of(figures)).collect();
                number_or_missing(median(&values))
            };
            let mut cells = place(record, &axes);
            cells.push((turn + 1).to_string());
            cells.extend([
                middle(&|f| Some(f.requests as f64)),
                middle(&|f| Some(f.input_tokens_mean)),
                middle(&|f| Some(f.ttft?.p50)),
                middle(&|f| Some(f.ttft?.p99)),
                middle(&|f| Some(f.tpot?.p50)),
                middle(&|f| Some(f.e2e?.p50)),
            ]);
            rows.push(cells);
        }
    }
    Rows { headings, rows }
}
