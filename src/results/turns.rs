//! `turns.csv`: latencies by turn of a conversation.
use std::path::{Path, PathBuf};

use super::{
    PointRecord, Quantiles, ResultsError, cell_files,
    cells::{CellColumn, nullable, required},
    schema::Kind,
};
use crate::metrics::turns::TurnFigures;

/// A row: a turn of a timed trial.
pub(super) struct Row {
    point: u32,
    engine: String,
    trial: u32,
    figures: TurnFigures,
}

pub(super) fn columns() -> Vec<CellColumn<'static, Row>> {
    let mut all = vec![
        required("point", Kind::U32, "", "the point's number in the plan, from 0", |r: &Row| r.point),
        required("engine", Kind::Text, "", "the engine's id", |r: &Row| r.engine.clone()),
        required("trial", Kind::U32, "", "the trial's number in the point, from 0", |r: &Row| r.trial),
        required("turn", Kind::U32, "", "which turn of its conversation, from 0", |r: &Row| r.figures.turn),
        required("requests", Kind::U64, "requests", "conversations of the trial that have it", |r: &Row| {
            r.figures.requests
        }),
        required("input_tokens_mean", Kind::F64, "tokens", "mean length of its prompts", |r: &Row| {
            r.figures.input_tokens_mean
        }),
    ];
    type Latency = fn(&TurnFigures) -> Option<Quantiles>;
    let latencies: [(&str, Latency); 3] = [("ttft", |f| f.ttft), ("tpot", |f| f.tpot), ("e2e", |f| f.e2e)];
    type Of = fn(&Quantiles) -> f64;
    let statistics: [(&str, &str, Of); 5] = [
        ("mean", "mean", |q| q.mean),
        ("p50", "median", |q| q.p50),
        ("p90", "90th percentile", |q| q.p90),
        ("p99", "99th percentile", |q| q.p99),
        ("max", "largest", |q| q.max),
    ];
    for (name, of) in latencies {
        for (suffix, what, statistic) in statistics {
            let doc = format!("{what} of {name} over them, each counted from when it was due");
            all.push(nullable(format!("{name}_{suffix}_ms"), Kind::F64, "ms", doc, move |r: &Row| {
                of(&r.figures).as_ref().map(statistic)
            }));
        }
    }
    all
}

/// Writes `turns.csv`; None, and no file, where no trial has conversations.
pub(super) fn write(dir: &Path, records: &[PointRecord]) -> Result<Option<PathBuf>, ResultsError> {
    let mut rows = Vec::new();
    for record in records {
        for trial in record.trials.iter().filter(|trial| trial.counts()) {
            rows.extend(trial.figures.turns.iter().map(|figures| Row {
                point: record.point.number,
                engine: record.point.engine.id.clone(),
                trial: trial.trial,
                figures: *figures,
            }));
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let path = dir.join("turns.csv");
    cell_files::write(std::slice::from_ref(&path), &columns(), &rows)?;
    Ok(Some(path))
}
