//! A run in a terminal: what it is, its table, small charts of bars, who leads, and what to doubt. Plain text, without colour.
use std::fmt::Write;

use super::{
    advice,
    charts::{self, Chart},
    doubts,
    table::certified_table,
    text::{number, one_line, shorten},
};
use crate::results::{PointRecord, RunInfo};

/// Characters of the longest bar.
const BAR: f64 = 32.0;
/// Characters of a name before its bar.
const NAME: usize = 20;
/// Doubts shown; the report has all.
const DOUBTS: usize = 6;

/// The run as lines of text.
pub fn show(info: &RunInfo, records: &[PointRecord]) -> String {
    let mut text = String::new();
    let name = info.plan.get("name").and_then(|name| name.as_str()).unwrap_or("a run");
    let _ = writeln!(text, "{} ({}), started {}\n", one_line(name), one_line(&info.run_id), one_line(&info.started_at));
    if records.is_empty() {
        text.push_str("No point has been finished.\n");
        return text;
    }
    let _ = writeln!(text, "{}\n", certified_table(info, records));
    for chart in charts::of_records(info, records) {
        bars(&mut text, &chart);
    }
    rankings(&mut text, info, records);
    let all = doubts::of(info, records);
    let _ = writeln!(text, "What to doubt");
    for doubt in all.iter().take(DOUBTS) {
        let _ = writeln!(text, "  - {}", shorten(&one_line(&format!("{} {}", doubt.lead, doubt.text)), 160));
    }
    match all.len() {
        0 => {
            let _ = writeln!(text, "  {}", doubts::NONE);
        }
        n if n > DOUBTS => {
            let _ = writeln!(text, "  and {} more in the report", n - DOUBTS);
        }
        _ => {}
    }
    text
}

/// A bar a dot, from 0.
fn bars(text: &mut String, chart: &Chart) {
    let top = chart.dots().map(|dot| dot.y).fold(0.0, f64::max);
    let _ = writeln!(text, "{} [{}]", one_line(&chart.title), one_line(&chart.y.label));
    for series in &chart.series {
        let _ = writeln!(text, "  {}", one_line(&series.name()));
        for dot in &series.dots {
            let share = if top > 0.0 { dot.y / top } else { 0.0 };
            let name = shorten(&format!("{} {}", short(&chart.x.label), number_of(dot.x)), NAME);
            let interval =
                dot.interval.map_or(String::new(), |(low, high)| format!("  {} … {}", number(low), number(high)));
            let doubt = match (dot.invalid, dot.unusable) {
                (true, _) => "  INVALID",
                (_, true) => "  NOT USABLE",
                _ => "",
            };
            let _ = writeln!(text, "    {name:<NAME$} {:<32} {}{interval}{doubt}", bar(share), number(dot.y));
        }
    }
    text.push('\n');
}

/// The axis' name without what is counted.
fn short(label: &str) -> String {
    one_line(label.split(" (").next().unwrap_or(label))
}

fn number_of(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { number(value) }
}

/// Blocks, the last one in eighths.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * BAR * 8.0).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

fn rankings(text: &mut String, info: &RunInfo, records: &[PointRecord]) {
    let advice = advice::judged(info, records);
    let _ = writeln!(text, "Which engine for what");
    for ranking in &advice.rankings {
        let leaders: Vec<&str> = ranking.entries.iter().take(ranking.candidates()).map(|e| e.engine.as_str()).collect();
        let _ = writeln!(
            text,
            "  {:<11} {:<9}  {}  [{}]",
            ranking.purpose.name(),
            ranking.sureness().as_str(),
            leaders.join(" or "),
            ranking.work
        );
        let _ = writeln!(text, "              {}", ranking.sentence());
    }
    for (purpose, reason) in &advice.missing {
        let _ = writeln!(text, "  {purpose:<11} no ranking: {reason}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn a_run_in_a_terminal_is_as_it_was() {
        let mut records = testing::records();
        records.extend(testing::sweep().into_iter().skip(12));
        insta::assert_snapshot!(show(&testing::info(), &records));
    }

    #[test]
    fn a_run_without_points_says_so() {
        assert!(show(&testing::info(), &[]).contains("No point has been finished."));
    }

    #[test]
    fn bars_have_eighths_and_an_end() {
        assert_eq!((bar(0.0).as_str(), bar(1.0 / 256.0).as_str()), ("", "▏"));
        assert_eq!((bar(1.0).chars().count(), bar(7.0).chars().count()), (32, 32));
    }

    #[test]
    fn nothing_in_it_moves_the_cursor() {
        let mut records = testing::records();
        records[0].point.engine.id = "\u{1b}[2Jevil".to_owned();
        assert!(!show(&testing::info(), &records).contains('\u{1b}'));
    }
}
