//! Whether a ratio between two measured points may be shown.
use super::{LockRecord, Ratio, judge, of_run};
use crate::results::{PointRecord, RunInfo};

/// Judges a point of one run against a point of another, or of the same. Two configurations of one engine may differ in
/// anything: that is what is being compared.
pub fn between(a: (&RunInfo, &PointRecord), b: (&RunInfo, &PointRecord), allowed: &[String]) -> Ratio {
    if a.1.point.engine.id == b.1.point.engine.id {
        return Ratio::Plain;
    }
    match (lock_of(a), lock_of(b)) {
        (Some(one), Some(other)) => judge(&one, &other, allowed),
        // An engine that was never loaded has no figures either.
        _ => Ratio::Plain,
    }
}

/// The lock record of a point's engine configuration.
fn lock_of((info, record): (&RunInfo, &PointRecord)) -> Option<LockRecord> {
    let spec = &record.point.engine;
    let asked = |label: &str| {
        info.engines.get(label).is_some_and(|engine| {
            engine.asked.engine == spec.id
                && engine.asked.options == spec.options
                && engine.model_digest == record.model_digest
        })
    };
    of_run(info).into_iter().find(|lock| asked(&lock.label))
}
