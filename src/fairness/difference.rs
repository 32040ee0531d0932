//! What is not the same in two lock records, and what follows for a ratio between their figures.
use serde::{Deserialize, Serialize};

use super::{
    fields::{EQUAL, FIELDS, Field, field},
    held::holds,
    lock::{Known, LockRecord},
};

/// A field that is not the same in two records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The field's name.
    pub field: String,
    /// The one's value, for a person.
    pub a: String,
    /// The other's.
    pub b: String,
    /// Why a ratio across it is refused; None when it is only listed.
    pub blocking: Option<String>,
}

/// Every field that is not known to be the same, in the order of [`FIELDS`]. Two values that are unknown for the same
/// reason count as the same in two configurations of one engine and version, and as a difference otherwise.
pub fn differences(a: &LockRecord, b: &LockRecord) -> Vec<Difference> {
    let one_engine = (&a.engine, &a.version) == (&b.engine, &b.version);
    let differs = |one: &Known, other: &Known| match (one, other) {
        (Known::Value { value: one, .. }, Known::Value { value: other, .. }) => one != other,
        (Known::Unknown { unknown: one }, Known::Unknown { unknown: other }) => !one_engine || one != other,
        _ => true,
    };
    FIELDS
        .iter()
        .map(|field| (field, a.get(field.name), b.get(field.name)))
        .filter(|(_, one, other)| differs(one, other))
        .map(|(field, one, other)| Difference {
            field: field.name.to_owned(),
            a: one.text(),
            b: other.text(),
            blocking: field.blocking.map(str::to_owned).or_else(|| unheld(field.name, a, b)),
        })
        .collect()
}

/// Why a limit that both were set to blocks: one of them is not known to hold it.
fn unheld(field: &str, a: &LockRecord, b: &LockRecord) -> Option<String> {
    let held = |record: &LockRecord| Some(holds(field, *record.equal.get(field)?, &record.get(field)));
    let (one, other) = (held(a)?, held(b)?);
    (!one || !other).then(|| "it was to be equal (fairness = equal), and is not known to be".to_owned())
}

/// The differences across which no ratio is shown unless they are allowed by name.
pub fn blocking_differences(a: &LockRecord, b: &LockRecord) -> Vec<Difference> {
    differences(a, b).into_iter().filter(|difference| difference.blocking.is_some()).collect()
}

/// Whether a ratio between the figures of two configurations may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ratio {
    /// Nothing forbids it.
    Plain,
    /// Every blocking difference was allowed by name: to be shown beside the ratio.
    Labelled(Vec<Difference>),
    /// It must not be shown, because of these.
    Refused(Vec<Difference>),
    /// It must not be shown: how one of the engines really ran is not recorded.
    Unrecorded,
}

impl Ratio {
    /// Whether it must not be shown.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unrecorded)
    }

    /// What stands beside the ratio or in its place; empty for [`Ratio::Plain`].
    pub fn note(&self) -> String {
        let told = |differences: &[Difference]| {
            let texts: Vec<String> = differences.iter().map(|d| format!("{} ({} and {})", d.field, d.a, d.b)).collect();
            texts.join(", ")
        };
        match self {
            Self::Plain => String::new(),
            Self::Unrecorded => "refused: run.json does not say how one of the engines really ran".to_owned(),
            Self::Labelled(differences) => format!("not the same in {}", told(differences)),
            Self::Refused(differences) => {
                let flags: Vec<String> =
                    differences.iter().map(|d| format!("--allow-difference {}", d.field)).collect();
                format!("refused: not the same in {}; to see it all the same: {}", told(differences), flags.join(" "))
            }
        }
    }
}

/// Whether a ratio between the figures of `a` and `b` may be shown, `allowed` naming the blocking fields that a person
/// takes into account.
pub fn judge(a: &LockRecord, b: &LockRecord, allowed: &[String]) -> Ratio {
    let (labels, refused): (Vec<_>, Vec<_>) =
        blocking_differences(a, b).into_iter().partition(|difference| allowed.contains(&difference.field));
    match (refused.is_empty(), labels.is_empty()) {
        (false, _) => Ratio::Refused(refused),
        (true, false) => Ratio::Labelled(labels),
        (true, true) => Ratio::Plain,
    }
}

/// Checks the names given to `--allow-difference`.
///
/// # Errors
/// A sentence that names the field that is none, and those that there are.
pub fn check_allowed(allowed: &[String]) -> Result<(), String> {
    let may_block = |field: &Field| field.blocking.is_some() || EQUAL.contains(&field.name);
    let blocking = || FIELDS.iter().filter(|field| may_block(field)).map(|field| field.name);
    match allowed.iter().find(|name| !field(name).is_some_and(may_block)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "no ratio is refused for a difference in '{name}'; expected one of {}",
            blocking().collect::<Vec<_>>().join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(engine: &str, values: &[(&str, Known)]) -> LockRecord {
        let same = |field: &super::super::Field| (field.name.to_owned(), Known::value("same"));
        let mut fields: std::collections::BTreeMap<_, _> = FIELDS.iter().map(same).collect();
        fields.extend(values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        LockRecord {
            label: engine.to_owned(),
            engine: engine.to_owned(),
            version: "1".to_owned(),
            fields,
            equal: Default::default(),
        }
    }

    #[test]
    fn a_ratio_across_a_blocking_difference_is_refused_until_it_is_named() {
        let a = record("a", &[("kv_dtype", Known::value("f16")), ("kv_tokens", Known::value(1))]);
        let b = record("b", &[("kv_dtype", Known::value("bf16")), ("kv_tokens", Known::value(2))]);
        assert_eq!(differences(&a, &b).len(), 2);
        let found = blocking_differences(&a, &b);
        assert_eq!(found.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), ["kv_dtype"]);
        let Ratio::Refused(_) = judge(&a, &b, &[]) else { panic!() };
        assert!(judge(&a, &b, &[]).note().contains("--allow-difference kv_dtype"));
        let labelled = judge(&a, &b, &["kv_dtype".to_owned()]);
        assert_eq!(labelled.note(), "not the same in kv_dtype (f16 and bf16)");
        assert_eq!(judge(&a, &a, &[]), Ratio::Plain);
        assert!(check_allowed(&["kv_dtype".to_owned()]).is_ok());
        assert!(check_allowed(&["threads".to_owned()]).unwrap_err().contains("kv_dtype"));
    }

    #[test]
    fn what_is_unknown_is_not_the_same_but_in_one_engine() {
        let silent = |engine| record(engine, &[("quantisation", Known::unknown("silent"))]);
        assert_eq!(blocking_differences(&silent("a"), &silent("b")).len(), 1);
        assert_eq!(blocking_differences(&silent("a"), &silent("a")), []);
        assert_eq!(blocking_differences(&silent("a"), &record("a", &[])).len(), 1);
    }
}
