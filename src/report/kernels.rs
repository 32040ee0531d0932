//! What the GPU's time went to, in the traced trial that stands for each point.
use std::fmt::Write;

use super::{
    rows::{Heading, Rows},
    text::{escape, number},
};
use crate::{measure::trace::readable, results::PointRecord};

/// Kernels shown of a point: the ten that took longest.
const SHOWN: usize = 10;
/// Characters of a kernel's name that are shown; templates have thousands.
const NAME: usize = 100;

fn heading(text: &str, numeric: bool) -> Heading {
    Heading { text: text.to_owned(), numeric }
}

fn name(kernel: &str) -> String {
    let name = readable(kernel);
    match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

fn rows(record: &PointRecord) -> Option<(String, Rows)> {
    let trial = record.trace.as_ref()?.typical()?;
    let figures = &trial.figures;
    let whole = figures.window_ns as f64 * f64::from(figures.devices);
    if figures.top.is_empty() || whole <= 0.0 {
        return None;
    }
    let percent = |ns: u64| number(ns as f64 / whole * 100.0);
    let a_step = match trial.steps {
        0 => "the engine's own call did all steps".to_owned(),
        steps => format!("{} a step", number(figures.kernels as f64 / steps as f64)),
    };
    let line = format!(
        "{} {}: {} kernels ({}), {} launched one by one, {} graph launches, {} copies; busy {} %, in kernels {} %, NCCL {} %, idle {} % in gaps of {} µs (median) to {} µs.",
        record.point.number,
        record.point.label(),
        figures.kernels,
        a_step,
        figures.launches,
        figures.graph_launches,
        figures.copies,
        percent(figures.busy_ns),
        percent(figures.kernel_busy_ns),
        percent(figures.nccl_ns),
        percent(figures.idle_ns),
        number(figures.gaps.p50_ns as f64 / 1e3),
        number(figures.gaps.max_ns as f64 / 1e3),
    );
    let headings = vec![
        heading("kernel", false),
        heading("runs", true),
        heading("total ms", true),
        heading("% of the trial", true),
        heading("min µs", true),
        heading("max µs", true),
    ];
    let top = figures.top.iter().take(SHOWN).map(|kernel| {
        vec![
            name(&kernel.name),
            kernel.count.to_string(),
            number(kernel.total_ns as f64 / 1e6),
            percent(kernel.total_ns),
            number(kernel.min_ns as f64 / 1e3),
            number(kernel.max_ns as f64 / 1e3),
        ]
    });
    Some((line, Rows { headings, rows: top.collect() }))
}

/// A section with a table a traced point; nothing when no point was traced.
pub(super) fn section(text: &mut String, records: &[PointRecord], table: fn(&mut String, &Rows)) {
    let traced: Vec<(String, Rows)> = records.iter().filter_map(rows).collect();
    if traced.is_empty() {
        return;
    }
    text.push_str("## Kernels\n\nOf the typical traced trial of each point; kernels that overlapped count each, so that shares can add up to more than the busy time.\n\n");
    for (line, rows) in traced {
        let _ = writeln!(text, "Point {}\n", escape(&line));
        table(text, &rows);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::protocol::Method,
        measure::trace::{Gaps, KernelFigures, TraceFigures},
        results::{TraceRecord, TracedTrial, testing},
    };

    fn show(text: &mut String, rows: &Rows) {
        for row in &rows.rows {
            let _ = writeln!(text, "{}", row.join(" | "));
        }
    }

    #[test]
    fn a_traced_point_has_its_kernels_and_an_untraced_run_no_section() {
        let mut text = String::new();
        section(&mut text, &testing::records(), show);
        assert_eq!(text, "");
        let mut record = testing::records().remove(0);
        let kernel = KernelFigures {
            name: "_ZN4vllm15rms_norm_kernelIfEEvPT_PKS1_S4_fii".to_owned(),
            count: 4,
            total_ns: 2_000_000,
            min_ns: 400_000,
            max_ns: 600_000,
        };
        let figures = TraceFigures {
            window_ns: 10_000_000,
            devices: 1,
            busy_ns: 4_000_000,
            kernel_busy_ns: 2_000_000,
            idle_ns: 6_000_000,
            gaps: Gaps { p50_ns: 5_000, max_ns: 7_000, ..Gaps::default() },
            kernels: 4,
            top: vec![kernel],
            ..TraceFigures::default()
        };
        let trial = TracedTrial { launch: 0, trial: 0, method: Method::Steps, seconds: 0.01, steps: 2, figures };
        record.trace = Some(TraceRecord { trials: vec![trial], ..TraceRecord::default() });
        section(&mut text, &[record], show);
        assert!(text.contains("vllm::rms_norm_kernel<float> | 4 | 2.000 | 20.00 | 400.0 | 600.0"), "{text}");
        assert!(text.contains("busy 40.00 %, in kernels 20.00 %") && text.contains("2.000 a step"), "{text}");
    }
}
