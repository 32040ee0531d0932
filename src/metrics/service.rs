//! Service levels: limits that requests are judged by, and how many met them.
use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::steady::Life;
use crate::plan::scalar;

/// A latency that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// End to end.
    E2e,
}

impl Latency {
    /// The metric's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }
}

/// One limit: so many percent of the requests must be within it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What is limited.
    pub latency: Latency,
    /// In percent, above 0 and below 100 (or 100 for all requests).
    pub percentile: f64,
    /// The limit.
    pub within: Duration,
}

/// A service level: limits that must all be met. As text `ttft=200ms,tpot:p90=50ms,e2e=5s`; the percentile is 99 where none
/// is named. Or the name of a preset, `mlperf:llama2-70b-server`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Slo {
    preset: Option<String>,
    limits: Vec<Limit>,
}

/// MLPerf Inference's limits: 99th percentiles of TTFT and TPOT in milliseconds, from `loadgen/mlperf.conf`
/// (`ttft_latency`, `tpot_latency`; v6.0).
pub const PRESETS: &[(&str, u64, u64)] = &[
    ("mlperf:llama3.1-8b-server", 2000, 100),
    ("mlperf:llama3.1-8b-interactive", 500, 30),
    ("mlperf:llama2-70b-server", 2000, 200),
    ("mlperf:llama2-70b-interactive", 450, 40),
    ("mlperf:mixtral-8x7b-server", 2000, 200),
    ("mlperf:llama3.1-405b-server", 6000, 175),
    ("mlperf:llama3.1-405b-interactive", 4500, 80),
    ("mlperf:gpt-oss-120b-server", 3000, 80),
    ("mlperf:gpt-oss-120b-interactive", 2000, 15),
    ("mlperf:deepseek-r1-server", 2000, 80),
    ("mlperf:deepseek-r1-interactive", 1500, 15),
];

/// Why a text is no service level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SloError {
    /// Not of the form.
    #[error("'{0}' is no limit: expected ttft, tpot or e2e with a time, such as ttft=200ms or tpot:p90=50ms")]
    Syntax(String),
    /// A time that cannot be.
    #[error("limit '{0}': {1}")]
    Time(String, String),
    /// A time without its unit: other tools read milliseconds there, and nobody may guess.
    #[error("limit '{0}': expected a time with its unit, such as 200ms or 1.5s")]
    Unit(String),
    /// A percentile that cannot be.
    #[error("limit '{0}': expected a percentile such as p99, above 0 and at most 100")]
    Percentile(String),
    /// Two limits for one latency.
    #[error("'{0}' is limited twice: give each latency one limit")]
    Twice(&'static str),
    /// No such preset.
    #[error("there is no preset '{0}': expected one of {names}", names = preset_names())]
    Preset(String),
}

fn preset_names() -> String {
    PRESETS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
}

impl Slo {
    /// The limits, in the order in which they were given.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// Judges requests.
    ///
    /// `seconds` is the trial's length; `lives` must be in order of their scheduled times. None without requests.
    pub fn judge(&self, lives: &[Life], seconds: f64) -> Option<ServiceFigures> {
        if lives.is_empty() || seconds <= 0.0 {
            return None;
        }
        let n = lives.len() as f64;
        let good = lives.iter().filter(|life| self.limits.iter().all(|limit| limit.met_by(life))).count() as f64;
        let limits: Vec<LimitFigures> = self.limits.iter().map(|limit| limit.judge(lives)).collect();
        Some(ServiceFigures {
            goodput: good / seconds,
            attained: good / n,
            met: limits.iter().all(|limit| limit.met),
            judged: lives.len() as u64,
            limits,
        })
    }
}

impl Limit {
    fn met_by(&self, life: &Life) -> bool {
        let found_ns = match self.latency {
            Latency::Ttft => life.ttft_ns(),
            Latency::Tpot if life.ended() && life.output_tokens < 2 => Some(0),
            Latency::Tpot => life.tpot_ns(),
            Latency::E2e => life.e2e_ns(),
        };
        // What was cut off has missed, whatever it had reached.
        life.ended() && found_ns.is_some_and(|ns| u128::from(ns) <= self.within.as_nanos())
    }

    fn judge(&self, lives: &[Life]) -> LimitFigures {
        let met: Vec<f64> = lives.iter().map(|life| f64::from(u8::from(self.met_by(life)))).collect();
        let attained = met.iter().sum::<f64>() / met.len() as f64;
        LimitFigures {
            latency: self.latency,
            percentile: self.percentile,
            limit_ms: self.within.as_secs_f64() * 1e3,
            attained,
            met: attained >= self.percentile / 100.0,
            effective_requests: effective_size(&met),
        }
    }
}

/// How many independent requests would tell as much as these, which wait in one queue: the variance of means of 20 batches in
/// order, against that of independent requests (Conway 1963, batch means). At least 1, at most as many as there are.
fn effective_size(values: &[f64]) -> f64 {
    const BATCHES: usize = 20;
    let n = values.len();
    let size = n / BATCHES;
    let mean = values.iter().sum::<f64>() / n as f64;
    let each = mean * (1.0 - mean);
    if size < 2 || each <= 0.0 {
        return n as f64;
    }
    let means = values.chunks_exact(size).take(BATCHES).map(|batch| batch.iter().sum::<f64>() / size as f64);
    let spread = means.map(|batch| (batch - mean).powi(2)).sum::<f64>() / (BATCHES as f64 - 1.0);
    let inflation = (spread * size as f64 / each).max(1.0);
    (n as f64 / inflation).max(1.0)
}

/// How requests met one limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitFigures {
    /// What is limited.
    pub latency: Latency,
    /// In percent.
    pub percentile: f64,
    /// The limit in milliseconds.
    pub limit_ms: f64,
    /// Share of requests within it.
    pub attained: f64,
    /// Whether that is as many as the percentile asks.
    pub met: bool,
    /// How many independent requests would tell as much.
    pub effective_requests: f64,
}

/// How the requests of a trial met a service level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceFigures {
    /// Requests a second that were within all limits.
    pub goodput: f64,
    /// Share of requests that were.
    pub attained: f64,
    /// Whether every limit was met at its percentile.
    pub met: bool,
    /// Requests judged, those that were cut off among them.
    pub judged: u64,
    /// Limit by limit.
    pub limits: Vec<LimitFigures>,
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let text = text.trim();
        if text.starts_with("mlperf:") {
            let found = PRESETS.iter().find(|(name, ..)| *name == text);
            let (name, ttft, tpot) = found.ok_or_else(|| SloError::Preset(text.to_owned()))?;
            let limit = |latency, ms: &u64| Limit { latency, percentile: 99.0, within: Duration::from_millis(*ms) };
            return Ok(Self {
                preset: Some((*name).to_owned()),
                limits: vec![limit(Latency::Ttft, ttft), limit(Latency::Tpot, tpot)],
            });
        }
        let mut limits: Vec<Limit> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let limit = limit(part)?;
            if limits.iter().any(|other| other.latency == limit.latency) {
                return Err(SloError::Twice(limit.latency.name()));
            }
            limits.push(limit);
        }
        Ok(Self { preset: None, limits })
    }
}

fn limit(text: &str) -> Result<Limit, SloError> {
    let syntax = || SloError::Syntax(text.to_owned());
    let (what, time) = text.split_once('=').ok_or_else(syntax)?;
    let (name, percentile) = match what.split_once(':') {
        Some((name, percentile)) => (name, percentile.trim()),
        None => (what, "p99"),
    };
    let latency = [Latency::Ttft, Latency::Tpot, Latency::E2e].into_iter().find(|known| known.name() == name.trim());
    let wrong = || SloError::Percentile(text.to_owned());
    let percentile: f64 = percentile.strip_prefix('p').ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if !(percentile > 0.0 && percentile <= 100.0) {
        return Err(wrong());
    }
    if time.trim().parse::<f64>().is_ok_and(|number| number > 0.0) {
        return Err(SloError::Unit(text.to_owned()));
    }
    let within = scalar::duration(time).map_err(|problem| SloError::Time(text.to_owned(), problem))?;
    Ok(Limit { latency: latency.ok_or_else(syntax)?, percentile, within })
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.preset {
            return f.write_str(name);
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}:p{}={}ms", limit.latency.name(), limit.percentile, limit.within.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.to_string()
    }
}

impl TryFrom<String> for Slo {
    type Error = SloError;

    fn try_from(text: String) -> Result<Self, SloError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn life(ttft_ms: u64, e2e_ms: u64, output_tokens: u32) -> Life {
        Life { scheduled_ns: 7, first_ns: 7 + ttft_ms * MS, last_ns: 7 + e2e_ms * MS, output_tokens }
    }

    #[test]
    fn service_levels_read_back_as_they_were_written() {
        for (text, shown) in [
            ("ttft=200ms,tpot=50ms,e2e=5s", "ttft:p99=200ms,tpot:p99=50ms,e2e:p99=5000ms"),
            ("ttft:p90=1.5s", "ttft:p90=1500ms"),
            ("e2e:p99.9=1m", "e2e:p99.9=60000ms"),
            ("mlperf:llama2-70b-interactive", "mlperf:llama2-70b-interactive"),
        ] {
            let slo: Slo = text.parse().unwrap();
            assert_eq!(slo.to_string(), shown);
            assert_eq!(shown.parse::<Slo>().unwrap(), slo);
        }
        let preset: Slo = "mlperf:llama2-70b-interactive".parse().unwrap();
        assert_eq!(preset.limits()[1].within, Duration::from_millis(40));
    }

    #[test]
    fn what_is_no_service_level_is_refused_with_the_reason() {
        let errors: Vec<String> = [
            "",
            "ttft",
            "ttft=",
            "ttft=0",
            "ttft=200",
            "ttft=-5ms",
            "ttft=nan",
            "itl=5ms",
            "ttft:99=5ms",
            "ttft:p0=5ms",
            "ttft:p101=5ms",
            "ttft=5ms,ttft=6ms",
            "mlperf:gpt-2",
        ]
        .iter()
        .map(|text| format!("{text:?}: {}", text.parse::<Slo>().unwrap_err()))
        .collect();
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn goodput_counts_requests_within_all_limits() {
        let slo: Slo = "ttft:p50=100ms,tpot:p50=10ms".parse().unwrap();
        let cut = Life { last_ns: u64::MAX, ..life(50, 0, 3) };
        // Good; tpot 20 ms; ttft too late; one token has no tpot; cut off.
        let lives = [life(100, 110, 2), life(50, 90, 3), life(101, 105, 5), life(1, 1, 1), cut];
        let figures = slo.judge(&lives, 2.0).unwrap();
        assert_eq!((figures.goodput, figures.attained, figures.judged), (1.0, 0.4, 5));
        assert_eq!((figures.limits[0].attained, figures.limits[0].met), (0.6, true));
        assert_eq!((figures.limits[1].attained, figures.limits[1].met), (0.6, true));
        assert!(slo.judge(&[], 1.0).is_none());
    }

    #[test]
    fn requests_that_miss_together_tell_less() {
        let alternating: Vec<f64> = (0..2000).map(|i| f64::from(i % 2)).collect();
        assert_eq!(effective_size(&alternating), 2000.0);
        let in_runs: Vec<f64> = (0..2000).map(|i| f64::from(i / 500 % 2)).collect();
        assert!(effective_size(&in_runs) < 50.0, "{}", effective_size(&in_runs));
        assert_eq!(effective_size(&[1.0; 300]), 300.0);
    }
}
