//! The executor's iteration statistics as Tacho's step records and counters.
//!
//! The library tells an iteration when it has launched it, before the iteration's tokens come out, and tells no time on a
//! clock that can be compared. So a record waits here until tokens have been seen: it then ends when they were, and begins
//! when the one before ended or the first request came. Iterations whose tokens are seen by one call share its span evenly.
use std::collections::VecDeque;

use tacho::engine::StepRecord;

use crate::bridge::IterationRow;

/// What has been told of iterations, since load.
#[derive(Default)]
pub struct Steps {
    /// Told, but their tokens not yet seen.
    held: VecDeque<IterationRow>,
    /// When the last step ended, or the engine had something to do again.
    from_ns: u64,
    /// Iterations that computed something.
    pub steps: u64,
    /// Requests paused, summed over iterations.
    pub paused: u64,
    /// Prompt tokens computed.
    pub context_tokens: u64,
    /// Tokens that the KV cache holds; 0 until an iteration told it.
    pub kv_capacity: u64,
    /// Tokens a block of it.
    pub block_tokens: u64,
}

impl Steps {
    /// The engine, idle before, has something to do from now on.
    pub fn begin(&mut self, now_ns: u64) {
        self.from_ns = now_ns;
    }

    /// Takes in what the library told.
    pub fn told(&mut self, rows: &[IterationRow]) {
        for row in rows {
            if row.kv_used_blocks >= 0 {
                self.block_tokens = count(row.kv_block_tokens).into();
                self.kv_capacity = u64::from(count(row.kv_max_blocks)) * self.block_tokens;
            }
            // The record that ends a busy time has no batch.
            if row.scheduled <= 0 {
                continue;
            }
            self.steps += 1;
            self.paused += u64::from(count(row.paused));
            self.context_tokens += u64::from(count(row.context_tokens));
            self.held.push_back(*row);
        }
    }

    /// Gives records of the iterations whose tokens were seen at `seen_ns`: of at least `iterations`, of all but the newest,
    /// which may still run, and of all when the engine is idle.
    pub fn seen(&mut self, seen_ns: u64, iterations: usize, idle: bool, out: &mut Vec<StepRecord>) {
        let ready = if idle { self.held.len() } else { iterations.max(self.held.len().saturating_sub(1)) };
        let ready = ready.min(self.held.len());
        let span = seen_ns.saturating_sub(self.from_ns);
        let start_ns = seen_ns - span;
        for index in 0..ready as u64 {
            let Some(row) = self.held.pop_front() else { break };
            let kv_tokens = match row.kv_used_blocks {
                used if used >= 0 => u64::from(count(used)) * u64::from(count(row.kv_block_tokens)),
                _ => u64::MAX,
            };
            out.push(StepRecord {
                start_ns: start_ns + span * index / ready as u64,
                end_ns: start_ns + span * (index + 1) / ready as u64,
                prefill_tokens: count(row.context_tokens),
                decode_seqs: count(row.generation_requests),
                running: count(row.scheduled),
                waiting: count(row.active - row.scheduled) + count(row.queued),
                kv_tokens,
            });
        }
        if ready > 0 {
            self.from_ns = seen_ns;
        }
    }

    /// Forgets what is held; the counters stay.
    pub fn clear(&mut self) {
        self.held.clear();
    }
}

fn count(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(iteration: u64, context: i32, generation: i32) -> IterationRow {
        let scheduled = i32::from(context > 0) + generation;
        IterationRow {
            iteration,
            scheduled,
            active: scheduled + 1,
            queued: 2,
            context_tokens: context,
            generation_requests: generation,
            kv_used_blocks: 3,
            kv_max_blocks: 10,
            kv_block_tokens: 32,
            ..IterationRow::default()
        }
    }

    #[test]
    fn a_record_waits_for_its_tokens_and_the_newest_may_still_run() {
        let (mut steps, mut out) = (Steps::default(), Vec::new());
        steps.begin(100);
        steps.told(&[row(1, 8, 0), row(2, 0, 1)]);
        steps.seen(200, 1, false, &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].start_ns, out[0].end_ns, out[0].prefill_tokens, out[0].waiting), (100, 200, 8, 3));
        steps.told(&[row(3, 0, 1), row(4, 0, 0)]);
        steps.seen(400, 1, true, &mut out);
        assert_eq!(out.len(), 3, "the empty record is none");
        assert_eq!((out[1].start_ns, out[1].end_ns, out[2].end_ns), (200, 300, 400));
        assert_eq!((out[2].kv_tokens, steps.kv_capacity, steps.steps), (96, 320, 3));
    }

    #[test]
    fn what_is_not_told_stays_untold() {
        let (mut steps, mut out) = (Steps::default(), Vec::new());
        steps.told(&[IterationRow { scheduled: 1, kv_used_blocks: -1, ..IterationRow::default() }]);
        steps.seen(5, 1, true, &mut out);
        assert_eq!((out[0].kv_tokens, steps.kv_capacity), (u64::MAX, 0));
        steps.seen(9, 4, true, &mut out);
        assert_eq!(out.len(), 1, "nothing is made up");
    }
}
