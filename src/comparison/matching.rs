//! Which point of one run stands beside which of another.
use crate::results::PointRecord;

/// Pairs of indices, and those of either side that have no partner. First by engine with its options, then by engine, then
/// by the work alone; in each round only where exactly one of either side is left, so that nothing is guessed.
pub(super) fn pairs(a: &[PointRecord], b: &[PointRecord]) -> (Vec<(usize, usize)>, Vec<usize>, Vec<usize>) {
    let (mut left, mut right): (Vec<usize>, Vec<usize>) = ((0..a.len()).collect(), (0..b.len()).collect());
    let mut found = Vec::new();
    for round in [with_options as fn(&PointRecord) -> String, with_engine, work] {
        let alone = |of: &[PointRecord], indices: &[usize], key: &str| {
            let mut same = indices.iter().copied().filter(|index| round(&of[*index]) == key);
            same.next().filter(|_| same.next().is_none())
        };
        for index in left.clone() {
            let key = round(&a[index]);
            if let (Some(one), Some(other)) = (alone(a, &left, &key), alone(b, &right, &key)) {
                found.push((one, other));
                left.retain(|index| *index != one);
                right.retain(|index| *index != other);
            }
        }
    }
    found.sort_unstable();
    (found, left, right)
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
}
