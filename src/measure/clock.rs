//! The host's clocks. Time inside Tacho is `u64` nanoseconds of CLOCK_MONOTONIC.
use std::{cell::Cell, num::NonZeroU64};

use rustix::{
    thread::{ClockId, CpuSet, Timespec, clock_nanosleep_absolute, sched_getaffinity, sched_setaffinity},
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

/// For how many nanoseconds the machine has been suspended since it was started: by what CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC,
/// which stands still meanwhile (clock_gettime(2)).
pub fn suspended_ns() -> u64 {
    // Read in this order, what passes between the two makes their difference larger: the least of some is the one in which this
    // thread was not sent to wait.
    let look = || {
        let awake = monotonic_ns();
        to_ns(clock_gettime(ClockId::Boottime)).saturating_sub(awake)
    };
    (0..4).map(|_| look()).min().unwrap_or_default()
}

/// CPU nanoseconds that this process has used, all threads together.
pub fn process_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU nanoseconds that the calling thread has used.
pub fn thread_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// How long before a deadline a thread stops sleeping and spins: bounds of what it learns.
const SPIN_NS: std::ops::RangeInclusive<u64> = 50_000..=1_000_000;

thread_local! {
    /// How long before a deadline this thread stops sleeping: a little more than it takes to wake as a rule.
    static MARGIN_NS: Cell<u64> = const { Cell::new(100_000) };
}

/// The margin after a sleep that ended `late_ns` behind its time. It grows by an eighth where waking took more than three
/// quarters of it and shrinks by a 128th otherwise, and so settles where about one wake-up in 16 takes longer than that: a single stall of
/// the machine does not move it, a machine that wakes its threads slowly (a virtual one, as a rule) does.
fn learn(margin_ns: u64, late_ns: u64) -> u64 {
    let next = if late_ns > margin_ns / 4 * 3 { margin_ns + margin_ns / 8 } else { margin_ns - margin_ns / 128 };
    next.clamp(*SPIN_NS.start(), *SPIN_NS.end())
}

/// Has the kernel wake the calling thread at its timers' times and not up to 50 µs later, which is how it saves power by default
/// (`PR_SET_TIMERSLACK`). For threads whose wake-ups are the measurement; one that the kernel refuses it wakes as before.
pub fn wake_on_time() {
    let _: rustix::io::Result<()> = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Asks for the calling thread to be served before others (nice −20), which root and CAP_SYS_NICE may: for threads that others should not
/// delay. Tells whether it was granted; where it is refused the thread stays as it is.
pub fn go_first() -> bool {
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), -20).is_ok()
}

/// Keeps the calling thread to the lower or the upper half of the processors that it may run on, so that two threads never share one.
/// Tells whether it could: not with a single processor.
pub fn keep_to_half(upper: bool) -> bool {
    let Ok(allowed) = sched_getaffinity(None) else { return false };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let (low, high) = cpus.split_at(cpus.len() / 2);
    if low.is_empty() {
        return false;
    }
    let mut half = CpuSet::new();
    for cpu in if upper { high } else { low } {
        half.set(*cpu);
    }
    sched_setaffinity(None, &half).is_ok()
}

/// Waits until `deadline_ns` of CLOCK_MONOTONIC: sleeps up to shortly before it, then spins. How shortly, each thread learns
/// from how late its sleeps ended: between 50 µs and 1 ms.
pub fn sleep_until_ns(deadline_ns: u64) {
    let margin_ns = MARGIN_NS.get();
    let wake_ns = deadline_ns.saturating_sub(margin_ns);
    let mut now_ns = monotonic_ns();
    if now_ns < wake_ns {
        while now_ns < wake_ns {
            let request =
                Timespec { tv_sec: (wake_ns / 1_000_000_000) as i64, tv_nsec: (wake_ns % 1_000_000_000) as i64 };
            let _: Result<(), _> = clock_nanosleep_absolute(ClockId::Monotonic, &request);
            now_ns = monotonic_ns();
        }
        MARGIN_NS.set(learn(margin_ns, now_ns - wake_ns));
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
    fn the_margin_follows_what_waking_takes_and_not_a_stall() {
        let after = |margin, late: &[u64]| late.iter().fold(margin, |margin, late| learn(margin, *late));
        let slow = after(50_000, &[200_000; 100]);
        assert!((200_000..320_000).contains(&slow), "{slow}");
        let stalled = learn(slow, 12_000_000);
        assert!(stalled < slow * 5 / 4, "{stalled}");
        assert_eq!(after(slow, &[5_000; 1000]), *SPIN_NS.start());
        assert_eq!(after(50_000, &[u64::MAX; 100]), *SPIN_NS.end());
    }

    #[test]
    fn halves_of_the_processors_share_none() {
        let half = |upper| {
            let kept = std::thread::spawn(move || keep_to_half(upper).then(|| sched_getaffinity(None).unwrap()));
            kept.join().unwrap()
        };
        let all = sched_getaffinity(None).unwrap();
        let (Some(low), Some(high)) = (half(false), half(true)) else {
            assert_eq!(all.count(), 1, "refused where there are more processors than one");
            return;
        };
        assert_eq!(low.count() + high.count(), all.count());
        assert!((0..CpuSet::MAX_CPU).all(|cpu| !(low.is_set(cpu) && high.is_set(cpu))));
    }

    /// What the kernel says by another door, to the hundredth of a second to which it says it.
    #[test]
    fn suspended_is_what_the_uptime_is_ahead_of_the_clock() {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = text.split_whitespace().next().unwrap().parse().unwrap();
        let found = (monotonic_ns() + suspended_ns()) as f64 / 1e9;
        assert!((-0.001..1.0).contains(&(found - uptime)), "{found} s since the start, by /proc/uptime {uptime} s");
        if let Some(least) = std::env::var_os("SUSPENDED_AT_LEAST_NS") {
            assert!(suspended_ns() >= least.to_str().unwrap().parse().unwrap(), "{} ns", suspended_ns());
        }
    }

    /// No test suspends a machine; a time namespace (time_namespaces(7)) puts the two clocks a day apart.
    #[test]
    fn a_machine_that_was_suspended_for_a_day_says_so() {
        let day = ["--user", "--map-root-user", "--time", "--fork", "--boottime", "86400", "--"];
        if !std::process::Command::new("unshare").args(day).arg("true").status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: this machine makes no time namespaces (needs unshare, and leave to)");
            return;
        }
        let mut test = std::process::Command::new("unshare");
        test.args(day).arg(std::env::current_exe().unwrap()).env("SUSPENDED_AT_LEAST_NS", "86400000000000");
        let output =
            test.args(["--exact", "measure::clock::tests::suspended_is_what_the_uptime_is_ahead_of_the_clock"]);
        let output = output.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn a_deadline_in_the_past_returns_at_once() {
        let start = monotonic_ns();
        sleep_until_ns(1);
        assert!(monotonic_ns() - start < 1_000_000);
    }
}
