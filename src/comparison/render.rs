//! Comparisons as text for a terminal and as Markdown for a report or a pull request.
use std::fmt::Write;

use super::{
    Better,
    paired::{Comparison, Side},
    runs::{PointComparison, RunComparison},
};
use crate::{
    report::text::{MISSING, escape, number, number_or_missing, one_line},
    stats::{
        paired::{POOL_ABOVE, Unit},
        verdict::Verdict,
    },
};

/// As a percentage with its sign.
fn change(ratio: f64) -> String {
    format!("{:+.2} %", (ratio - 1.0) * 100.0)
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", fraction * 100.0)
}

/// The change of the figure itself, not of the speed: of a latency, more is slower.
fn changes(better: Better, ratio: f64, ends: Option<(f64, f64)>) -> String {
    let of = |speed: f64| if better == Better::Higher { speed } else { 1.0 / speed };
    let Some((low, high)) = ends else { return format!("{} (no interval)", change(of(ratio))) };
    let (mut low, mut high) = (of(low), of(high));
    if low > high {
        std::mem::swap(&mut low, &mut high);
    }
    format!("{} ({} … {})", change(of(ratio)), change(low), change(high))
}

/// What the comparisons of a paired run say, a paragraph each.
pub fn paired_text(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for found in comparisons {
        let work = if found.work.is_empty() { String::new() } else { format!("[{}] ", found.work) };
        let (a, b) = (name(&found.a), name(&found.b));
        match &found.result {
            None => {
                let why = found.null_reason.as_deref().unwrap_or("it is not known why");
                let _ = writeln!(text, "{work}{b} against {a}: not compared: {}", one_line(why));
            }
            Some(result) => {
                let change = changes(found.better, result.ratio, result.low.zip(result.high));
                let _ =
                    writeln!(text, "{work}{b} against {a}: {} in {}: {change}", result.verdict.as_str(), found.figure);
            }
        }
        for line in found.label.iter().map(|label| one_line(label)).chain(details(found)) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// The same, as a section of `report.md`.
pub fn paired_markdown(comparisons: &[Comparison]) -> String {
    let mut text = String::from(
        "| work | against | engine | figure | first | second | change (95 % interval) | verdict |\n|---|---|---|---|---:|---:|---:|---|\n",
    );
    for found in comparisons {
        let (change, verdict) = match &found.result {
            Some(result) => {
                (changes(found.better, result.ratio, result.low.zip(result.high)), result.verdict.as_str().to_owned())
            }
            None => (MISSING.to_owned(), "not compared".to_owned()),
        };
        let cells = [
            escape(&found.work),
            escape(&name(&found.a)),
            escape(&name(&found.b)),
            format!("`{}`", found.figure),
            number_or_missing(found.a.median),
            number_or_missing(found.b.median),
            change,
            format!("**{verdict}**"),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
    for found in comparisons {
        let title = [found.work.as_str(), &name(&found.b), "against", &name(&found.a), &found.figure].join(" ");
        let _ = writeln!(text, "- {}:", escape(&title));
        for line in found.null_reason.iter().chain(&found.label).cloned().chain(details(found)) {
            let _ = writeln!(text, "  - {}", escape(&line));
        }
    }
    text.push_str(
        "\nSAME: the whole interval is within the threshold. FASTER, SLOWER: the interval leaves out 0 and the estimate is \
         beyond the\nthreshold. AMBIGUOUS: the data do not tell. A change is that of geometric means over blocks; docs/comparing.md \
         has the formulas.\n\n",
    );
    text
}

fn name(side: &Side) -> String {
    let double = if side.double.is_some() { " (SIMULATED)" } else { "" };
    format!("{}{double}", one_line(&side.label))
}

/// What stands below a verdict.
fn details(found: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(result) = &found.result {
        let unit = match result.unit {
            Unit::Block => "blocks of all launches as one sample",
            Unit::Launch if result.launches_alike.is_some_and(|chance| chance <= POOL_ABOVE) => {
                "launches as the sample, because they differ"
            }
            Unit::Launch => "launches as the sample, because the engines were never loaded together",
        };
        lines.push(format!(
            "{} launches, {} blocks; the interval is over {unit}; threshold {}",
            result.launches,
            result.blocks,
            percent(result.threshold)
        ));
        lines.extend(result.note.clone());
        if let Some(detectable) = result.detectable {
            lines.push(format!("smallest difference that could have been seen: {}", percent(detectable)));
        }
        let parts = &result.components;
        let sd = |variance: Option<f64>| variance.map_or("not known".to_owned(), |v| percent(v.sqrt()));
        lines.push(format!(
            "spread of the ratio (standard deviations): launch {}, block {}, trial {}",
            sd(parts.launch),
            sd(Some(parts.block)),
            sd(parts.trial)
        ));
        let alike = if parts.launch.is_none() {
            " (how launches differ is not known from one, and counted as not at all)"
        } else {
            ""
        };
        lines.push(match &found.needed {
            Some(needed) => format!(
                "to tell {} from none it takes {} launches of {} blocks with {} trials an engine, about {:.0} s{alike}",
                percent(needed.claim),
                needed.launches,
                needed.blocks,
                needed.trials,
                needed.seconds
            ),
            None => "to tell 1 % from none, 200 launches of 100 blocks would be too few".to_owned(),
        });
    }
    for side in [&found.a, &found.b] {
        if let Some(two) = &side.bimodal {
            lines.push(format!(
                "{} is bimodal: {} trials around {} and {} around {} {} (dip test, p = {:.3}): one number describes neither",
                name(side),
                two.low.values,
                number(two.low.center),
                two.high.values,
                number(two.high.center),
                found.unit,
                two.p_value
            ));
        }
    }
    lines
}

const CAVEAT: &str = "Each run is taken as one launch of its engines: how launches differ is not in the intervals \
                      (`tacho run --compare abba` measures that).";

/// A comparison of runs, for a terminal.
pub fn runs_text(found: &RunComparison) -> String {
    let mut text = format!(
        "{} (a) against {} (b): {} in {}, {} is better; threshold {}\n",
        one_line(&found.a.name),
        one_line(&found.b.name),
        found.figure,
        found.unit,
        if found.better == Better::Higher { "more" } else { "less" },
        percent(found.threshold)
    );
    for (side, run) in [("a", &found.a), ("b", &found.b)] {
        for note in &run.notes {
            let _ = writeln!(text, "note: {side}: {note}");
        }
    }
    let width = found.points.iter().map(|point| point_name(point).chars().count()).max().unwrap_or(0);
    for point in &found.points {
        let _ = writeln!(text, "  {:width$}  {}", point_name(point), outcome(point, found.better));
        for note in point.refused.iter().chain(&point.notes) {
            let _ = writeln!(text, "  {:width$}    {}", "", one_line(note));
        }
    }
    for (side, only) in [("a", &found.only_a), ("b", &found.only_b)] {
        if !only.is_empty() {
            let _ = writeln!(text, "only in {side}: {}", one_line(&only.join("; ")));
        }
    }
    if found.differences.is_empty() {
        text.push_str("nothing that is known differed beside the points\n");
    } else {
        text.push_str("what else differed:\n");
        for difference in &found.differences {
            let show = |value: &Option<String>| value.as_deref().map_or(MISSING.to_owned(), one_line);
            let _ =
                writeln!(text, "  {}: {} | {}", one_line(&difference.what), show(&difference.a), show(&difference.b));
        }
    }
    let _ = writeln!(text, "{CAVEAT}");
    text
}

fn point_name(point: &PointComparison) -> String {
    match &point.beside {
        Some(other) => format!("{} | {}", one_line(&point.point), one_line(other)),
        None => one_line(&point.point),
    }
}

fn outcome(point: &PointComparison, better: Better) -> String {
    let (Some(verdict), Some(ratio)) = (point.verdict, point.ratio) else { return "NOT COMPARED".to_owned() };
    let seen = point.detectable.map_or(String::new(), |seen| format!(", could have seen {}", percent(seen)));
    format!(
        "{:9} {} → {}  {}{seen}",
        verdict.as_str(),
        number_or_missing(point.a),
        number_or_missing(point.b),
        changes(better, ratio, point.low.zip(point.high))
    )
}

/// A comparison of runs, for a pull request: the verdicts first, the rest folded away.
pub fn runs_markdown(found: &RunComparison) -> String {
    let count = |verdict: Verdict| found.points.iter().filter(|point| point.verdict == Some(verdict)).count();
    let refused = found.points.iter().filter(|point| point.verdict.is_none()).count();
    let mut text = format!(
        "### Tacho: {} against {}\n\n{} slower, {} faster, {} same, {} ambiguous, {refused} not compared, by `{}` ({}) with a \
         threshold of {}.\n\n",
        escape(&found.b.name),
        escape(&found.a.name),
        count(Verdict::Slower),
        count(Verdict::Faster),
        count(Verdict::Same),
        count(Verdict::Ambiguous),
        found.figure,
        found.unit,
        percent(found.threshold)
    );
    text.push_str(
        "| point | a | b | change (95 % interval) | could have seen | verdict |\n|---|---:|---:|---:|---:|---|\n",
    );
    for point in &found.points {
        let (change, verdict) = match (point.verdict, point.ratio) {
            (Some(verdict), Some(ratio)) => {
                (changes(found.better, ratio, point.low.zip(point.high)), verdict.as_str().to_owned())
            }
            _ => (MISSING.to_owned(), "not compared".to_owned()),
        };
        let cells = [
            escape(&point_name(point)),
            number_or_missing(point.a),
            number_or_missing(point.b),
            change,
            point.detectable.map_or(MISSING.to_owned(), percent),
            format!("**{verdict}**"),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
    for point in found.points.iter().filter(|point| !point.refused.is_empty() || !point.notes.is_empty()) {
        let said: Vec<String> = point.refused.iter().chain(&point.notes).map(|note| escape(note)).collect();
        let _ = writeln!(text, "- {}: {}", escape(&point_name(point)), said.join("; "));
    }
    for (side, run, only) in [("a", &found.a, &found.only_a), ("b", &found.b, &found.only_b)] {
        for note in &run.notes {
            let _ = writeln!(text, "- {side}: {}", escape(note));
        }
        if !only.is_empty() {
            let _ = writeln!(text, "- only in {side}: {}", escape(&only.join("; ")));
        }
    }
    let _ = writeln!(
        text,
        "\n<details><summary>What else differed: {}</summary>\n\n| what | a | b |\n|---|---|---|",
        found.differences.len()
    );
    for difference in &found.differences {
        let show = |value: &Option<String>| value.as_deref().map_or(MISSING.to_owned(), escape);
        let _ = writeln!(text, "| {} | {} | {} |", escape(&difference.what), show(&difference.a), show(&difference.b));
    }
    let _ = writeln!(text, "\n</details>\n\n{CAVEAT}");
    text
}
