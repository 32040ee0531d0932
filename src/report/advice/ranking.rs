//! A ranking: who is first for a use, by how much, and how sure that is.
use crate::{
    metrics::{MedianInterval, median, median_interval, stopping::CONFIDENCE},
    report::text::{fine, number},
};

/// What an engine may be wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Use {
    /// The most output tokens a second, each engine at its best load.
    Throughput,
    /// The shortest wait at the smallest load that all engines ran.
    Latency,
    /// The least energy, or else processor time, for a token, each engine at its best load.
    Efficiency,
    /// The most output tokens a second over all loads that all engines ran.
    Mixed,
}

impl Use {
    pub(in crate::report) const ALL: [Self; 4] = [Self::Throughput, Self::Latency, Self::Efficiency, Self::Mixed];

    pub(in crate::report) fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Efficiency => "efficiency",
            Self::Mixed => "mixed",
        }
    }

    /// For whom it is, in a few words.
    pub(in crate::report) fn meaning(self) -> &'static str {
        match self {
            Self::Throughput => "most tokens a second, each at its best load",
            Self::Latency => "shortest wait, at the smallest load that all ran",
            Self::Efficiency => "least cost of a token, each at its best load",
            Self::Mixed => "most tokens a second over all loads that all ran",
        }
    }
}

/// A figure and its 95 % interval.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Estimate {
    pub(in crate::report) value: f64,
    pub(in crate::report) interval: Option<(f64, f64)>,
    /// Why there is no interval.
    pub(in crate::report) null_reason: Option<String>,
}

impl Estimate {
    /// The median of trials' figures; None of none.
    pub(in crate::report) fn of(values: &[f64]) -> Option<Self> {
        let value = median(values).filter(|value| value.is_finite())?;
        Some(match median_interval(values, CONFIDENCE) {
            Ok(MedianInterval { low, high, .. }) => Self { value, interval: Some((low, high)), null_reason: None },
            Err(error) => Self { value, interval: None, null_reason: Some(error.to_string()) },
        })
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self.interval, other.interval) {
            (Some((low, high)), Some((other_low, other_high))) => low <= other_high && other_low <= high,
            _ => true,
        }
    }
}

/// An engine's figure for a use.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Entry {
    pub(in crate::report) engine: String,
    /// At which load.
    pub(in crate::report) at: String,
    pub(in crate::report) estimate: Estimate,
}

/// How sure the first place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Sureness {
    /// Nobody's interval reaches the first one's.
    Clear,
    /// Intervals overlap: this run does not tell.
    Ambiguous,
    /// An interval is missing.
    Unknown,
    /// The engines did not do the same work: no ratio between them may be shown.
    Refused,
    /// Nothing to compare with.
    Alone,
}

impl Sureness {
    /// As it stands on a page.
    pub(in crate::report) fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "CLEAR",
            Self::Ambiguous => "AMBIGUOUS",
            Self::Unknown => "NOT KNOWN",
            Self::Refused => "NOT COMPARABLE",
            Self::Alone => "ONLY ONE",
        }
    }
}

/// The engines in order, for one use and one kind of work.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Ranking {
    pub(in crate::report) purpose: Use,
    pub(in crate::report) work: String,
    pub(in crate::report) metric: &'static str,
    pub(in crate::report) unit: &'static str,
    /// Whether less is better.
    pub(in crate::report) less: bool,
    /// The best first.
    pub(in crate::report) entries: Vec<Entry>,
    /// What forbids ratios between these engines; None where nothing does.
    pub(in crate::report) refused: Option<String>,
}

impl Ranking {
    /// How many of the first entries may be the best: those whose interval reaches the first one's.
    pub(in crate::report) fn candidates(&self) -> usize {
        let Some(first) = self.entries.first() else { return 0 };
        if self.refused.is_some() {
            return self.entries.len();
        }
        self.entries.iter().filter(|entry| entry.estimate.overlaps(&first.estimate)).count()
    }

    pub(in crate::report) fn sureness(&self) -> Sureness {
        match self.entries.as_slice() {
            [] | [_] => Sureness::Alone,
            _ if self.refused.is_some() => Sureness::Refused,
            entries if entries.iter().any(|entry| entry.estimate.interval.is_none()) => Sureness::Unknown,
            _ if self.candidates() > 1 => Sureness::Ambiguous,
            _ => Sureness::Clear,
        }
    }

    /// An entry's place: engines that cannot be told apart from a better one share its place.
    pub(in crate::report) fn place(&self, index: usize) -> usize {
        let Some(entry) = self.entries.get(index) else { return index + 1 };
        1 + self.entries[..index].iter().filter(|better| !better.estimate.overlaps(&entry.estimate)).count()
    }

    /// By what factor the first is better than another: the ratio of medians, and the least and the most that both
    /// intervals allow.
    pub(in crate::report) fn lead(&self, other: &Entry) -> Option<(f64, Option<(f64, f64)>)> {
        if self.refused.is_some() {
            return None;
        }
        let first = &self.entries.first()?.estimate;
        let (better, worse) = if self.less { (&other.estimate, first) } else { (first, &other.estimate) };
        let ratio = better.value / worse.value;
        let ends = better.interval.zip(worse.interval).filter(|(_, (low, _))| *low > 0.0);
        let interval = ends.map(|((low, high), (other_low, other_high))| (low / other_high, high / other_low));
        ratio.is_finite().then_some((ratio, interval))
    }

    /// An entry's figure with its interval and load.
    fn figure(&self, entry: &Entry) -> String {
        let interval = match entry.estimate.interval {
            Some((low, high)) => format!(" (95 % interval {} … {})", fine(low), fine(high)),
            None => String::new(),
        };
        format!("{} {}{interval}, {}", fine(entry.estimate.value), self.unit, entry.at)
    }

    /// The figures of the first so many engines beside each other, without a verdict; what they share is said once.
    pub(in crate::report) fn figures(&self, most: usize) -> String {
        let shown = &self.entries[..most.min(self.entries.len())];
        let Some(first) = shown.first() else { return String::new() };
        if shown.iter().any(|entry| entry.at != first.at) {
            let all: Vec<String> = shown.iter().map(|e| format!("{}: {}", e.engine, self.figure(e))).collect();
            return format!("{}.", all.join("; "));
        }
        let short = |entry: &Entry| {
            let interval = entry.estimate.interval.map(|(low, high)| format!(" ({} … {})", fine(low), fine(high)));
            format!("{} {}{}", entry.engine, fine(entry.estimate.value), interval.unwrap_or_default())
        };
        let all: Vec<String> = shown.iter().map(short).collect();
        format!("{}; {}, {}.", all.join(", "), self.unit, first.at)
    }

    /// What to use, why and how sure, in a sentence or two of plain text.
    pub(in crate::report) fn sentence(&self) -> String {
        let Some(first) = self.entries.first() else { return String::new() };
        let figure = |entry: &Entry| self.figure(entry);
        match self.sureness() {
            Sureness::Alone => format!("Only {} was measured: {}.", first.engine, figure(first)),
            Sureness::Clear => {
                let lead = self.entries.get(1).and_then(|second| {
                    let (ratio, interval) = self.lead(second)?;
                    let (low, high) = interval?;
                    let ratio = format!("{} times ({} … {})", number(ratio), number(low), number(high));
                    Some(match self.less {
                        true => format!(" {} needs {ratio} as much.", second.engine),
                        false => format!(" That is {ratio} {}.", second.engine),
                    })
                });
                format!("{}.{}", figure(first), lead.unwrap_or_default())
            }
            Sureness::Ambiguous => {
                let figures = self.figures(self.candidates());
                format!("Their intervals overlap, so this run does not tell which is better. {figures}")
            }
            Sureness::Refused => {
                let why = self.refused.as_deref().unwrap_or_default();
                format!("{} No winner and no ratio, {why}.", self.figures(usize::MAX))
            }
            Sureness::Unknown => {
                let why = self.entries.iter().find_map(|entry| entry.estimate.null_reason.clone()).unwrap_or_default();
                format!("No verdict without intervals ({why}). By the medians alone: {}", self.figures(usize::MAX))
            }
        }
    }
}
