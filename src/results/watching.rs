//! What watching a point's trials costs, as it is stored.
use serde::{Deserialize, Serialize};

use super::{
    PointRecord,
    cells::{CellColumn, nullable},
    schema::Kind,
};

/// How much longer trials take when the device's clock is read and telemetry sampled as planned (`--watch-cost`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchCost {
    /// Median over blocks of the ratio of durations, watched / unwatched; each block runs off, on, on, off with the same
    /// requests, and its ratio is that of the geometric means.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval, by order statistics.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Blocks.
    pub blocks: u64,
    /// Their ratios, in order.
    #[serde(default)]
    pub ratios: Vec<f64>,
    /// Whether the device's clock was read in watched trials.
    #[serde(default)]
    pub device_clock: bool,
    /// Whether telemetry was sampled in them.
    #[serde(default)]
    pub telemetry: bool,
    /// Why there is no ratio.
    pub null_reason: Option<String>,
}

impl WatchCost {
    /// A cost that is not known, with the reason.
    pub fn unknown(why: &str) -> Self {
        Self { null_reason: Some(why.to_owned()), ..Self::default() }
    }

    /// In one line, in percent of the duration.
    pub fn line(&self) -> String {
        match (self.ratio, self.low, self.high) {
            (Some(ratio), Some(low), Some(high)) => {
                let percent = |ratio: f64| (ratio - 1.0) * 100.0;
                let what = match (self.device_clock, self.telemetry) {
                    (true, true) => " (the device's clock, telemetry)",
                    (true, false) => " (the device's clock)",
                    (false, true) => " (telemetry)",
                    (false, false) => "",
                };
                format!(
                    "watching{what} costs {:+.2} % (95 % interval {:+.2} to {:+.2} %, {} blocks)",
                    percent(ratio),
                    percent(low),
                    percent(high),
                    self.blocks
                )
            }
            _ => {
                format!("what watching costs is not known: {}", self.null_reason.as_deref().unwrap_or("no reason kept"))
            }
        }
    }
}

/// The columns of it, the same in every row of the point.
pub(super) fn columns<'f, R: 'f>(record: fn(&R) -> &PointRecord) -> Vec<CellColumn<'f, R>> {
    let cost = |name: &'static str, doc: &'static str, get: fn(&WatchCost) -> Option<f64>| {
        nullable(name, Kind::F64, "", doc, move |r: &R| record(r).watch_cost.as_ref().and_then(get))
    };
    vec![
        cost(
            "watch_cost",
            "median of watched / unwatched duration over blocks of four trials with the same requests; null unless --watch-cost",
            |c| c.ratio,
        ),
        cost("watch_cost_low", "lower end of its 95 % interval", |c| c.low),
        cost("watch_cost_high", "upper end of its 95 % interval", |c| c.high),
    ]
}
