//! The union of intervals that come ordered by their start, and the gaps between them.
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// How long a device stood idle at a time, in nanoseconds. Lengths are kept to three digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// How many gaps.
    pub n: u64,
    /// The median gap.
    pub p50_ns: u64,
    /// The 90th percentile.
    pub p90_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The longest, exactly.
    pub max_ns: u64,
}

/// Lengths of gaps over all devices.
#[derive(Debug)]
pub(super) struct GapLengths {
    histogram: Option<Histogram<u64>>,
    max_ns: u64,
}

impl GapLengths {
    pub(super) fn new() -> Self {
        // Up to an hour; longer ones count as that, and `max_ns` stays exact.
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).ok();
        Self { histogram, max_ns: 0 }
    }

    fn add(&mut self, ns: u64) {
        self.max_ns = self.max_ns.max(ns);
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(ns);
        }
    }

    pub(super) fn summary(&self) -> Gaps {
        let Some(histogram) = self.histogram.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Gaps::default();
        };
        let at = |quantile| histogram.value_at_quantile(quantile).min(self.max_ns);
        Gaps { n: histogram.len(), p50_ns: at(0.5), p90_ns: at(0.9), p99_ns: at(0.99), max_ns: self.max_ns }
    }
}

/// Length of the union of intervals inside a window.
#[derive(Debug)]
pub(super) struct Union {
    end_ns: u64,
    covered_to_ns: u64,
    last_start_ns: u64,
    pub(super) busy_ns: u64,
    /// Intervals that began before one that came earlier: what of them lies before what is covered already is not seen.
    pub(super) late: u64,
}

impl Union {
    pub(super) fn new(start_ns: u64, end_ns: u64) -> Self {
        Self { end_ns, covered_to_ns: start_ns, last_start_ns: 0, busy_ns: 0, late: 0 }
    }

    /// Adds an interval; returns the part of it, inside the window, that nothing covered before.
    pub(super) fn add(&mut self, start_ns: u64, end_ns: u64, gaps: Option<&mut GapLengths>) -> Option<(u64, u64)> {
        if start_ns < self.last_start_ns {
            self.late += 1;
        }
        self.last_start_ns = self.last_start_ns.max(start_ns);
        let new = (start_ns.max(self.covered_to_ns), end_ns.min(self.end_ns));
        if new.1 <= new.0 {
            return None;
        }
        if let Some(gaps) = gaps
            && new.0 > self.covered_to_ns
        {
            gaps.add(new.0 - self.covered_to_ns);
        }
        self.busy_ns += new.1 - new.0;
        self.covered_to_ns = new.1;
        Some(new)
    }

    /// Ends the window: what is left of it is a gap.
    pub(super) fn finish(&mut self, gaps: &mut GapLengths) {
        if self.end_ns > self.covered_to_ns {
            gaps.add(self.end_ns - self.covered_to_ns);
            self.covered_to_ns = self.end_ns;
        }
    }
}
