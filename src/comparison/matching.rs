//! Which point of one run stands beside which of another.
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::results::PointRecord;

/// Pairs of indices, and those of either side that have no partner. First by engine with its options, then by engine, then
/// by the work alone; in each round only where exactly one of either side is left, so that nothing is guessed. Each point's
/// key is made once a round.
pub(super) fn pairs(a: &[PointRecord], b: &[PointRecord]) -> (Vec<(usize, usize)>, Vec<usize>, Vec<usize>) {
    let (mut left, mut right): (Vec<usize>, Vec<usize>) = ((0..a.len()).collect(), (0..b.len()).collect());
    let mut found = Vec::new();
    for round in [with_options as fn(&PointRecord) -> String, with_engine, work] {
        let mut keys: HashMap<String, [Only; 2]> = HashMap::new();
        for (side, of, indices) in [(0, a, &left), (1, b, &right)] {
            for index in indices {
                keys.entry(round(&of[*index])).or_default()[side].add(*index);
            }
        }
        let met = keys.into_values().filter_map(|[one, other]| one.get().zip(other.get()));
        let (ones, others): (BTreeMap<usize, usize>, HashSet<usize>) = met.map(|pair| (pair, pair.1)).unzip();
        left.retain(|index| !ones.contains_key(index));
        right.retain(|index| !others.contains(index));
        found.extend(ones);
    }
    found.sort_unstable();
    (found, left, right)
}

/// The indices that share a key: of interest is only whether there is exactly one.
#[derive(Clone, Copy, Default)]
enum Only {
    #[default]
    None,
    One(usize),
    Several,
}

impl Only {
    fn add(&mut self, index: usize) {
        *self = if matches!(self, Self::None) { Self::One(index) } else { Self::Several };
    }

    fn get(self) -> Option<usize> {
        if let Self::One(index) = self { Some(index) } else { None }
    }
}

/// Load mode, workload and the axes that are no engine's. Not the seed: a different one is told as a different workload.
fn work(record: &PointRecord) -> String {
    let point = &record.point;
    let axes: Vec<_> = point.axes.iter().filter(|(name, _)| !name.starts_with("engine.") && name != "model").collect();
    let w = &point.workload;
    format!("{:?} {} {} {} {axes:?}", point.load, w.requests, w.input, w.output)
}

fn with_engine(record: &PointRecord) -> String {
    let model = record.point.axes.iter().find(|(name, _)| name == "model");
    format!("{} {model:?} {}", record.point.engine.id, work(record))
}

fn with_options(record: &PointRecord) -> String {
    format!("{:?} {}", record.point.engine.options, with_engine(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::point;

    #[test]
    fn points_meet_by_engine_and_options_then_by_what_is_left() {
        let a = [point(0, "sim", &[("batch", "1")]), point(1, "sim", &[("batch", "2")])];
        let b = [point(0, "sim", &[("batch", "2")]), point(1, "sim", &[("batch", "4")])];
        assert_eq!(pairs(&a, &b), (vec![(1, 0)], vec![0], vec![1]));
        // Another engine on the same work, where there is no doubt which.
        let other = [point(0, "vllm", &[("batch", "1")]), point(1, "vllm", &[("batch", "2")])];
        assert_eq!(pairs(&a, &other).0, [(0, 0), (1, 1)]);
        let mut both = other.to_vec();
        both.extend([point(2, "max", &[("batch", "1")])]);
        assert_eq!(pairs(&a, &both), (vec![(1, 1)], vec![0], vec![0, 2]));
        // The same engine with another option.
        let mut changed = a.clone();
        changed[0].point.engine.options.insert("threads".to_owned(), 2.into());
        assert_eq!(pairs(&a, &changed).0, [(0, 0), (1, 1)]);
    }

    #[test]
    fn points_that_cannot_be_told_apart_have_no_partner() {
        let twice = [point(0, "sim", &[("batch", "1")]), point(1, "sim", &[("batch", "1")])];
        let once = [point(0, "sim", &[("batch", "1")])];
        assert_eq!(pairs(&twice, &once), (vec![], vec![0, 1], vec![0]));
        assert_eq!(pairs(&once, &twice), (vec![], vec![0], vec![0, 1]));
        assert_eq!(pairs(&twice, &[]), (vec![], vec![0, 1], vec![]));
        // What an earlier round has matched is no rival in a later one.
        let mut options = twice.to_vec();
        options[0].point.engine.options.insert("threads".to_owned(), 2.into());
        let mut other = options.clone();
        other[1].point.engine.options.insert("threads".to_owned(), 3.into());
        assert_eq!(pairs(&options, &other).0, [(0, 0), (1, 1)]);
    }

    #[test]
    fn many_points_meet_their_likes_in_any_order() {
        let run: Vec<PointRecord> = (0..3000).map(|n| point(n, "sim", &[("batch", &n.to_string())])).collect();
        let turned: Vec<PointRecord> = run.iter().rev().cloned().collect();
        let (found, left, right) = pairs(&run, &turned);
        assert!(found.len() == 3000 && left.is_empty() && right.is_empty());
        assert!(found.iter().all(|(one, other)| one + other == 2999));
    }
}
