//! Sums up a trial: busy and idle time, launches, copies, the kernels that took longest, and each step's part.
use std::collections::{BTreeMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    format::{Lost, TraceError},
    gaps::{GapLengths, Gaps, Union},
    order::{HELD, in_order},
    reader::{Activity, ActivityKind, Names, TraceFile},
};

/// How many kernels are kept by name, those that took longest.
const TOP: usize = 30;
/// How many graph launches are remembered at a time, to count each once.
const LAUNCHES_REMEMBERED: usize = 1 << 16;

/// The time that is looked at, in nanoseconds of CLOCK_MONOTONIC: of a trial, or of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
}

/// All runs of one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelFigures {
    /// The kernel's name as the compiler mangled it.
    pub name: String,
    /// How often it ran.
    pub count: u64,
    /// Its time over all runs, in nanoseconds; runs that overlapped count each.
    pub total_ns: u64,
    /// Its shortest run.
    pub min_ns: u64,
    /// Its longest run.
    pub max_ns: u64,
}

/// What the devices did while a step ran. Work is told by when it ran, not by who asked for it: an engine that prepares
/// one step while the last one computes has part of each in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFigures {
    /// When the step began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// How long a device was busy in between, summed over devices.
    pub busy_ns: u64,
    /// Kernels that began in it.
    pub kernels: u64,
}

/// What the devices did in a trial. Counts are of what began inside it; times are of what lay inside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceFigures {
    /// The trial's length.
    pub window_ns: u64,
    /// Devices that did anything.
    pub devices: u32,
    /// Processes that asked for it.
    pub processes: u32,
    /// Time in which a device did something (kernel, copy or memset, on any stream, of any process), summed over devices.
    pub busy_ns: u64,
    /// The part of it in which a kernel ran.
    #[serde(default)]
    pub kernel_busy_ns: u64,
    /// `devices` × `window_ns` − `busy_ns`.
    pub idle_ns: u64,
    /// The stretches of idle time.
    pub gaps: Gaps,
    /// Kernels that ran.
    pub kernels: u64,
    /// The time of all kernels, those that overlapped counted each.
    pub kernel_ns: u64,
    /// Kernels launched one by one, outside graphs.
    pub launches: u64,
    /// Launches of whole graphs.
    pub graph_launches: u64,
    /// Copies.
    pub copies: u64,
    /// Bytes that they moved.
    pub copy_bytes: u64,
    /// Memsets.
    pub memsets: u64,
    /// Time in which a kernel of NCCL ran (its name begins with `nccl`), summed over devices.
    pub nccl_ns: u64,
    /// Bound of the error of the times, but for CUPTI's own mapping of device time; see [`TraceFile::clock_error_ns`].
    pub clock_error_ns: Option<u64>,
    /// What is missing.
    pub lost: Lost,
    /// Activities that came too late to be put in order: each can hide at most its own length of busy time.
    pub late: u64,
    /// The kernels that took longest, in order.
    pub top: Vec<KernelFigures>,
}

impl TraceFigures {
    /// `busy_ns` / (`devices` × `window_ns`); None when no device did anything or no time passed.
    pub fn busy_fraction(&self) -> Option<f64> {
        self.fraction(self.busy_ns)
    }

    /// `kernel_busy_ns` / (`devices` × `window_ns`); None as [`TraceFigures::busy_fraction`].
    pub fn kernel_fraction(&self) -> Option<f64> {
        self.fraction(self.kernel_busy_ns)
    }

    fn fraction(&self, ns: u64) -> Option<f64> {
        let whole = f64::from(self.devices) * self.window_ns as f64;
        (whole > 0.0).then(|| ns as f64 / whole)
    }

    /// Why the figures are not to be trusted, as sentences; empty when nothing is wrong.
    pub fn doubts(&self) -> Vec<String> {
        let Lost { dropped, refused, incomplete, unreadable } = self.lost;
        let mut doubts = Vec::new();
        if dropped + refused > 0 {
            doubts.push(format!(
                "{dropped} records were dropped ({refused} times no buffer was free): busy time is too low"
            ));
        }
        if incomplete + unreadable > 0 {
            doubts.push(format!("{incomplete} records had no times and {unreadable} were not understood"));
        }
        if self.late > 0 {
            doubts.push(format!("{} records came too late to be put in order", self.late));
        }
        doubts
    }
}

/// One device's part.
struct Device {
    busy: Union,
    kernels: Union,
    nccl: Union,
    /// The first step that may still get busy time.
    step: usize,
}

#[derive(Clone, Copy)]
struct Runs {
    count: u64,
    total_ns: u64,
    min_ns: u64,
    max_ns: u64,
}

struct Analysis<'a> {
    window: Window,
    steps: &'a mut [StepFigures],
    /// The first step in which a later activity may begin.
    counted_step: usize,
    devices: BTreeMap<u32, Device>,
    processes: HashSet<u32>,
    kernels: BTreeMap<u32, Runs>,
    graph_launches: HashSet<(u32, u32)>,
    graph_order: VecDeque<(u32, u32)>,
    gaps: GapLengths,
    figures: TraceFigures,
}

/// Reads what the files hold from where they were last read up to their ends now, and sums up the part inside `window`.
/// `steps` are windows ordered by their start that do not overlap; the answer has one figure for each. Every activity
/// inside the window is also handed to `also`, in order.
///
/// Memory: what is held to put activities in order (2.5 MiB a file at most), and a counter a kernel's name.
///
/// # Errors
/// [`TraceError`] when a file cannot be read or is damaged.
pub fn analyse(
    files: &mut [TraceFile],
    names: &mut Names,
    window: Window,
    steps: &[Window],
    also: &mut dyn FnMut(&Activity, &Names) -> Result<(), TraceError>,
) -> Result<(TraceFigures, Vec<StepFigures>), TraceError> {
    let mut by_step: Vec<StepFigures> = steps
        .iter()
        .map(|step| StepFigures { start_ns: step.start_ns, end_ns: step.end_ns, busy_ns: 0, kernels: 0 })
        .collect();
    let before: Vec<Lost> = files.iter().map(TraceFile::lost).collect();
    let mut analysis = Analysis {
        window,
        steps: &mut by_step,
        counted_step: 0,
        devices: BTreeMap::new(),
        processes: HashSet::new(),
        kernels: BTreeMap::new(),
        graph_launches: HashSet::new(),
        graph_order: VecDeque::new(),
        gaps: GapLengths::new(),
        figures: TraceFigures { window_ns: window.end_ns.saturating_sub(window.start_ns), ..TraceFigures::default() },
    };
    for file in &mut *files {
        file.begin();
    }
    in_order(files, HELD, names, &mut |activity, names| {
        if activity.end_ns > window.start_ns && activity.start_ns < window.end_ns {
            analysis.add(activity, names);
            also(activity, names)?;
        }
        Ok(())
    })?;
    let mut figures = analysis.finish(names);
    figures.lost = files.iter().zip(before).fold(Lost::default(), |sum, (file, old)| sum.and(file.lost().since(old)));
    // Of the files that had anything to map.
    figures.clock_error_ns = files.iter().filter_map(TraceFile::clock_error_ns).max();
    Ok((figures, by_step))
}

impl Analysis<'_> {
    fn add(&mut self, activity: &Activity, names: &Names) {
        let &Activity { start_ns, end_ns, process, .. } = activity;
        let Window { start_ns: from_ns, end_ns: to_ns } = self.window;
        self.processes.insert(process);
        let device = self.devices.entry(activity.device).or_insert_with(|| Device {
            busy: Union::new(from_ns, to_ns),
            kernels: Union::new(from_ns, to_ns),
            nccl: Union::new(from_ns, to_ns),
            step: 0,
        });
        if let Some(busy) = device.busy.add(start_ns, end_ns, Some(&mut self.gaps)) {
            device.step = share(self.steps, device.step, busy);
        }
        let inside_ns = end_ns.min(to_ns) - start_ns.max(from_ns);
        let began = start_ns >= from_ns;
        match activity.kind {
            ActivityKind::Kernel { name } => {
                if names.text(name).starts_with("nccl") {
                    device.nccl.add(start_ns, end_ns, None);
                }
                device.kernels.add(start_ns, end_ns, None);
                self.figures.kernel_ns += inside_ns;
                if began {
                    self.kernel(activity, name);
                }
            }
            ActivityKind::Copy { bytes, .. } if began => {
                self.figures.copies += 1;
                self.figures.copy_bytes += bytes;
            }
            ActivityKind::Set { .. } if began => self.figures.memsets += 1,
            ActivityKind::Copy { .. } | ActivityKind::Set { .. } => {}
        }
        if began && activity.graph != 0 {
            self.graph_launch((process, activity.correlation));
        }
    }

    fn kernel(&mut self, activity: &Activity, name: u32) {
        let ns = activity.end_ns - activity.start_ns;
        self.figures.kernels += 1;
        self.figures.launches += u64::from(activity.graph == 0);
        let runs = self.kernels.entry(name).or_insert(Runs { count: 0, total_ns: 0, min_ns: u64::MAX, max_ns: 0 });
        runs.count += 1;
        runs.total_ns += ns;
        runs.min_ns = runs.min_ns.min(ns);
        runs.max_ns = runs.max_ns.max(ns);
        let start_ns = activity.start_ns;
        while self.steps.get(self.counted_step).is_some_and(|step| step.end_ns <= start_ns) {
            self.counted_step += 1;
        }
        if let Some(step) = self.steps.get_mut(self.counted_step)
            && step.start_ns <= start_ns
        {
            step.kernels += 1;
        }
    }

    /// Counts a launch once, however many nodes its graph has. What came long ago is forgotten: a launch's nodes run close
    /// together.
    fn graph_launch(&mut self, launch: (u32, u32)) {
        if !self.graph_launches.insert(launch) {
            return;
        }
        self.figures.graph_launches += 1;
        self.graph_order.push_back(launch);
        if self.graph_order.len() > LAUNCHES_REMEMBERED
            && let Some(oldest) = self.graph_order.pop_front()
        {
            self.graph_launches.remove(&oldest);
        }
    }

    fn finish(mut self, names: &Names) -> TraceFigures {
        let mut figures = self.figures;
        figures.devices = self.devices.len() as u32;
        figures.processes = self.processes.len() as u32;
        for device in self.devices.values_mut() {
            device.busy.finish(&mut self.gaps);
            figures.busy_ns += device.busy.busy_ns;
            figures.kernel_busy_ns += device.kernels.busy_ns;
            figures.nccl_ns += device.nccl.busy_ns;
            figures.late += device.busy.late;
        }
        figures.idle_ns = (u64::from(figures.devices) * figures.window_ns).saturating_sub(figures.busy_ns);
        figures.gaps = self.gaps.summary();
        let mut top: Vec<(u32, Runs)> = self.kernels.into_iter().collect();
        top.sort_by_key(|(name, runs)| (std::cmp::Reverse(runs.total_ns), *name));
        let kernel = |(name, runs): (u32, Runs)| KernelFigures {
            name: names.text(name).to_owned(),
            count: runs.count,
            total_ns: runs.total_ns,
            min_ns: runs.min_ns,
            max_ns: runs.max_ns,
        };
        figures.top = top.into_iter().take(TOP).map(kernel).collect();
        figures
    }
}

/// Adds a stretch of busy time to the steps that it lies in, from `first` on; returns the first that later ones may lie in.
fn share(steps: &mut [StepFigures], mut first: usize, (start_ns, end_ns): (u64, u64)) -> usize {
    while steps.get(first).is_some_and(|step| step.end_ns <= start_ns) {
        first += 1;
    }
    for step in steps.iter_mut().skip(first).take_while(|step| step.start_ns < end_ns) {
        step.busy_ns += end_ns.min(step.end_ns).saturating_sub(start_ns.max(step.start_ns));
    }
    first
}

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod tests;
