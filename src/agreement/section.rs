//! A comparison as Markdown: the report's section, and what `tacho agree` prints.
use std::fmt::Write;

use super::record::{Agreement, Taker, Verdict};

impl Agreement {
    /// The tables. `escape` makes a text fit for a table.
    pub fn markdown(&self, escape: fn(&str) -> String) -> String {
        let mut text = String::from("## Agreement\n\n");
        let _ = writeln!(
            text,
            "{} prompts, {} greedy tokens after each; log-probabilities in nats, along the first engine's outputs.\n",
            self.prompts.len(),
            self.tokens
        );
        text.push_str("| | engine | number type | parts from itself: again, alone | its log-probabilities move: again, alone |\n|---|---|---|---|---|\n");
        for (number, taker) in (1..).zip(&self.engines) {
            let _ = writeln!(
                text,
                "| {number} | {} | {} | {} | {} |",
                name(taker, escape),
                escape(&taker.dtype),
                parts(taker),
                moves(taker, escape)
            );
        }
        text.push_str("\n| engines | verdict | same outputs | first parts at (prompt.position: margin) | same predictions | log-probabilities apart: median, most | floor |\n|---|---|---|---|---|---|---|\n");
        let number = |label: &str| self.engines.iter().position(|taker| taker.label == label).map_or(0, |at| at + 1);
        for pair in &self.pairs {
            let verdict = match pair.verdict {
                None => "not compared".to_owned(),
                Some(Verdict::Different) => "**different**".to_owned(),
                Some(other) => other.as_str().to_owned(),
            };
            let margin = |margin: Option<f64>| margin.map_or_else(|| "not scored".to_owned(), nats);
            let parted: Vec<String> =
                pair.divergences.iter().map(|d| format!("{}.{}: {}", d.prompt, d.position, margin(d.margin))).collect();
            let (same, apart) = match &pair.forced {
                Some(forced) => (
                    format!("{} of {}", forced.same_top, forced.positions),
                    format!("{}, {}", nats(forced.median_lp), nats(forced.max_lp)),
                ),
                None => ("–".to_owned(), "–".to_owned()),
            };
            let _ = writeln!(
                text,
                "| {} and {} | {verdict} | {} of {} | {} | {same} | {apart} | {} |",
                number(&pair.a),
                number(&pair.b),
                pair.identical,
                self.prompts.len(),
                if parted.is_empty() { "–".to_owned() } else { parted.join(", ") },
                nats(pair.floor),
            );
        }
        text.push('\n');
        for pair in &self.pairs {
            let _ = writeln!(text, "- {} and {}: {}.", number(&pair.a), number(&pair.b), escape(&pair.why));
            if pair.verdict == Some(Verdict::Different) {
                text.push_str("  **Their figures are not of the same work: no ratio between them stands.**\n");
            }
        }
        text.push('\n');
        text
    }
}

fn name(taker: &Taker, escape: fn(&str) -> String) -> String {
    let double = if taker.double.is_some() { " (SIMULATED)" } else { "" };
    format!("{} {}{double}", escape(&taker.label), escape(&taker.version))
}

fn parts(taker: &Taker) -> String {
    match &taker.failed {
        Some(_) => "–".to_owned(),
        None => format!("{}, {} of {}", taker.floor.runs_parted, taker.floor.batch_parted, taker.outputs.len()),
    }
}

fn moves(taker: &Taker, escape: fn(&str) -> String) -> String {
    match (taker.floor.runs_lp, taker.floor.batch_lp, taker.failed.as_ref().or(taker.scores_null_reason.as_ref())) {
        (Some(again), Some(alone), _) => format!("{}, {}", nats(again), nats(alone)),
        (.., Some(why)) => format!("– ({})", escape(why)),
        _ => "–".to_owned(),
    }
}

/// A difference of log-probabilities, for a person.
pub(super) fn nats(difference: f64) -> String {
    if difference == 0.0 { "0".to_owned() } else { format!("{difference:.1e}") }
}
