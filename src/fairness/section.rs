//! The report's section on what differs between the engines of a run.
use std::fmt::Write;

use super::{
    difference::{Ratio, judge},
    fields::FIELDS,
    lock::LockRecord,
    shown::shown,
};

/// The section, empty when the run has fewer than two engine configurations. `escape` makes a text fit for a table.
pub fn markdown(records: &[LockRecord], escape: fn(&str) -> String) -> String {
    let mut text = String::new();
    if records.len() < 2 {
        return text;
    }
    text.push_str("## Fairness\n\nWhat was not the same in the engine configurations of this run, as the running engines told it:\n\n");
    let shown = shown(records);
    let records: Vec<&LockRecord> = shown.kinds.iter().map(|kind| kind.first).collect();
    for (number, record) in (1..).zip(&records) {
        let _ = writeln!(text, "{number}. {} {}", escape(&record.label), escape(&record.version));
    }
    if let Some(note) = shown.note() {
        let _ = writeln!(text, "\n{note}.");
    }
    text.push_str("\n| field | values, by the number above | a ratio across it |\n|---|---|---|\n");
    for field in FIELDS {
        // Values in the order of appearance, each with those that have it.
        let mut values: Vec<(String, Vec<usize>)> = Vec::new();
        for (number, record) in (1..).zip(&records) {
            let value = record.get(field.name).text();
            match values.iter_mut().find(|(known, _)| *known == value) {
                Some((_, numbers)) => numbers.push(number),
                None => values.push((value, vec![number])),
            }
        }
        if values.len() < 2 {
            continue;
        }
        let told: Vec<String> = values
            .iter()
            .map(|(value, numbers)| {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                format!("({}) {}", numbers.join(", "), escape(value))
            })
            .collect();
        let rule = field.blocking.map_or_else(|| "is shown".to_owned(), |why| format!("**is refused**: {why}"));
        let _ = writeln!(text, "| {} | {} | {rule} |", field.name, told.join("; "));
    }
    text.push('\n');
    for (index, a) in records.iter().enumerate() {
        for (other, b) in records.iter().enumerate().skip(index + 1) {
            if let Ratio::Refused(differences) = judge(a, b, &[]) {
                let fields: Vec<&str> = differences.iter().map(|difference| difference.field.as_str()).collect();
                let _ = writeln!(
                    text,
                    "- No ratio between ({}) and ({}): they differ in {}.",
                    index + 1,
                    other + 1,
                    fields.join(", ")
                );
            }
        }
    }
    text.push_str("\nAll fields are in `tacho.lock.json`.\n\n");
    text
}
