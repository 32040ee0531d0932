//! The thread that does nothing but release requests when they are due.
use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread::{Thread, park, park_timeout},
    time::Duration,
};

use crate::{
    measure::{go_first, monotonic_ns, sleep_until_ns, wake_on_time},
    workload::arrivals::Schedule,
};

/// Deadlines farther away than this are waited for in a way that can be woken.
const NEAR_NS: u64 = 3_000_000;

/// What the releasing thread and the drive loop share. Requests are released in order, so that the number released is all
/// that has to be handed over: it is published after the stamps before it were written, without a lock or an allocation.
pub(crate) struct Releaser {
    /// How many have been released.
    pub(super) count: AtomicU32,
    stamps_ns: Vec<AtomicU64>,
    /// When the schedule begins, in nanoseconds of CLOCK_MONOTONIC; 0 until it is known.
    start_ns: AtomicU64,
    stop: AtomicBool,
    first: AtomicBool,
}

impl Releaser {
    /// For a schedule of so many requests.
    pub(crate) fn new(requests: usize) -> Self {
        Self {
            count: AtomicU32::new(0),
            stamps_ns: (0..requests).map(|_| AtomicU64::new(0)).collect(),
            start_ns: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            first: AtomicBool::new(false),
        }
    }

    /// When a request was released.
    pub(super) fn released_ns(&self, request: u32) -> u64 {
        self.stamps_ns.get(request as usize).map_or(0, |stamp| stamp.load(Ordering::Relaxed))
    }

    /// Lets the schedule begin, at a time of CLOCK_MONOTONIC.
    pub(crate) fn start(&self, start_ns: u64, thread: &Thread) {
        self.start_ns.store(start_ns, Ordering::Release);
        thread.unpark();
    }

    /// Ends the thread, at once unless a release is near.
    pub(crate) fn stop(&self, thread: &Thread) {
        self.stop.store(true, Ordering::Release);
        thread.unpark();
    }

    /// Whether its thread is served before others.
    pub(crate) fn goes_first(&self) -> bool {
        self.first.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The thread's whole work: releases every request at its time and wakes `driver` when it waits.
    pub(crate) fn run(&self, schedule: &Schedule, driver: &Thread) {
        wake_on_time();
        self.first.store(go_first(), Ordering::Relaxed);
        let start_ns = loop {
            match self.start_ns.load(Ordering::Acquire) {
                _ if self.stopped() => return,
                0 => park(),
                start_ns => break start_ns,
            }
        };
        for (index, (offset_ns, stamp)) in schedule.offsets_ns().iter().zip(&self.stamps_ns).enumerate() {
            let due_ns = start_ns + offset_ns;
            loop {
                if self.stopped() {
                    return;
                }
                let left_ns = due_ns.saturating_sub(monotonic_ns());
                if left_ns <= NEAR_NS {
                    break;
                }
                park_timeout(Duration::from_nanos(left_ns - NEAR_NS / 2));
            }
            sleep_until_ns(due_ns);
            stamp.store(monotonic_ns(), Ordering::Relaxed);
            self.count.store(index as u32 + 1, Ordering::Release);
            // Costs a few nanoseconds unless the driver waits.
            driver.unpark();
        }
    }
}
