//! `bisect_oom`: the axis along which a run looks for where memory ends, and points between those of the plan.
use super::{
    PlanError, Point,
    draft::{Setting, Values},
    origin::Sourced,
};
use crate::{cell::protocol::Load, workload::LengthDist};

/// The axes that can be bisected: those of whole numbers.
pub(super) const AXES: [&str; 6] = ["batch", "concurrency", "requests", "input", "output", "length"];

/// An axis by its name.
///
/// # Errors
/// A sentence that says what was expected.
pub fn named(axis: &str) -> Result<String, String> {
    match AXES.contains(&axis) {
        true => Ok(axis.to_owned()),
        false => Err(format!("expected one of the axes {}, found '{axis}'", AXES.join(", "))),
    }
}

/// Checks that the axis is one of the plan, of plain numbers, which varies by itself.
pub(super) fn check(axis: &Sourced<String>, settings: &[&Setting], alone: Result<(), &str>) -> Result<(), PlanError> {
    let refuse = |problem: String, help: &str| Err(PlanError::at(&axis.at, problem).help(help));
    if let Err(other) = alone {
        return refuse(format!("bisect_oom and {other} exclude each other"), "bisect in a run of its own");
    }
    let name = &axis.value;
    match settings.iter().find(|setting| setting.parameter.name() == *name).map(|setting| &setting.values) {
        Some(Values::Counts(values)) if values.len() > 1 => Ok(()),
        Some(Values::Lengths(values)) if values.len() > 1 => {
            match values.iter().find(|value| !matches!(value, LengthDist::Fixed(_))) {
                Some(drawn) => refuse(
                    format!("bisect_oom needs plain numbers, and axis '{name}' has {drawn}"),
                    "give numbers of tokens",
                ),
                None => Ok(()),
            }
        }
        _ => refuse(
            format!("bisect_oom = '{name}', and the plan does not vary '{name}'"),
            "give that axis at least two values, such as 8,64",
        ),
    }
}

impl Point {
    /// Its value on an axis of whole numbers; None where it has none.
    pub fn on(&self, axis: &str) -> Option<u32> {
        self.axes.iter().find(|(name, _)| name == axis)?.1.parse().ok()
    }

    /// What it is but for its place on that axis: points with the same text lie in one series. With the engine's options and
    /// the model, unlike [`Point::label`].
    pub fn series(&self, axis: &str) -> String {
        let others: Vec<_> = self.axes.iter().filter(|(name, _)| name != axis).collect();
        serde_json::json!([self.engine, self.model, others]).to_string()
    }

    /// The point of that number at another place of an axis; `series` are the plan's points along it.
    pub(crate) fn moved(&self, number: u32, axis: &str, value: u32, series: &[&Self]) -> Self {
        let mut point = self.clone();
        point.number = number;
        for (_, text) in point.axes.iter_mut().filter(|(name, _)| name == axis) {
            *text = value.to_string();
        }
        let work = &mut point.workload;
        let fixed = LengthDist::Fixed(value);
        match axis {
            "input" => work.input = fixed,
            "output" => work.output = fixed,
            "length" => (work.input, work.output) = (fixed, fixed),
            "requests" => {
                if let Load::Offline { batch } = &mut point.load
                    && *batch == work.requests
                {
                    *batch = value;
                }
                work.requests = value;
            }
            _ => {
                // Requests that follow the axis go on to follow it; those that the plan fixes stay.
                let own = self.on(axis).unwrap_or(1).max(1);
                if series.iter().any(|other| other.workload.requests != work.requests) {
                    work.requests = (work.requests / own).max(1).saturating_mul(value);
                }
                match &mut point.load {
                    Load::Offline { batch } => *batch = value,
                    Load::Closed { concurrency } => *concurrency = value,
                    Load::Open { .. } => {}
                }
            }
        }
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    fn point(axis: &str, value: u32, requests: u32, load: Load) -> Point {
        let mut point = testing::point(0, "sim", &[]).point;
        (point.axes, point.load) = (vec![(axis.to_owned(), value.to_string())], load);
        point.workload.requests = requests;
        point
    }

    #[test]
    fn requests_follow_an_axis_or_stay_as_in_the_plan() {
        let batch = |value, requests| point("batch", value, requests, Load::Offline { batch: value });
        let (two, eight) = (batch(2, 2), batch(8, 8));
        let five = eight.moved(9, "batch", 5, &[&two, &eight]);
        assert_eq!((five.number, five.on("batch"), five.workload.requests), (9, Some(5), 5));
        assert_eq!(five.load, Load::Offline { batch: 5 });
        let (two, eight) = (batch(2, 64), batch(8, 64));
        assert_eq!(eight.moved(9, "batch", 5, &[&two, &eight]).workload.requests, 64);
        let closed = |value| point("concurrency", value, 4 * value, Load::Closed { concurrency: value });
        let five = closed(8).moved(9, "concurrency", 5, &[&closed(2), &closed(8)]);
        assert_eq!((five.load, five.workload.requests), (Load::Closed { concurrency: 5 }, 20));
        let all = point("requests", 8, 8, Load::Offline { batch: 8 }).moved(9, "requests", 5, &[]);
        assert_eq!((all.load, all.workload.requests), (Load::Offline { batch: 5 }, 5));
        let length = batch(2, 2).moved(9, "length", 5, &[]).workload;
        assert_eq!((length.input, length.output), (LengthDist::Fixed(5), LengthDist::Fixed(5)));
    }
}
