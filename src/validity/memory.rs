//! Memory that was asked for in the timed region.
use super::{MAX_DEVICE_GROWTH_BYTES, MAX_HOST_GROWTH_BYTES, finding::Finding};
use crate::{measure::telemetry::Telemetry, results::TrialRecord};

/// By the samples of memory in use: the host's for all engines, the GPUs' too where the engine uses one.
pub(super) fn growth(trial: &TrialRecord, gpu: bool) -> Finding {
    let telemetry = &trial.hardware.telemetry;
    let host = host(telemetry);
    if !gpu {
        return host;
    }
    match (host, device(telemetry)) {
        (bad @ Finding::Bad { .. }, _) | (_, bad @ Finding::Bad { .. }) => bad,
        (unknown @ Finding::Unknown(_), _) | (_, unknown @ Finding::Unknown(_)) => unknown,
        (Finding::Good, Finding::Good) => Finding::Good,
    }
}

fn host(telemetry: &Telemetry) -> Finding {
    let Some(found) = telemetry.host.as_ref().and_then(|host| host.rss_growth_bytes) else {
        let why = telemetry.host_null_reason.clone();
        return Finding::Unknown(why.unwrap_or_else(|| "resident memory was not sampled on both sides".to_owned()));
    };
    grown("resident memory", "host_growth_bytes", found, MAX_HOST_GROWTH_BYTES)
}

fn device(telemetry: &Telemetry) -> Finding {
    let Some(found) = telemetry.gpu.as_ref().and_then(|gpu| gpu.memory_growth_bytes) else {
        let why = telemetry.gpu_null_reason.clone();
        return Finding::Unknown(why.unwrap_or_else(|| "the GPU's memory was not sampled on both sides".to_owned()));
    };
    grown("memory in use on the GPU", "device_growth_bytes", found, MAX_DEVICE_GROWTH_BYTES)
}

fn grown(what: &str, name: &'static str, found: u64, limit: u64) -> Finding {
    if found <= limit {
        return Finding::Good;
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let sentence =
        format!("{what} grew by {:.0} MiB while it was timed; expected at most {:.0} MiB", mib(found), mib(limit));
    Finding::bad(sentence, &[(name, found as f64), ("limit_bytes", limit as f64)])
}
