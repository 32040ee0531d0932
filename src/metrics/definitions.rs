//! Every metric, once: its name, unit, formula, source, and where a trial's figures keep it. The columns of the tables,
//! the documentation and the report are made from this table.
use crate::results::{Quantiles, TrialFigures};

/// Where a metric's value lies.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// One number a trial.
    Rate(fn(&TrialFigures) -> f64),
    /// One number a trial, where it has one.
    MaybeRate(fn(&TrialFigures) -> Option<f64>),
    /// A distribution over the requests or tokens of a trial, in milliseconds.
    Latency(fn(&TrialFigures) -> Option<&Quantiles>),
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The field's name for it.
    pub name: &'static str,
    /// For a heading.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is computed.
    pub formula: &'static str,
    /// Whose definition it is.
    pub source: &'static str,
    /// Where its value lies.
    pub value: Value,
}

/// The metrics, in the order of the tables' columns.
pub const METRICS: &[Definition] = &[
    Definition {
        name: "request_throughput",
        title: "Request throughput",
        unit: "requests/s",
        formula: "requests / (end − start) of the trial",
        source: "MLPerf LoadGen offline: samples a second; vLLM, SGLang `request_throughput`",
        value: Value::Rate(|figures| figures.request_throughput),
    },
    Definition {
        name: "input_token_throughput",
        title: "Input token throughput",
        unit: "tokens/s",
        formula: "prompt tokens that the engine consumed / (end − start) of the trial",
        source: "SGLang `input_throughput`; tokens counted by id, never re-tokenised",
        value: Value::Rate(|figures| figures.input_token_throughput),
    },
    Definition {
        name: "output_token_throughput",
        title: "Output token throughput",
        unit: "tokens/s",
        formula: "output tokens / (end − start) of the trial",
        source: "vLLM, SGLang `output_throughput`; tokens counted by id, never chunks",
        value: Value::Rate(|figures| figures.output_token_throughput),
    },
    Definition {
        name: "total_token_throughput",
        title: "Total token throughput",
        unit: "tokens/s",
        formula: "(prompt tokens + output tokens) / (end − start) of the trial",
        source: "vLLM `total_token_throughput`",
        value: Value::Rate(|figures| figures.total_token_throughput),
    },
    Definition {
        name: "goodput",
        title: "Goodput",
        unit: "requests/s",
        formula: "requests whose ttft, tpot and e2e are each within the limit that the service level sets (a request of one \
                  token has no tpot to miss; one that was cut off misses) / (end − start) of the trial",
        source: "Zhong et al., DistServe (OSDI 2024); vLLM `request_goodput`",
        value: Value::MaybeRate(|figures| Some(figures.service.as_ref()?.goodput)),
    },
    Definition {
        name: "ttft",
        title: "Time to first token",
        unit: "ms",
        formula: "first token visible − scheduled arrival, of each request",
        source: "MLPerf LoadGen: latency counts from the scheduled time, so waiting in any queue is in it",
        value: Value::Latency(|figures| figures.ttft.as_ref()),
    },
    Definition {
        name: "itl",
        title: "Inter-token latency",
        unit: "ms",
        formula: "token visible − the request's previous token visible, of each token but a request's first; of k tokens \
                  that became visible together the first has the gap and the k − 1 others have 0",
        source: "vLLM `itl`, resolved to tokens (SGLang pull request 12064): the gaps of a request add up to last − \
                 first, none is interpolated, and no chunk counts as a token",
        value: Value::Latency(|figures| figures.itl.as_ref()),
    },
    Definition {
        name: "tpot",
        title: "Time per output token",
        unit: "ms",
        formula: "(last token visible − first token visible) / (output tokens − 1), of each request with at least 2 output \
                  tokens",
        source: "vLLM, SGLang, MLPerf LoadGen: (latency − ttft) / (tokens − 1)",
        value: Value::Latency(|figures| figures.tpot.as_ref()),
    },
    Definition {
        name: "e2e",
        title: "End-to-end latency",
        unit: "ms",
        formula: "last token visible − scheduled arrival, of each request",
        source: "MLPerf LoadGen: latency counts from the scheduled time",
        value: Value::Latency(|figures| figures.e2e.as_ref()),
    },
];

/// The metric of that name.
pub fn metric(name: &str) -> Option<&'static Definition> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// A statistic of a distribution, by the name that ends its column's.
pub type Statistic = (&'static str, &'static str, fn(&Quantiles) -> Option<f64>);

/// The statistics of a latency that the tables keep: suffix, what it is, where it lies. In milliseconds.
pub const STATISTICS: &[Statistic] = &[
    ("mean", "arithmetic mean", |q| Some(q.mean)),
    ("sd", "sample standard deviation (n − 1)", |q| q.sd),
    ("min", "smallest", |q| Some(q.min)),
    ("p50", "median", |q| Some(q.p50)),
    ("p90", "90th percentile", |q| Some(q.p90)),
    ("p95", "95th percentile", |q| Some(q.p95)),
    ("p99", "99th percentile", |q| Some(q.p99)),
    ("max", "largest", |q| Some(q.max)),
];

/// How percentiles are defined, everywhere.
pub const PERCENTILES: &str = "percentiles interpolate linearly between order statistics (Hyndman and Fan 1996, type 7; \
                               NumPy's default)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_metric_is_defined() {
        for (index, metric) in METRICS.iter().enumerate() {
            assert!(METRICS[..index].iter().all(|other| other.name != metric.name), "{}", metric.name);
            assert!(!metric.formula.is_empty() && !metric.source.is_empty(), "{}", metric.name);
        }
        assert!(matches!(metric("itl").unwrap().value, Value::Latency(_)));
        assert!(metric("throughput").is_none());
    }
}
