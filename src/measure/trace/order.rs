//! Puts activities in order of their start, within bounded memory.
use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    format::TraceError,
    reader::{Activity, Names, TraceFile},
};

/// How many activities of a file are held back so that a later one with an earlier start can overtake them. CUPTI orders
/// within a buffer of about 10,000 only roughly, and buffers of several streams alternate.
pub(super) const HELD: usize = 1 << 16;

/// One file's activities, ordered as far as [`HELD`] of them can be.
struct Source<'a> {
    file: &'a mut TraceFile,
    held: BinaryHeap<Reverse<Activity>>,
    limit: usize,
    ended: bool,
}

impl Source<'_> {
    fn fill(&mut self, names: &mut Names) -> Result<(), TraceError> {
        while !self.ended && self.held.len() < self.limit {
            match self.file.next(names)? {
                Some(activity) => self.held.push(Reverse(activity)),
                None => self.ended = true,
            }
        }
        Ok(())
    }
}

/// Hands every activity of the files, as far as they go now, to `take`, ordered by start. An activity that is out of order
/// by more than `held` others comes late.
pub(super) fn in_order(
    files: &mut [TraceFile],
    held: usize,
    names: &mut Names,
    take: &mut dyn FnMut(&Activity, &Names) -> Result<(), TraceError>,
) -> Result<(), TraceError> {
    let mut sources: Vec<Source<'_>> = files
        .iter_mut()
        .map(|file| Source { file, held: BinaryHeap::new(), limit: held.max(1), ended: false })
        .collect();
    loop {
        for source in &mut sources {
            source.fill(names)?;
        }
        let next = sources
            .iter_mut()
            .filter(|source| !source.held.is_empty())
            .min_by_key(|source| source.held.peek().map(|Reverse(activity)| activity.start_ns));
        match next.and_then(|source| source.held.pop()) {
            Some(Reverse(activity)) => take(&activity, names)?,
            None => return Ok(()),
        }
    }
}
