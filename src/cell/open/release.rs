//! The two threads that do nothing but release requests when they are due: one that leads, and one that takes over when the
//! leader's processor stands still.
use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread::{Thread, park, park_timeout},
    time::Duration,
};

use crate::{
    measure::{go_first, keep_to_half, monotonic_ns, sleep_until_ns, wake_on_time},
    workload::arrivals::Schedule,
};

/// Deadlines farther away than this are waited for in a way that can be woken.
const NEAR_NS: u64 = 3_000_000;
/// How late a release is before the thread that stands by takes over.
const LATE_NS: u64 = 100_000;

/// What the releasing threads and the drive loop share. Requests are released in order, so that the number released is all
/// that has to be handed over: it is published after the stamps before it were written, without a lock or an allocation.
pub(crate) struct Releaser {
    /// How many have been released.
    pub(super) count: AtomicU32,
    /// When each was released; 0 until it is. Written once, by whichever thread comes first.
    stamps_ns: Vec<AtomicU64>,
    /// When the schedule begins, in nanoseconds of CLOCK_MONOTONIC; 0 until it is known.
    start_ns: AtomicU64,
    stop: AtomicBool,
    first: AtomicBool,
    /// Which thread leads; the other stands by.
    leader: AtomicU32,
    takeovers: AtomicU32,
}

impl Releaser {
    /// For a schedule of so many requests.
    pub(crate) fn new(requests: usize) -> Self {
        Self {
            count: AtomicU32::new(0),
            stamps_ns: (0..requests).map(|_| AtomicU64::new(0)).collect(),
            start_ns: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            first: AtomicBool::new(true),
            leader: AtomicU32::new(0),
            takeovers: AtomicU32::new(0),
        }
    }

    /// When a request was released.
    pub(super) fn released_ns(&self, request: u32) -> u64 {
        self.stamps_ns.get(request as usize).map_or(0, |stamp| stamp.load(Ordering::Relaxed))
    }

    /// Lets the schedule begin, at a time of CLOCK_MONOTONIC.
    pub(crate) fn start(&self, start_ns: u64, threads: &[Thread]) {
        self.start_ns.store(start_ns, Ordering::Release);
        threads.iter().for_each(Thread::unpark);
    }

    /// Ends the threads, at once unless a release is near.
    pub(crate) fn stop(&self, threads: &[Thread]) {
        self.stop.store(true, Ordering::Release);
        threads.iter().for_each(Thread::unpark);
    }

    /// Whether its threads are served before others.
    pub(crate) fn goes_first(&self) -> bool {
        self.first.load(Ordering::Relaxed)
    }

    /// How often the thread that stood by took over.
    pub(crate) fn takeovers(&self) -> u32 {
        self.takeovers.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The whole work of thread `me` (0 or 1): while it leads, releases every request at its time and wakes `driver` when it waits;
    /// while it stands by, looks whether that is done, and leads from then on when it is not.
    ///
    /// A virtual machine's processors, and those of a loaded host, stand still for milliseconds now and then, each by itself: the
    /// threads keep to different ones.
    pub(crate) fn run(&self, me: u32, schedule: &Schedule, driver: &Thread) {
        wake_on_time();
        self.first.fetch_and(go_first(), Ordering::Relaxed);
        if !keep_to_half(me == 1) && me == 1 {
            return;
        }
        let start_ns = loop {
            match self.start_ns.load(Ordering::Acquire) {
                _ if self.stopped() => return,
                0 => park(),
                start_ns => break start_ns,
            }
        };
        loop {
            let next = self.count.load(Ordering::Acquire);
            let Some(offset_ns) = schedule.offsets_ns().get(next as usize) else { return };
            if self.stopped() {
                return;
            }
            let (due_ns, now_ns) = (start_ns + offset_ns, monotonic_ns());
            let leads = self.leader.load(Ordering::Acquire) == me;
            let wake_ns = if leads { due_ns } else { due_ns.max(now_ns) + LATE_NS };
            let left_ns = wake_ns.saturating_sub(now_ns);
            if left_ns > NEAR_NS {
                park_timeout(Duration::from_nanos(left_ns - NEAR_NS / 2));
                continue;
            }
            if leads {
                sleep_until_ns(due_ns);
            } else {
                std::thread::sleep(Duration::from_nanos(left_ns));
                if self.count.load(Ordering::Acquire) != next {
                    continue;
                }
                self.leader.store(me, Ordering::Release);
                self.takeovers.fetch_add(1, Ordering::Relaxed);
            }
            self.release(next, driver);
        }
    }

    /// Releases a request, unless the other thread has: one that stood still between its look at the clock and this call changes
    /// nothing.
    fn release(&self, next: u32, driver: &Thread) {
        let _ = self.stamps_ns[next as usize].compare_exchange(0, monotonic_ns(), Ordering::AcqRel, Ordering::Acquire);
        if self.count.compare_exchange(next, next + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // Costs a few nanoseconds unless the driver waits.
            driver.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::arrivals::{ArrivalSpec, Process};

    /// A schedule of `requests` arrivals, one each `gap_ns`.
    fn even(requests: u32, gap_ns: u64) -> Schedule {
        let arrivals = ArrivalSpec { process: Process::Constant, rate: Some(1e9 / gap_ns as f64) };
        Schedule::new(&arrivals, requests, 1, 0).unwrap()
    }

    fn stamps(releaser: &Releaser) -> Vec<u64> {
        (0..releaser.stamps_ns.len() as u32).map(|request| releaser.released_ns(request)).collect()
    }

    #[test]
    fn two_threads_release_each_request_once_and_in_order() {
        let schedule = even(2000, 20_000);
        let releaser = Releaser::new(2000);
        let driver = std::thread::current();
        let start_ns = monotonic_ns() + 1_000_000;
        std::thread::scope(|scope| {
            let threads = [0, 1].map(|me| {
                scope
                    .spawn({
                        let (releaser, schedule, driver) = (&releaser, &schedule, &driver);
                        move || releaser.run(me, schedule, driver)
                    })
                    .thread()
                    .clone()
            });
            releaser.start(start_ns, &threads);
        });
        assert_eq!(releaser.count.load(Ordering::Acquire), 2000);
        let found = stamps(&releaser);
        for (stamp, offset) in found.iter().zip(schedule.offsets_ns()) {
            assert!(*stamp >= start_ns + offset, "{stamp}");
        }
        assert!(found.is_sorted());
    }

    #[test]
    fn the_one_that_stands_by_takes_over_from_a_leader_that_stands_still() {
        if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) {
            eprintln!("skipped: one processor, so that nobody stands by");
            return;
        }
        let schedule = even(50, 1_000_000);
        let releaser = Releaser::new(50);
        let driver = std::thread::current();
        let start_ns = monotonic_ns() + 1_000_000;
        // Thread 0 leads and never comes.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| releaser.run(1, &schedule, &driver)).thread().clone();
            releaser.start(start_ns, &[thread]);
        });
        assert_eq!((releaser.takeovers(), releaser.leader.load(Ordering::Acquire)), (1, 1));
        let found = stamps(&releaser);
        assert!(found[0] >= start_ns + schedule.offsets_ns()[0] + LATE_NS, "not before it was late");
        assert!(found.iter().zip(schedule.offsets_ns()).all(|(stamp, offset)| *stamp >= start_ns + offset));
    }

    #[test]
    fn a_leader_that_comes_back_changes_no_stamp_and_no_count() {
        let releaser = Releaser::new(3);
        let driver = std::thread::current();
        releaser.release(0, &driver);
        releaser.release(1, &driver);
        let before = stamps(&releaser);
        releaser.release(0, &driver);
        assert_eq!(stamps(&releaser), before);
        assert_eq!(releaser.count.load(Ordering::Acquire), 2);
    }
}
