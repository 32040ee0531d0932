//! `report.md`: what was measured on what, the figures, what they mean, and what to doubt.
use std::fmt::Write;

use super::{
    charts::THROUGHPUT_SVG,
    hardware, open,
    rows::{Rows, engine_name, more_rows, rows, unusable},
    text::{MISSING, code_block, escape, gib, number, seconds, shell},
};
use crate::{
    cell::protocol::Method,
    measure::MAX_DISAGREEMENT,
    metrics::definitions::{METRICS, PERCENTILES},
    results::{EngineRecord, PointRecord, PointStatus, RunInfo, Summary},
};

/// Fewer trials than this say nothing of how latencies vary between trials.
const FEW_LATENCY_TRIALS: u64 = 3;

/// The report of a run, finished or not.
pub fn markdown(info: &RunInfo, records: &[PointRecord]) -> String {
    let mut text = String::new();
    let name = info.plan.get("name").and_then(|name| name.as_str()).unwrap_or("a run");
    let _ = writeln!(text, "# Tacho: {}\n", escape(name));
    if records.iter().any(|record| record.engine.as_ref().is_some_and(|engine| engine.double.is_some())) {
        text.push_str(
            "> **Simulated.** Rows marked SIMULATED come from a stand-in with a declared cost model, not from an\n",
        );
        text.push_str("> inference engine. They say nothing about any hardware.\n\n");
    }
    machine(&mut text, info);
    engines(&mut text, info);
    figures(&mut text, records);
    load_section(&mut text, records);
    hardware_section(&mut text, info, records);
    caveats(&mut text, info, records);
    meaning(&mut text);
    reproduce(&mut text, info);
    text
}

fn machine(text: &mut String, info: &RunInfo) {
    let host = &info.host;
    let show = |value: &Option<String>| value.as_deref().map_or(MISSING.to_owned(), escape);
    let rows = [
        ("run", escape(&info.run_id)),
        ("started", escape(&info.started_at)),
        ("processor", show(&host.cpu_model)),
        ("cores", host.cores.map_or(MISSING.to_owned(), |n| n.to_string())),
        ("memory", host.memory_bytes.map_or(MISSING.to_owned(), gib)),
        ("system", format!("{}, kernel {}", show(&host.os), show(&host.kernel))),
        ("frequency governor", show(&host.governor)),
        (
            "load average at the start",
            host.load_average.map_or(MISSING.to_owned(), |[one, five, fifteen]| format!("{one} · {five} · {fifteen}")),
        ),
        (
            "tacho",
            format!(
                "{} ({}), {}",
                escape(&info.tacho.version),
                escape(&info.tacho.git_commit),
                escape(&info.tacho.rustc)
            ),
        ),
    ];
    text.push_str("## Measured on\n\n| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push('\n');
}

fn engines(text: &mut String, info: &RunInfo) {
    if info.engines.is_empty() {
        return;
    }
    text.push_str("## Engines\n\n");
    text.push_str("| engine | version | boundary | scheduler | device | compile mode | model | weights | KV tokens | loaded in |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    let mut options = Vec::new();
    for (label, record) in &info.engines {
        let engine = &record.info;
        // Options can be as long as a page is wide: they stand below, under the engine's number.
        let (mut name, asked) = without_options(label, record);
        if !asked.is_empty() {
            options.push(asked);
            name = format!("{name} ({})", options.len());
        }
        let optional = |value: &Option<String>| value.as_deref().map_or(MISSING.to_owned(), escape);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            escape(&name),
            escape(&engine.version),
            engine.boundary.as_str(),
            engine.scheduler.as_str(),
            escape(&engine.device),
            optional(&engine.compile_mode),
            escape(&engine.model.name),
            optional(&engine.model.weights_dtype),
            engine.kv_capacity_tokens.map_or(MISSING.to_owned(), |tokens| tokens.to_string()),
            seconds(record.load_ns),
        );
    }
    text.push('\n');
    for (index, asked) in options.iter().enumerate() {
        let _ = writeln!(text, "Options of ({}):\n\n{}", index + 1, code_block(asked));
    }
}

/// A configuration's name without its options, and those, one a line.
fn without_options(label: &str, record: &EngineRecord) -> (String, Vec<String>) {
    let asked: Vec<String> = record.asked.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let name = label.strip_suffix(&asked.join(" ")).unwrap_or(label).trim_end();
    (name.to_owned(), asked)
}

fn figures(text: &mut String, records: &[PointRecord]) {
    text.push_str("## Figures\n\n");
    if records.is_empty() {
        text.push_str("No point has been finished.\n\n");
        return;
    }
    table(text, &rows(records));
    text.push_str("\nTrials: timed trials for throughput + step-loop trials for latency.");
    if records.iter().any(|record| record.point.load.method() == Method::Steps) {
        text.push_str(" In closed loops and open loads one number: the same trials give both.");
    }
    text.push_str("\n\n");
    if super::charts::has_figures(records) {
        let _ = writeln!(text, "![Output token throughput]({THROUGHPUT_SVG})\n");
    }
    text.push_str("Further figures; all of them, with every percentile, are in `summary.csv`:\n\n");
    table(text, &more_rows(records));
    text.push('\n');
}

fn load_section(text: &mut String, records: &[PointRecord]) {
    if !open::known(records) {
        return;
    }
    text.push_str("## Load and service level\n\n");
    text.push_str("Medians over the throughput trials (docs/load.md says what they mean):\n\n");
    table(text, &open::load_rows(records));
    text.push('\n');
}

fn hardware_section(text: &mut String, info: &RunInfo, records: &[PointRecord]) {
    if !hardware::known(records) {
        return;
    }
    text.push_str("## Hardware\n\n");
    hardware::devices(text, info);
    text.push_str("What the machine did, medians over the throughput trials where nothing else is said:\n\n");
    table(text, &hardware::telemetry_rows(records));
    text.push_str("\nHow far from its limits (shares of the trial's time; docs/roofline.md says what they mean):\n\n");
    table(text, &hardware::limit_rows(records));
    text.push('\n');
    hardware::missing(text, records);
    text.push('\n');
}

fn table(text: &mut String, content: &Rows) {
    let headings: Vec<String> = content.headings.iter().map(|heading| escape(&heading.text)).collect();
    let rules: Vec<&str> =
        content.headings.iter().map(|heading| if heading.numeric { "---:" } else { "---" }).collect();
    let _ = writeln!(text, "| {} |\n|{}|", headings.join(" | "), rules.join("|"));
    for row in &content.rows {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

fn meaning(text: &mut String) {
    text.push_str(
        "## What the numbers mean\n\n\
         The throughput of a point is the median over its timed trials, each one blocking call of the engine per batch\n\
         (in closed loops, one step-loop trial). The interval is an order-statistic interval that covers that median with\n\
         at least 95 %, whatever the distribution; it is over trials, never over requests of one trial, and needs 6 trials.\n\
         Trials go on until it is within the plan's target, so that its true coverage is somewhat lower. Latencies come\n\
         from step-loop trials (in closed loops, from those of the throughput; else from trials of their own) and are\n\
         medians over those. Warm-up trials are in no figure.\n\n",
    );
    for metric in METRICS {
        let _ = writeln!(
            text,
            "- **{}** (`{}`, {}): {}. Source: {}.",
            metric.title, metric.name, metric.unit, metric.formula, metric.source
        );
    }
    let _ = writeln!(text, "- Of the latencies, {PERCENTILES}.");
    text.push_str("- A missing value is shown as –, never as 0.\n\n");
}

fn caveats(text: &mut String, info: &RunInfo, records: &[PointRecord]) {
    text.push_str("## What to doubt\n\n");
    let start = text.len();
    for record in records {
        point_caveats(text, record);
    }
    few_latency_trials(text, records);
    if info.tacho.git_commit.ends_with("-dirty") {
        text.push_str("- This tacho was built from a tree with uncommitted changes.\n");
    }
    if let (Some([one, ..]), Some(cores)) = (info.host.load_average, info.host.cores)
        && one > 0.25 * f64::from(cores)
    {
        let _ = writeln!(text, "- The machine was not idle: its load average at the start was {one} on {cores} cores.");
    }
    if !info.resumed_at.is_empty() {
        let _ = writeln!(text, "- The run was resumed at {}.", escape(&info.resumed_at.join(", ")));
    }
    for note in &info.resume_notes {
        let _ = writeln!(text, "- Not as at the start when the run was resumed: {}.", escape(note));
    }
    let planned = info.plan.get("points").and_then(|points| points.as_array()).map_or(0, Vec::len);
    if planned > records.len() {
        let _ = writeln!(text, "- The run is not complete: {} of {planned} points are here.", records.len());
    }
    if text.len() == start {
        text.push_str(
            "Nothing that tacho checks: every interval reached its target, every warm-up was steady, nothing failed.\n",
        );
    }
    text.push('\n');
}

/// One line for all points whose latencies have no spread to speak of.
fn few_latency_trials(text: &mut String, records: &[PointRecord]) {
    let few: Vec<String> = records
        .iter()
        .filter(|record| (1..FEW_LATENCY_TRIALS).contains(&Summary::of(record).latency_trials))
        .map(|record| record.point.number.to_string())
        .collect();
    if !few.is_empty() {
        let _ = writeln!(
            text,
            "- Latencies of {} {} come from fewer than {FEW_LATENCY_TRIALS} trials: how much they vary from trial to trial \
             is not known.",
            if few.len() == 1 { "point" } else { "points" },
            few.join(", ")
        );
    }
}

fn point_caveats(text: &mut String, record: &PointRecord) {
    let summary = Summary::of(record);
    let place = format!("Point {}, {}", record.point.number, escape(&engine_name(record)));
    if let PointStatus::Failed(failure) = &record.outcome {
        let _ = writeln!(text, "- **{place} failed:** {}", escape(&failure.reason));
        if !failure.last_lines.is_empty() {
            let _ = write!(text, "\n  The last lines of its cell:\n\n");
            for line in code_block(&failure.last_lines).lines() {
                let _ = writeln!(text, "  {line}");
            }
            text.push('\n');
        }
        return;
    }
    hardware::caveats(text, &place, record);
    open::caveats(text, &place, record);
    if !record.warmup_steady {
        let trials = record.warmup_seconds.len();
        let _ =
            writeln!(text, "- {place}: {trials} warm-up trials showed no steady state; its figures may still drift.");
    }
    if !summary.reached_target() {
        let stopped = match record.stopped_by.as_str() {
            "max_trials" => "the most trials allowed",
            "max_time" => "the time allowed",
            other => other,
        };
        match summary.throughput.as_ref().map(|throughput| &throughput.interval) {
            Some(Ok(interval)) if unusable(interval) => {
                let _ = writeln!(
                    text,
                    "- **{place}: its throughput is not usable.** Stopped by {} with an interval from {} to {} tokens/s, as \
                     wide as the figure. Measure it again on a quieter machine or with more or longer trials.",
                    escape(stopped),
                    number(interval.low),
                    number(interval.high)
                );
            }
            Some(Ok(interval)) => {
                let width =
                    interval.relative_half_width().map_or(MISSING.to_owned(), |w| format!("{:.1} %", w * 100.0));
                let _ = writeln!(
                    text,
                    "- {place}: stopped by {} with an interval of {width} either way, wider than the target.",
                    escape(stopped)
                );
            }
            Some(Err(reason)) => {
                let _ = writeln!(text, "- {place}: stopped by {}; no interval: {}.", escape(stopped), escape(reason));
            }
            None => {
                let _ = writeln!(text, "- {place}: no timed trial.");
            }
        }
    }
    if let Some(reason) = summary.latency_null_reason() {
        let _ = writeln!(text, "- {place}: latencies are missing: {}.", escape(&reason));
    }
    clock_caveat(text, &place, record);
    let flushed = record.trials.iter().filter(|trial| trial.summary.flushes_in_trial > 0).count();
    if flushed > 0 {
        let _ = writeln!(text, "- {place}: {flushed} trials were so large that records were sent while they ran.");
    }
    let worst = record
        .trials
        .iter()
        .flat_map(|trial| [&trial.figures.ttft, &trial.figures.itl, &trial.figures.tpot, &trial.figures.e2e])
        .flatten()
        .fold(0.0_f64, |worst, quantiles| worst.max(quantiles.error));
    if worst > 0.0 {
        let _ = writeln!(text, "- {place}: percentiles are from a histogram, within {:.2} % of exact.", worst * 100.0);
    }
}

/// Trials whose duration the device's clock does not confirm.
fn clock_caveat(text: &mut String, place: &str, record: &PointRecord) {
    let all = record.trials.iter().filter_map(|trial| trial.summary.clock_disagreement()).map(f64::abs);
    let beyond: Vec<f64> = all.filter(|disagreement| *disagreement > MAX_DISAGREEMENT).collect();
    if let Some(worst) = beyond.iter().copied().reduce(f64::max) {
        let _ = writeln!(
            text,
            "- {place}: in {} of {} trials the GPU's clock and the host's differ by more than {} % (by up to {:.2} %): the \
             trial is too short, or work went on after the engine said that it was done.",
            beyond.len(),
            record.trials.len(),
            MAX_DISAGREEMENT * 100.0,
            worst * 100.0
        );
    }
}

fn reproduce(text: &mut String, info: &RunInfo) {
    text.push_str("## Do it again\n\n");
    let command: Vec<String> = info.command.iter().map(|argument| shell(argument)).collect();
    let mut lines = Vec::new();
    if info.tacho.git_commit != "unknown" {
        lines.push(format!("git checkout {}", shell(info.tacho.git_commit.trim_end_matches("-dirty"))));
    }
    lines.push(command.join(" "));
    text.push_str(&code_block(&lines));
    text.push_str(
        "\nThe plan as it was resolved, the environment and the engines' effective configurations are in `run.json`.\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn the_report_is_as_it_was() {
        insta::assert_snapshot!(markdown(&testing::info(), &testing::records()));
    }

    #[test]
    fn a_run_without_points_has_a_report() {
        let text = markdown(&testing::info(), &[]);
        assert!(text.contains("No point has been finished.") && text.contains("0 of 4 points"), "{text}");
    }

    #[test]
    fn a_figure_that_is_not_usable_is_called_so() {
        let mut records = testing::records();
        records[0].trials[0].figures.output_token_throughput *= 6.0;
        records[0].stopped_by = "max_time".to_owned();
        let text = markdown(&testing::info(), &records);
        assert!(text.contains("| NOT USABLE; interval as wide as the figure |"), "{text}");
        assert!(text.contains("**Point 0, sim (SIMULATED): its throughput is not usable.**"), "{text}");
        assert!(text.contains("Latencies of point 0 come from fewer than 3 trials"), "{text}");
    }

    #[test]
    fn options_stand_below_the_engines() {
        let mut info = testing::info();
        let mut record = info.engines.remove("sim").unwrap();
        record.asked.options.insert("jitter".to_owned(), 0.05.into());
        info.engines.insert("sim jitter=0.05".to_owned(), record);
        let text = markdown(&info, &testing::records());
        assert!(
            text.contains("| sim (1) |") && text.contains("Options of (1):\n\n```text\njitter=0.05\n```"),
            "{text}"
        );
    }

    #[test]
    fn names_cannot_break_the_page() {
        let mut records = testing::records();
        records[0].point.engine.id = "x | y\n# z <script>".to_owned();
        let text = markdown(&testing::info(), &records);
        assert!(!text.contains("<script>") && !text.contains("\n# z"), "{text}");
    }
}
