//! Which of many configurations are told of: a run may have hundreds, of which most are the same in every field.
use super::{FIELDS, Known, LockRecord};

/// Up to so many configurations, each is told of; beyond, each kind of them.
pub const MANY: usize = 32;

/// A kind of configurations: the same in every field.
#[derive(Clone, Debug, PartialEq)]
pub struct Alike<'a> {
    /// The first of them, which stands for all.
    pub first: &'a LockRecord,
    /// The others' labels.
    pub others: Vec<&'a str>,
}

/// The configurations that are told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown<'a> {
    /// At most [`MANY`], in the order of their firsts. Each configuration by itself where they are few.
    pub kinds: Vec<Alike<'a>>,
    /// How many configurations are of none of these kinds.
    pub left_out: usize,
}

impl Shown<'_> {
    /// How many pairs of configurations are not held against each other by these kinds' firsts.
    pub fn pairs_left_out(&self) -> usize {
        let pairs = |n: usize| n * n.saturating_sub(1) / 2;
        let all = self.left_out + self.kinds.iter().map(|kind| 1 + kind.others.len()).sum::<usize>();
        pairs(all) - pairs(self.kinds.len())
    }

    /// What a person has to know of it; None where every configuration is told of.
    pub fn note(&self) -> Option<String> {
        let others: usize = self.kinds.iter().map(|kind| kind.others.len()).sum();
        let same = format!("{others} configurations that are the same as one of these in every field are not listed");
        let more = format!("{} configurations that differ from these are left out", self.left_out);
        match (others, self.left_out) {
            (0, 0) => None,
            (_, 0) => Some(same),
            (0, _) => Some(more),
            _ => Some(format!("{same}, and {more}")),
        }
    }
}

/// Chooses from `records`.
pub fn shown(records: &[LockRecord]) -> Shown<'_> {
    let alone = |first| Alike { first, others: Vec::new() };
    if records.len() <= MANY {
        return Shown { kinds: records.iter().map(alone).collect(), left_out: 0 };
    }
    let mut kinds: Vec<Alike<'_>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for record in records {
        let place = *places.entry(key(record)).or_insert(kinds.len());
        match kinds.get_mut(place) {
            Some(kind) => kind.others.push(&record.label),
            None => kinds.push(alone(record)),
        }
    }
    let left_out = kinds.drain(MANY.min(kinds.len())..).map(|kind| 1 + kind.others.len()).sum();
    Shown { kinds, left_out }
}

/// The same for two records of one engine and version exactly where [`super::differences`] finds none between them, and never for
/// records of two.
fn key(record: &LockRecord) -> String {
    let fields = FIELDS.iter().map(|field| match record.get(field.name) {
        Known::Unknown { unknown } => format!("? {unknown}"),
        Known::Value { value, .. } => format!("= {value}"),
    });
    [record.engine.clone(), record.version.clone()].into_iter().chain(fields).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(n: u32, kinds: u32) -> Vec<LockRecord> {
        let record = |number: u32| LockRecord {
            label: format!("sim n={number}"),
            engine: "sim".to_owned(),
            version: "1".to_owned(),
            fields: [("max_seqs".to_owned(), Known::value(number % kinds))].into(),
            equal: Default::default(),
        };
        (0..n).map(record).collect()
    }

    #[test]
    fn few_configurations_are_told_of_each_and_many_by_their_kinds() {
        let few = records(32, 1);
        let found = shown(&few);
        assert_eq!((found.kinds.len(), found.left_out, found.note(), found.pairs_left_out()), (32, 0, None, 0));

        let many = records(300, 3);
        let found = shown(&many);
        let first: Vec<&str> = found.kinds.iter().map(|kind| kind.first.label.as_str()).collect();
        assert_eq!((first, found.left_out), (vec!["sim n=0", "sim n=1", "sim n=2"], 0));
        assert_eq!((found.kinds[1].others.len(), found.kinds[1].others[0]), (99, "sim n=4"));
        assert_eq!(found.pairs_left_out(), 300 * 299 / 2 - 3);
        assert!(found.note().unwrap().starts_with("297 configurations that are the same"));

        let all_differ = records(300, 300);
        let found = shown(&all_differ);
        assert_eq!((found.kinds.len(), found.left_out), (MANY, 268));
        assert_eq!(found.note().unwrap(), "268 configurations that differ from these are left out");
    }
}
