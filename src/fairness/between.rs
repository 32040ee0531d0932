//! Whether a ratio between two measured points may be shown.
use super::{Difference, LockRecord, Ratio, fields::MODEL_FAMILY, judge, lock::of_label};
use crate::{
    agreement::{Agreement, PairAgreement, Taker, Verdict},
    results::{PointRecord, RunInfo},
};

/// Judges a point of one run against a point of another, or of the same. Two configurations of one engine may differ in
/// anything, since that is what is being compared, but in what model they were found to be.
pub fn between(a: (&RunInfo, &PointRecord), b: (&RunInfo, &PointRecord), allowed: &[String]) -> Ratio {
    let ratio = if a.1.point.engine.id == b.1.point.engine.id {
        Ratio::Plain
    } else {
        judged(lock_of(a).as_ref(), lock_of(b).as_ref(), allowed)
    };
    match disagreement(a, b) {
        Some(difference) => beside(ratio, difference, allowed),
        None => ratio,
    }
}

/// What `tacho agree` found of the two configurations in one of the runs, where it called them different: all that they can be meant
/// to be.
fn disagreement(a: (&RunInfo, &PointRecord), b: (&RunInfo, &PointRecord)) -> Option<Difference> {
    let same_run = a.0.run_id == b.0.run_id;
    let asked = [Some(a.0), Some(b.0).filter(|_| !same_run)];
    asked.into_iter().flatten().find_map(|info| {
        let agreement = info.agreement.as_ref()?;
        let (ones, others) = (names_in(info, agreement, a), names_in(info, agreement, b));
        let met = ones.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
        let pairs: Option<Vec<_>> = met.map(|(one, other)| agreement.pair(one, other)).collect();
        let different = |pairs: &Vec<&PairAgreement>| pairs.iter().all(|it| it.verdict == Some(Verdict::Different));
        let pair = *pairs.filter(different)?.first()?;
        let of = if same_run { String::new() } else { format!(" in run {}", info.run_id) };
        let (one, other) = if ones.contains(&pair.a.as_str()) { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) };
        Some(Difference {
            field: MODEL_FAMILY.to_owned(),
            a: one.clone(),
            b: format!("{other}, which `tacho agree` found different{of}"),
            blocking: Some(format!("`tacho agree` found them different{of}: {}", pair.why)),
        })
    })
}

/// By which labels an agreement of the run `asked` knows a point's configuration. A label is a run's own: a point of another run is
/// the configuration of its engine with its weights and options, or, where none has those options, any with its weights.
fn names_in<'a>(asked: &RunInfo, agreement: &'a Agreement, of: (&'a RunInfo, &PointRecord)) -> Vec<&'a str> {
    if of.0.run_id == asked.run_id {
        return label_of(of).into_iter().collect();
    }
    let spec = &of.1.point.engine;
    let same = |taker: &&Taker| {
        taker.engine == spec.id && taker.model_digest.is_some() && taker.model_digest == of.1.model_digest
    };
    let some: Vec<&str> = agreement.engines.iter().filter(same).map(|taker| taker.label.as_str()).collect();
    let alike = |label: &&str| asked.engines.get(*label).is_some_and(|engine| engine.asked.options == spec.options);
    some.iter().copied().find(alike).map_or(some, |label| vec![label])
}

/// The judgement with a difference more, unless it has one of that field.
fn beside(ratio: Ratio, difference: Difference, allowed: &[String]) -> Ratio {
    let mut all = match ratio {
        Ratio::Plain => Vec::new(),
        Ratio::Labelled(all) | Ratio::Refused(all) => all,
        Ratio::Unrecorded => return Ratio::Unrecorded,
    };
    if all.iter().all(|known| known.field != difference.field) {
        all.push(difference);
    }
    let refused: Vec<Difference> = all.iter().filter(|one| !allowed.contains(&one.field)).cloned().collect();
    if refused.is_empty() { Ratio::Labelled(all) } else { Ratio::Refused(refused) }
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
    if let Some(agreement) = &info.agreement {
        let labels: Vec<&str> = some.iter().filter_map(|point| label_of((info, point))).collect();
        let known = |label: &String| labels.contains(&label.as_str());
        let mut different = agreement.pairs.iter().filter(|pair| pair.verdict == Some(Verdict::Different));
        if let Some(pair) = different.find(|pair| known(&pair.a) && known(&pair.b)) {
            return Some(format!("`tacho agree` found {} and {} different", pair.a, pair.b));
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

/// The name of a point's engine configuration in its run.
fn label_of<'a>((info, record): (&'a RunInfo, &PointRecord)) -> Option<&'a str> {
    let spec = &record.point.engine;
    let asked = info.engines.iter().find(|(_, engine)| {
        engine.asked.engine == spec.id
            && engine.asked.options == spec.options
            && engine.model_digest == record.model_digest
    });
    Some(asked?.0)
}

/// The lock record of a point's engine configuration.
fn lock_of(of: (&RunInfo, &PointRecord)) -> Option<LockRecord> {
    of_label(of.0, label_of(of)?)
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
    fn what_agreement_found_different_is_refused_whichever_the_engines_are() {
        let (mut info, points) = run("float32", "float32");
        let fields = |ratio: Ratio| match ratio {
            Ratio::Refused(all) => all.into_iter().map(|difference| difference.field).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let ratio = |info: &RunInfo, allowed: &[String]| between((info, &points[0]), (info, &points[1]), allowed);
        let before = fields(ratio(&info, &[]));
        assert!(!before.contains(&MODEL_FAMILY.to_owned()), "{before:?}");
        let mut agreement: crate::agreement::Agreement = serde_json::from_value(serde_json::json!({
            "key": "k", "build": "b", "prompts": [], "tokens": 1, "engines": [],
            "pairs": [{"a": "vllm", "b": "llama.cpp", "verdict": "different", "why": "other weights", "floor": 0.0,
                "identical": 0, "divergences": [], "forced": null}],
        }))
        .unwrap();
        info.agreement = Some(agreement.clone());
        assert_eq!(fields(ratio(&info, &[])), [before, vec![MODEL_FAMILY.to_owned()]].concat());
        let all = fields(ratio(&info, &[]));
        assert!(matches!(ratio(&info, &all), Ratio::Labelled(_)));
        assert!(among(&info, &[&points[0], &points[1]]).unwrap().contains("found vllm and llama.cpp different"));
        agreement.pairs[0].verdict = Some(Verdict::Numerics);
        info.agreement = Some(agreement);
        assert!(!fields(ratio(&info, &[])).contains(&MODEL_FAMILY.to_owned()));
    }

    #[test]
    fn what_one_runs_agreement_found_holds_for_another_run_of_the_same_engine_and_weights() {
        let (mut asked, [_, vllm]) = run("float32", "float32");
        let (mut other, [llama, _]) = run("float32", "float32");
        other.run_id = "another".to_owned();
        let taker = |engine: &str, digest: &str| {
            serde_json::json!({"label": format!("{engine} #1"), "engine": engine, "failed": null, "version": "1", "double": null,
                "device": "cpu", "model_digest": digest, "dtype": "f32", "outputs": [], "scores": null,
                "scores_null_reason": null, "floor": {"runs_parted": 0, "batch_parted": 0, "runs_lp": null, "batch_lp": null}})
        };
        let agreement = |digest: &str| -> Agreement {
            serde_json::from_value(serde_json::json!({
                "key": "k", "build": "b", "prompts": [], "tokens": 1,
                "engines": [taker("vllm", "the same"), taker("llama.cpp", digest)],
                "pairs": [{"a": "vllm", "b": "llama.cpp #1", "verdict": "different", "why": "other weights", "floor": 0.0,
                    "identical": 0, "divergences": [], "forced": null}],
            }))
            .unwrap()
        };
        let found = |asked: &RunInfo| {
            [((asked, &vllm), (&other, &llama)), ((&other, &llama), (asked, &vllm))].map(|(a, b)| {
                let fields = match between(a, b, &[]) {
                    Ratio::Labelled(all) | Ratio::Refused(all) => all,
                    ratio => panic!("{ratio:?}"),
                };
                fields.into_iter().find(|one| one.field == MODEL_FAMILY).map(|one| (one.a, one.b))
            })
        };
        assert_eq!(found(&asked), [None, None]);
        asked.agreement = Some(agreement("the same"));
        let words = |label: &str| format!("{label}, which `tacho agree` found different in run {}", asked.run_id);
        assert_eq!(
            found(&asked),
            [Some(("vllm".to_owned(), words("llama.cpp #1"))), Some(("llama.cpp #1".to_owned(), words("vllm"))),]
        );
        // Other weights of that engine were not asked.
        asked.agreement = Some(agreement("another file"));
        assert_eq!(found(&asked), [None, None]);
    }

    #[test]
    fn the_same_configuration_in_two_runs_is_not_taken_for_another_one_that_disagrees() {
        let (mut asked, [llama, _]) = run("float32", "float32");
        let mut coarse = asked.engines["llama.cpp"].clone();
        coarse.asked.options.insert("type_k".to_owned(), "q4_0".into());
        asked.engines.insert("llama.cpp coarse".to_owned(), coarse);
        let taker = |label: &str| Taker {
            label: label.to_owned(),
            engine: "llama.cpp".to_owned(),
            model_digest: Some("the same".to_owned()),
            ..Taker::default()
        };
        let pair = PairAgreement {
            a: "llama.cpp".to_owned(),
            b: "llama.cpp coarse".to_owned(),
            verdict: Some(Verdict::Different),
            why: "coarser keys".to_owned(),
            floor: 0.0,
            identical: 0,
            divergences: Vec::new(),
            forced: None,
        };
        asked.agreement = Some(Agreement {
            key: "k".to_owned(),
            build: "b".to_owned(),
            prompts: Vec::new(),
            tokens: 1,
            engines: vec![taker("llama.cpp"), taker("llama.cpp coarse")],
            pairs: vec![pair],
        });
        let (mut other, [again, _]) = run("float32", "float32");
        other.run_id = "another".to_owned();
        let ratio = |point: &PointRecord| between((&asked, &llama), (&other, point), &[]);
        assert_eq!(ratio(&again), Ratio::Plain);
        let with = |value: &str| {
            let mut point = again.clone();
            point.point.engine.options.insert("type_k".to_owned(), value.into());
            point
        };
        assert!(ratio(&with("q4_0")).is_refused());
        // Neither of the two that were asked: it may be either.
        assert_eq!(ratio(&with("f16")), Ratio::Plain);
    }

    #[test]
    fn what_is_not_recorded_is_refused_and_not_waved_through() {
        let (mut info, points) = run("float32", "float32");
        info.engines.remove("vllm");
        assert_eq!(between((&info, &points[0]), (&info, &points[1]), &[]), Ratio::Unrecorded);
        assert!(among(&info, &[&points[0], &points[1]]).is_some());
    }
}
