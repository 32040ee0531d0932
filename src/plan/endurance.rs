//! How long a cell may take over what, and how often one that dies is started again.
use std::{fs, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Plan, PlanError, Point,
    origin::{Origin, Sourced},
    scalar,
    told::Told,
    toml_tree::{Entry, Node},
};
use crate::{
    cell::{
        parent::Patience,
        protocol::{Load, TrialKind},
    },
    workload::ThinkTime,
};

/// The keys of `[deadlines]`.
pub(super) const DEADLINES: [&str; 4] = ["load", "warmup", "trial", "idle"];
/// The keys of `[restarts]`.
pub(super) const RESTARTS: [&str; 2] = ["budget", "backoff"];

const LOAD_BASE: Duration = Duration::from_secs(600);
/// The slowest disk or network share that weights are loaded from, in bytes a second.
const LOAD_RATE: u64 = 20_000_000;
const TRIAL_BASE: Duration = Duration::from_secs(600);
/// The slowest engine that is waited for: a model of some billion parameters on two cores. In seconds a token of the trial.
const OUTPUT_TOKEN: f64 = 0.1;
const INPUT_TOKEN: f64 = 0.01;
/// Compilation and graph capture happen in the first warm-up.
const WARMUP_FACTOR: u32 = 2;
/// Arrivals and times to think are drawn: a trial's may take longer than is to be expected.
const WAITS_FACTOR: f64 = 2.0;
/// Turns of a conversation at most, as long as the data have not been read.
const MOST_TURNS: u32 = 50;
const IDLE_BASE: Duration = Duration::from_secs(120);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Deadlines beside those of a load and a trial, and the restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endurance {
    /// The longest that one warm-up trial may take.
    pub warmup_within: Duration,
    /// The longest that a step-loop trial may go without a new output token.
    pub idle_within: Duration,
    /// How often in one engine configuration a cell that died is started again; then the configuration is quarantined.
    pub restarts: u32,
    /// The pause before a second restart with no point measured in between; doubled each time, none before a first.
    pub backoff: Duration,
    /// The axis along which it is looked for where memory ends, once a point has run out of it; None for not at all.
    pub bisect_oom: Option<String>,
}

impl Default for Endurance {
    fn default() -> Self {
        Self {
            warmup_within: Duration::from_secs(3600),
            idle_within: Duration::from_secs(1800),
            restarts: 3,
            backoff: Duration::from_millis(250),
            bisect_oom: None,
        }
    }
}

/// [`Endurance`] as far as somebody said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnduranceDraft {
    /// The longest a warm-up trial may take.
    pub warmup_within: Option<Sourced<Duration>>,
    /// The longest silence.
    pub idle_within: Option<Sourced<Duration>>,
    /// Restarts of an engine configuration.
    pub restarts: Option<Sourced<u32>>,
    /// The first pause.
    pub backoff: Option<Sourced<Duration>>,
    /// An axis.
    pub bisect_oom: Option<Sourced<String>>,
}

impl EnduranceDraft {
    /// This draft over a weaker one.
    #[must_use]
    pub fn over(self, weaker: Self) -> Self {
        Self {
            warmup_within: self.warmup_within.or(weaker.warmup_within),
            idle_within: self.idle_within.or(weaker.idle_within),
            restarts: self.restarts.or(weaker.restarts),
            backoff: self.backoff.or(weaker.backoff),
            bisect_oom: self.bisect_oom.or(weaker.bisect_oom),
        }
    }

    /// Reads a key of `[deadlines]` that stands here.
    pub(super) fn deadline(&mut self, entry: &Entry<'_>) -> Result<(), PlanError> {
        let place = match entry.key {
            "warmup" => &mut self.warmup_within,
            "idle" => &mut self.idle_within,
            _ => return Err(entry.unknown("[deadlines]", &DEADLINES)),
        };
        *place = Some(duration(&entry.value)?);
        Ok(())
    }

    /// Reads `[restarts]`.
    pub(super) fn restarts(&mut self, node: &Node<'_>) -> Result<(), PlanError> {
        for entry in node.entries("a table: [restarts]")? {
            let value = &entry.value;
            match entry.key {
                "budget" => {
                    let budget = value.whole("a whole number from 0 on")?;
                    self.restarts = Some(Sourced::new(budget, value.at()));
                }
                "backoff" => self.backoff = Some(duration(value)?),
                _ => return Err(entry.unknown("[restarts]", &RESTARTS)),
            }
        }
        Ok(())
    }
}

fn duration(node: &Node<'_>) -> Result<Sourced<Duration>, PlanError> {
    let text = node.scalar().ok_or_else(|| node.wrong("a time such as \"60s\""))?;
    let time = scalar::duration(&text).map_err(|problem| PlanError::at(&node.at(), problem))?;
    Ok(Sourced::new(time, node.at()))
}

/// Deadlines that nobody gave: the work of the largest point at the pace of the slowest engine that is worth waiting for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scaled {
    pub load: Duration,
    pub trial: Duration,
    pub idle: Duration,
}

impl Scaled {
    /// For these points, and for these models as far as they can be looked at.
    pub fn of<'a>(points: &[Point], models: impl Iterator<Item = &'a Path>) -> Self {
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())).min(LONGEST);
        let trial = |point: &Point| {
            let work = point.work();
            work.output_tokens * OUTPUT_TOKEN + work.input_tokens * INPUT_TOKEN + WAITS_FACTOR * waits(point)
        };
        let longest = points.iter().map(trial).fold(0.0, f64::max);
        // Before a first token, all prompts in flight may be computed.
        let prompts = points.iter().map(|point| point.work().input_tokens * OUTPUT_TOKEN).fold(0.0, f64::max);
        let bytes = models.map(bytes).max().unwrap_or(0);
        let whole = |time: Duration| Duration::from_secs(time.as_secs()).min(LONGEST);
        Self {
            load: whole(LOAD_BASE + Duration::from_secs(bytes / LOAD_RATE)),
            trial: whole(TRIAL_BASE + seconds(longest)),
            idle: whole(IDLE_BASE + seconds(prompts)),
        }
    }

    pub fn load_within(&self, said: Option<Sourced<Duration>>, told: &mut Told) -> Duration {
        let by_weights = Sourced::new(self.load, Origin::Default("default: by the size of the weights"));
        told.tell_or("deadlines.load", said, by_weights, text)
    }

    pub fn trial_within(&self, said: Option<Sourced<Duration>>, told: &mut Told) -> Duration {
        told.tell_or("deadlines.trial", said, by_work(self.trial), text)
    }

    /// Settles what is left: the draft's, else by the work and by the deadline of a trial.
    pub fn endurance(&self, said: EnduranceDraft, trial_within: Duration, told: &mut Told) -> Endurance {
        let base = Endurance::default();
        let warmup = trial_within.saturating_mul(WARMUP_FACTOR);
        let warmup = Sourced::new(warmup, Origin::Default("default: twice a trial's"));
        Endurance {
            warmup_within: told.tell_or("deadlines.warmup", said.warmup_within, warmup, text),
            idle_within: told.tell_or("deadlines.idle", said.idle_within, by_work(self.idle), text),
            restarts: told.tell("restarts.budget", said.restarts, base.restarts, u32::to_string),
            backoff: told.tell("restarts.backoff", said.backoff, base.backoff, text),
            bisect_oom: said.bisect_oom.map(|axis| {
                told.push("bisect_oom", axis.value.clone(), &axis.at);
                axis.value
            }),
        }
    }
}

fn text(time: &Duration) -> String {
    scalar::duration_text(*time)
}

fn by_work(time: Duration) -> Sourced<Duration> {
    Sourced::new(time, Origin::Default("default: by the work of the largest point"))
}

/// How long the requests of a trial take to become due, in seconds, as is to be expected: arrivals, and times to think.
fn waits(point: &Point) -> f64 {
    let work = &point.workload;
    // Of one conversation.
    let thinking = work.data.as_ref().map_or(0.0, |data| {
        let turns = data.turns.unwrap_or_else(|| f64::from(data.spec.turns.unwrap_or(1).min(MOST_TURNS)));
        turns * data.spec.think.map_or(0, ThinkTime::mean_ns) as f64 / 1e9
    });
    match &point.load {
        Load::Offline { .. } => 0.0,
        Load::Closed { concurrency } => thinking * f64::from(work.requests) / f64::from((*concurrency).max(1)),
        Load::Open { arrivals, .. } => thinking + arrivals.expected_span(work.requests),
    }
}

/// Of a model file or a folder's files.
fn bytes(model: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map_or(0, |meta| meta.len());
    match fs::read_dir(model) {
        Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
        Err(_) => size(model),
    }
}

impl Plan {
    /// How long a trial may take and be silent.
    pub fn patience(&self, kind: TrialKind) -> Patience {
        let within = match kind {
            TrialKind::Warmup => self.endurance.warmup_within,
            TrialKind::Timed => self.trial_within,
        };
        Patience { within, idle: self.endurance.idle_within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        results::testing,
        workload::arrivals::{ArrivalSpec, Process},
    };

    #[test]
    fn defaults_grow_with_the_work_and_the_weights() {
        let mut small = testing::point(0, "sim", &[]).point;
        (small.workload.requests, small.workload.output) = (1, crate::workload::LengthDist::Fixed(1));
        let mut large = small.clone();
        large.workload.requests = 1000;
        large.workload.output = crate::workload::LengthDist::Fixed(500);
        let folder = tempfile::tempdir().unwrap();
        let none = || [folder.path()].into_iter();
        let few = Scaled::of(std::slice::from_ref(&small), none());
        assert_eq!((few.load, few.trial), (LOAD_BASE, Duration::from_secs(601)));
        let many = Scaled::of(&[small.clone(), large.clone()], none());
        // 500,000 tokens out at ten a second, 128,000 in at a hundred.
        assert_eq!(many.trial, Duration::from_secs(600 + 50_000 + 1_280));
        std::fs::File::create(folder.path().join("model.safetensors")).unwrap().set_len(4_000_000_000).unwrap();
        assert_eq!(Scaled::of(std::slice::from_ref(&small), none()).load, Duration::from_secs(600 + 200));
        let arrivals = ArrivalSpec { process: Process::Poisson, rate: Some(0.05) };
        let slow = Point { load: Load::Open { arrivals, max_in_flight: None }, ..small.clone() };
        // One request at 0.05/s is due after 20 s or so.
        assert_eq!(Scaled::of(&[slow], none()).trial, Duration::from_secs(600 + 40 + 1));
        large.workload.requests = u32::MAX;
        let monster = Scaled::of(&[large], none());
        assert_eq!((monster.trial, monster.idle), (LONGEST, LONGEST));
    }
}
