//! `docs/metrics.md`: every metric with its formula, unit and columns, made from the definitions.
use std::fmt::Write;

use super::{
    definitions::{METRICS, PERCENTILES, STATISTICS, Value},
    distribution::{EXACT_UP_TO, HISTOGRAM_ERROR},
    stopping::CONFIDENCE,
};

/// `docs/metrics.md`.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    for metric in METRICS {
        let latency = matches!(metric.value, Value::Latency(_));
        let (points, summary) = if latency {
            let column = format!("{}_<statistic>_{}", metric.name, metric.unit);
            (format!("{column}`, `{0}_n`, `{0}_error", metric.name), column)
        } else {
            (metric.name.to_owned(), format!("{}_median", metric.name))
        };
        let trials = if latency {
            "`steps` trials"
        } else {
            "the trials by the load mode's own door: `generate` where it is offline, else `steps`"
        };
        let _ = write!(
            text,
            "\n### {}: `{}`\n\n    {} [{}]\n\n- Whose definition: {}.\n- From {trials}.\n- Columns: `{points}` in `points`, `{summary}` in \
             `summary`.\n",
            metric.title, metric.name, metric.formula, metric.unit, metric.source
        );
    }
    let _ = write!(text, "\n## Statistics of a latency\n\n| `<statistic>` | what |\n|---|---|\n");
    for (suffix, what, _) in STATISTICS {
        let _ = writeln!(text, "| `{suffix}` | {what} |");
    }
    let _ = write!(
        text,
        "\nIn a trial they are over its requests (`ttft`, `tpot`, `e2e`) or its tokens (`itl`); in `summary` the median over trials of \
         each trial's own. {}. Up to {EXACT_UP_TO} values are kept and percentiles are exact; of more, a histogram has them within \
         {} %, and `<metric>_error` says so. Mean and standard deviation are always over all values.\n",
        capital(PERCENTILES),
        HISTOGRAM_ERROR * 100.0
    );
    let _ = write!(text, "{}", TAIL.replace("{confidence}", &format!("{}", CONFIDENCE * 100.0)));
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

const HEAD: &str = "\
# Metrics

Made by `tacho` from `src/metrics`; a test compares this page with it. After a change there, `TACHO_WRITE_DOCS=1 cargo test
--release --lib document` writes it anew. The same definitions hold for every engine.

A **trial** runs from just before its first request is handed over (start) until its last result is in hand (end), on the engine's
clock. Tokens are counted by id: nothing is tokenised again, and no chunk counts as a token. A trial in which an engine consumed or
produced another number of tokens than was asked for is an error, not a figure. Warm-up trials and superseded ones are in no figure.

There are two doors. `generate` is the engine's own blocking call: throughput, and no times of single requests. `steps` hands
requests over and polls the engine's step loop: each token's time is seen. Throughput of an offline point is that of its `generate`
trials; its latencies are of `steps` trials beside them. A value that cannot be had is null with a reason, never 0.

**What latencies count from.** From the request's scheduled arrival: in an offline batch and in a closed loop that is when the
harness hands it over, or would have if the engine had let it. Waiting in a queue is in it.

## Definitions
";

const TAIL: &str = "
## Over trials

`*_median` is the median over a point's throughput trials. `output_token_throughput_low` and `_high` are an interval of that median
by order statistics: the narrowest symmetric pair whose coverage, from the binomial distribution, is at least {confidence} %
(`interval_coverage` is what it is). It assumes nothing of the distribution but that trials are independent, and needs at least 6
of them. The interval is over trials, not over requests, which share their trial's luck.

Trials of a point stop when the farther end of the interval is within `trials.target` of the median, or at a cap; `stopped_by` says
which. Warm-up trials run before, until their times are seen to be steady; `warmup_steady` says whether they were.

## From the hardware

MFU, MBU and `roofline_share`: [roofline.md](roofline.md). Energy per token: the GPUs' energy counters over the trial, divided by its
output tokens; null where a counter changed too seldom in the trial to be resolved. GPU busy time, gaps and launches:
[measure-trace.md](measure-trace.md). The device's clock beside the host's: [measure.md](measure.md). Every column: [schema.md](schema.md).
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_definitions_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("TACHO_WRITE_DOCS").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == document(), "docs/metrics.md differs from the code: its first lines say how to write it anew");
    }
}
