//! Places for what other modules know of a run: one function each, which the page calls. None is shown as "not recorded in
//! this run".
use super::{
    certificates, frontier,
    rows::{Heading, Rows},
};
use crate::{
    comparison::paired::comparisons,
    fairness,
    results::{PointRecord, RunInfo},
};

/// A section of the page: a sentence and a table.
pub(super) struct Section {
    /// What it says, in plain text.
    pub(super) says: String,
    /// Its table.
    pub(super) rows: Rows,
}

/// What differs between the engines beside the engines, and what of it forbids a ratio.
pub(super) fn fairness(info: &RunInfo, _: &[PointRecord]) -> Option<Section> {
    let locks = fairness::of_run(info);
    if locks.len() < 2 {
        return None;
    }
    let headings = ["field", "between", "the one", "the other", "a ratio across it"];
    let headings = headings.map(|text| Heading { text: text.to_owned(), numeric: false }).into();
    let mut rows = Vec::new();
    let shown = fairness::shown(&locks);
    for (index, a) in shown.kinds.iter().enumerate() {
        for b in &shown.kinds[index + 1..] {
            let (a, b) = (a.first, b.first);
            for found in fairness::differences(a, b) {
                let between = format!("{} and {}", a.label, b.label);
                let verdict =
                    found.blocking.clone().map_or("may be shown".to_owned(), |why| format!("is refused: {why}"));
                rows.push(vec![found.field.clone(), between, found.a.to_string(), found.b.to_string(), verdict]);
            }
        }
    }
    let mut says = "As each running engine told of itself; docs/fairness.md says what each field means.".to_owned();
    if let Some(note) = shown.note() {
        says.push_str(&format!(" {note}."));
    }
    Some(Section { says, rows: Rows { headings, rows } })
}

/// Whether each point's figures may be believed, by its evidence.
pub(super) fn certificates(info: &RunInfo, records: &[PointRecord]) -> Option<Section> {
    let says = "What is invalid is not to be believed, and is neither ranked nor compared; docs/validity.md says what each reason means.";
    Some(Section { says: says.to_owned(), rows: certificates::rows(info, records) })
}

/// Where memory ends, of a run that looked for it.
pub(super) fn frontier(info: &RunInfo, records: &[PointRecord]) -> Option<Section> {
    let found = frontier::of(info, records);
    let headings = ["series", "largest that ran", "smallest that ran out of memory", "neighbours"];
    let headings = headings.map(|text| Heading { text: text.to_owned(), numeric: false }).into();
    (!found.is_empty()).then(|| Section {
        says: frontier::SAYS.to_owned(),
        rows: Rows { headings, rows: found.iter().map(frontier::row).collect() },
    })
}

/// Differences between engines from trials that were run in turn.
pub(super) fn comparison(info: &RunInfo, records: &[PointRecord]) -> Option<Section> {
    let found = comparisons(info, records);
    if found.is_empty() {
        return None;
    }
    let headings = ["work", "figure", "held against", "measured", "ratio of speeds", "95 % interval", "verdict"];
    let headings = headings.map(|text| Heading { text: text.to_owned(), numeric: false }).into();
    let row = |it: &crate::comparison::paired::Comparison| {
        let (ratio, interval, verdict) = match &it.result {
            Some(result) => (
                format!("{:.4}", result.ratio),
                result.low.zip(result.high).map_or(String::new(), |(low, high)| format!("{low:.4} to {high:.4}")),
                result.verdict.as_str().to_owned(),
            ),
            None => (String::new(), String::new(), it.null_reason.clone().unwrap_or_default()),
        };
        let verdict = it.label.iter().fold(verdict, |verdict, label| format!("{verdict}; {label}"));
        let work = if it.work.is_empty() { "all".to_owned() } else { it.work.clone() };
        vec![work, it.figure.clone(), it.a.label.clone(), it.b.label.clone(), ratio, interval, verdict]
    };
    let says =
        "Engines took turns in randomised blocks; docs/comparing.md says how the interval and the verdict come about.";
    Some(Section { says: says.to_owned(), rows: Rows { headings, rows: found.iter().map(row).collect() } })
}
