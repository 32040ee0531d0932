//! Samples over time, merged into at most so many buckets.
use std::{collections::BTreeMap, path::Path};

use super::columns::{Group, NULL, for_each};

/// Buckets of a track: more than a chart has room for.
pub(super) const BUCKETS: usize = 500;

/// Samples that fell into one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Bucket {
    /// Its middle, in seconds since the run's first sample.
    pub(in crate::report) seconds: f64,
    pub(in crate::report) low: f64,
    pub(in crate::report) high: f64,
    sum: f64,
    n: f64,
}

impl Bucket {
    /// The samples' mean.
    pub(in crate::report) fn mean(&self) -> f64 {
        self.sum / self.n
    }
}

/// A figure of a device over the run, by the point that was measured meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Track {
    /// The column, or what was made of it.
    pub(in crate::report) name: String,
    /// In order of time.
    pub(in crate::report) buckets: Vec<(u32, Bucket)>,
    /// How many samples are in them.
    pub(in crate::report) samples: u64,
}

/// Makes buckets of samples.
#[derive(Clone, Default)]
struct Filling {
    buckets: BTreeMap<(usize, u32), Bucket>,
    samples: u64,
}

/// When a table's samples were taken, in nanoseconds.
#[derive(Clone, Copy)]
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    fn seconds(self, index: usize) -> f64 {
        (self.last - self.first) as f64 / 1e9 * (index as f64 + 0.5) / BUCKETS as f64
    }

    fn index(self, time: u64) -> usize {
        let share = (time - self.first) as f64 / ((self.last - self.first).max(1)) as f64;
        ((share * BUCKETS as f64) as usize).min(BUCKETS - 1)
    }
}

impl Filling {
    fn push(&mut self, span: Span, point: u64, time: u64, value: f64) {
        let (index, point) = (span.index(time), u32::try_from(point).unwrap_or(u32::MAX));
        let empty = Bucket { seconds: span.seconds(index), low: value, high: value, sum: 0.0, n: 0.0 };
        let bucket = self.buckets.entry((index, point)).or_insert(empty);
        bucket.low = bucket.low.min(value);
        bucket.high = bucket.high.max(value);
        bucket.sum += value;
        bucket.n += 1.0;
        self.samples += 1;
    }

    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        for (place, bucket) in other.buckets {
            self.buckets
                .entry(place)
                .and_modify(|mine| {
                    mine.low = mine.low.min(bucket.low);
                    mine.high = mine.high.max(bucket.high);
                    mine.sum += bucket.sum;
                    mine.n += bucket.n;
                })
                .or_insert(bucket);
        }
    }

    fn track(self, name: &str) -> Track {
        let buckets = self.buckets.into_iter().map(|((_, point), bucket)| (point, bucket)).collect();
        Track { name: name.to_owned(), buckets, samples: self.samples }
    }
}

/// The first and the last time of a table; None of an empty one.
fn span(path: &Path) -> Result<Option<Span>, String> {
    let parts = for_each(
        path,
        &["time_ns"],
        || None::<Span>,
        |so_far, group| {
            for &time in group.column(0).iter().filter(|time| **time != NULL) {
                let span = so_far.get_or_insert(Span { first: time, last: time });
                span.first = span.first.min(time);
                span.last = span.last.max(time);
            }
        },
    )?;
    let join = |a: Span, b: Span| Span { first: a.first.min(b.first), last: a.last.max(b.last) };
    Ok(parts.into_iter().flatten().reduce(join))
}

/// A track for each of the columns, by what the column `by` says.
pub(super) fn tracks(path: &Path, by: Option<&str>, names: &[&str]) -> Result<BTreeMap<String, Vec<Track>>, String> {
    let Some(span) = span(path)? else { return Ok(BTreeMap::new()) };
    let columns: Vec<&str> = ["point", "time_ns"].iter().chain(&by).chain(names).copied().collect();
    let first = columns.len() - names.len();
    type Filled = BTreeMap<String, Vec<Filling>>;
    let fold = |so_far: &mut Filled, group: &Group| {
        for row in 0..group.column(0).len() {
            let device = if by.is_some() { group.names.get(group.column(2)[row] as usize) } else { None };
            let device = device.map_or("", String::as_str);
            if !so_far.contains_key(device) {
                so_far.insert(device.to_owned(), vec![Filling::default(); names.len()]);
            }
            let Some(fillings) = so_far.get_mut(device) else { continue };
            for (index, filling) in fillings.iter_mut().enumerate() {
                let value = group.column(first + index)[row];
                if value != NULL {
                    filling.push(span, group.column(0)[row], group.column(1)[row], value as f64);
                }
            }
        }
    };
    let mut all = Filled::new();
    for part in for_each(path, &columns, Filled::new, fold)? {
        for (device, fillings) in part {
            let mine = all.entry(device).or_insert_with(|| vec![Filling::default(); names.len()]);
            mine.iter_mut().zip(fillings).for_each(|(mine, other)| mine.add(other));
        }
    }
    let named =
        |fillings: Vec<Filling>| fillings.into_iter().zip(names).map(|(filling, name)| filling.track(name)).collect();
    Ok(all.into_iter().map(|(device, fillings)| (device, named(fillings))).collect())
}

/// Processors that the cell's process tree kept busy between two samples of a trial, and its resident memory.
pub(super) fn host(path: &Path) -> Result<Vec<Track>, String> {
    let Some(span) = span(path)? else { return Ok(Vec::new()) };
    let fold = |so_far: &mut [Filling; 2], group: &Group| {
        let mut before: Option<usize> = None;
        let column = |index: usize, row: usize| group.column(index)[row];
        for row in 0..group.column(0).len() {
            let (point, time) = (column(0, row), column(2, row));
            // A counter's growth means something within a trial only.
            if let Some(before) = before.filter(|b| column(0, *b) == point && column(1, *b) == column(1, row))
                && time > column(2, before)
            {
                let busy = column(3, row).saturating_sub(column(3, before)) as f64;
                so_far[0].push(span, point, time, busy / (time - column(2, before)) as f64);
            }
            so_far[1].push(span, point, time, column(4, row) as f64);
            before = Some(row);
        }
    };
    let begin = || [Filling::default(), Filling::default()];
    let mut all = begin();
    for part in for_each(path, &["point", "trial", "time_ns", "cpu_ns", "rss_bytes"], begin, fold)? {
        all.iter_mut().zip(part).for_each(|(mine, other)| mine.add(other));
    }
    let [busy, memory] = all;
    Ok(vec![busy.track("processors"), memory.track("rss_bytes")])
}
