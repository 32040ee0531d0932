//! Why a trial is marked, and what the machine's readings say against it.
use std::fmt;

use super::GpuFigures;

/// Bits of `nvmlClocksEventReasons` and their names. Source: `nvml.h` of the CUDA toolkit.
pub const REASONS: [(u64, &str); 9] = [
    (0x1, "gpu_idle"),
    (0x2, "applications_clocks_setting"),
    (0x4, "sw_power_cap"),
    (0x8, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
    (0x100, "display_clock_setting"),
];

/// Those that are heat or power: the device would have been faster in a cooler room or on a larger supply.
pub const HEAT_OR_POWER: u64 = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

/// Fewer earlier trials than this give no clock to compare with.
pub const LEAST_EARLIER: usize = 3;

/// Why a trial is marked.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// Clocks were held down by heat or power while it ran: the bits of the reasons.
    Throttled(u64),
    /// Its mean clock is not that of the point's other trials.
    ClockOutOfBand {
        /// Of this trial, in MHz.
        mean_mhz: f64,
        /// The median of the earlier trials' means, in MHz.
        usual_mhz: f64,
    },
    /// Somebody else used what it ran on, in the words of its certificate.
    Others(String),
    /// The machine was suspended while it ran, for so many nanoseconds.
    Suspended(u64),
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled(reasons) => write!(out, "throttled: {}", reason_names(*reasons)),
            Self::ClockOutOfBand { mean_mhz, usual_mhz } => {
                write!(out, "SM clock {mean_mhz:.0} MHz where {usual_mhz:.0} MHz is usual")
            }
            Self::Others(sentence) => out.write_str(sentence),
            Self::Suspended(ns) => write!(out, "the machine was suspended for {:.2} s", *ns as f64 / 1e9),
        }
    }
}

/// The names of these bits, separated by `|`; bits without a name in hexadecimal.
pub fn reason_names(reasons: u64) -> String {
    let mut names: Vec<String> =
        REASONS.iter().filter(|(bit, _)| reasons & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    let known = REASONS.iter().fold(0, |all, (bit, _)| all | bit);
    if reasons & !known != 0 {
        names.push(format!("{:#x}", reasons & !known));
    }
    names.join("|")
}

/// What is wrong with a trial. `earlier_mhz` are the mean SM clocks of the point's unmarked trials so far; the trial's
/// may be this fraction (`band`) away from their median, either way; `judged` are the reasons that count, of [`HEAT_OR_POWER`].
pub fn marks(gpu: &GpuFigures, earlier_mhz: &[f64], band: f64, judged: u64) -> Vec<Mark> {
    let mut marks = Vec::new();
    let held = gpu.throttle_reasons.unwrap_or(0) & judged;
    if held != 0 {
        marks.push(Mark::Throttled(held));
    }
    if let (Some(mean_mhz), Some(usual_mhz)) = (gpu.sm_clock_mean_mhz, crate::metrics::median(earlier_mhz))
        && earlier_mhz.len() >= LEAST_EARLIER
        && (mean_mhz - usual_mhz).abs() > band * usual_mhz
    {
        marks.push(Mark::ClockOutOfBand { mean_mhz, usual_mhz });
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(reasons: u64, mean_mhz: f64) -> GpuFigures {
        GpuFigures { throttle_reasons: Some(reasons), sm_clock_mean_mhz: Some(mean_mhz), ..GpuFigures::default() }
    }

    #[test]
    fn heat_and_power_are_marked_and_settings_are_not() {
        for harmless in [0, 0x1, 0x2, 0x10, 0x100, 0x113] {
            assert_eq!(marks(&trial(harmless, 1980.0), &[], 0.05, HEAT_OR_POWER), []);
        }
        for (bit, name) in REASONS.iter().filter(|(bit, _)| bit & HEAT_OR_POWER != 0) {
            let found = marks(&trial(bit | 0x3, 1980.0), &[], 0.05, HEAT_OR_POWER);
            assert_eq!(found, [Mark::Throttled(*bit)]);
            assert_eq!(found[0].to_string(), format!("throttled: {name}"));
            assert_eq!(marks(&trial(bit | 0x3, 1980.0), &[], 0.05, HEAT_OR_POWER & !bit), []);
        }
        assert_eq!(reason_names(0x24 | 0x1000), "sw_power_cap|sw_thermal_slowdown|0x1000");
    }

    #[test]
    fn a_clock_is_judged_by_the_trials_before() {
        let earlier = [1980.0, 1975.0, 1980.0];
        assert_eq!(marks(&trial(0, 1900.0), &earlier, 0.05, HEAT_OR_POWER), []);
        let slow = marks(&trial(0, 1700.0), &earlier, 0.05, HEAT_OR_POWER);
        assert_eq!(slow, [Mark::ClockOutOfBand { mean_mhz: 1700.0, usual_mhz: 1980.0 }]);
        assert_eq!(slow[0].to_string(), "SM clock 1700 MHz where 1980 MHz is usual");
        assert_eq!(marks(&trial(0, 2200.0), &earlier, 0.05, HEAT_OR_POWER).len(), 1);
        // Two trials are no custom yet; a device that tells no clock is not judged by it.
        assert_eq!(marks(&trial(0, 1700.0), &earlier[..2], 0.05, HEAT_OR_POWER), []);
        assert_eq!(marks(&GpuFigures::default(), &earlier, 0.05, HEAT_OR_POWER), []);
    }
}
