//! Which engine for which use, why, and how sure that is: from real engines' finished points alone.
mod ranking;

use std::collections::HashMap;

pub(super) use ranking::{Entry, Estimate, Ranking, Sureness, Use};

use super::{
    certificates,
    place::{Level, configuration, distinct, grouped, is_comparable, work},
};
use crate::{
    cell::protocol::{Load, Method},
    fairness,
    results::{PointRecord, RunInfo, TrialRecord},
};

/// All rankings, by use and then by work; and why a use has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Advice {
    pub(super) rankings: Vec<Ranking>,
    pub(super) missing: Vec<(&'static str, String)>,
    /// Points of real engines that were measured and are in no ranking, because they are invalid.
    pub(super) invalid: usize,
}

impl Advice {
    /// Why no two engines may be held against each other, where that is the same for all uses and kinds of work.
    pub(super) fn refused_alike(&self) -> Option<&str> {
        let compared = || self.rankings.iter().filter(|ranking| ranking.sureness() != Sureness::Alone);
        let first = compared().next()?.refused.as_deref()?;
        compared().all(|ranking| ranking.refused.as_deref() == Some(first)).then_some(first)
    }
}

/// What may be said of a run: of points that are believed, and without a winner where engines did not do the same work.
pub(super) fn judged(info: &RunInfo, records: &[PointRecord]) -> Advice {
    let believed = certificates::believed(info, records);
    let mut advice = of(&believed);
    let mut firsts: HashMap<(String, String), &PointRecord> = HashMap::new();
    for record in &believed {
        firsts.entry((configuration(record), work(record))).or_insert(record);
    }
    for ranking in &mut advice.rankings {
        let first = |entry: &Entry| firsts.get(&(entry.engine.clone(), ranking.work.clone())).copied();
        let points: Vec<&PointRecord> = ranking.entries.iter().filter_map(first).collect();
        ranking.refused = fairness::among(info, &points).map(|why| format!("because {why}"));
    }
    let measured = |records: &[PointRecord]| records.iter().filter(|record| is_comparable(record)).count();
    advice.invalid = measured(records) - measured(&believed);
    if advice.invalid > 0 && measured(&believed) == 0 {
        for (_, reason) in &mut advice.missing {
            *reason = "every point that was measured is invalid".to_owned();
        }
    }
    advice
}

/// Compares the records' engines. Stand-ins and failed points are never in it.
pub(super) fn of(records: &[PointRecord]) -> Advice {
    let points: Vec<&PointRecord> = records.iter().filter(|record| is_comparable(record)).collect();
    let works = grouped(&points, work);
    let mut advice = Advice::default();
    for purpose in Use::ALL {
        let rankings = works.iter().filter_map(|(of_work, points)| rank(purpose, of_work.clone(), points));
        let before = advice.rankings.len();
        advice.rankings.extend(rankings);
        if advice.rankings.len() == before {
            let reason = match (points.is_empty(), purpose) {
                (true, _) => "no engine has a finished point",
                (_, Use::Efficiency) => "neither energy nor processor time was measured",
                (_, Use::Latency) => "there is no load that all engines finished, or no latency was measured at it",
                _ => "there is no load that all engines finished",
            };
            advice.missing.push((purpose.name(), reason.to_owned()));
        }
    }
    advice
}

fn rank(purpose: Use, work: String, points: &[&PointRecord]) -> Option<Ranking> {
    let engines = grouped(points, configuration);
    // What an engine did not finish, none is compared at.
    let common: Vec<Level> = grouped(points, Level::of)
        .into_iter()
        .filter(|(_, finished)| distinct(finished, configuration).len() == engines.len())
        .map(|(level, _)| level)
        .collect();
    let (metric, unit, less) = match purpose {
        Use::Throughput | Use::Mixed => ("output token throughput", "output tokens/s", false),
        Use::Latency => latency_metric(&common, points)?,
        Use::Efficiency if any_energy(points) => ("energy per output token", "J/token", true),
        Use::Efficiency => ("processor time per output token", "CPU s/1000 tokens", true),
    };
    let entry = |(engine, points): &(String, Vec<&PointRecord>)| -> Option<Entry> {
        let (at, estimate) = match purpose {
            Use::Throughput => best(points, false, |trial| Some(trial.figures.output_token_throughput)),
            Use::Efficiency if any_energy(points) => best(points, true, TrialRecord::energy_per_token_j),
            Use::Efficiency if unit == "J/token" => None,
            Use::Efficiency => best(points, true, cpu_per_token),
            Use::Latency => latency(points, &common),
            Use::Mixed => mixed(points, &common),
        }?;
        Some(Entry { engine: engine.clone(), at, estimate })
    };
    let mut entries: Vec<Entry> = engines.iter().filter_map(entry).collect();
    entries.sort_by(|a, b| {
        let order = a.estimate.value.total_cmp(&b.estimate.value);
        if less { order } else { order.reverse() }
    });
    (!entries.is_empty()).then_some(Ranking { purpose, work, metric, unit, less, entries, refused: None })
}

/// Values of the trials that throughput is over.
fn values(record: &PointRecord, of: impl Fn(&TrialRecord) -> Option<f64>) -> Vec<f64> {
    record.counted(record.point.load.method()).filter_map(of).collect()
}

fn best(points: &[&PointRecord], less: bool, of: impl Fn(&TrialRecord) -> Option<f64>) -> Option<(String, Estimate)> {
    let all = points.iter().filter_map(|record| Some((Level::of(record).text(), Estimate::of(&values(record, &of))?)));
    let better = |a: &(String, Estimate), b: &(String, Estimate)| {
        let order = a.1.value.total_cmp(&b.1.value);
        if less { order.reverse() } else { order }
    };
    all.max_by(better)
}

fn any_energy(points: &[&PointRecord]) -> bool {
    points.iter().any(|record| values(record, TrialRecord::energy_per_token_j).iter().any(|joule| *joule > 0.0))
}

fn cpu_per_token(trial: &TrialRecord) -> Option<f64> {
    let tokens = trial.summary.output_tokens;
    let seconds = trial.hardware.telemetry.host.as_ref()?.cpu_seconds;
    (tokens > 0 && seconds > 0.0).then(|| seconds / tokens as f64 * 1000.0)
}

/// The smallest load that all engines finished.
fn smallest(common: &[Level]) -> Option<&Level> {
    common.iter().min_by(|a, b| a.value.total_cmp(&b.value))
}

/// Requests that are handed over one by one: the engine's own call is then as long as its requests take.
fn one_by_one(record: &PointRecord) -> bool {
    matches!(record.point.load, Load::Offline { batch: 1 })
}

fn latency_metric(common: &[Level], points: &[&PointRecord]) -> Option<(&'static str, &'static str, bool)> {
    let level = smallest(common)?;
    let at_level = || points.iter().filter(|record| Level::of(record) == *level);
    let single = at_level().all(|record| one_by_one(record));
    Some((if single { "time of a whole request, one at a time" } else { "end-to-end latency, p50" }, "ms", true))
}

fn latency(points: &[&PointRecord], common: &[Level]) -> Option<(String, Estimate)> {
    let level = smallest(common)?;
    let record = points.iter().find(|record| Level::of(record) == *level)?;
    let values: Vec<f64> = if one_by_one(record) {
        values(record, |trial| Some(trial.summary.seconds() * 1000.0 / f64::from(trial.summary.requests.max(1))))
    } else {
        let steps = record.counted(Method::Steps);
        steps.filter_map(|trial| Some(trial.figures.e2e.as_ref()?.p50)).collect()
    };
    Some((level.text(), Estimate::of(&values)?))
}

/// The geometric mean over the common loads. Its interval is that of the intervals' ends: wider than need be.
fn mixed(points: &[&PointRecord], common: &[Level]) -> Option<(String, Estimate)> {
    let estimates = common.iter().map(|level| {
        let record = points.iter().find(|record| Level::of(record) == *level)?;
        Estimate::of(&values(record, |trial| Some(trial.figures.output_token_throughput)))
    });
    let estimates: Vec<Estimate> = estimates.collect::<Option<_>>()?;
    let mean = |of: &dyn Fn(&Estimate) -> Option<f64>| -> Option<f64> {
        let logs: Vec<f64> = estimates.iter().map(|e| of(e).map(f64::ln)).collect::<Option<_>>()?;
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp()).filter(|m| m.is_finite())
    };
    let value = mean(&|e| Some(e.value))?;
    let interval = mean(&|e| Some(e.interval?.0)).zip(mean(&|e| Some(e.interval?.1)));
    let null_reason = estimates.iter().find_map(|estimate| estimate.null_reason.clone());
    let mut levels: Vec<f64> = common.iter().map(|level| level.value).collect();
    levels.sort_by(f64::total_cmp);
    let levels: Vec<String> = levels.iter().map(ToString::to_string).collect();
    let at = format!("geometric mean over {} {}", common.first()?.name, levels.join(", "));
    Some((at, Estimate { value, interval, null_reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    /// A point of `batch`, of six trials around `throughput`, each a share `spread` apart.
    fn point(engine: &str, batch: u32, throughput: f64, spread: f64) -> PointRecord {
        let text = batch.to_string();
        let mut record = testing::point(batch, engine, &[("batch", &text)]);
        for number in 0..6 {
            let rate = throughput * (1.0 + spread * (f64::from(number) - 2.5));
            record.trials.push(testing::trial(number, Method::Generate, rate));
        }
        record
    }

    fn ranking(advice: &Advice, purpose: Use) -> &Ranking {
        advice.rankings.iter().find(|ranking| ranking.purpose == purpose).unwrap()
    }

    #[test]
    fn a_clear_lead_is_called_clear() {
        let records =
            [("a", 1, 100.0), ("a", 8, 500.0), ("b", 1, 120.0), ("b", 8, 250.0)].map(|(e, n, t)| point(e, n, t, 0.002));
        let advice = of(&records);
        let throughput = ranking(&advice, Use::Throughput);
        assert_eq!((throughput.sureness(), throughput.entries[0].engine.as_str()), (Sureness::Clear, "a"));
        assert_eq!((throughput.place(0), throughput.place(1)), (1, 2));
        assert!(
            throughput.sentence().starts_with(
                "500.0 output tokens/s (95 % interval 497.5 … 502.5), batch 8. That is 2.000 times (1.980 … 2.020) b."
            ),
            "{}",
            throughput.sentence()
        );
        // 64 requests of 64 tokens one by one: 4096 tokens / 120 tokens/s / 64 requests.
        let latency = ranking(&advice, Use::Latency);
        assert_eq!(
            (latency.entries[0].engine.as_str(), latency.metric),
            ("b", "time of a whole request, one at a time")
        );
        assert!((latency.entries[0].estimate.value - 64.0 / 120.0 * 1000.0).abs() < 0.01);
        let mixed = ranking(&advice, Use::Mixed);
        assert!((mixed.entries[0].estimate.value - 50_000_f64.sqrt()).abs() < 1e-6, "{mixed:?}");
        assert_eq!(mixed.entries[0].at, "geometric mean over batch 1, 8");
        assert_eq!(advice.missing, [("efficiency", "neither energy nor processor time was measured".to_owned())]);
    }

    #[test]
    fn engines_that_did_not_do_the_same_work_have_no_winner() {
        let mut advice = of(&[("a", 100.0), ("b", 50.0)].map(|(e, t)| point(e, 8, t, 0.002)));
        let found = &mut advice.rankings[0];
        assert_eq!(found.sureness(), Sureness::Clear);
        found.refused = Some("because the engines are not the same in kv_dtype (f16 and f32)".to_owned());
        assert_eq!((found.sureness(), found.candidates(), found.lead(&found.entries[1])), (Sureness::Refused, 2, None));
        let says = found.sentence();
        assert!(
            says.contains("No winner and no ratio") && says.contains("kv_dtype") && !says.contains("times"),
            "{says}"
        );
    }

    #[test]
    fn overlapping_intervals_are_ambiguous_and_share_a_place() {
        let records = [("a", 100.0, 0.02), ("b", 101.0, 0.02), ("c", 50.0, 0.02)].map(|(e, t, s)| point(e, 8, t, s));
        let advice = of(&records);
        let throughput = ranking(&advice, Use::Throughput);
        assert_eq!((throughput.sureness(), throughput.candidates()), (Sureness::Ambiguous, 2));
        assert_eq!([throughput.place(0), throughput.place(1), throughput.place(2)], [1, 1, 3]);
        assert!(throughput.sentence().contains("does not tell which is better"), "{}", throughput.sentence());
    }

    #[test]
    fn doubles_and_failed_points_are_never_ranked() {
        let mut failed = point("b", 8, 9000.0, 0.0);
        failed.outcome = testing::records().remove(2).outcome;
        let records = [point("a", 8, 10.0, 0.0), failed, point("sim", 8, 9000.0, 0.0)];
        let advice = of(&records);
        for ranking in &advice.rankings {
            let engines: Vec<&str> = ranking.entries.iter().map(|entry| entry.engine.as_str()).collect();
            assert_eq!((engines, ranking.sureness()), (vec!["a"], Sureness::Alone));
        }
        let none = of(&[point("sim", 8, 1.0, 0.0)]);
        assert!(none.rankings.is_empty() && none.missing.len() == 4);
        assert_eq!(none.missing[0].1, "no engine has a finished point");
    }

    #[test]
    fn few_trials_give_no_verdict() {
        let mut records = [point("a", 8, 100.0, 0.0), point("b", 8, 50.0, 0.0)];
        records[1].trials.truncate(3);
        let advice = of(&records);
        let throughput = ranking(&advice, Use::Throughput);
        assert_eq!(throughput.sureness(), Sureness::Unknown);
        assert!(throughput.sentence().contains("3 trials are too few"), "{}", throughput.sentence());
    }

    #[test]
    fn loads_that_not_all_finished_are_left_out_of_mixed() {
        let records = [point("a", 1, 100.0, 0.0), point("a", 8, 700.0, 0.0), point("b", 1, 90.0, 0.0)];
        let advice = of(&records);
        assert_eq!(ranking(&advice, Use::Mixed).entries[0].at, "geometric mean over batch 1");
        assert_eq!(ranking(&advice, Use::Throughput).entries[0].at, "batch 8");
    }
}
