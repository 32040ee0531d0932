//! Where a value lies on an axis, and which values are labelled.
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::model::AxisSpec;
use crate::report::text::{number, shorten};

/// At most so many labels.
pub(super) const TICKS: usize = 14;
/// At most so many characters of a name below a bar.
const NAME: usize = 14;

/// An axis over its values.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<f64>,
    names: Vec<String>,
}

impl Scale {
    /// A horizontal axis: labels at the values that were measured where these are few whole numbers (batches, lengths),
    /// else at round ones.
    pub(super) fn measured(axis: &AxisSpec, values: impl Iterator<Item = f64>) -> Self {
        if !axis.categories.is_empty() {
            let last = axis.categories.len().saturating_sub(1) as f64;
            let every = axis.categories.len().div_ceil(TICKS * 2).max(1);
            let ticks = (0..axis.categories.len()).step_by(every).map(|index| index as f64).collect();
            return Self { low: -0.6, high: last + 0.6, log: false, ticks, names: axis.categories.clone() };
        }
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let place = |x: f64| if axis.log { x.ln() } else { x };
        let (first, last) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(1.0));
        let margin = match place(last) - place(first) {
            span if span > 0.0 => span * 0.05,
            _ => 1.0,
        };
        let (low, high) = (place(first) - margin, place(last) + margin);
        let mut made = Self { low, high, log: axis.log, ticks: Vec::new(), names: Vec::new() };
        if values.len() > 2 * TICKS || values.iter().any(|value| value.fract() != 0.0) {
            made.ticks = made.round_ticks();
        } else {
            // Of those too close together, the earlier.
            for value in values {
                let apart = |last: &f64| place(value) - place(*last) >= (high - low) / TICKS as f64;
                if made.ticks.last().is_none_or(apart) {
                    made.ticks.push(value);
                }
            }
        }
        made
    }

    /// A vertical axis: from 0 unless it is logarithmic, because a cut axis makes small differences look large.
    pub(super) fn values(axis: &AxisSpec, lowest: f64, highest: f64) -> Self {
        let (low, high) = if axis.log {
            let (low, high) = (lowest.ln(), highest.ln());
            let margin = ((high - low) * 0.06).max(0.1);
            (low - margin, high + margin)
        } else {
            let top = if highest > 0.0 { highest * 1.08 } else { 1.0 };
            (lowest.min(0.0) * 1.08, top)
        };
        let mut made = Self { low, high, log: axis.log, ticks: Vec::new(), names: Vec::new() };
        made.ticks = made.round_ticks();
        made
    }

    /// 1, 2 and 5 times powers of ten.
    fn round_ticks(&self) -> Vec<f64> {
        const WANTED: f64 = 8.0;
        if self.log {
            let decades = (self.high - self.low) / std::f64::consts::LN_10;
            let steps: &[f64] = if decades > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let first = (self.low / std::f64::consts::LN_10).floor() as i32;
            let last = (self.high / std::f64::consts::LN_10).ceil() as i32;
            let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
            return all.filter(|tick| (self.low..=self.high).contains(&tick.ln())).collect();
        }
        let rough = (self.high - self.low) / WANTED;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).take(100).map(|index| index as f64 * step).collect()
    }

    fn place(&self, x: f64) -> f64 {
        if self.log { x.ln() } else { x }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        let share = (self.place(*value) - self.low) / (self.high - self.low);
        left + (f64::from(right - left) * share.clamp(-1.0, 2.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        if self.log { self.low.exp()..self.high.exp() } else { self.low..self.high }
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        match self.names.get(value.round().max(0.0) as usize) {
            Some(name) => shorten(name, NAME),
            None => tick(*value),
        }
    }
}

/// A tick's label: whole numbers without a fraction.
fn tick(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 || (size > 0.0 && size < 1e-3) => format!("{value:.1e}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => {
            let text = number(value);
            if text.contains('.') && !text.contains('e') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let linear = Scale::values(&AxisSpec::linear("y"), 3.0, 100.0);
        assert_eq!(linear.ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let log = Scale::values(&AxisSpec::log("y"), 3.0, 400.0);
        assert_eq!(log.ticks, [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]);
        for (value, text) in [(0.0, "0"), (0.25, "0.25"), (1500.0, "1500"), (2e7, "2.0e7"), (1e-4, "1.0e-4")] {
            assert_eq!(tick(value), text);
        }
    }

    #[test]
    fn one_value_and_no_value_have_an_axis() {
        for axis in [AxisSpec::linear("x"), AxisSpec::log("x")] {
            let one = Scale::measured(&axis, [4.0].into_iter());
            assert!(one.map(&4.0, (0, 100)) == 50 && one.ticks == [4.0]);
        }
        assert!(Scale::measured(&AxisSpec::linear("x"), std::iter::empty()).ticks.is_empty());
    }
}
