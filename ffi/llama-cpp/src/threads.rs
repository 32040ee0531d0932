//! How many threads to run by default.
use std::{collections::BTreeSet, fs};

use rustix::thread::{CpuSet, sched_getaffinity};

/// Physical cores that this process may use: its affinity, siblings counted once, no more than its cgroup's quota.
pub fn physical_cores() -> u32 {
    let quota = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let Ok(allowed) = sched_getaffinity(None) else { return quota };
    let topology =
        |cpu: usize, name: &str| fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/{name}")).ok();
    let cores: BTreeSet<(String, String)> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .map(|cpu| match (topology(cpu, "physical_package_id"), topology(cpu, "core_id")) {
            (Some(package), Some(core)) => (package, core),
            // Where the kernel does not tell, every processor is its own core.
            _ => (String::new(), format!("cpu{cpu}")),
        })
        .collect();
    (cores.len() as u32).clamp(1, quota.max(1))
}

#[cfg(test)]
mod tests {
    #[test]
    fn at_least_one_and_no_more_than_the_processors() {
        let cores = super::physical_cores();
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        assert!((1..=processors).contains(&cores), "{cores} cores, {processors} processors");
    }
}
