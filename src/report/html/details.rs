//! The lower part of the page: tables, engines as they ran, the machine, how to do it again.
use serde::Serialize;

use super::context::headings;
use crate::{
    cell::protocol::Method,
    report::{
        hardware, open, provenance,
        rows::{Rows, more_rows, rows},
        text::{MISSING, number, one_line, seconds},
        turns,
    },
    results::{EngineRecord, PointRecord, RunInfo},
    validity::certify_all,
};

#[derive(Serialize)]
pub(super) struct TableView {
    id: &'static str,
    title: &'static str,
    says: String,
    headings: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
    after: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct EngineView {
    name: String,
    facts: Vec<(&'static str, String)>,
    asked: String,
    effective: String,
    observed: String,
}

fn table(id: &'static str, title: &'static str, says: impl Into<String>, content: Rows) -> TableView {
    TableView { id, title, says: says.into(), headings: headings(&content), rows: content.rows, after: Vec::new() }
}

/// Lines of a log without control characters.
pub(super) fn clean(lines: &[String]) -> String {
    let clean = |line: &String| -> String {
        line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
    };
    lines.iter().map(clean).collect::<Vec<_>>().join("\n")
}

pub(super) fn machine(info: &RunInfo) -> Vec<(String, String)> {
    let mut rows = provenance::machine(info);
    let hardware = &info.hardware;
    for gpu in &hardware.gpus {
        let driver = gpu.driver.as_deref().unwrap_or(MISSING);
        rows.push(("GPU", format!("{} ({}), driver {}", one_line(&gpu.name), one_line(&gpu.uuid), one_line(driver))));
    }
    if let Some(reason) = &hardware.gpu_null_reason {
        rows.push(("no GPU", one_line(reason)));
    }
    rows.extend(hardware.ceilings.iter().map(|ceilings| ("measured ceilings", hardware::ceilings_text(ceilings))));
    rows.extend(hardware.ceilings_null_reasons.iter().map(|reason| ("no ceilings", one_line(reason))));
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn tables(info: &RunInfo, records: &[PointRecord]) -> Vec<TableView> {
    if records.is_empty() {
        return Vec::new();
    }
    let mut trials = "Trials: timed trials for throughput + step-loop trials for latency.".to_owned();
    if records.iter().any(|record| record.point.load.method() == Method::Steps) {
        trials.push_str(" In closed loops one number: the same trials give both.");
    }
    let mut all = vec![
        table("figures", "Figures", trials, rows(records, &certify_all(info, records))),
        table("more", "Further figures", "All of them, with every percentile, are in summary.csv.", more_rows(records)),
    ];
    if open::known(records) {
        let says = "Medians over the throughput trials; docs/load.md says what they mean.";
        all.push(table("load", "Load and service level", says, open::load_rows(records)));
    }
    if turns::known(records) {
        let says = "By turn, medians over trials; all turns are in turns.csv.";
        all.push(table("turns", "Conversations", says, turns::rows(records)));
    }
    if hardware::known(records) {
        let period = match info.hardware.telemetry_period_ms {
            Some(period) => format!(
                "Sampled every {} ms while timed trials ran; medians over the throughput trials.",
                number(period)
            ),
            None => "Telemetry was off.".to_owned(),
        };
        all.push(table("machine-did", "What the machine did", period, hardware::telemetry_rows(records)));
        let says = "Shares of the trial’s time; docs/roofline.md says what they mean.";
        let mut limits = table("limits", "How far from its limits", says, hardware::limit_rows(records));
        limits.after = hardware::remarks(records);
        all.push(limits);
    }
    all
}

pub(super) fn engine(label: &str, record: &EngineRecord) -> EngineView {
    let info = &record.info;
    let (name, asked) = provenance::without_options(label, record);
    let optional = |value: Option<String>| value.map_or(MISSING.to_owned(), |value| one_line(&value));
    let options = |options: &crate::engine::Options| {
        clean(&options.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>())
    };
    let (tensor, pipeline) = info.parallelism;
    let mut facts = vec![
        ("version", one_line(&info.version)),
        ("boundary", info.boundary.as_str().to_owned()),
        ("scheduler", info.scheduler.as_str().to_owned()),
        ("device", one_line(&info.device)),
        ("compile mode", optional(info.compile_mode.clone())),
        ("parallelism", format!("{tensor} tensor × {pipeline} pipeline")),
        ("model", one_line(&info.model.name)),
        ("weights", optional(info.model.weights_dtype.clone())),
        ("model digest", optional(record.model_digest.clone())),
        ("KV-cache capacity", optional(info.kv_capacity_tokens.map(|tokens| format!("{tokens} tokens")))),
        ("sequences at once", optional(info.max_seqs.map(|n| n.to_string()))),
        ("loaded in", seconds(record.load_ns)),
    ];
    if let Some(double) = &info.double {
        facts.insert(0, ("SIMULATED", one_line(double)));
    }
    EngineView {
        name: one_line(&name),
        facts,
        asked: clean(&asked),
        effective: options(&info.effective),
        observed: options(&info.observed),
    }
}

pub(super) fn reproduce(info: &RunInfo) -> String {
    clean(&provenance::commands(info))
}
