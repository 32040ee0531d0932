//! What the machine did meanwhile, and who else used it.
use super::{RESOLUTION_TICKS_S, finding::Finding};
use crate::{
    measure::telemetry::{GpuFigures, HostFigures, LEAST_EARLIER, reason_names},
    metrics::median,
    results::TrialRecord,
};

/// Trials of a point that a usual clock takes: one to judge and those that it is judged by.
const LEAST_TRIALS: usize = LEAST_EARLIER + 1;
const PROCESSOR: &str = "the engine works on the processor, whose clock under load the kernel does not tell";

fn gpu(trial: &TrialRecord) -> Result<&GpuFigures, Finding> {
    let telemetry = &trial.hardware.telemetry;
    let why = || telemetry.gpu_null_reason.clone().unwrap_or_else(|| "no GPU was sampled".to_owned());
    telemetry.gpu.as_ref().ok_or_else(|| Finding::Unknown(why()))
}

fn host(trial: &TrialRecord) -> Result<&HostFigures, Finding> {
    let telemetry = &trial.hardware.telemetry;
    let why = || telemetry.host_null_reason.clone().unwrap_or_else(|| "the processor was not sampled".to_owned());
    telemetry.host.as_ref().ok_or_else(|| Finding::Unknown(why()))
}

/// `judged` are the reasons that count.
pub(super) fn throttle(trial: &TrialRecord, on_gpu: bool, judged: u64) -> Finding {
    if !on_gpu {
        return Finding::unknown(PROCESSOR);
    }
    let reasons = match gpu(trial) {
        Ok(gpu) => gpu.throttle_reasons,
        Err(unknown) => return unknown,
    };
    match reasons {
        None => Finding::unknown("the driver does not tell why clocks are held down"),
        Some(reasons) if reasons & judged == 0 => Finding::Good,
        Some(reasons) => {
            let held = reasons & judged;
            let sentence = format!("clocks were held down by {}", reason_names(held));
            Finding::bad(sentence, &[("throttle_reasons", held as f64)])
        }
    }
}

/// Each trial's mean clock against the median of all.
pub(super) fn clocks(trials: &[&TrialRecord], on_gpu: bool, band: Option<f64>) -> Vec<(Option<u32>, Finding)> {
    if !on_gpu {
        return vec![(None, Finding::unknown(PROCESSOR))];
    }
    let Some(band) = band else {
        return vec![(None, Finding::unknown("run.json does not say how far clocks may be apart"))];
    };
    let means: Vec<f64> = trials.iter().filter_map(|trial| gpu(trial).ok()?.sm_clock_mean_mhz).collect();
    let usual = median(&means).filter(|_| means.len() >= LEAST_TRIALS);
    let judge = |trial: &TrialRecord| match gpu(trial).map(|gpu| (gpu.sm_clock_mean_mhz, usual)) {
        Err(unknown) => unknown,
        Ok((None, _)) => Finding::unknown("the driver does not tell the clock"),
        Ok((_, None)) => {
            Finding::unknown(format!("a usual clock takes {LEAST_TRIALS} trials with one, found {}", means.len()))
        }
        Ok((Some(mean), Some(usual))) if (mean - usual).abs() <= band * usual => Finding::Good,
        Ok((Some(mean), Some(usual))) => {
            let sentence = format!(
                "its mean SM clock was {mean:.0} MHz where {usual:.0} MHz is usual; expected within {:.0} %",
                band * 100.0
            );
            let apart = (mean / usual - 1.0).abs();
            Finding::bad(sentence, &[("apart", apart), ("mean_mhz", mean), ("usual_mhz", usual), ("limit", band)])
        }
    };
    trials.iter().map(|trial| (Some(trial.trial), judge(trial))).collect()
}

pub(super) fn gpu_shared(trial: &TrialRecord) -> Finding {
    match gpu(trial).map(|gpu| gpu.other_processes) {
        Err(unknown) => unknown,
        Ok(None) => Finding::unknown(
            "the driver shows none of the cell's processes (as in containers), so that others' cannot be told from them",
        ),
        Ok(Some(0)) => Finding::Good,
        Ok(Some(others)) => {
            let sentence = format!("{others} other processes used the GPU");
            Finding::bad(sentence, &[("processes", f64::from(others))])
        }
    }
}

/// What others did to a trial on the processors or the GPU that it ran on, where that would make its point invalid: for a trial that
/// can be run again. None where nothing is known against it.
pub fn disturbance(
    trial: &TrialRecord,
    on_gpu: bool,
    max_machine_load: f64,
    processors: Option<u32>,
) -> Option<String> {
    let found = if on_gpu { gpu_shared(trial) } else { machine_load(trial, max_machine_load, processors) };
    match found {
        Finding::Bad { sentence, .. } => Some(sentence),
        _ => None,
    }
}

/// `limit` is the share of the machine's `processors` that others may keep busy.
pub(super) fn machine_load(trial: &TrialRecord, limit: f64, processors: Option<u32>) -> Finding {
    if limit >= 1.0 {
        return Finding::unknown("the plan sets no limit");
    }
    let load = match host(trial) {
        Ok(host) => host.other_load,
        Err(unknown) => return unknown,
    };
    let Some(load) = load else {
        return Finding::unknown("the machine's CPU time was not sampled on both sides of the trial");
    };
    let Some(processors) = processors.filter(|processors| *processors > 0) else {
        return Finding::unknown("run.json does not say how many processors the machine has");
    };
    let seconds = trial.summary.seconds();
    // Of one processor; of the whole machine it is less, so that this errs towards not judging.
    let resolution = RESOLUTION_TICKS_S / seconds;
    if resolution > limit {
        return Finding::unknown(format!(
            "CPU time counts in ticks of 10 ms: to see a load of {:.0} % takes trials of {:.1} s",
            limit * 100.0,
            RESOLUTION_TICKS_S / limit
        ));
    }
    let share = load / f64::from(processors);
    if share - resolution <= limit {
        return Finding::Good;
    }
    let sentence = format!(
        "others kept {load:.2} of {processors} processors busy, {:.1} % of the machine; expected at most {:.1} %",
        share * 100.0,
        limit * 100.0
    );
    Finding::bad(
        sentence,
        &[("share", share), ("busy_processors", load), ("processors", f64::from(processors)), ("limit", limit)],
    )
}
