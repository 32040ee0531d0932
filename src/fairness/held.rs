//! Whether limits that were to be equal are: what the running engines told, beside what they were set to.
use super::{
    fields::EQUAL,
    lock::{Known, LockRecord},
};

/// By how much what an engine holds may differ from what it was set to, as a share: a cache is made of blocks, and some engines keep
/// one of them for themselves. Limits of sequences and tokens of a step have no blocks, and are the same or not.
pub const KV_TOLERANCE: f64 = 0.01;

/// Whether a field's value counts as the limit that was set.
pub(super) fn holds(field: &str, limit: u64, found: &Known) -> bool {
    let Known::Value { value, .. } = found else { return false };
    let Some(found) = value.as_u64() else { return false };
    let tolerance = if field == "kv_tokens" { limit as f64 * KV_TOLERANCE } else { 0.0 };
    limit.abs_diff(found) as f64 <= tolerance
}

/// What is not as it was to be, or not known to be, in a run whose fairness is `equal`: a sentence each, nothing for other runs.
pub fn unequal(records: &[LockRecord]) -> Vec<String> {
    let mut lines = Vec::new();
    for record in records {
        for name in EQUAL {
            let found = record.get(name);
            let own = record.equal.get(name);
            // What the others were set to, for an engine that has no option for it.
            let Some(limit) = own.or_else(|| records.iter().find_map(|other| other.equal.get(name))) else { continue };
            let label = &record.label;
            let line = match (own, &found) {
                _ if holds(name, *limit, &found) => match found.mark() {
                    None => continue,
                    Some(mark) => format!("{name} of {label} is {limit} {mark}: it was not read back"),
                },
                (_, Known::Unknown { unknown }) => {
                    format!("{name} of {label} was to be {limit}; whether it is is not known: {unknown}")
                }
                (Some(_), _) => format!(
                    "{name} of {label} was set to {limit} and is {}: no ratio is shown across it unless it is named",
                    found.text()
                ),
                (None, _) => {
                    format!("{name} of {label}, which has no option for it, is {} and not {limit}", found.text())
                }
            };
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{Ratio, check_allowed, judge},
        *,
    };

    /// An engine of which this was set and told.
    fn record(label: &str, set: &[(&str, u64)], told: &[(&str, Known)]) -> LockRecord {
        let same = |field: &super::super::Field| (field.name.to_owned(), Known::value("same"));
        let mut fields: std::collections::BTreeMap<_, _> = super::super::FIELDS.iter().map(same).collect();
        fields.extend([("kv_tokens", 6400), ("max_seqs", 8), ("max_batched_tokens", 2048)].map(known));
        fields.extend(told.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        LockRecord {
            label: label.to_owned(),
            engine: label.to_owned(),
            version: "1".to_owned(),
            fields,
            equal: set.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        }
    }

    fn known((name, value): (&str, u64)) -> (String, Known) {
        (name.to_owned(), Known::value(value))
    }

    const ALL: [(&str, u64); 3] = [("kv_tokens", 6400), ("max_seqs", 8), ("max_batched_tokens", 2048)];

    #[test]
    fn limits_that_hold_say_nothing_and_a_block_is_no_difference() {
        let (a, b) = (record("a", &ALL, &[]), record("b", &ALL, &[("kv_tokens", Known::value(6336))]));
        assert_eq!(unequal(&[a.clone(), b.clone()]), Vec::<String>::new());
        assert_eq!(judge(&a, &b, &[]), Ratio::Plain);
        // Without limits that were to be equal nothing is said of those that are not.
        let (mut a, mut b) = (a, record("b", &ALL, &[("max_seqs", Known::value(4))]));
        (a.equal, b.equal) = Default::default();
        assert_eq!(unequal(&[a.clone(), b.clone()]), Vec::<String>::new());
        assert_eq!(judge(&a, &b, &[]), Ratio::Plain);
    }

    #[test]
    fn a_limit_that_was_set_and_does_not_hold_is_said_and_blocks() {
        let cases = [("kv_tokens", json!(6000)), ("max_seqs", json!(7)), ("max_batched_tokens", json!(2047))];
        for (name, value) in cases {
            let a = record("a", &ALL, &[]);
            let b = record("b", &ALL, &[(name, Known::value(value.clone()))]);
            let said = unequal(&[a.clone(), b.clone()]);
            assert!(said.len() == 1 && said[0].starts_with(&format!("{name} of b was set to")), "{said:?}");
            let Ratio::Refused(differences) = judge(&a, &b, &[]) else { panic!("{name} {value}") };
            assert_eq!(differences.iter().map(|it| it.field.as_str()).collect::<Vec<_>>(), [name]);
            assert!(check_allowed(&[name.to_owned()]).is_ok());
            assert!(matches!(judge(&a, &b, &[name.to_owned()]), Ratio::Labelled(_)));
        }
    }

    #[test]
    fn what_is_not_known_is_said_and_an_engine_without_the_option_is_listed_only() {
        let a = record("a", &ALL, &[]);
        let silent = record("b", &ALL, &[("max_seqs", Known::unknown("it does not tell"))]);
        let said = unequal(&[a.clone(), silent.clone()]);
        assert_eq!(said, ["max_seqs of b was to be 8; whether it is is not known: it does not tell"]);
        assert!(judge(&a, &silent, &[]).is_refused());
        let set = Known::Value { value: json!(8), declared: None, set: Some("no getter".to_owned()) };
        let set = record("b", &ALL, &[("max_seqs", set)]);
        assert_eq!(unequal(&[a.clone(), set.clone()]), ["max_seqs of b is 8 as set: it was not read back"]);
        assert_eq!(judge(&a, &set, &[]), Ratio::Plain);
        let without = record("b", &ALL[1..], &[("kv_tokens", Known::value(99))]);
        let said = unequal(&[a.clone(), without.clone()]);
        assert_eq!(said, ["kv_tokens of b, which has no option for it, is 99 and not 6400"]);
        assert_eq!(judge(&a, &without, &[]), Ratio::Plain);
    }
}
