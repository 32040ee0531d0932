//! Whether a ratio between two measured points may be shown.
use super::{LockRecord, Ratio, judge, lock::of_label};
use crate::results::{PointRecord, RunInfo};

/// Judges a point of one run against a point of another, or of the same. Two configurations of one engine may differ in
/// anything: that is what is being compared.
pub fn between(a: (&RunInfo, &PointRecord), b: (&RunInfo, &PointRecord), allowed: &[String]) -> Ratio {
    if a.1.point.engine.id == b.1.point.engine.id {
        return Ratio::Plain;
    }
    judged(lock_of(a).as_ref(), lock_of(b).as_ref(), allowed)
}

/// Why no ratio may be shown between these points of a run; None when all may be held against each other.
pub fn among(info: &RunInfo, points: &[&PointRecord]) -> Option<String> {
    // A run has many points and few configurations.
    let mut some: Vec<&PointRecord> = Vec::new();
    for point in points {
        let same =
            |known: &&PointRecord| known.point.engine == point.point.engine && known.model_digest == point.model_digest;
        if !some.iter().any(same) {
            some.push(point);
        }
    }
    // Each once: a pair's two are asked for hundreds of times where there are hundreds of configurations.
    let locks: Vec<Option<LockRecord>> = some.iter().map(|point| lock_of((info, point))).collect();
    let some: Vec<_> = some.into_iter().zip(&locks).collect();
    let pairs = some.iter().enumerate().flat_map(|(index, a)| some[index + 1..].iter().map(move |b| (a, b)));
    let across = pairs.filter(|((a, _), (b, _))| a.point.engine.id != b.point.engine.id);
    across.map(|((_, a), (_, b))| judged(a.as_ref(), b.as_ref(), &[])).find_map(|ratio| match ratio {
        Ratio::Plain | Ratio::Labelled(_) => None,
        Ratio::Unrecorded => Some("it is not recorded how one of the engines really ran".to_owned()),
        Ratio::Refused(differences) => {
            let fields: Vec<String> =
                differences.iter().map(|d| format!("{} ({} and {})", d.field, d.a, d.b)).collect();
            Some(format!("the engines are not the same in {}", fields.join(", ")))
        }
    })
}

fn judged(a: Option<&LockRecord>, b: Option<&LockRecord>, allowed: &[String]) -> Ratio {
    match (a, b) {
        (Some(one), Some(other)) => judge(one, other, allowed),
        _ => Ratio::Unrecorded,
    }
}

/// The lock record of a point's engine configuration.
fn lock_of((info, record): (&RunInfo, &PointRecord)) -> Option<LockRecord> {
    let spec = &record.point.engine;
    let asked = info.engines.iter().find(|(_, engine)| {
        engine.asked.engine == spec.id
            && engine.asked.options == spec.options
            && engine.model_digest == record.model_digest
    });
    of_label(info, asked?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    /// A run of two engines that tell the type of their weights in the same words.
    fn run(one: &str, other: &str) -> (RunInfo, [PointRecord; 2]) {
        let mut info = testing::info();
        let base = info.engines.remove("sim").unwrap();
        let points = [("llama.cpp", one), ("vllm", other)].map(|(id, dtype)| {
            let mut engine = base.clone();
            engine.asked.engine = id.to_owned();
            engine.asked.options.clear();
            engine.info.engine = id.to_owned();
            engine.info.double = None;
            engine.info.model.weights_dtype = Some(dtype.to_owned());
            engine.model_digest = Some("the same".to_owned());
            info.engines.insert(id.to_owned(), engine);
            let mut point = testing::point(0, id, &[]);
            point.model_digest = Some("the same".to_owned());
            point
        });
        (info, points)
    }

    fn note(info: &RunInfo, [a, b]: &[PointRecord; 2]) -> String {
        between((info, a), (info, b), &[]).note()
    }

    #[test]
    fn other_weights_forbid_a_ratio_and_the_same_engine_may_differ_in_all() {
        let (info, points) = run("F16", "bfloat16");
        assert!(between((&info, &points[0]), (&info, &points[1]), &[]).is_refused());
        assert!(note(&info, &points).contains("weights_dtype"), "{}", note(&info, &points));
        assert!(among(&info, &[&points[0], &points[1]]).unwrap().contains("weights_dtype"));
        assert_eq!(between((&info, &points[0]), (&info, &points[0]), &[]), Ratio::Plain);
        let (info, points) = run("float32", "float32");
        assert!(!note(&info, &points).contains("weights_dtype"), "{}", note(&info, &points));
    }

    #[test]
    fn what_is_not_recorded_is_refused_and_not_waved_through() {
        let (mut info, points) = run("float32", "float32");
        info.engines.remove("vllm");
        assert_eq!(between((&info, &points[0]), (&info, &points[1]), &[]), Ratio::Unrecorded);
        assert!(among(&info, &[&points[0], &points[1]]).is_some());
    }
}
