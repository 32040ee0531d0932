//! Points whose certificates speak against their figures: charts show them, crossed out, and draw no line through them.
use std::collections::BTreeMap;

use super::{Chart, series::finished};
use crate::{
    report::text::one_line,
    results::{PointRecord, RunInfo},
    validity::{Certificate, certify_all},
};

/// Below a chart with such points.
const CROSSED: &str = "Hollow and crossed out: invalid, so neither joined, ranked nor compared.";
/// Points that a note names with their reasons.
const NAMED: usize = 4;

/// The certificates of the finished points that are invalid, by the points' numbers.
#[derive(Debug, Default)]
pub(in crate::report) struct Invalid(BTreeMap<u32, Certificate>);

impl Invalid {
    pub(in crate::report) fn of(info: &RunInfo, records: &[PointRecord]) -> Self {
        let judged = records.iter().zip(certify_all(info, records)).filter(|(_, certificate)| !certificate.is_valid());
        let judged: BTreeMap<u32, Certificate> =
            judged.map(|(record, certificate)| (record.point.number, certificate)).collect();
        let finished = finished(records).map(|record| record.point.number);
        Self(finished.filter_map(|number| Some((number, judged.get(&number)?.clone()))).collect())
    }

    /// Whether it is one of them.
    pub(in crate::report) fn has(&self, record: &PointRecord) -> bool {
        self.0.contains_key(&record.point.number)
    }

    /// How many they are.
    pub(in crate::report) fn count(&self) -> usize {
        self.0.len()
    }

    /// The chart with its invalid points marked, and a note that says which they are and why.
    pub(super) fn mark(&self, mut chart: Chart) -> Chart {
        for dot in chart.series.iter_mut().flat_map(|series| &mut series.dots) {
            let Some((number, certificate)) = dot.point.and_then(|number| self.0.get_key_value(&number)) else {
                continue;
            };
            dot.invalid = true;
            chart.invalid.entry(*number).or_insert_with(|| reasons(certificate));
        }
        if chart.invalid.is_empty() {
            return chart;
        }
        let named = chart.invalid.keys().take(NAMED).filter_map(|number| {
            let codes: Vec<String> = self.0.get(number)?.codes().iter().map(ToString::to_string).collect();
            Some(format!("point {number} ({})", codes.join(", ")))
        });
        let mut named = named.collect::<Vec<_>>().join(", ");
        if chart.invalid.len() > NAMED {
            named.push_str(&format!(" and {} more", chart.invalid.len() - NAMED));
        }
        chart.notes.push(CROSSED.to_owned());
        chart.notes.push(format!("Invalid: {named}."));
        chart
    }
}

/// Why, in a sentence a reason.
fn reasons(certificate: &Certificate) -> String {
    let each = certificate.reasons.iter().map(|reason| format!("{}: {}", reason.code, one_line(&reason.sentence)));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    /// A sweep whose llama.cpp has two throughput trials at the smallest batch, too few for the interval that the plan asks for.
    fn some_invalid() -> (RunInfo, Vec<PointRecord>, u32) {
        let mut info = testing::info();
        info.plan["trials"] = serde_json::json!({ "target": 0.2 });
        let mut records = testing::sweep();
        let mut number = None;
        for record in records.iter_mut().filter(|record| record.point.engine.id != "sim") {
            if record.point.axes.contains(&("batch".to_owned(), "1".to_owned())) {
                record.trials.drain(..4);
                number = Some(record.point.number);
            }
        }
        (info, records, number.unwrap())
    }

    #[test]
    fn an_invalid_point_is_crossed_out_named_and_not_joined() {
        let (info, records, number) = some_invalid();
        let dir = tempfile::tempdir().unwrap();
        let all = super::super::of(dir.path(), &info, &records).charts;
        let invalid = Invalid::of(&info, &records);
        assert!(invalid.0.contains_key(&number), "{invalid:?}");
        for id in ["throughput", "pareto", "scaling"] {
            let chart = all.iter().find(|chart| chart.id == id).unwrap();
            let marked: Vec<u32> = chart.dots().filter(|dot| dot.invalid).filter_map(|dot| dot.point).collect();
            assert!(marked.contains(&number) && marked.iter().all(|it| invalid.0.contains_key(it)), "{id}: {marked:?}");
            assert!(chart.dots().filter(|dot| dot.invalid).all(|dot| !dot.is_joined()));
            assert!(chart.notes.iter().any(|note| note == CROSSED), "{id}: {:?}", chart.notes);
            assert!(chart.invalid[&number].contains(": "), "{:?}", chart.invalid);
        }
    }

    #[test]
    fn efficiency_is_relative_to_a_point_that_may_be_believed() {
        let (info, records, number) = some_invalid();
        let dir = tempfile::tempdir().unwrap();
        let all = super::super::of(dir.path(), &info, &records).charts;
        let chart = all.iter().find(|chart| chart.id == "scaling").unwrap();
        let line = chart.series.iter().find(|series| series.dots.iter().any(|dot| dot.point == Some(number))).unwrap();
        let base = line.dots.iter().find(|dot| !dot.invalid).unwrap();
        assert!((base.y - 100.0).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn a_line_of_invalid_points_alone_says_so_in_its_name() {
        let mut info = testing::info();
        info.plan["trials"] = serde_json::json!({ "target": 0.02 });
        let mut records = testing::sweep();
        records.retain(|record| record.point.engine.id != "sim");
        records.iter_mut().for_each(|record| record.trials.truncate(2));
        let dir = tempfile::tempdir().unwrap();
        let all = super::super::of(dir.path(), &info, &records).charts;
        let chart = all.iter().find(|chart| chart.id == "throughput").unwrap();
        assert!(chart.series[0].is_invalid() && chart.series[0].name().ends_with("(INVALID)"), "{:?}", chart.series[0]);
        assert!(chart.notes.iter().any(|note| note.contains("and 2 more")), "{:?}", chart.notes);
        // No efficiency without a point to hold others against.
        assert!(all.iter().all(|chart| chart.id != "scaling"));
    }
}
