//! A chart's content, apart from how it is drawn: the same value becomes an SVG, a PNG, and a chart of the page.
use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::series::point_name;
use crate::results::PointRecord;

/// What one axis shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(in crate::report) struct AxisSpec {
    /// Name and unit.
    pub(in crate::report) label: String,
    /// Whether equal factors shall be equally far apart.
    pub(in crate::report) log: bool,
    /// Names instead of numbers: a value is an index into them. Empty for numbers.
    pub(in crate::report) categories: Vec<String>,
}

impl AxisSpec {
    /// An axis of numbers.
    pub(in crate::report) fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Logarithmic.
    pub(in crate::report) fn log(label: impl Into<String>) -> Self {
        Self { log: true, ..Self::linear(label) }
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::report) enum Mark {
    /// Marks joined by a line, whiskers for intervals.
    Joined,
    /// Marks alone, whiskers for intervals.
    Dots,
    /// A line without marks.
    Line,
    /// A line in a band from low to high.
    Band,
    /// A dashed line: a limit, not a measurement.
    Limit,
    /// Bars, those of one x on top of each other.
    Stacked,
}

/// A point of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::report) struct Dot {
    pub(in crate::report) x: f64,
    pub(in crate::report) y: f64,
    /// The ends of the interval, where there is one.
    pub(in crate::report) interval: Option<(f64, f64)>,
    /// What it is, beyond its coordinates.
    pub(in crate::report) label: String,
    /// Whether the interval is as wide as the figure.
    pub(in crate::report) unusable: bool,
    /// The number of the point that it is a figure of; None of limits, samples and what is made of several points.
    pub(in crate::report) point: Option<u32>,
    /// Whether that point's certificate speaks against its figures.
    pub(in crate::report) invalid: bool,
}

impl Dot {
    /// Without an interval or a name.
    pub(in crate::report) fn at(x: f64, y: f64) -> Self {
        Self { x, y, ..Self::default() }
    }

    /// A figure of a point, by the point's name.
    pub(in crate::report) fn of(record: &PointRecord, x: f64, y: f64) -> Self {
        Self { label: point_name(record), point: Some(record.point.number), ..Self::at(x, y) }
    }

    /// Whether a line may go through it: one through a figure that says nothing would draw a shape that nobody measured.
    pub(in crate::report) fn is_joined(&self) -> bool {
        !self.unusable && !self.invalid
    }

    fn is_finite(&self) -> bool {
        let interval = self.interval.is_none_or(|(low, high)| low.is_finite() && high.is_finite());
        self.x.is_finite() && self.y.is_finite() && interval
    }
}

/// `[x, y, low, high, label, unusable, invalid point]`, as short as it can be: a page has thousands of them.
impl Serialize for Dot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let invalid = self.point.filter(|_| self.invalid);
        let length = match (&self.interval, self.label.is_empty(), self.unusable, invalid) {
            (.., Some(_)) => 7,
            (_, _, true, _) => 6,
            (_, false, ..) => 5,
            (Some(_), ..) => 4,
            _ => 2,
        };
        let mut list = serializer.serialize_seq(Some(length))?;
        list.serialize_element(&short(self.x))?;
        list.serialize_element(&short(self.y))?;
        if length > 2 {
            list.serialize_element(&self.interval.map(|(low, _)| short(low)))?;
            list.serialize_element(&self.interval.map(|(_, high)| short(high)))?;
        }
        if length > 4 {
            list.serialize_element(&self.label)?;
        }
        if length > 5 {
            list.serialize_element(&u8::from(self.unusable))?;
        }
        if let Some(point) = invalid {
            list.serialize_element(&point)?;
        }
        list.end()
    }
}

/// Six significant digits: more than a picture shows.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A line, a cloud of marks, or a layer of bars.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Series {
    pub(in crate::report) label: String,
    pub(in crate::report) mark: Mark,
    pub(in crate::report) dots: Vec<Dot>,
}

impl Series {
    /// Whether nothing in it may be believed.
    pub(in crate::report) fn is_invalid(&self) -> bool {
        !self.dots.is_empty() && self.dots.iter().all(|dot| dot.invalid)
    }

    /// Its name, which says so where nothing in it may be believed.
    pub(in crate::report) fn name(&self) -> String {
        if self.is_invalid() { format!("{} (INVALID)", self.label) } else { self.label.clone() }
    }
}

/// A chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(in crate::report) struct Chart {
    /// Its file's stem.
    pub(in crate::report) id: String,
    pub(in crate::report) title: String,
    /// What all its points share.
    pub(in crate::report) subtitle: String,
    /// How to read it, in a sentence or two.
    pub(in crate::report) reading: String,
    pub(in crate::report) x: AxisSpec,
    pub(in crate::report) y: AxisSpec,
    pub(in crate::report) series: Vec<Series>,
    /// What to know of the data: what was left out, merged or not known.
    pub(in crate::report) notes: Vec<String>,
    /// Why points that it shows are invalid, by their numbers.
    pub(in crate::report) invalid: BTreeMap<u32, String>,
}

impl Chart {
    /// The chart without what cannot be drawn: values that are no numbers, those at or below 0 on a logarithmic axis, and
    /// series that have nothing left. None when nothing is left at all.
    pub(in crate::report) fn drawable(mut self) -> Option<Self> {
        let (log_x, log_y) = (self.x.log, self.y.log);
        let mut lost = 0;
        for series in &mut self.series {
            let before = series.dots.len();
            series.dots.retain(|dot| {
                let low = dot.interval.map_or(dot.y, |(low, _)| low);
                dot.is_finite() && !(log_x && dot.x <= 0.0) && !(log_y && low.min(dot.y) <= 0.0)
            });
            lost += before - series.dots.len();
        }
        self.series.retain(|series| !series.dots.is_empty());
        if lost > 0 {
            self.notes.push(format!("{lost} values cannot be drawn on these axes and are left out."));
        }
        self.series.iter().any(|series| series.mark != Mark::Limit).then_some(self)
    }

    /// Every dot.
    pub(in crate::report) fn dots(&self) -> impl Iterator<Item = &Dot> {
        self.series.iter().flat_map(|series| &series.dots)
    }

    /// How high the highest of the bars stands.
    pub(in crate::report) fn stacked_top(&self) -> Option<f64> {
        self.stacks(|_| true).into_iter().map(|(_, top)| top).reduce(f64::max)
    }

    /// Where bars of invalid points stand, and how high.
    pub(in crate::report) fn stacked_invalid(&self) -> Vec<(f64, f64)> {
        self.stacks(|dot| dot.invalid)
    }

    /// How high the bars of each x stand on each other.
    fn stacks(&self, wanted: impl Fn(&Dot) -> bool) -> Vec<(f64, f64)> {
        let bars = self.series.iter().filter(|series| series.mark == Mark::Stacked);
        let mut tops: Vec<(f64, f64)> = Vec::new();
        for dot in bars.flat_map(|series| &series.dots).filter(|dot| wanted(dot)) {
            match tops.iter_mut().find(|(x, _)| *x == dot.x) {
                Some((_, top)) => *top += dot.y,
                None => tops.push((dot.x, dot.y)),
            }
        }
        tops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_drawn_is_left_out_and_said() {
        let series = |dots| Series { label: "a".to_owned(), mark: Mark::Joined, dots };
        let chart = |series| Chart {
            id: "c".to_owned(),
            title: String::new(),
            subtitle: String::new(),
            reading: String::new(),
            x: AxisSpec::log("x"),
            y: AxisSpec::linear("y"),
            series,
            ..Chart::default()
        };
        let bad = vec![Dot::at(0.0, 1.0), Dot::at(1.0, f64::NAN), Dot::at(2.0, 3.0)];
        let drawn = chart(vec![series(bad), series(vec![Dot::at(-1.0, 0.0)])]).drawable().unwrap();
        assert_eq!((drawn.series.len(), drawn.series[0].dots.len()), (1, 1));
        assert_eq!(drawn.notes, ["3 values cannot be drawn on these axes and are left out."]);
        assert_eq!(chart(vec![series(Vec::new())]).drawable(), None);
    }

    #[test]
    fn dots_are_short_lists() {
        let json = |dot: &Dot| serde_json::to_string(dot).unwrap();
        assert_eq!(json(&Dot::at(1.0, 1.0 / 3.0)), "[1.0,0.333333]");
        let mut dot = Dot { interval: Some((1.0, 2.0)), ..Dot::at(1.0, 1.5) };
        assert_eq!(json(&dot), "[1.0,1.5,1.0,2.0]");
        dot.label = "batch 1".to_owned();
        dot.unusable = true;
        assert_eq!(json(&dot), "[1.0,1.5,1.0,2.0,\"batch 1\",1]");
        let dot = Dot { point: Some(3), invalid: true, ..Dot::at(1.0, 2.0) };
        assert_eq!(json(&dot), "[1.0,2.0,null,null,\"\",0,3]");
    }
}
