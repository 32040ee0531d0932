//! What a process tree asks of the processor, from `/proc`.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::measure::monotonic_ns;

/// How often the tree is looked for anew: it means reading every process of the machine.
const RESCAN: Duration = Duration::from_secs(5);
/// Processors whose frequency is read: reading one can wake it.
const FREQUENCIES: usize = 16;

/// One reading of a process tree and its machine. Counters count from the processes' start, and those of ended children
/// are in their parents', so that differences are what was used in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSample {
    /// CLOCK_MONOTONIC.
    pub time_ns: u64,
    /// Processes of the tree.
    pub processes: u32,
    /// CPU time of the tree, in the kernel's ticks of usually 10 ms.
    pub cpu_ns: u64,
    /// Resident memory of the tree; pages that processes share count once for each.
    pub rss_bytes: u64,
    /// Page faults answered without the disk.
    pub minor_faults: u64,
    /// Page faults answered by the disk.
    pub major_faults: u64,
    /// Context switches that threads asked for by waiting, of threads that live; None but at a trial's ends, since it
    /// means reading every thread.
    pub voluntary_switches: Option<u64>,
    /// Context switches that the scheduler forced, as above.
    pub involuntary_switches: Option<u64>,
    /// CPU time of the whole machine, everybody's.
    pub machine_busy_ns: Option<u64>,
    /// Mean frequency of the first processors, where the kernel tells.
    pub cpu_mhz: Option<u32>,
}

/// Answers for a process tree: `/proc`, or a double of it.
pub trait HostProbe: Send {
    /// Reads the tree; `fully` with what costs more.
    ///
    /// # Errors
    /// A sentence for a person when the tree's root is gone.
    fn read(&mut self, fully: bool) -> Result<HostSample, String>;

    /// The tree's processes when it was last read.
    fn pids(&self) -> &[u32];
}

/// A process and all that descend from it.
pub struct ProcessTree {
    proc: PathBuf,
    cpus: PathBuf,
    root: u32,
    pids: Vec<u32>,
    scanned: Option<Instant>,
}

impl ProcessTree {
    /// The tree below `root`.
    pub fn new(root: u32) -> Self {
        Self::at(Path::new("/proc"), Path::new("/sys/devices/system/cpu"), root)
    }

    fn at(proc: &Path, cpus: &Path, root: u32) -> Self {
        Self { proc: proc.to_owned(), cpus: cpus.to_owned(), root, pids: vec![root], scanned: None }
    }

    fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(self.proc.join(pid.to_string()).join("stat")).ok()?)
    }

    /// Finds the tree by everybody's parent.
    fn scan(&mut self) {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if let Some(stat) = self.stat(pid) {
                children.entry(stat.parent).or_default().push(pid);
            }
        }
        self.pids = vec![self.root];
        let mut next = 0;
        while let Some(pid) = self.pids.get(next).copied() {
            // Taken out, so that no loop of a torn reading is followed twice.
            self.pids.extend(children.remove(&pid).unwrap_or_default());
            next += 1;
        }
        self.scanned = Some(Instant::now());
    }

    /// Switches of all threads of the tree: (voluntary, involuntary).
    fn switches(&self) -> (u64, u64) {
        let mut sums = (0, 0);
        for pid in &self.pids {
            let tasks = fs::read_dir(self.proc.join(pid.to_string()).join("task"));
            for task in tasks.into_iter().flatten().flatten() {
                let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                let count = |name: &str| -> u64 {
                    let line = text.lines().find_map(|line| line.strip_prefix(name));
                    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
                };
                sums.0 += count("voluntary_ctxt_switches:");
                sums.1 += count("nonvoluntary_ctxt_switches:");
            }
        }
        sums
    }

    fn machine_busy_ns(&self) -> Option<u64> {
        let text = fs::read_to_string(self.proc.join("stat")).ok()?;
        let first = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = first.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        // user, nice, system, (idle, iowait,) irq, softirq, steal; guests are in user already.
        let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|place| ticks.get(*place)).sum();
        Some(ticks_ns(busy))
    }

    fn cpu_mhz(&self) -> Option<u32> {
        let read = |cpu: usize| -> Option<u64> {
            let path = self.cpus.join(format!("cpu{cpu}/cpufreq/scaling_cur_freq"));
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        let khz: Vec<u64> = (0..FREQUENCIES).map_while(read).collect();
        let mean = khz.iter().sum::<u64>().checked_div(khz.len() as u64)?;
        u32::try_from(mean / 1000).ok()
    }
}

impl HostProbe for ProcessTree {
    fn read(&mut self, fully: bool) -> Result<HostSample, String> {
        if fully || self.scanned.is_none_or(|scanned| scanned.elapsed() > RESCAN) {
            self.scan();
        }
        let page = rustix::param::page_size() as u64;
        let mut sample = HostSample { time_ns: monotonic_ns(), ..HostSample::default() };
        for pid in &self.pids {
            let Some(stat) = self.stat(*pid) else {
                if *pid == self.root {
                    return Err(format!("/proc tells nothing of the cell's process {pid}: it has ended"));
                }
                continue;
            };
            sample.processes += 1;
            sample.cpu_ns += ticks_ns(stat.cpu_ticks);
            sample.rss_bytes += stat.rss_pages * page;
            sample.minor_faults += stat.minor_faults;
            sample.major_faults += stat.major_faults;
        }
        sample.machine_busy_ns = self.machine_busy_ns();
        if fully {
            let (voluntary, involuntary) = self.switches();
            sample.voluntary_switches = Some(voluntary);
            sample.involuntary_switches = Some(involuntary);
        }
        sample.cpu_mhz = self.cpu_mhz();
        Ok(sample)
    }

    fn pids(&self) -> &[u32] {
        &self.pids
    }
}

fn ticks_ns(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// What we read of `/proc/<pid>/stat`; the counters with those of ended children that were waited for.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    minor_faults: u64,
    major_faults: u64,
    cpu_ticks: u64,
    rss_pages: u64,
}

impl Stat {
    /// The name in parentheses may hold anything, parentheses too; the numbers begin after the last one.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| -> Option<u64> { fields.get(place)?.parse().ok() };
        let sum = |places: [usize; 2]| -> Option<u64> { Some(number(places[0])?.saturating_add(number(places[1])?)) };
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            minor_faults: sum([7, 8])?,
            major_faults: sum([9, 10])?,
            cpu_ticks: sum([11, 12])?.saturating_add(sum([13, 14])?),
            rss_pages: number(21)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32, ticks: u64) -> String {
        format!(
            "{pid} (a) b) (c) S {parent} 1 1 0 -1 0 100 10 3 1 {ticks} 5 2 1 20 0 4 0 99 1000000 25 18446744073709551615 0"
        )
    }

    /// A made-up `/proc`: 10 → 11 → 12, and 20 beside them.
    fn made_up() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (pid, parent, ticks) in [(10, 1, 100), (11, 10, 50), (12, 11, 7), (20, 1, 9999)] {
            let folder = dir.path().join(pid.to_string());
            for thread in [pid, pid + 100] {
                let task = folder.join(format!("task/{thread}"));
                fs::create_dir_all(&task).unwrap();
                fs::write(
                    task.join("status"),
                    "Name:\ta\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t2\n",
                )
                .unwrap();
            }
            fs::write(folder.join("stat"), stat(pid, parent, ticks)).unwrap();
        }
        fs::write(dir.path().join("stat"), "cpu  1000 10 200 5000 30 4 5 6 7 8\ncpu0 1 2 3\n").unwrap();
        for (cpu, khz) in [(0, 2_000_000), (1, 3_000_000)] {
            let folder = dir.path().join(format!("cpu{cpu}/cpufreq"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("scaling_cur_freq"), format!("{khz}\n")).unwrap();
        }
        dir
    }

    #[test]
    fn a_tree_is_summed_and_its_neighbours_are_not() {
        let dir = made_up();
        let mut tree = ProcessTree::at(dir.path(), dir.path(), 10);
        let sample = tree.read(true).unwrap();
        assert_eq!(tree.pids(), [10, 11, 12]);
        let tick = ticks_ns(1);
        assert_eq!(sample.cpu_ns, (100 + 50 + 7 + 3 * 8) * tick);
        assert_eq!((sample.processes, sample.minor_faults, sample.major_faults), (3, 330, 12));
        assert_eq!(sample.rss_bytes, 75 * rustix::param::page_size() as u64);
        assert_eq!((sample.voluntary_switches, sample.involuntary_switches), (Some(18), Some(12)));
        assert_eq!(sample.machine_busy_ns, Some((1000 + 10 + 200 + 4 + 5 + 6) * tick));
        assert_eq!(sample.cpu_mhz, Some(2500));
        assert_eq!(tree.read(false).unwrap().voluntary_switches, None);
        // A child that ends is gone from the sums; the root that ends is an error.
        fs::remove_dir_all(dir.path().join("12")).unwrap();
        assert_eq!(tree.read(false).unwrap().processes, 2);
        fs::remove_dir_all(dir.path().join("10")).unwrap();
        assert!(tree.read(false).unwrap_err().contains("has ended"));
    }

    #[test]
    fn this_process_uses_cpu_time_and_memory() {
        let mut tree = ProcessTree::new(std::process::id());
        let before = tree.read(true).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        let after = tree.read(true).unwrap();
        assert!(after.cpu_ns > before.cpu_ns && after.rss_bytes > 1 << 20, "{before:?} {after:?}");
        assert!(after.machine_busy_ns > before.machine_busy_ns);
        assert!(after.voluntary_switches.is_some() && after.time_ns > before.time_ns);
    }

    #[test]
    fn what_is_no_stat_is_none() {
        for text in ["", "1 (x", "1 (x) S", "1 (x) S a b c"] {
            assert_eq!(Stat::parse(text), None);
        }
    }
}
