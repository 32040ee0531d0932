//! The report's section on what differs between the engines of a run.
use std::fmt::Write;

use super::{
    difference::{Ratio, judge},
    fields::FIELDS,
    held::unequal,
    lock::LockRecord,
    shown::shown,
};

/// The section, empty when the run has fewer than two engine configurations. `escape` makes a text fit for a table.
pub fn markdown(all: &[LockRecord], escape: fn(&str) -> String) -> String {
    let mut text = String::new();
    if all.len() < 2 {
        return text;
    }
    text.push_str("## Fairness\n\nWhat was not the same in the engine configurations of this run, as the running engines told it:\n\n");
    let shown = shown(all);
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
        let mut values: Vec<(String, Vec<String>)> = Vec::new();
        for (number, record) in (1..).zip(&records) {
            let value = record.get(field.name);
            let number = value.mark().map_or_else(|| number.to_string(), |mark| format!("{number} {mark}"));
            match values.iter_mut().find(|(known, _)| *known == value.text()) {
                Some((_, numbers)) => numbers.push(number),
                None => values.push((value.text(), vec![number])),
            }
        }
        if values.len() < 2 {
            continue;
        }
        let told: Vec<String> =
            values.iter().map(|(value, numbers)| format!("({}) {}", numbers.join(", "), escape(value))).collect();
        let set = records.iter().filter(|record| record.equal.contains_key(field.name)).count() > 1;
        let rule = match field.blocking {
            Some(why) => format!("**is refused**: {why}"),
            None if set => "**is refused** where one is not what both were set to".to_owned(),
            None => "is shown".to_owned(),
        };
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
    for line in unequal(all) {
        let _ = writeln!(text, "- Not equal: {}.", escape(&line));
    }
    for (number, record) in (1..).zip(&records) {
        let known = |mark: &str| -> Vec<&str> {
            FIELDS.iter().map(|field| field.name).filter(|name| record.get(name).mark() == Some(mark)).collect()
        };
        for (mark, what) in [("as set", "as they were set"), ("declared", "as its adapter declares them")] {
            let fields = known(mark);
            if !fields.is_empty() {
                let _ = writeln!(text, "- Not read back from ({number}), but {what}: {}.", fields.join(", "));
            }
        }
    }
    text.push_str("\nAll fields are in `tacho.lock.json`, with why those are not read back.\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::{super::Known, *};

    #[test]
    fn what_was_not_read_back_is_marked_in_the_table_and_listed_below() {
        let record = |label: &str, kv: Known| {
            let mut fields: std::collections::BTreeMap<String, Known> =
                FIELDS.iter().map(|field| (field.name.to_owned(), Known::value("same"))).collect();
            fields.insert("kv_dtype".to_owned(), kv);
            let declared = Known::Value { value: "f32".into(), declared: Some("the header".to_owned()), set: None };
            fields.insert("logits_dtype".to_owned(), declared);
            let (label, equal) = (label.to_owned(), Default::default());
            LockRecord { engine: label.clone(), label, version: "1".to_owned(), fields, equal }
        };
        let set = Known::Value { value: "f16".into(), declared: None, set: Some("no getter".to_owned()) };
        let records = [record("a", set.clone()), record("b", Known::value("bf16")), record("c", Known::value("f16"))];
        let text = markdown(&records, str::to_owned);
        assert!(text.contains("| kv_dtype | (1 as set, 3) f16; (2) bf16 |"), "{text}");
        assert!(text.contains("- Not read back from (1), but as they were set: kv_dtype.\n"), "{text}");
        assert!(!text.contains("Not read back from (2), but as they were set"), "{text}");
        assert!(text.contains("- Not read back from (2), but as its adapter declares them: logits_dtype.\n"), "{text}");
    }
}
