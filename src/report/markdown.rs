//! `report.md`: what was measured on what, the figures, what they mean, and what to doubt.
use std::fmt::Write;

use super::{
    advice, certificates,
    charts::THROUGHPUT_SVG,
    doubts::{self, Doubt},
    frontier, hardware, kernels, open, provenance,
    rows::{Rows, more_rows, rows},
    text::{MISSING, code_block, escape, seconds},
    turns,
};
use crate::{
    cell::protocol::Method,
    comparison, fairness,
    metrics::definitions::{METRICS, PERCENTILES},
    results::{PointRecord, RunInfo},
    validity::{Certificate, certify_all},
};

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
    text.push_str(&calibration(info));
    machine(&mut text, info);
    engines(&mut text, info);
    let certificates = certify_all(info, records);
    recommendations(&mut text, info, records);
    side_by_side(&mut text, info, records);
    figures(&mut text, records, &certificates);
    load_section(&mut text, records);
    turns_section(&mut text, records);
    frontier::section(&mut text, info, records);
    certificates::section(&mut text, records, &certificates);
    text.push_str(&fairness::markdown(&fairness::of_run(info), escape));
    if let Some(agreement) = &info.agreement {
        text.push_str(&agreement.markdown(escape));
    }
    hardware_section(&mut text, info, records);
    kernels::section(&mut text, records, table);
    caveats(&mut text, info, records);
    meaning(&mut text);
    reproduce(&mut text, info);
    text
}

/// A calibration that did not pass is the first thing to know.
fn calibration(info: &RunInfo) -> String {
    info.calibration.warning().map_or(String::new(), |warning| format!("> **Calibration.** {}\n\n", escape(&warning)))
}

fn side_by_side(text: &mut String, info: &RunInfo, records: &[PointRecord]) {
    let found = comparison::paired::comparisons(info, records);
    if !found.is_empty() {
        text.push_str("## Side by side\n\n");
        text.push_str(&comparison::paired_markdown(&found));
    }
}

fn machine(text: &mut String, info: &RunInfo) {
    text.push_str("## Measured on\n\n| | |\n|---|---|\n");
    for (name, value) in provenance::machine(info) {
        let _ = writeln!(text, "| {name} | {} |", escape(&value));
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
        let (mut name, asked) = provenance::without_options(label, record);
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

/// Which engine for what; nothing without an engine to recommend.
fn recommendations(text: &mut String, info: &RunInfo, records: &[PointRecord]) {
    let advice = advice::judged(info, records);
    if advice.rankings.is_empty() {
        return;
    }
    text.push_str("## Which engine for what\n\n");
    for ranking in &advice.rankings {
        let leaders: Vec<&str> = ranking.entries.iter().take(ranking.candidates()).map(|e| e.engine.as_str()).collect();
        let _ = writeln!(
            text,
            "- **{}** ({}): {}, {}. {}",
            ranking.purpose.name(),
            escape(&ranking.work),
            escape(&leaders.join(" or ")),
            ranking.sureness().as_str(),
            escape(&ranking.sentence()),
        );
    }
    text.push_str("\nCLEAR: the 95 % intervals are apart; AMBIGUOUS: they overlap. docs/report.md says more.\n\n");
}

fn figures(text: &mut String, records: &[PointRecord], certificates: &[Certificate]) {
    text.push_str("## Figures\n\n");
    if records.is_empty() {
        text.push_str("No point has been finished.\n\n");
        return;
    }
    table(text, &rows(records, certificates));
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

fn turns_section(text: &mut String, records: &[PointRecord]) {
    if !turns::known(records) {
        return;
    }
    text.push_str("## Conversations\n\n");
    text.push_str("By turn, medians over trials; all turns are in `turns.csv` (docs/load.md says what they mean):\n\n");
    table(text, &turns::rows(records));
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
    for reason in hardware::remarks(records) {
        let _ = writeln!(text, "- {}", escape(&reason));
    }
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
    let doubts = doubts::of(info, records);
    for Doubt { lead, text: says, lines } in &doubts {
        let lead = if lead.is_empty() { String::new() } else { format!("**{}** ", escape(lead)) };
        let _ = writeln!(text, "- {lead}{}", escape(says));
        if !lines.is_empty() {
            let _ = write!(text, "\n  The last lines of its cell:\n\n");
            for line in code_block(lines).lines() {
                let _ = writeln!(text, "  {line}");
            }
            text.push('\n');
        }
    }
    if doubts.is_empty() {
        let _ = writeln!(text, "{}", doubts::NONE);
    }
    text.push('\n');
}

fn reproduce(text: &mut String, info: &RunInfo) {
    text.push_str("## Do it again\n\n");
    text.push_str(&code_block(&provenance::commands(info)));
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
