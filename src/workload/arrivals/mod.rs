//! When requests arrive in an open load: a process, a rate, a seed, and the whole timeline made from them before a trial.

mod law;
mod schedule;
mod trace;

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

pub use law::{Dispersion, GapLaw, KsTest, dispersion, ks_test};
pub use schedule::Schedule;
pub use trace::{TraceError, read_trace};

/// How requests arrive. As text: `poisson`, `poisson:total`, `gamma:0.5`, `constant`, `burst:8`, `ramp:linear:40`,
/// `ramp:exponential:40`, `trace:FILE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Process {
    /// Exponential gaps, each drawn by itself: the last request is due at about requests / rate, not exactly then.
    Poisson,
    /// The same, conditioned on its total: all times are stretched so that the last one is at exactly requests / rate, as
    /// `vllm bench serve` does. Offered load varies less from seed to seed; gaps are no longer independent.
    PoissonTotal,
    /// Gaps of a gamma distribution of this shape: 1 is Poisson, less is burstier, more is more even
    /// (`--burstiness` of `vllm bench serve`). The squared coefficient of variation of the gaps is 1 / shape.
    Gamma(f64),
    /// Equal gaps.
    Constant,
    /// This many at once, at equal intervals.
    Burst(u32),
    /// A Poisson process whose rate changes evenly from the given rate to this one over the expected length of the trial.
    LinearRamp(f64),
    /// The same, with the rate changing by equal factors in equal times.
    ExponentialRamp(f64),
    /// The times of a file. A rate, where one is given, stretches them to that mean rate.
    Trace(PathBuf),
}

/// A process and its rate: with a number of requests and a seed, a [`Schedule`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivalSpec {
    /// How requests arrive.
    pub process: Process,
    /// Requests a second: the mean, or where a ramp begins. None is allowed for traces alone, and keeps their own pace.
    pub rate: Option<f64>,
}

/// Why there is no schedule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrivalError {
    /// Not one of the forms.
    #[error(
        "'{0}' is no arrival process: expected poisson, poisson:total, gamma:SHAPE, constant, burst:N, ramp:linear:RATE, \
         ramp:exponential:RATE or trace:FILE"
    )]
    Process(String),
    /// A rate that cannot be.
    #[error("expected a rate above 0 and at most 1e9 requests/s, found {0}")]
    Rate(f64),
    /// A shape that cannot be.
    #[error("expected a gamma shape between 0.001 and 1e6 (1 is Poisson, less is burstier), found {0}")]
    Shape(f64),
    /// Nothing arrives.
    #[error("expected at least 1 {0}, found 0")]
    None(&'static str),
    /// A process without its rate.
    #[error("{0} arrivals need a rate in requests/s: give --rate, or rate in the plan")]
    NoRate(String),
    /// A timeline longer than any run.
    #[error(
        "{requests} requests at this rate take {seconds:.0} s: expected at most a year; raise the rate or ask for fewer"
    )]
    TooLong {
        /// How many.
        requests: u32,
        /// When the last one would be due.
        seconds: f64,
    },
    /// The file.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

/// Checks a rate in requests a second.
///
/// # Errors
/// [`ArrivalError::Rate`] for 0, negative numbers, infinity, NaN and more than 1e9.
pub fn check_rate(rate: f64) -> Result<f64, ArrivalError> {
    if rate.is_finite() && rate > 0.0 && rate <= 1e9 { Ok(rate) } else { Err(ArrivalError::Rate(rate)) }
}

impl ArrivalSpec {
    /// Whether the process goes on at one mean rate: only then does a queue that grows mean that the engine is too slow.
    pub fn is_stationary(&self) -> bool {
        !matches!(self.process, Process::LinearRamp(_) | Process::ExponentialRamp(_) | Process::Trace(_))
    }

    /// About how long so many arrivals take, in seconds; no less than that where the rate changes. 0 for a trace that cannot be
    /// read: that is said where it is used.
    pub fn expected_span(&self, requests: u32) -> f64 {
        let slowest = match (&self.process, self.rate) {
            (Process::LinearRamp(end) | Process::ExponentialRamp(end), Some(begin)) => begin.min(*end),
            (_, Some(rate)) => rate,
            (Process::Trace(file), None) => {
                return read_trace(file, requests as usize).ok().and_then(|times| times.last().copied()).unwrap_or(0.0);
            }
            (_, None) => return 0.0,
        };
        if slowest > 0.0 { f64::from(requests) / slowest } else { 0.0 }
    }

    /// Squared coefficient of variation of the gaps: 1 for Poisson, 0 for equal gaps.
    pub fn gap_variation(&self) -> f64 {
        match self.process {
            Process::Gamma(shape) => 1.0 / shape,
            Process::Constant => 0.0,
            Process::Burst(size) => f64::from(size),
            _ => 1.0,
        }
    }

    /// Checks what can be checked without a file.
    ///
    /// # Errors
    /// [`ArrivalError`] saying what was expected.
    pub fn check(&self) -> Result<(), ArrivalError> {
        self.rate.map(check_rate).transpose()?;
        match &self.process {
            Process::Trace(_) => Ok(()),
            process if self.rate.is_none() => Err(ArrivalError::NoRate(process.to_string())),
            Process::Gamma(shape) => check_shape(*shape),
            Process::Burst(0) => Err(ArrivalError::None("request a burst")),
            Process::LinearRamp(to) | Process::ExponentialRamp(to) => check_rate(*to).map(|_| ()),
            _ => Ok(()),
        }
    }
}

fn check_shape(shape: f64) -> Result<(), ArrivalError> {
    if (0.001..=1e6).contains(&shape) { Ok(()) } else { Err(ArrivalError::Shape(shape)) }
}

impl FromStr for Process {
    type Err = ArrivalError;

    fn from_str(text: &str) -> Result<Self, ArrivalError> {
        let text = text.trim();
        let wrong = || ArrivalError::Process(text.to_owned());
        let number = |text: &str| text.parse::<f64>().map_err(|_| wrong());
        let process = match text.split_once(':') {
            None if text == "poisson" => Self::Poisson,
            None if text == "constant" => Self::Constant,
            Some(("poisson", "total")) => Self::PoissonTotal,
            Some(("gamma", shape)) => {
                let shape = number(shape)?;
                check_shape(shape)?;
                Self::Gamma(shape)
            }
            Some(("burst", size)) => match size.parse().map_err(|_| wrong())? {
                0 => return Err(ArrivalError::None("request a burst")),
                size => Self::Burst(size),
            },
            Some(("ramp", rest)) => match rest.split_once(':') {
                Some(("linear", to)) => Self::LinearRamp(check_rate(number(to)?)?),
                Some(("exponential", to)) => Self::ExponentialRamp(check_rate(number(to)?)?),
                _ => return Err(wrong()),
            },
            Some(("trace", file)) if !file.is_empty() => Self::Trace(file.into()),
            _ => return Err(wrong()),
        };
        Ok(process)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisson => f.write_str("poisson"),
            Self::PoissonTotal => f.write_str("poisson:total"),
            Self::Gamma(shape) => write!(f, "gamma:{shape}"),
            Self::Constant => f.write_str("constant"),
            Self::Burst(size) => write!(f, "burst:{size}"),
            Self::LinearRamp(to) => write!(f, "ramp:linear:{to}"),
            Self::ExponentialRamp(to) => write!(f, "ramp:exponential:{to}"),
            Self::Trace(file) => write!(f, "trace:{}", file.display()),
        }
    }
}

impl From<Process> for String {
    fn from(process: Process) -> Self {
        process.to_string()
    }
}

impl TryFrom<String> for Process {
    type Error = ArrivalError;

    fn try_from(text: String) -> Result<Self, ArrivalError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_reads_back_as_it_was_written() {
        for text in [
            "poisson",
            "poisson:total",
            "gamma:0.5",
            "constant",
            "burst:8",
            "ramp:linear:40",
            "ramp:exponential:2.5",
            "trace:a/b:c.jsonl",
        ] {
            assert_eq!(text.parse::<Process>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn how_long_arrivals_take_is_told_before_they_are_drawn() {
        let of = |process: Process, rate, requests| ArrivalSpec { process, rate }.expected_span(requests);
        let span = |process: Process, rate| of(process, rate, 100);
        assert_eq!(span(Process::Poisson, Some(4.0)), 25.0);
        // At the slower end of a ramp, whichever that is.
        assert_eq!(
            (span(Process::LinearRamp(20.0), Some(5.0)), span(Process::LinearRamp(5.0), Some(20.0))),
            (20.0, 20.0)
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace.jsonl");
        std::fs::write(&file, "{\"timestamp\": 1000}\n{\"timestamp\": 4500}\n").unwrap();
        assert_eq!(of(Process::Trace(file.clone()), None, 2), 3.5);
        assert_eq!(span(Process::Trace(file), Some(10.0)), 10.0);
        assert_eq!(span(Process::Trace("no/such/file".into()), None), 0.0);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let errors: Vec<String> = [
            "",
            "poison",
            "gamma",
            "gamma:x",
            "gamma:0",
            "gamma:nan",
            "gamma:inf",
            "burst:0",
            "burst:-1",
            "ramp:5",
            "ramp:linear:0",
            "ramp:exponential:inf",
            "trace:",
            "poisson:2",
        ]
        .iter()
        .map(|text| format!("{text:?}: {}", text.parse::<Process>().unwrap_err()))
        .collect();
        insta::assert_snapshot!(errors.join("\n"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e9] {
            let spec = ArrivalSpec { process: Process::Poisson, rate: Some(rate) };
            assert!(matches!(spec.check(), Err(ArrivalError::Rate(_))), "{rate}");
        }
        let spec = ArrivalSpec { process: Process::Constant, rate: None };
        assert!(spec.check().unwrap_err().to_string().contains("--rate"));
    }
}
