//! One run against another, point by point.
use serde::{Deserialize, Serialize};

use super::{
    Better, Difference, Figure,
    differences::differences,
    matching,
    refusal::{doubts, invalid, refusals},
};
use crate::{
    fairness::{self, Ratio},
    metrics::median,
    results::{PointRecord, ReadRun},
    stats::{
        CONFIDENCE, RESAMPLES, bootstrap_difference, variance,
        verdict::{Verdict, decide, detectable},
    },
};

/// A run, as a comparison names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunName {
    /// As the user called it: a directory or a baseline.
    pub name: String,
    /// The run's own id.
    pub run_id: String,
    /// What is odd about it.
    pub notes: Vec<String>,
}

/// Two points that stand beside each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointComparison {
    /// The point, by its name in the first run.
    pub point: String,
    /// Its name in the second, where that differs.
    pub beside: Option<String>,
    /// The median of the figure in the first run.
    pub a: Option<f64>,
    /// In the second.
    pub b: Option<f64>,
    /// Trials of each.
    pub trials: (u32, u32),
    /// Second / first as speeds, by geometric means: a latency's is that of its inverse. Above 1 the second is faster.
    pub ratio: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// The smallest difference that could have been told from none, as a fraction, with 80 % power.
    pub detectable: Option<f64>,
    /// The word for it; None where it is refused.
    pub verdict: Option<Verdict>,
    /// Why it is refused.
    pub refused: Vec<String>,
    /// What to doubt, and why there is no interval.
    pub notes: Vec<String>,
}

/// A run against the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunComparison {
    /// What is held against.
    pub a: RunName,
    /// What is held against it.
    pub b: RunName,
    /// The figure.
    pub figure: String,
    /// Its unit.
    pub unit: String,
    /// In which direction it is better.
    pub better: Better,
    /// Differences below this fraction are none.
    pub threshold: f64,
    /// Points with a partner.
    pub points: Vec<PointComparison>,
    /// Points of the first without.
    pub only_a: Vec<String>,
    /// Points of the second without.
    pub only_b: Vec<String>,
    /// What else differed.
    pub differences: Vec<Difference>,
}

/// Compares run `b` with run `a`, each under the name that the user gave it.
pub fn compare(
    (a_name, a): (&str, &ReadRun),
    (b_name, b): (&str, &ReadRun),
    figure: &Figure,
    threshold: f64,
    allowed: &[String],
) -> RunComparison {
    let (pairs, left, right) = matching::pairs(&a.records, &b.records);
    let name = |name: &str, run: &ReadRun| RunName {
        name: name.to_owned(),
        run_id: run.info.run_id.clone(),
        notes: run.notes.clone(),
    };
    let label = |run: &ReadRun, index: &usize| label(&run.records[*index]);
    let point = |(one, other): &(usize, usize)| {
        let (one, other) = (&a.records[*one], &b.records[*other]);
        let ratio = fairness::between((&a.info, one), (&b.info, other), allowed);
        let invalid = [invalid("the first", &a.info, one), invalid("the second", &b.info, other)].concat();
        point((one, other), figure, threshold, &ratio, invalid)
    };
    RunComparison {
        a: name(a_name, a),
        b: name(b_name, b),
        figure: figure.name.clone(),
        unit: figure.unit.to_owned(),
        better: figure.better,
        threshold,
        points: pairs.iter().map(point).collect(),
        only_a: left.iter().map(|index| label(a, index)).collect(),
        only_b: right.iter().map(|index| label(b, index)).collect(),
        differences: differences(a, b, &pairs),
    }
}

fn point(
    (a, b): (&PointRecord, &PointRecord),
    figure: &Figure,
    threshold: f64,
    ratio: &Ratio,
    invalid: Vec<String>,
) -> PointComparison {
    let (label, other) = (label(a), label(b));
    let (one, two) = (figure.values(a), figure.values(b));
    let mut found = PointComparison {
        beside: (label != other).then_some(other),
        point: label,
        a: median(&one),
        b: median(&two),
        trials: (one.len() as u32, two.len() as u32),
        ratio: None,
        low: None,
        high: None,
        detectable: None,
        verdict: None,
        refused: [refusals(a, b), invalid].concat(),
        notes: Vec::new(),
    };
    match ratio {
        Ratio::Plain => {}
        Ratio::Labelled(_) => found.notes.push(ratio.note()),
        Ratio::Refused(_) | Ratio::Unrecorded => found.refused.push(ratio.note()),
    }
    if !found.refused.is_empty() {
        return found;
    }
    let speeds = |record| -> Vec<f64> {
        figure.trials(record).iter().filter_map(|trial| figure.speed(&trial.figures)).map(f64::ln).collect()
    };
    let (one, two) = (speeds(a), speeds(b));
    if one.is_empty() || two.is_empty() {
        let side = if one.is_empty() { "the first" } else { "the second" };
        found.refused.push(format!("{side} has no trial that tells {}", figure.name));
        return found;
    }
    found.notes.extend(doubts(a, b));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let estimate = mean(&two) - mean(&one);
    let interval = bootstrap_difference(&two, &one, CONFIDENCE, RESAMPLES, a.point.workload.seed);
    if interval.is_none() {
        found.notes.push(format!("no interval: {} and {} trials, expected at least 6 of each", one.len(), two.len()));
    }
    let ends = interval.map(|interval| (interval.low, interval.high));
    found.ratio = Some(estimate.exp());
    found.low = ends.map(|(low, _)| low.exp());
    found.high = ends.map(|(_, high)| high.exp());
    found.detectable = interval.and_then(|_| smallest(&one, &two));
    found.verdict = Some(decide(estimate, ends, threshold));
    found
}

/// A point's name; a stand-in is named as one.
fn label(record: &PointRecord) -> String {
    let double = record.engine.as_ref().is_some_and(|engine| engine.double.is_some());
    format!("{}{}", record.point.label(), if double { " (SIMULATED)" } else { "" })
}

/// By Welch's error and degrees of freedom (1947), for samples that need not vary alike.
fn smallest(one: &[f64], two: &[f64]) -> Option<f64> {
    let part = |values: &[f64]| (variance(values) / values.len() as f64, values.len() as f64 - 1.0);
    let ((v1, f1), (v2, f2)) = (part(one), part(two));
    let error = (v1 + v2).sqrt();
    if error == 0.0 {
        return Some(0.0);
    }
    let freedom = (v1 + v2).powi(2) / (v1 * v1 / f1 + v2 * v2 / f2);
    freedom.is_finite().then(|| detectable(error, freedom))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::protocol::Method,
        engine::ErrorKind,
        results::{Failure, PointStatus, testing},
    };

    fn run(factor: f64) -> ReadRun {
        let mut record = testing::point(0, "llama.cpp", &[("batch", "1")]);
        record.trials.extend(
            (0..8).map(|n| testing::trial(n, Method::Generate, 1000.0 * factor * (1.0 + 0.001 * f64::from(n % 4)))),
        );
        ReadRun { info: testing::info(), records: vec![record], notes: Vec::new(), rows: Default::default() }
    }

    fn verdict(a: &ReadRun, b: &ReadRun) -> PointComparison {
        let figure = Figure::named("output_token_throughput").unwrap();
        compare(("a", a), ("b", b), &figure, 0.01, &[]).points.remove(0)
    }

    #[test]
    fn same_faster_slower_with_intervals() {
        assert_eq!(verdict(&run(1.0), &run(1.001)).verdict, Some(Verdict::Same));
        assert_eq!(verdict(&run(1.0), &run(1.05)).verdict, Some(Verdict::Faster));
        let slower = verdict(&run(1.0), &run(0.95));
        assert_eq!(slower.verdict, Some(Verdict::Slower));
        assert!((slower.ratio.unwrap() - 0.95).abs() < 1e-9, "{slower:?}");
        assert!(slower.low.unwrap() < 0.95 && slower.high.unwrap() > 0.95 && slower.detectable.unwrap() < 0.01);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_the_reason() {
        let reason = |change: fn(&mut PointRecord)| {
            let mut changed = run(1.0);
            change(&mut changed.records[0]);
            let found = verdict(&run(1.0), &changed);
            assert_eq!((found.verdict, found.ratio), (None, None));
            found.refused.join("; ")
        };
        assert!(
            reason(|record| record.trials[0].summary.workload_digest = "d2".to_owned()).contains("different requests")
        );
        assert!(reason(|record| record.engine.as_mut().unwrap().double = Some("fake".to_owned())).contains("stand-in"));
        assert!(reason(|record| record.engine.as_mut().unwrap().virtual_time = true).contains("virtual"));
        assert!(reason(|record| record.trials.clear()).contains("no trial"));
        let failed = reason(|record| {
            record.outcome = PointStatus::Failed(Failure {
                kind: Some(ErrorKind::OutOfMemory),
                reason: "no memory".to_owned(),
                signal: None,
                exit_code: None,
                last_lines: Vec::new(),
                broken: None,
                stacks: Vec::new(),
            });
        });
        assert!(failed.contains("the second failed: no memory"), "{failed}");
        let (mut one, mut other) = (run(1.0), run(1.0));
        one.records[0].model_digest = Some("aaaa".to_owned());
        other.records[0].model_digest = Some("bbbb".to_owned());
        assert!(verdict(&one, &other).refused[0].contains("different models"));
    }

    /// The run of an engine that tells the type of its weights.
    fn of(engine: &str, dtype: &str) -> ReadRun {
        let mut run = run(1.0);
        let mut told = run.info.engines.remove("sim").unwrap();
        (told.asked.engine, told.info.engine, told.info.double) = (engine.to_owned(), engine.to_owned(), None);
        told.asked.options.clear();
        told.info.model.weights_dtype = Some(dtype.to_owned());
        run.info.engines.insert(engine.to_owned(), told);
        run.records[0].point.engine.id = engine.to_owned();
        run
    }

    #[test]
    fn a_ratio_across_a_blocking_difference_is_refused_named_and_labelled() {
        let figure = Figure::named("output_token_throughput").unwrap();
        let (a, b) = (of("llama.cpp", "F16"), of("vllm", "bfloat16"));
        let with = |allowed: &[String]| compare(("a", &a), ("b", &b), &figure, 0.01, allowed);
        let refused = with(&[]).points.remove(0);
        assert_eq!((refused.verdict, refused.ratio), (None, None));
        assert!(refused.refused[0].contains("--allow-difference weights_dtype"), "{refused:?}");

        let Ratio::Refused(all) = fairness::between((&a.info, &a.records[0]), (&b.info, &b.records[0]), &[]) else {
            panic!("{refused:?}")
        };
        let names: Vec<String> = all.into_iter().map(|difference| difference.field).collect();
        let found = with(&names);
        let point = &found.points[0];
        assert_eq!((point.verdict, point.refused.len()), (Some(Verdict::Same), 0));
        assert!(point.notes.iter().any(|note| note.starts_with("not the same in")), "{point:?}");
        for text in [crate::comparison::runs_text(&found), crate::comparison::runs_markdown(&found)] {
            assert!(
                text.contains("not the same in") && text.replace('\\', "").contains("weights_dtype (f16 and bf16)"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_invalid_point_gets_no_verdict_but_for_what_the_interval_shows_itself() {
        let mut evicted = run(0.95);
        evicted.records[0].trials[3].summary.stats.insert("preemptions".to_owned(), 1.0);
        let found = verdict(&run(1.0), &evicted);
        assert_eq!((found.verdict, found.ratio), (None, None));
        assert!(found.refused[0].starts_with("the second is invalid (preemption): 1 sequences"), "{found:?}");
        let first = verdict(&evicted, &run(1.0));
        assert!(first.refused[0].starts_with("the first is invalid (preemption)"), "{first:?}");

        let mut scattered = run(1.0);
        scattered.info.plan = serde_json::json!({"trials": {"target": 1e-9}, "validity": {"min_duration": "1h"}});
        let codes = crate::validity::certify_all(&scattered.info, &scattered.records)[0].codes();
        assert!(codes.contains(&crate::validity::Code::Interval), "{codes:?}");
        assert_eq!(verdict(&scattered, &scattered).verdict, Some(Verdict::Same));
    }

    #[test]
    fn too_few_trials_are_ambiguous_and_latencies_turn_round() {
        let mut few = run(1.0);
        few.records[0].trials.truncate(3);
        let found = verdict(&run(1.0), &few);
        assert_eq!(found.verdict, Some(Verdict::Ambiguous));
        assert!(found.notes.iter().any(|note| note.contains("at least 6")), "{:?}", found.notes);
        let figure = Figure::named("ttft_p50").unwrap();
        let found = compare(("a", &run(1.0)), ("b", &run(1.0)), &figure, 0.01, &[]).points.remove(0);
        assert!(found.refused[0].contains("no trial that tells ttft_p50"));
    }
}
