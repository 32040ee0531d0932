//! The event clock of the GPU that CUDA shows first, measured by the program `tacho-cuda`, which CUDA is linked to.
use std::path::Path;

use super::Check;
use crate::{
    measure::{MAX_DISAGREEMENT, events::EventFigures},
    roofline::ask_gpu_program,
};

/// Finer than the 0.5 µs that CUDA promises of its events would be too much to ask; coarser by half a microsecond is no such clock.
const RESOLUTION_NS: f64 = 1000.0;
/// A step of 1 ms has a device time to 0.5 % when its two events may be this near to each other.
const CLOSEST_NS: f64 = 5000.0;
/// What a step of 1 ms may pay for its mark: 0.5 % of it.
const RECORD_NS: f64 = 5000.0;

/// Resolution, cost and agreement of the clock.
///
/// # Errors
/// A sentence: why the program gave no figures.
pub(super) fn clock(program: &Path) -> Result<Vec<Check>, String> {
    let text = ask_gpu_program(program, "clock")?;
    let found =
        EventFigures::parse(&text).map_err(|error| format!("{} gave no figures: {error}", program.display()))?;
    Ok(judge(&found))
}

/// There is a GPU, and its clock gave no figures.
pub(super) fn no_clock(reason: &str) -> Check {
    Check::at_least("GPU event clock", 0.0, 1.0, "", reason)
}

fn judge(found: &EventFigures) -> Vec<Check> {
    let of = |what: &str| format!("{what}; {}", found.device);
    let ns = |name: &str, value: f64, limit: f64, what: &str| Check::at_most(name, value, limit, "ns", &of(what));
    let neighbours = format!("{} neighbouring events on a stream", found.neighbours);
    let mut checks = vec![
        ns("GPU event resolution", found.resolution_ns, RESOLUTION_NS, &format!("smallest step between {neighbours}")),
        ns("GPU events, closest", found.closest_ns, CLOSEST_NS, &format!("smallest time between {neighbours}")),
        ns("GPU event cost", found.record_ns, RECORD_NS, "host time of recording one, median of 7 rounds of 1000"),
    ];
    // `parse` lets no figures without a bracket pass.
    checks.extend(found.worst().map(|worst| {
        let ms = worst.host_seconds * 1e3;
        let note = of(&format!("the worst of {} intervals, {ms:.1} ms by the host", found.brackets.len()));
        let (value, limit) = (worst.disagreement() * 100.0, MAX_DISAGREEMENT * 100.0);
        Check::near("GPU and host clock, disagreement", value, 0.0, limit, "%", &note)
    }));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calibration::Outcome,
        measure::events::{Bracket, EVENT_SCHEMA},
    };

    fn figures() -> EventFigures {
        EventFigures {
            schema: EVENT_SCHEMA,
            device: "a double of a GPU".to_owned(),
            uuid: "GPU-double".to_owned(),
            closest_ns: 1024.0,
            resolution_ns: 32.0,
            neighbours: 999,
            record_ns: 900.0,
            brackets: [0.1001, 0.0998].map(|event_seconds| Bracket { host_seconds: 0.1, event_seconds }).to_vec(),
        }
    }

    fn failed(change: fn(&mut EventFigures)) -> Vec<String> {
        let mut figures = figures();
        change(&mut figures);
        let failed = judge(&figures).into_iter().filter(|check| check.outcome == Outcome::Failed);
        failed.map(|check| check.name).collect()
    }

    #[test]
    fn each_fault_of_a_clock_fails_its_check_and_no_other() {
        assert_eq!(failed(|_| ()), [""; 0]);
        assert_eq!(failed(|figures| figures.resolution_ns = 1024.0), ["GPU event resolution"]);
        assert_eq!(failed(|figures| figures.closest_ns = 6000.0), ["GPU events, closest"]);
        assert_eq!(failed(|figures| figures.record_ns = 6000.0), ["GPU event cost"]);
        for bracket in [0.1006, 0.0994] {
            let mut figures = figures();
            figures.brackets[1].event_seconds = bracket;
            let checks = judge(&figures);
            assert_eq!(checks.iter().filter(|check| check.outcome == Outcome::Failed).count(), 1, "{checks:?}");
            assert!((checks[3].value.abs() - 0.6).abs() < 1e-9, "{checks:?}");
            assert_eq!(checks[3].outcome, Outcome::Failed);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_double_of_the_program_is_asked_and_its_reason_is_told() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let double = |name: &str, script: String| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let json = serde_json::to_string(&figures()).unwrap();
        let program = double("double", format!("[ \"$*\" = 'clock --json' ] && echo '{json}'"));
        assert_eq!(clock(&program).unwrap(), judge(&figures()));
        let program = double("without-a-device", "echo null; echo 'no event clock: no driver' >&2; exit 3".to_owned());
        let reason = clock(&program).unwrap_err();
        assert!(reason.contains("status: 3") && reason.contains("no driver"), "{reason}");
        let failed = no_clock(&reason);
        assert_eq!((failed.outcome, failed.note), (Outcome::Failed, reason));
        let reason = clock(&double("speechless", "echo '{}'".to_owned())).unwrap_err();
        assert!(reason.contains("gave no figures: not an event clock's figures"), "{reason}");
    }
}
