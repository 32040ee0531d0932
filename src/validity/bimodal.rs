//! Whether a point's trials lie around two places, which their median would hide.
use crate::{results::PointRecord, stats::bimodality};

/// Two places that are closer together than this share are one: the default threshold of `--compare`.
pub const APART: f64 = 0.01;

/// What to say of it; None where there is one place, and of trials that `--compare` judges side by side.
pub(super) fn note(record: &PointRecord) -> Option<String> {
    if record.stopped_by == "compare" {
        return None;
    }
    // Arrivals that are drawn anew scatter the throughput of an open load: there, what the engine made of them is looked at.
    let by_offer = record.throughputs_by_offer();
    let unit = if by_offer.is_some() { "output tokens a request offered" } else { "output tokens/s" };
    let values = by_offer.unwrap_or_else(|| record.throughputs());
    let apart = |low: f64, high: f64| high > low * (1.0 + APART);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    // Cheap, and certain: no two places are farther apart than the ends.
    if !apart(least, most) {
        return None;
    }
    let two = bimodality(&values, 0).filter(|two| apart(two.low.center, two.high.center))?;
    Some(format!(
        "bimodal: {} trials lie around {} and {} around {} {unit} (dip test, p = {:.3}): one figure describes neither",
        two.low.values,
        shown(two.low.center),
        two.high.values,
        shown(two.high.center),
        two.p_value
    ))
}

fn shown(value: f64) -> String {
    if value < 1000.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
