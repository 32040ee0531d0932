//! Open load inside a cell: requests are released at the times of a schedule made beforehand, whatever the engine does.
//!
//! A thread of its own releases them at absolute deadlines; the loop that drives the engine takes what was released between
//! two calls of the engine, as the engines' own loops do. In virtual time there is no thread: the loop follows the schedule
//! on the engine's clock, exactly.

mod fidelity;
mod growth;
mod release;
mod saturation;

pub use fidelity::{FidelityLimits, Saturation, ScheduleFidelity, Spread};
pub use growth::QueueGrowth;
pub(super) use release::Releaser;
pub(super) use saturation::Watch;

use std::{sync::atomic::Ordering, time::Duration};

use crate::{measure::monotonic_ns, workload::arrivals::Schedule};

/// The longest that the loop waits for a release without looking around.
const IDLE: Duration = Duration::from_millis(100);
/// Times nearer than this are waited for without sleeping.
const NEAR_NS: u64 = 200_000;

/// The schedule as the drive loop sees it.
pub(super) struct Feed<'a> {
    schedule: &'a Schedule,
    /// None in virtual time.
    releaser: Option<&'a Releaser>,
    start_ns: u64,
    max_in_flight: u32,
}

impl<'a> Feed<'a> {
    /// A schedule that begins at `start_ns` of the engine's clock, with at most `max_in_flight` requests in the engine.
    pub(super) fn new(
        schedule: &'a Schedule,
        releaser: Option<&'a Releaser>,
        start_ns: u64,
        max_in_flight: u32,
    ) -> Self {
        Self { schedule, releaser, start_ns, max_in_flight }
    }

    /// When a request is due.
    pub(super) fn scheduled_ns(&self, request: u32) -> u64 {
        self.schedule.offsets_ns().get(request as usize).map_or(u64::MAX, |offset| self.start_ns + offset)
    }

    /// When it was released; its scheduled time in virtual time.
    pub(super) fn released_ns(&self, request: u32) -> u64 {
        match self.releaser {
            Some(releaser) => releaser.released_ns(request),
            None => self.scheduled_ns(request),
        }
    }

    /// How many requests have been released by now.
    pub(super) fn released(&self, now_ns: u64) -> u32 {
        match self.releaser {
            Some(releaser) => releaser.count.load(Ordering::Acquire),
            None => {
                let elapsed_ns = now_ns.saturating_sub(self.start_ns);
                let started = now_ns >= self.start_ns;
                if started {
                    self.schedule.offsets_ns().partition_point(|offset| *offset <= elapsed_ns) as u32
                } else {
                    0
                }
            }
        }
    }

    /// How many requests the engine may be given beside those in flight.
    pub(super) fn free(&self, in_flight: u32) -> u32 {
        self.max_in_flight.saturating_sub(in_flight)
    }

    /// How many requests may be handed over now, `next` being the number of the first.
    pub(super) fn room(&self, next: u32, in_flight: u32, now_ns: u64) -> u32 {
        self.free(in_flight).min(self.released(now_ns).saturating_sub(next))
    }

    /// Until when the engine may be polled without arrival `next` having to wait for it.
    pub(super) fn poll_until(&self, next: u32, in_flight: u32, longest_ns: u64) -> u64 {
        if in_flight >= self.max_in_flight { longest_ns } else { longest_ns.min(self.scheduled_ns(next)) }
    }

    /// Whether the loop should wait here and not in the engine, which has nothing to do. Waits for the release of arrival
    /// `next`, or for `due_ns`, when a turn of a conversation is due.
    pub(super) fn wait_idle(&self, next: u32, in_flight: u32, due_ns: u64) -> bool {
        let Some(releaser) = self.releaser.filter(|_| in_flight == 0) else { return false };
        let until_ns = due_ns.min(monotonic_ns() + IDLE.as_nanos() as u64);
        // A wake-up may be of an earlier release.
        while releaser.count.load(Ordering::Acquire) <= next {
            let left_ns = until_ns.saturating_sub(monotonic_ns());
            match left_ns {
                0 => break,
                // A thread is woken tens of microseconds late.
                _ if left_ns <= NEAR_NS => std::hint::spin_loop(),
                _ => std::thread::park_timeout(Duration::from_nanos(left_ns - NEAR_NS / 2)),
            }
        }
        true
    }
}
