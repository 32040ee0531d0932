//! Certificates in words: a line a reason for the terminal, a section for the report.
use std::{collections::BTreeMap, fmt::Write};

use super::{
    rows::{Heading, Rows, engine_name},
    text::{escape, one_line},
};
use crate::{
    results::{PointRecord, PointStatus, RunInfo},
    validity::{Certificate, Code, certify_all},
};

/// A line for each reason for which a point of the run is invalid or was not measured.
pub fn invalid_lines(info: &RunInfo, records: &[PointRecord]) -> Vec<String> {
    let certificates = certify_all(info, records);
    records
        .iter()
        .zip(&certificates)
        .flat_map(|(record, certificate)| {
            certificate.reasons.iter().map(|reason| {
                let (number, label) = (record.point.number, one_line(&record.point.label()));
                let sentence = one_line(&reason.sentence);
                match (&record.outcome, &reason.code) {
                    (PointStatus::Failed(failure), Code::Failed) => {
                        format!("FAILED: point {number} ({label}): {}", one_line(&failure.reason))
                    }
                    (_, code) => format!("INVALID: point {number} ({label}): {code}: {sentence}"),
                }
            })
        })
        .collect()
}

/// The points whose certificate is valid: what may be ranked and compared.
pub(super) fn believed(info: &RunInfo, records: &[PointRecord]) -> Vec<PointRecord> {
    let certificates = certify_all(info, records);
    records.iter().zip(certificates).filter(|(_, it)| it.is_valid()).map(|(record, _)| record.clone()).collect()
}

/// Each point's certificate as a table: its verdict and its reasons.
pub(super) fn rows(info: &RunInfo, records: &[PointRecord]) -> Rows {
    let heading = |text: &str, numeric| Heading { text: text.to_owned(), numeric };
    let headings =
        vec![heading("point", true), heading("what", false), heading("certificate", false), heading("why", false)];
    let row = |(record, certificate): (&PointRecord, &Certificate)| {
        let why: Vec<String> = certificate.reasons.iter().map(|it| format!("{}: {}", it.code, it.sentence)).collect();
        vec![
            record.point.number.to_string(),
            format!("{} {}", engine_name(record), record.point.label()),
            if certificate.is_valid() { "valid" } else { "INVALID" }.to_owned(),
            why.join("; "),
        ]
    };
    Rows { headings, rows: records.iter().zip(&certify_all(info, records)).map(row).collect() }
}

/// The report's section.
pub(super) fn section(text: &mut String, records: &[PointRecord], certificates: &[Certificate]) {
    if records.is_empty() {
        return;
    }
    text.push_str("## Certificates\n\n");
    let valid = certificates.iter().filter(|certificate| certificate.is_valid()).count();
    let _ = writeln!(
        text,
        "{valid} of {} points are valid. What is invalid is not to be believed, ranked or compared; docs/validity.md says what \
         each reason means.\n",
        records.len()
    );
    for (record, certificate) in records.iter().zip(certificates) {
        for reason in &certificate.reasons {
            let _ = writeln!(
                text,
                "- **Point {}, {} is invalid** (`{}`): {}.",
                record.point.number,
                escape(&engine_name(record)),
                reason.code,
                escape(reason.sentence.trim_end_matches('.'))
            );
        }
    }
    for (record, certificate) in records.iter().zip(certificates) {
        for note in &certificate.notes {
            let engine = escape(&engine_name(record));
            let _ =
                writeln!(text, "- Point {}, {engine}: {}.", record.point.number, escape(note.trim_end_matches('.')));
        }
    }
    for (of, code, why) in gaps(records, certificates) {
        let _ = writeln!(text, "- Not checked of {of} (`{code}`): {}.", escape(why.trim_end_matches('.')));
    }
    text.push('\n');
}

/// What could not be checked: of which points, what, why. The same gap is mostly that of all points.
fn gaps<'a>(records: &[PointRecord], certificates: &'a [Certificate]) -> Vec<(String, Code, &'a str)> {
    let mut gaps: BTreeMap<(Code, &str), Vec<String>> = BTreeMap::new();
    for (record, certificate) in records.iter().zip(certificates) {
        for unchecked in &certificate.not_checked {
            gaps.entry((unchecked.code, &unchecked.why)).or_default().push(record.point.number.to_string());
        }
    }
    let of = |points: Vec<String>| match points.len() {
        all if all == records.len() => "any point".to_owned(),
        1 => format!("point {}", points[0]),
        _ => format!("points {}", points.join(", ")),
    };
    gaps.into_iter().map(|((code, why), points)| (of(points), code, why)).collect()
}

/// A line for each thing that a reader has to know of figures that stand, and for each check that could not be made.
pub fn note_lines(info: &RunInfo, records: &[PointRecord]) -> Vec<String> {
    let certificates = certify_all(info, records);
    let notes = records.iter().zip(&certificates).flat_map(|(record, certificate)| {
        let label = format!("point {} ({})", record.point.number, one_line(&record.point.label()));
        certificate.notes.iter().map(move |note| format!("NOTE: {label}: {}", one_line(note)))
    });
    let gaps = gaps(records, &certificates).into_iter();
    notes.chain(gaps.map(|(of, code, why)| format!("not checked of {of}: {code}: {}", one_line(why)))).collect()
}
