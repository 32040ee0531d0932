//! A plan before it is resolved: only what somebody said, each value with its origin. Drafts of different strength (a
//! plan file, the environment, flags) lie over one another.
use std::{path::PathBuf, time::Duration};

use serde_json::Value as Json;

use super::{
    compare::Compare,
    dataset::DatasetDraft,
    endurance::EnduranceDraft,
    origin::{Origin, Sourced},
    point::TraceMode,
    validity::ValidityDraft,
};
use crate::{
    fairness::FairnessMode,
    measure::DeviceClockMode,
    metrics::service::Slo,
    workload::{LengthDist, arrivals::Process},
};

/// What an axis can vary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// Requests a `generate` call.
    Batch,
    /// Requests in flight, closed loop.
    Concurrency,
    /// Requests a second, open load.
    Rate,
    /// How many requests a trial has.
    Requests,
    /// Prompt length.
    Input,
    /// Output length.
    Output,
    /// Prompt and output length together.
    Length,
    /// An engine's own option.
    Option {
        /// The engine's id.
        engine: String,
        /// By the engine's own name.
        name: String,
    },
}

impl Parameter {
    /// The parameters of a workload: all but the engines' options.
    pub const WORKLOAD: [Self; 7] =
        [Self::Batch, Self::Concurrency, Self::Rate, Self::Requests, Self::Input, Self::Output, Self::Length];

    /// As plans, tables and labels name it.
    pub fn name(&self) -> String {
        match self {
            Self::Batch => "batch".to_owned(),
            Self::Concurrency => "concurrency".to_owned(),
            Self::Rate => "rate".to_owned(),
            Self::Requests => "requests".to_owned(),
            Self::Input => "input".to_owned(),
            Self::Output => "output".to_owned(),
            Self::Length => "length".to_owned(),
            Self::Option { engine, name } => format!("engine.{engine}.{name}"),
        }
    }

    /// Whether it sets something that `other` sets too.
    pub fn overlaps(&self, other: &Self) -> bool {
        self == other
            || match (self, other) {
                (Self::Batch | Self::Concurrency | Self::Rate, Self::Batch | Self::Concurrency | Self::Rate) => true,
                (Self::Length, other) | (other, Self::Length) => matches!(other, Self::Input | Self::Output),
                _ => false,
            }
    }
}

/// The values of a parameter, of its own type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers of at least 1.
    Counts(Vec<u32>),
    /// Rates in requests a second.
    Rates(Vec<f64>),
    /// Length distributions.
    Lengths(Vec<LengthDist>),
    /// Of an engine's option.
    Options(Vec<Json>),
}

impl Values {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Counts(values) => values.len(),
            Self::Rates(values) => values.len(),
            Self::Lengths(values) => values.len(),
            Self::Options(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a person writes them.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Counts(values) => values.iter().map(ToString::to_string).collect(),
            Self::Rates(values) => values.iter().map(ToString::to_string).collect(),
            Self::Lengths(values) => values.iter().map(ToString::to_string).collect(),
            Self::Options(values) => values.iter().map(option_text).collect(),
        }
    }
}

/// An option's value without the quotes of a JSON string.
pub fn option_text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// A parameter with its values: one fixes it, more make an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// What is set.
    pub parameter: Parameter,
    /// To what.
    pub values: Values,
    /// By whom.
    pub at: Origin,
}

/// How tokens are chosen, as far as somebody said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingDraft {
    /// See [`crate::engine::Sampling`].
    pub temperature: Option<Sourced<f32>>,
    /// See [`crate::engine::Sampling`].
    pub top_p: Option<Sourced<f32>>,
    /// See [`crate::engine::Sampling`].
    pub top_k: Option<Sourced<u32>>,
    /// See [`crate::engine::Sampling`].
    pub seed: Option<Sourced<u64>>,
}

/// How many trials, as far as somebody said; see [`super::TrialPolicy`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialsDraft {
    /// A fraction.
    pub target: Option<Sourced<f64>>,
    /// Timed trials at least.
    pub min_trials: Option<Sourced<u32>>,
    /// Timed trials at most.
    pub max_trials: Option<Sourced<u32>>,
    /// Time after which no further one starts.
    pub max_time: Option<Sourced<Duration>>,
    /// Warm-up trials at most.
    pub max_warmup: Option<Sourced<u32>>,
    /// Step-loop trials.
    pub latency_trials: Option<Sourced<u32>>,
    /// When the device's clock is read.
    pub device_clock: Option<Sourced<DeviceClockMode>>,
    /// Marked trials that are run again, at most.
    pub max_repeats: Option<Sourced<u32>>,
    /// Blocks of trials that tell what watching costs.
    pub watch_cost: Option<Sourced<u32>>,
    /// A fraction.
    pub clock_band: Option<Sourced<f64>>,
}

/// A plan as far as somebody said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The plan's name.
    pub name: Option<Sourced<String>>,
    /// The seed.
    pub seed: Option<Sourced<u64>>,
    /// Engines by id.
    pub engines: Vec<Sourced<String>>,
    /// Models.
    pub models: Vec<Sourced<PathBuf>>,
    /// Workload parameters and engine options, in the order in which they vary (the last one fastest).
    pub settings: Vec<Setting>,
    /// How requests arrive in an open load.
    pub arrivals: Option<Sourced<Process>>,
    /// The most requests in flight in an open load.
    pub max_in_flight: Option<Sourced<u32>>,
    /// What requests are judged by.
    pub slo: Option<Sourced<Slo>>,
    /// Where prompts come from.
    pub dataset: DatasetDraft,
    /// Whether axes advance together.
    pub zip: Option<Sourced<bool>>,
    /// How tokens are chosen.
    pub sampling: SamplingDraft,
    /// How many trials.
    pub trials: TrialsDraft,
    /// The limits of the certificates.
    pub validity: ValidityDraft,
    /// Whether kernels are traced.
    pub trace: Option<Sourced<TraceMode>>,
    /// How points are compared side by side; None inside is not at all.
    pub compare: Option<Sourced<Option<Compare>>>,
    /// How the engines are set up against each other.
    pub fairness: Option<Sourced<FairnessMode>>,
    /// Options that hold in fairness mode `best` only.
    pub best: Vec<Setting>,
    /// Whether the engines' outputs are compared first.
    pub agree: Option<Sourced<bool>>,
    /// The longest a load may take.
    pub load_within: Option<Sourced<Duration>>,
    /// The longest a trial may take.
    pub trial_within: Option<Sourced<Duration>>,
    /// How often the hardware is sampled; None inside is not at all.
    pub telemetry: Option<Sourced<Option<Duration>>>,
    /// Further deadlines, and restarts.
    pub endurance: EnduranceDraft,
}

impl Draft {
    /// This draft over a weaker one: what this one says wins, whole lists included.
    #[must_use]
    pub fn over(self, weaker: Self) -> Self {
        let settings = settings_over(self.settings, weaker.settings);
        Self {
            name: self.name.or(weaker.name),
            seed: self.seed.or(weaker.seed),
            engines: if self.engines.is_empty() { weaker.engines } else { self.engines },
            models: if self.models.is_empty() { weaker.models } else { self.models },
            settings,
            arrivals: self.arrivals.or(weaker.arrivals),
            max_in_flight: self.max_in_flight.or(weaker.max_in_flight),
            slo: self.slo.or(weaker.slo),
            dataset: self.dataset.over(weaker.dataset),
            zip: self.zip.or(weaker.zip),
            sampling: SamplingDraft {
                temperature: self.sampling.temperature.or(weaker.sampling.temperature),
                top_p: self.sampling.top_p.or(weaker.sampling.top_p),
                top_k: self.sampling.top_k.or(weaker.sampling.top_k),
                seed: self.sampling.seed.or(weaker.sampling.seed),
            },
            trials: TrialsDraft {
                target: self.trials.target.or(weaker.trials.target),
                min_trials: self.trials.min_trials.or(weaker.trials.min_trials),
                max_trials: self.trials.max_trials.or(weaker.trials.max_trials),
                max_time: self.trials.max_time.or(weaker.trials.max_time),
                max_warmup: self.trials.max_warmup.or(weaker.trials.max_warmup),
                latency_trials: self.trials.latency_trials.or(weaker.trials.latency_trials),
                device_clock: self.trials.device_clock.or(weaker.trials.device_clock),
                max_repeats: self.trials.max_repeats.or(weaker.trials.max_repeats),
                watch_cost: self.trials.watch_cost.or(weaker.trials.watch_cost),
                clock_band: self.trials.clock_band.or(weaker.trials.clock_band),
            },
            validity: self.validity.over(weaker.validity),
            compare: self.compare.or(weaker.compare),
            trace: self.trace.or(weaker.trace),
            fairness: self.fairness.or(weaker.fairness),
            best: settings_over(self.best, weaker.best),
            agree: self.agree.or(weaker.agree),
            load_within: self.load_within.or(weaker.load_within),
            trial_within: self.trial_within.or(weaker.trial_within),
            telemetry: self.telemetry.or(weaker.telemetry),
            endurance: self.endurance.over(weaker.endurance),
        }
    }
}

/// A replaced setting keeps the weaker one's place in the order; new ones follow.
fn settings_over(strong: Vec<Setting>, weak: Vec<Setting>) -> Vec<Setting> {
    let has = |parameter: &Parameter| strong.iter().any(|setting| setting.parameter == *parameter);
    let both_lengths = has(&Parameter::Input) && has(&Parameter::Output);
    let mut order: Vec<Setting> = Vec::new();
    for below in weak {
        if let Some(same) = strong.iter().find(|setting| setting.parameter == below.parameter) {
            order.push(same.clone());
            continue;
        }
        let displaced = strong.iter().any(|setting| match (&setting.parameter, &below.parameter) {
            // One of the two alone would leave the other unsaid: resolving reports that as a conflict.
            (Parameter::Input | Parameter::Output, Parameter::Length) => both_lengths,
            (above, below) => above.overlaps(below),
        });
        if !displaced {
            order.push(below);
        }
    }
    for above in strong {
        if !order.iter().any(|setting| setting.parameter == above.parameter) {
            order.push(above);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(parameter: Parameter, values: &[u32]) -> Setting {
        Setting { parameter, values: Values::Counts(values.to_vec()), at: Origin::Default("test") }
    }

    fn names(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|set| format!("{}={}", set.parameter.name(), set.values.texts().join(","))).collect()
    }

    #[test]
    fn a_stronger_setting_takes_the_place_of_a_weaker_one() {
        let weak =
            vec![counts(Parameter::Batch, &[1, 2]), counts(Parameter::Input, &[8]), counts(Parameter::Output, &[4])];
        let strong = vec![counts(Parameter::Requests, &[64]), counts(Parameter::Input, &[16, 32])];
        assert_eq!(names(&settings_over(strong, weak)), ["batch=1,2", "input=16,32", "output=4", "requests=64"]);
    }

    #[test]
    fn what_sets_the_same_thing_displaces_it() {
        let over = |strong, weak| names(&settings_over(vec![counts(strong, &[3])], vec![counts(weak, &[7])]));
        assert_eq!(over(Parameter::Concurrency, Parameter::Batch), ["concurrency=3"]);
        assert_eq!(over(Parameter::Length, Parameter::Input), ["length=3"]);
        assert_eq!(over(Parameter::Input, Parameter::Length), ["length=7", "input=3"]); // a conflict, told later
        let both = vec![counts(Parameter::Input, &[3]), counts(Parameter::Output, &[4])];
        assert_eq!(names(&settings_over(both, vec![counts(Parameter::Length, &[7])])), ["input=3", "output=4"]);
    }
}
