//! A trial's figures from its samples.
use serde::{Deserialize, Serialize};

use super::{GpuReading, GpuSample, HostSample, Samples, Uuid};

/// Energy is given when the counter was seen to change at least so often during the trial: what is not known of its
/// first and last change is then at most a tenth of it.
pub const MIN_ENERGY_UPDATES: u64 = 20;

/// A trial's time on CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first stamp.
    pub start_ns: u64,
    /// Its last stamp.
    pub end_ns: u64,
}

/// The GPUs that a trial used, over the trial. None where a device does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuFigures {
    /// Whose figures these are.
    pub devices: Vec<String>,
    /// Mean utilisation over samples and devices, in percent.
    pub utilization_percent: Option<f64>,
    /// Mean power of all devices together, by their power readings.
    pub power_mean_w: Option<f64>,
    /// Energy of all devices together, by their counters.
    pub energy_j: Option<f64>,
    /// Changes of the energy counter seen during the trial, of the device with the fewest.
    pub energy_updates: Option<u64>,
    /// Why there is no energy.
    pub energy_null_reason: Option<String>,
    /// Mean clock of the streaming multiprocessors over samples and devices.
    pub sm_clock_mean_mhz: Option<f64>,
    /// Their lowest.
    pub sm_clock_min_mhz: Option<u32>,
    /// Mean clock of the memory.
    pub memory_clock_mean_mhz: Option<f64>,
    /// Every reason seen for clocks held down, as bits; see [`super::REASONS`].
    pub throttle_reasons: Option<u64>,
    /// The highest temperature.
    pub temperature_max_c: Option<u32>,
    /// The most memory in use, by everybody, summed over the devices.
    pub memory_peak_bytes: Option<u64>,
    /// The most memory in use by the cell's process tree, summed over the devices.
    pub process_memory_peak_bytes: Option<u64>,
    /// By how much memory in use grew beyond what it was when the trial began, summed over the devices: the cell's where
    /// the driver shows it, else everybody's.
    #[serde(default)]
    pub memory_growth_bytes: Option<u64>,
    /// The most compute processes on one device that are not the cell's.
    #[serde(default)]
    pub other_processes: Option<u32>,
    /// How the samples lie.
    pub sampling: Sampling,
}

impl GpuFigures {
    /// For a person who watches a run: `GPU 97 %, 612 W, 1755 MHz, 64 °C`, as far as known, and what held the clocks down.
    pub fn state(&self) -> String {
        let known = [
            self.utilization_percent.map(|percent| format!("{percent:.0} %")),
            self.power_mean_w.map(|watt| format!("{watt:.0} W")),
            self.sm_clock_mean_mhz.map(|mhz| format!("{mhz:.0} MHz")),
            self.temperature_max_c.map(|celsius| format!("{celsius} °C")),
            self.throttle_reasons
                .map(|reasons| reasons & super::HEAT_OR_POWER)
                .filter(|held| *held != 0)
                .map(|held| format!("held down by {}", super::reason_names(held))),
        ];
        format!("GPU {}", known.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The cell's process tree and its machine, over the trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFigures {
    /// CPU time of the tree.
    pub cpu_seconds: f64,
    /// The most memory resident at a sample; shared pages count once for each process.
    pub rss_peak_bytes: u64,
    /// By how much resident memory grew beyond what it was when the trial began.
    #[serde(default)]
    pub rss_growth_bytes: Option<u64>,
    /// Page faults answered without the disk.
    pub minor_faults: u64,
    /// Page faults answered by the disk.
    pub major_faults: u64,
    /// Context switches by waiting, from hand-over to hand-back.
    pub voluntary_switches: Option<u64>,
    /// Context switches forced, from hand-over to hand-back.
    pub involuntary_switches: Option<u64>,
    /// Processors kept busy by everything but the tree: 1 is one of them for the whole trial. Tacho itself is in it.
    pub other_load: Option<f64>,
    /// Mean frequency of the processors.
    pub cpu_mhz: Option<f64>,
    /// How the samples lie.
    pub sampling: Sampling,
}

/// How a trial's samples lie in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Samples inside the trial, of each device.
    pub samples: u64,
    /// Mean time between samples, those just outside included.
    pub period_ms: f64,
    /// The longest time between two.
    pub longest_gap_ms: f64,
}

/// What telemetry says of a trial. None comes with a reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Of the GPUs.
    pub gpu: Option<GpuFigures>,
    /// Why there is nothing of GPUs.
    pub gpu_null_reason: Option<String>,
    /// Of the processor.
    pub host: Option<HostFigures>,
    /// Why there is nothing of the processor.
    pub host_null_reason: Option<String>,
}

impl Telemetry {
    /// None of it, for this reason.
    pub fn none(reason: &str) -> Self {
        let reason = Some(reason.to_owned());
        Self { gpu_null_reason: reason.clone(), host_null_reason: reason, ..Self::default() }
    }
}

/// A trial's figures. `ways` is over how many GPUs the engine is spread; None when it uses none.
pub fn figures(samples: &Samples, window: Window, ways: Option<u32>) -> Telemetry {
    let (gpu, gpu_null_reason) = match ways {
        None => (None, Some("the engine uses no GPU".to_owned())),
        Some(ways) => split(gpu_figures(samples, window, ways)),
    };
    let (host, host_null_reason) = split(host_figures(samples, window));
    Telemetry { gpu, gpu_null_reason, host, host_null_reason }
}

fn split<T>(result: Result<T, String>) -> (Option<T>, Option<String>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(reason)),
    }
}

/// A counter's value at a time between two of its samples, as if it had grown evenly. None outside of them.
fn counter_at(counter: &[(u64, u64)], time_ns: u64) -> Option<f64> {
    let after = counter.partition_point(|(time, _)| *time < time_ns);
    let &(later, high) = counter.get(after)?;
    if later == time_ns {
        return Some(high as f64);
    }
    let &(earlier, low) = counter.get(after.checked_sub(1)?)?;
    let share = (time_ns - earlier) as f64 / (later - earlier) as f64;
    Some(low as f64 + share * (high as f64 - low as f64))
}

/// How much a counter grew during the window; never below 0. None when its samples do not enclose the window.
fn grown(counter: &[(u64, u64)], window: Window) -> Option<f64> {
    Some((counter_at(counter, window.end_ns)? - counter_at(counter, window.start_ns)?).max(0.0))
}

/// By how much a gauge rose at most above an earlier sample, from its last one before the window to its first one after it:
/// what an engine gave back between the former and the window hides no growth. None when its samples do not enclose the
/// window.
fn rise(gauge: &[(u64, u64)], window: Window) -> Option<u64> {
    let before = gauge.partition_point(|(time, _)| *time <= window.start_ns).checked_sub(1)?;
    let after = gauge.partition_point(|(time, _)| *time < window.end_ns);
    let (mut lowest, mut rise) = (u64::MAX, 0);
    for (_, value) in gauge.get(before..=after)? {
        lowest = lowest.min(*value);
        rise = rise.max(value - lowest);
    }
    Some(rise)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

fn sampling(times: &[u64], window: Window) -> Sampling {
    let inside = times.iter().filter(|time| (window.start_ns..=window.end_ns).contains(*time)).count();
    let gaps = || times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6);
    Sampling {
        samples: inside as u64,
        period_ms: mean(gaps()).unwrap_or(0.0),
        longest_gap_ms: gaps().fold(0.0, f64::max),
    }
}

fn gpu_figures(samples: &Samples, window: Window, ways: u32) -> Result<GpuFigures, String> {
    if samples.gpu.is_empty() {
        let reason = samples.gpu_null_reason.clone();
        return Err(reason.unwrap_or_else(|| "no GPU was sampled".to_owned()));
    }
    if let Some(reason) = &samples.gpu_null_reason {
        return Err(format!("sampling broke off: {reason}"));
    }
    let used = used_devices(samples, ways);
    let inside: Vec<&GpuSample> = samples
        .gpu
        .iter()
        .filter(|sample| used.contains(&sample.uuid) && (window.start_ns..=window.end_ns).contains(&sample.time_ns))
        .collect();
    if inside.is_empty() {
        return Err("the trial was over before a GPU was sampled in it: make trials longer".to_owned());
    }
    let all = |of: fn(&GpuReading) -> Option<u32>| inside.iter().filter_map(move |sample| of(&sample.reading));
    let average = |of: fn(&GpuReading) -> Option<u32>| mean(all(of).map(f64::from));
    // Memory may be taken and given back between the stamps and the samples outside them: those count too.
    let peak = |of: fn(&GpuReading) -> Option<u64>| -> Option<u64> {
        used.iter().map(|uuid| of_device(samples, *uuid).filter_map(|sample| of(&sample.reading)).max()).sum()
    };
    let rise_of = |of: fn(&GpuReading) -> Option<u64>| -> Option<u64> {
        let gauge = |uuid| -> Vec<(u64, u64)> {
            of_device(samples, uuid).filter_map(|sample| Some((sample.time_ns, of(&sample.reading)?))).collect()
        };
        used.iter().map(|uuid| rise(&gauge(*uuid), window)).sum()
    };
    let reasons = inside.iter().filter_map(|sample| sample.reading.throttle_reasons);
    let (energy_j, energy_updates, energy_null_reason) = match energy(samples, &used, window) {
        Ok((joule, updates)) if updates >= MIN_ENERGY_UPDATES => (Some(joule), Some(updates), None),
        Ok((_, updates)) => {
            let reason = format!(
                "not resolvable: the energy counter was seen to change {updates} times in the trial, and \
                 {MIN_ENERGY_UPDATES} are needed: make trials longer"
            );
            (None, Some(updates), Some(reason))
        }
        Err(reason) => (None, None, Some(reason)),
    };
    let times: Vec<u64> = of_device(samples, used[0]).map(|sample| sample.time_ns).collect();
    Ok(GpuFigures {
        devices: used.iter().map(|uuid| uuid.as_str().to_owned()).collect(),
        utilization_percent: average(|reading| reading.utilization_percent),
        power_mean_w: average(|reading| reading.power_mw).map(|mw| mw / 1e3 * used.len() as f64),
        energy_j,
        energy_updates,
        energy_null_reason,
        sm_clock_mean_mhz: average(|reading| reading.sm_clock_mhz),
        sm_clock_min_mhz: all(|reading| reading.sm_clock_mhz).min(),
        memory_clock_mean_mhz: average(|reading| reading.memory_clock_mhz),
        throttle_reasons: reasons.reduce(|seen, reasons| seen | reasons),
        temperature_max_c: all(|reading| reading.temperature_c).max(),
        memory_peak_bytes: peak(|reading| reading.memory_used_bytes),
        process_memory_peak_bytes: peak(|reading| reading.process_memory_bytes),
        memory_growth_bytes: rise_of(|reading| reading.process_memory_bytes)
            .or_else(|| rise_of(|reading| reading.memory_used_bytes)),
        other_processes: all(|reading| reading.other_processes).max(),
        sampling: sampling(&times, window),
    })
}

fn of_device(samples: &Samples, uuid: Uuid) -> impl Iterator<Item = &GpuSample> {
    samples.gpu.iter().filter(move |sample| sample.uuid == uuid)
}

/// The devices on which the driver shows a process of the cell; where it shows none, the first `ways` that CUDA sees.
fn used_devices(samples: &Samples, ways: u32) -> Vec<Uuid> {
    let devices: Vec<Uuid> = samples.devices.iter().map(|device| Uuid::new(&device.uuid)).collect();
    let holds = |uuid: &Uuid| of_device(samples, *uuid).any(|sample| sample.reading.process_memory_bytes.is_some());
    let held: Vec<Uuid> = devices.iter().copied().filter(holds).collect();
    if held.is_empty() { devices.into_iter().take(ways.max(1) as usize).collect() } else { held }
}

/// Energy of these devices in joule, and how often the slowest counter was seen to change.
fn energy(samples: &Samples, used: &[Uuid], window: Window) -> Result<(f64, u64), String> {
    let (mut joule, mut updates) = (0.0, u64::MAX);
    for uuid in used {
        let counter: Vec<(u64, u64)> =
            of_device(samples, *uuid).filter_map(|s| Some((s.time_ns, s.reading.energy_mj?))).collect();
        if counter.is_empty() {
            return Err(format!("GPU {} has no energy counter", uuid.as_str()));
        }
        let grown = grown(&counter, window).ok_or("the energy counter was not read on both sides of the trial")?;
        joule += grown / 1e3;
        let inside = counter.iter().filter(|(time, _)| (window.start_ns..=window.end_ns).contains(time));
        let values: Vec<u64> = inside.map(|(_, value)| *value).collect();
        updates = updates.min(values.windows(2).filter(|pair| pair[1] != pair[0]).count() as u64);
    }
    Ok((joule, updates))
}

fn host_figures(samples: &Samples, window: Window) -> Result<HostFigures, String> {
    if let Some(reason) = &samples.host_null_reason {
        return Err(reason.clone());
    }
    let [first, .., last] = samples.host.as_slice() else {
        return Err("the cell's processes were not sampled".to_owned());
    };
    let counter = |of: fn(&HostSample) -> Option<u64>| -> Option<f64> {
        let values: Vec<(u64, u64)> = samples.host.iter().filter_map(|s| Some((s.time_ns, of(s)?))).collect();
        grown(&values, window)
    };
    let enclosed = "the cell's processes were not sampled on both sides of the trial";
    let count = |of| counter(of).map(|value| value.round() as u64).ok_or(enclosed);
    let cpu_ns = counter(|sample| Some(sample.cpu_ns)).ok_or(enclosed)?;
    let seconds = window.end_ns.saturating_sub(window.start_ns) as f64 / 1e9;
    let busy_ns = counter(|sample| sample.machine_busy_ns);
    let between = |of: fn(&HostSample) -> Option<u64>| Some(of(last)?.saturating_sub(of(first)?));
    let times: Vec<u64> = samples.host.iter().map(|sample| sample.time_ns).collect();
    Ok(HostFigures {
        cpu_seconds: cpu_ns / 1e9,
        rss_peak_bytes: samples.host.iter().map(|sample| sample.rss_bytes).max().unwrap_or(0),
        rss_growth_bytes: {
            let gauge: Vec<(u64, u64)> = samples.host.iter().map(|s| (s.time_ns, s.rss_bytes)).collect();
            rise(&gauge, window)
        },
        minor_faults: count(|sample| Some(sample.minor_faults))?,
        major_faults: count(|sample| Some(sample.major_faults))?,
        voluntary_switches: between(|sample| sample.voluntary_switches),
        involuntary_switches: between(|sample| sample.involuntary_switches),
        other_load: busy_ns.filter(|_| seconds > 0.0).map(|busy| ((busy - cpu_ns) / 1e9 / seconds).max(0.0)),
        cpu_mhz: mean(samples.host.iter().filter_map(|sample| sample.cpu_mhz).map(f64::from)),
        sampling: sampling(&times, window),
    })
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
