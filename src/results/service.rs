//! The columns that say how an open trial kept its schedule, how requests met the service level, and what the steady part
//! gave.
use super::{
    Quantiles, TrialRecord,
    cells::{CellColumn, nullable},
    schema::Kind,
};
use crate::{
    cell::open::ScheduleFidelity,
    metrics::{
        service::{Latency, LimitFigures, ServiceFigures},
        steady::WindowFigures,
    },
};

fn schedule(trial: &TrialRecord) -> Option<&ScheduleFidelity> {
    trial.summary.schedule.as_ref()
}

fn service(trial: &TrialRecord) -> Option<&ServiceFigures> {
    trial.figures.service.as_ref()
}

fn limit(trial: &TrialRecord, latency: Latency) -> Option<&LimitFigures> {
    service(trial)?.limits.iter().find(|limit| limit.latency == latency)
}

fn window(trial: &TrialRecord) -> Option<&WindowFigures> {
    trial.figures.steady.window.as_ref()
}

/// Columns of a trial; null without one.
pub(super) fn columns<'f, R: 'f>(trial: fn(&R) -> Option<&TrialRecord>) -> Vec<CellColumn<'f, R>> {
    let float = |name: &'static str, unit: &'static str, doc: &'static str, of: fn(&TrialRecord) -> Option<f64>| {
        nullable(name, Kind::F64, unit, doc, move |r: &R| trial(r).and_then(of))
    };
    let text = |name: &'static str, doc: &'static str, of: fn(&TrialRecord) -> Option<String>| {
        nullable(name, Kind::Text, "", doc, move |r: &R| trial(r).and_then(of))
    };
    let flag = |name: &'static str, doc: &'static str, of: fn(&TrialRecord) -> Option<bool>| {
        nullable(name, Kind::Bool, "", doc, move |r: &R| trial(r).and_then(of))
    };
    let count = |name: &'static str, unit: &'static str, doc: &'static str, of: fn(&TrialRecord) -> Option<u64>| {
        nullable(name, Kind::U64, unit, doc, move |r: &R| trial(r).and_then(of))
    };
    let mut all = vec![
        text("arrivals_digest", "hash of the schedule, in `open`", |t| Some(schedule(t)?.digest.clone())),
        count("sessions", "", "conversations of the trial; null where requests are single ones", |t| {
            Some(u64::from(t.summary.sessions.as_ref()?.sessions))
        }),
        text("think_digest", "hash of the times to think between turns", |t| {
            Some(t.summary.sessions.as_ref()?.think_digest.clone())
        }),
        count(
            "reusable_tokens",
            "tokens",
            "the most prompt tokens of the trial's turns that a prefix cache which forgets nothing can answer",
            |t| Some(t.summary.sessions.as_ref()?.reusable_tokens),
        ),
        float("offered_rate", "requests/s", "(requests - 1) / (last - first) of the schedule", |t| {
            schedule(t)?.offered_rate
        }),
        float("lateness_p50_ms", "ms", "median of released - scheduled", |t| Some(schedule(t)?.lateness.p50_ns / 1e6)),
        float("lateness_p99_ms", "ms", "its 99th percentile", |t| Some(schedule(t)?.lateness.p99_ns / 1e6)),
        float("lateness_p999_ms", "ms", "its 99.9th percentile", |t| Some(schedule(t)?.lateness.p999_ns / 1e6)),
        float("lateness_max_ms", "ms", "the latest release", |t| Some(schedule(t)?.lateness.max_ns / 1e6)),
        float("lateness_drift_ms", "ms", "growth of the lateness from the first release to the last", |t| {
            Some(schedule(t)?.drift_ns / 1e6)
        }),
        flag(
            "releases_first",
            "whether the threads that release ran at nice -20, which they may as root or with CAP_SYS_NICE",
            |t| schedule(t)?.releases_first,
        ),
        count(
            "release_takeovers",
            "",
            "how often the thread that stood by took over releasing from one whose processor stood still",
            |t| schedule(t)?.takeovers.map(u64::from),
        ),
        float(
            "queue_growth",
            "",
            "growth of the requests in the system over the last half of the arrivals, in standard deviations of what it would wander by in \
             an engine that is just fast enough; null for conversations, rates that change, few requests",
            |t| schedule(t)?.queue_growth,
        ),
        float("admission_p50_ms", "ms", "median of handed to the engine - released", |t| {
            Some(schedule(t)?.admission.p50_ns / 1e6)
        }),
        float("admission_p99_ms", "ms", "its 99th percentile", |t| Some(schedule(t)?.admission.p99_ns / 1e6)),
        float("arrivals_ks_p", "", "p of a Kolmogorov-Smirnov test of released gaps against the schedule's law", |t| {
            Some(schedule(t)?.ks?.p)
        }),
        float(
            "arrivals_dispersion_scheduled",
            "",
            "variance / mean of scheduled arrivals in windows of 10 gaps",
            |t| Some(schedule(t)?.dispersion?.scheduled),
        ),
        float("arrivals_dispersion_released", "", "the same of released ones", |t| {
            Some(schedule(t)?.dispersion?.released)
        }),
        flag("fidelity_ok", "whether the schedule was kept; an open trial with false is invalid", |t| {
            Some(schedule(t)?.fidelity_ok)
        }),
        text("fidelity_reasons", "why it was not", |t| {
            let reasons = &schedule(t)?.reasons;
            (!reasons.is_empty()).then(|| reasons.join("; "))
        }),
        flag("saturated", "whether the queue grew without end and the trial was ended early for it, in `open`", |t| {
            Some(schedule(t)?.saturation.is_some())
        }),
        text("saturation_reason", "what was seen of it", |t| Some(schedule(t)?.saturation.as_ref()?.reason.clone())),
        count("requests_unfinished", "requests", "requests that had arrived and were cut off by that", |t| {
            Some(u64::from(schedule(t)?.saturation.as_ref()?.unfinished))
        }),
        flag("slo_met", "whether every limit of the service level was met at its percentile", |t| {
            Some(service(t)?.met)
        }),
        float("slo_attained", "", "share of requests within all limits", |t| Some(service(t)?.attained)),
        float("slo_attained_ttft", "", "share within the limit of ttft", |t| Some(limit(t, Latency::Ttft)?.attained)),
        float("slo_attained_tpot", "", "share within the limit of tpot", |t| Some(limit(t, Latency::Tpot)?.attained)),
        float("slo_attained_e2e", "", "share within the limit of e2e", |t| Some(limit(t, Latency::E2e)?.attained)),
        float("window_start_seconds", "s", "when the steady part begins, after the first request was due", |t| {
            Some(window(t)?.start_s)
        }),
        float("window_end_seconds", "s", "when it ends: the last request's arrival", |t| Some(window(t)?.end_s)),
        count("window_requests", "requests", "requests that were due in it", |t| Some(window(t)?.requests)),
        float("window_request_throughput", "requests/s", "requests that ended in it / its length", |t| {
            Some(window(t)?.request_throughput)
        }),
        float("window_output_token_throughput", "tokens/s", "output tokens of those / its length", |t| {
            Some(window(t)?.output_token_throughput)
        }),
    ];
    type Window = fn(&WindowFigures) -> Option<&Quantiles>;
    let latencies: [(&str, Window); 3] =
        [("ttft", |w| w.ttft.as_ref()), ("tpot", |w| w.tpot.as_ref()), ("e2e", |w| w.e2e.as_ref())];
    type Of = fn(&Quantiles) -> f64;
    let statistics: [(&str, &str, Of); 3] =
        [("mean", "mean", |q| q.mean), ("p50", "median", |q| q.p50), ("p99", "99th percentile", |q| q.p99)];
    for (name, of) in latencies {
        for (suffix, what, statistic) in statistics {
            let doc = format!("{what} of {name} over the requests due in the steady part");
            let name = format!("window_{name}_{suffix}_ms");
            all.push(nullable(name, Kind::F64, "ms", doc, move |r: &R| {
                trial(r).and_then(window).and_then(of).map(statistic)
            }));
        }
    }
    all.push(text("window_null_reason", "why there is no steady part", |t| t.figures.steady.null_reason.clone()));
    all
}
