//! Whether an engine configuration whose cell has died is given another one, and when.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::execute::plain_failure;
use crate::{engine::ErrorKind, plan::Endurance, results::Failure};

/// The longest pause, however often a cell has died.
const LONGEST: Duration = Duration::from_secs(60);
/// How soon an interrupt ends a pause.
const LOOK: Duration = Duration::from_millis(20);

/// The deaths of one engine configuration's cells in this run.
pub(super) struct Restarts<'a> {
    policy: &'a Endurance,
    deaths: u32,
    /// Since a point was last measured.
    in_a_row: u32,
    /// Since an engine was last loaded: whether a load was tried again because memory may not have come back.
    waited_for_memory: bool,
}

impl<'a> Restarts<'a> {
    pub fn new(policy: &'a Endurance) -> Self {
        Self { policy, deaths: 0, in_a_row: 0, waited_for_memory: false }
    }

    /// Whether a cell of this configuration has died.
    pub fn any(&self) -> bool {
        self.deaths > 0
    }

    /// Whether the configuration is quarantined.
    pub fn spent(&self) -> bool {
        self.deaths > self.policy.restarts
    }

    /// An engine was loaded.
    pub fn loaded(&mut self) {
        self.waited_for_memory = false;
    }

    /// Whether a load that failed is to be tried once more: it ran out of memory after a death, and the dead cell's may not have
    /// been back. Only once until an engine is loaded.
    pub fn memory_may_come_back(&mut self, failure: &Failure) -> bool {
        let out_of_memory = failure.kind == Some(ErrorKind::OutOfMemory);
        self.any() && out_of_memory && !std::mem::replace(&mut self.waited_for_memory, true)
    }

    /// A point was measured.
    pub fn measured(&mut self) {
        self.in_a_row = 0;
    }

    /// A cell has died. Gives the pause before the next one; None when there is to be none.
    pub fn died(&mut self) -> Option<Duration> {
        self.deaths += 1;
        self.in_a_row += 1;
        let doublings = self.in_a_row.checked_sub(2);
        let pause = doublings.map_or(Duration::ZERO, |n| self.policy.backoff.saturating_mul(1 << n.min(16)));
        (!self.spent()).then_some(pause.min(LONGEST))
    }

    /// The failure of the points that a quarantined configuration has left.
    pub fn quarantine(&self) -> Failure {
        plain_failure(format!(
            "quarantined, not run: the cell of this engine configuration died {} times in this run (restarts.budget is {}); \
             --resume tries it again",
            self.deaths, self.policy.restarts
        ))
    }
}

/// Waits, unless the run is to end.
pub(super) fn pause(time: Duration, interrupted: &AtomicBool) {
    let end = Instant::now() + time;
    while !interrupted.load(Ordering::Relaxed) {
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left => std::thread::sleep(left.min(LOOK)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_budget_ends() {
        let policy = Endurance { restarts: 4, backoff: Duration::from_millis(100), ..Endurance::default() };
        let mut restarts = Restarts::new(&policy);
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!([restarts.died(), restarts.died(), restarts.died()], [ms(0), ms(100), ms(200)]);
        restarts.measured();
        assert_eq!([restarts.died(), restarts.died()], [ms(0), None]);
        assert!(restarts.quarantine().reason.contains("died 5 times"));
    }

    #[test]
    fn a_load_without_memory_is_tried_again_once_and_only_after_a_death() {
        let policy = Endurance::default();
        let mut restarts = Restarts::new(&policy);
        let of = |kind| Failure { kind: Some(kind), ..plain_failure("no room".to_owned()) };
        let (memory, other) = (of(ErrorKind::OutOfMemory), of(ErrorKind::Load));
        assert!(!restarts.memory_may_come_back(&memory), "what fails at first is too large");
        restarts.died();
        assert!(!restarts.memory_may_come_back(&other));
        assert!(restarts.memory_may_come_back(&memory));
        assert!(!restarts.memory_may_come_back(&memory));
        restarts.loaded();
        assert!(restarts.memory_may_come_back(&memory));
    }
}
