//! The host's clocks. Time inside Tacho is `u64` nanoseconds of CLOCK_MONOTONIC.
use std::num::NonZeroU64;

use rustix::{
    thread::{ClockId, Timespec, clock_nanosleep_absolute},
    time::clock_gettime,
};

fn to_ns(time: Timespec) -> u64 {
    // CLOCK_MONOTONIC and the CPU clocks count from zero up: neither field is negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

/// CPU nanoseconds that this process has used, all threads together.
pub fn process_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU nanoseconds that the calling thread has used.
pub fn thread_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// How long before a deadline sleeping ends and spinning begins: about what waking takes on a virtual machine.
const SPIN_NS: u64 = 80_000;

/// Has the kernel wake the calling thread at its timers' times and not up to 50 µs later, which is how it saves power by default
/// (`PR_SET_TIMERSLACK`). For threads whose wake-ups are the measurement; one that the kernel refuses it wakes as before.
pub fn wake_on_time() {
    let _: rustix::io::Result<()> = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Waits until `deadline_ns` of CLOCK_MONOTONIC: sleeps up to shortly before it, then spins.
pub fn sleep_until_ns(deadline_ns: u64) {
    let wake_ns = deadline_ns.saturating_sub(SPIN_NS);
    while monotonic_ns() < wake_ns {
        let request = Timespec { tv_sec: (wake_ns / 1_000_000_000) as i64, tv_nsec: (wake_ns % 1_000_000_000) as i64 };
        let _: Result<(), _> = clock_nanosleep_absolute(ClockId::Monotonic, &request);
    }
    while monotonic_ns() < deadline_ns {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_reaches_the_deadline_and_not_before() {
        let deadline = monotonic_ns() + 2_000_000;
        sleep_until_ns(deadline);
        assert!(monotonic_ns() >= deadline);
    }

    #[test]
    fn a_deadline_in_the_past_returns_at_once() {
        let start = monotonic_ns();
        sleep_until_ns(1);
        assert!(monotonic_ns() - start < 1_000_000);
    }
}
