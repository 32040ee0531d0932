//! The comparisons of a run whose points were measured side by side: `comparison.json`.
use serde::{Deserialize, Serialize};

use super::{Better, Figure, refusal::invalid};
use crate::{
    fairness::{self, Ratio},
    metrics::median,
    plan::{
        Plan,
        compare::{Arm, Compare},
    },
    results::{PointRecord, PointStatus, RunInfo},
    stats::{
        Bimodality, Cost, Needed, RESAMPLES, bimodality, needed,
        paired::{Block, Judge, Paired, compare, trials_a_block},
    },
};

/// The claim that a plan for the next run is made for.
const CLAIM: f64 = 0.01;

/// One side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// The point's number.
    pub point: u32,
    /// 1 for the second cell of an A/A comparison.
    pub copy: u32,
    /// The engine, with its own axes.
    pub label: String,
    /// What stands in for an engine.
    pub double: Option<String>,
    /// The figure's median over all trials, in its unit.
    pub median: Option<f64>,
    /// Two places that its trials lie around, in the figure's unit, where they are further apart than the threshold.
    pub bimodal: Option<Bimodality>,
}

/// A figure of two points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The work, in words: the axes that both share.
    pub work: String,
    /// Such as `output_token_throughput`.
    pub figure: String,
    /// Its unit.
    pub unit: String,
    /// In which direction it is better.
    pub better: Better,
    /// What the other is held against.
    pub a: Side,
    /// The other.
    pub b: Side,
    /// As speeds: a latency's ratio is that of its inverse, so that above 1 `b` is faster.
    pub result: Option<Paired>,
    /// Why there is none.
    pub null_reason: Option<String>,
    /// What else differs and was allowed by name.
    #[serde(default)]
    pub label: Option<String>,
    /// The cheapest design that would tell 1 %, from the spread found here.
    pub needed: Option<Needed>,
}

/// All comparisons of a run; empty where it did not compare.
pub fn comparisons(info: &RunInfo, records: &[PointRecord]) -> Vec<Comparison> {
    // A plan of ten thousand points is not read to find that it compares nothing.
    if info.plan.get("compare").is_none_or(serde_json::Value::is_null) {
        return Vec::new();
    }
    let plan: Option<Plan> = Plan::deserialize(&info.plan).ok();
    let Some((plan, how)) = plan.and_then(|plan| plan.compare.clone().map(|how| (plan, how))) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for group in how.groups(&plan.points).unwrap_or_default() {
        for (index, a) in group.arms.iter().enumerate() {
            for b in &group.arms[index + 1..] {
                let find = |arm: &Arm| records.iter().find(|record| record.point.number == arm.point);
                let (Some(one), Some(other)) = (find(a), find(b)) else { continue };
                let ratio = fairness::between((info, one), (info, other), &how.allowed);
                let invalid = [invalid("the first", info, one), invalid("the second", info, other)].concat();
                let pair = Pair { how: &how, a: (*a, one), b: (*b, other), ratio, invalid };
                all.extend(Figure::of_pairs().iter().filter_map(|figure| pair.compare(figure)));
            }
        }
    }
    all
}

struct Pair<'a> {
    how: &'a Compare,
    a: (Arm, &'a PointRecord),
    b: (Arm, &'a PointRecord),
    /// Whether their ratio may be shown.
    ratio: Ratio,
    /// Why its figures are not to be believed.
    invalid: Vec<String>,
}

impl Pair<'_> {
    /// None for a latency that the trials do not tell.
    fn compare(&self, figure: &Figure) -> Option<Comparison> {
        let failed = [self.a.1, self.b.1].into_iter().find_map(|record| match &record.outcome {
            PointStatus::Failed(failure) => Some(failure.reason.clone()),
            PointStatus::Ok => None,
        });
        let told = [self.a, self.b].iter().all(|side| !values(*side, figure).is_empty());
        if !told && (figure.better == Better::Lower || failed.is_none()) {
            return None;
        }
        let blocks = self.blocks(figure);
        let resident =
            |record: &PointRecord| record.trials.iter().all(|trial| trial.turn.is_some_and(|turn| turn.resident));
        let judge = Judge {
            threshold: self.how.threshold,
            resident: resident(self.a.1) && resident(self.b.1),
            resamples: RESAMPLES,
            seed: self.a.1.point.workload.seed,
        };
        let refused = self.ratio.is_refused().then(|| self.ratio.note());
        let invalid = (!self.invalid.is_empty()).then(|| self.invalid.join("; "));
        let judged = failed.or(refused).or(invalid).map_or_else(|| compare(&blocks, &judge), Err);
        let needed = judged
            .as_ref()
            .ok()
            .and_then(|result| needed(CLAIM, &result.components, &self.cost(&blocks), judge.resident));
        let (result, null_reason) = match judged {
            Ok(result) => (Some(result), None),
            Err(reason) => (None, Some(reason)),
        };
        Some(Comparison {
            work: work(self.a.1),
            figure: figure.name.clone(),
            unit: figure.unit.to_owned(),
            better: figure.better,
            a: side(self.a, figure, self.how.threshold),
            b: side(self.b, figure, self.how.threshold),
            result,
            null_reason,
            label: matches!(self.ratio, Ratio::Labelled(_)).then(|| self.ratio.note()),
            needed,
        })
    }

    /// The blocks in which both have all their turns.
    fn blocks(&self, figure: &Figure) -> Vec<Block> {
        let mut blocks = Vec::new();
        for launch in 0..self.how.launches {
            for block in 0..self.how.blocks {
                let of = |(arm, record): (Arm, &PointRecord)| -> Vec<f64> {
                    let trials = record.trials.iter().filter(|trial| {
                        trial.counts()
                            && trial.turn.is_some_and(|t| (t.launch, t.block, t.copy) == (launch, block, arm.copy))
                    });
                    trials.filter_map(|trial| figure.speed(&trial.figures)).collect()
                };
                let (a, b) = (of(self.a), of(self.b));
                let whole = 2 * self.how.trials as usize;
                if a.len() == whole && b.len() == whole {
                    blocks.push(Block { launch, a, b });
                }
            }
        }
        blocks
    }

    fn cost(&self, blocks: &[Block]) -> Cost {
        let both = [self.a.1, self.b.1];
        let seconds = |record: &PointRecord| {
            let each: Vec<f64> = record.trials.iter().map(|trial| trial.summary.seconds()).collect();
            median(&each).unwrap_or(0.0)
        };
        let launch = |record: &PointRecord| record.load_ns.unwrap_or(0) as f64 / 1e9 + 3.0 * seconds(record);
        Cost {
            launch: both.iter().map(|record| launch(record)).sum(),
            pair: both.iter().map(|record| seconds(record)).sum(),
            trials: trials_a_block(blocks),
        }
    }
}

fn values((arm, record): (Arm, &PointRecord), figure: &Figure) -> Vec<f64> {
    let own =
        record.trials.iter().filter(|trial| trial.counts() && trial.turn.is_some_and(|turn| turn.copy == arm.copy));
    own.filter_map(|trial| figure.of(&trial.figures)).collect()
}

fn side(at: (Arm, &PointRecord), figure: &Figure, threshold: f64) -> Side {
    let (arm, record) = at;
    let values = values(at, figure);
    let apart = |found: &Bimodality| found.high.center > found.low.center * (1.0 + threshold);
    Side {
        point: arm.point,
        copy: arm.copy,
        label: own_label(arm, record),
        double: record.engine.as_ref().and_then(|engine| engine.double.clone()),
        median: median(&values),
        bimodal: bimodality(&values, record.point.workload.seed).filter(apart),
    }
}

/// The engine with what of its configuration the plan varies.
fn own_label(arm: Arm, record: &PointRecord) -> String {
    let own = record.point.axes.iter().filter_map(|(name, value)| Some((name.strip_prefix("engine.")?, value)));
    let label = own.fold(record.point.engine.id.clone(), |label, (name, value)| {
        format!("{label} {}={value}", name.rsplit('.').next().unwrap_or(name))
    });
    if arm.copy == 0 { label } else { format!("{label} (again)") }
}

fn work(record: &PointRecord) -> String {
    let shared = record.point.axes.iter().filter(|(name, _)| !name.starts_with("engine."));
    shared.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::protocol::Method,
        comparison::{PRIMARY, paired_markdown, paired_text},
        fairness::Difference,
        results::{Turn, testing},
    };

    /// A point of two launches of three blocks.
    fn record(number: u32, engine: &str, throughput: f64) -> PointRecord {
        let mut record = testing::point(number, engine, &[]);
        for (index, (launch, block)) in (0..).zip((0..2).flat_map(|launch| (0..3).map(move |block| (launch, block)))) {
            for half in 0..2 {
                let mut trial = testing::trial(index * 2 + half, Method::Generate, throughput);
                trial.turn = Some(Turn { launch, block, copy: 0, resident: true });
                record.trials.push(trial);
            }
        }
        "compare".clone_into(&mut record.stopped_by);
        record
    }

    fn compared(a: &PointRecord, b: &PointRecord, ratio: Ratio) -> Comparison {
        let how = Compare::parse("abba,launches=2,blocks=3").unwrap();
        let arm = |point| Arm { point, copy: 0 };
        let pair = Pair { how: &how, a: (arm(0), a), b: (arm(1), b), ratio, invalid: Vec::new() };
        pair.compare(&Figure::named(PRIMARY).unwrap()).unwrap()
    }

    #[test]
    fn what_was_allowed_by_name_stands_beside_the_verdict_wherever_it_is_told() {
        let (a, b) = (record(0, "llama.cpp", 1000.0), record(1, "vllm", 1100.0));
        let differences = vec![Difference {
            field: "weights_dtype".to_owned(),
            a: "F16".to_owned(),
            b: "bfloat16".to_owned(),
            blocking: Some("other work".to_owned()),
        }];
        let refused = compared(&a, &b, Ratio::Refused(differences.clone()));
        assert!(refused.result.is_none() && refused.label.is_none());
        assert!(paired_text(&[refused]).contains("not compared: refused: not the same in weights_dtype"));
        let labelled = [compared(&a, &b, Ratio::Labelled(differences))];
        assert_eq!(labelled[0].result.as_ref().map(|result| result.verdict.as_str()), Some("FASTER"));
        for text in [paired_text(&labelled), paired_markdown(&labelled).replace('\\', "")] {
            assert!(text.contains("not the same in weights_dtype (F16 and bfloat16)"), "{text}");
        }
    }
    #[test]
    fn what_the_interval_is_over_is_told_with_its_own_reason() {
        let [mut a, mut b] = [record(0, "llama.cpp", 1000.0), record(1, "llama.cpp", 1100.0)];
        let with = |a: &PointRecord, b: &PointRecord| paired_text(&[compared(a, b, Ratio::Plain)]);
        assert!(with(&a, &b).contains("blocks of all launches as one sample"), "{}", with(&a, &b));
        assert!(!with(&a, &b).contains("not known from one"));
        for trial in a.trials.iter_mut().chain(&mut b.trials) {
            trial.turn.as_mut().unwrap().resident = false;
        }
        let text = with(&a, &b);
        assert!(text.contains("because the engines were never loaded together") && !text.contains("differ;"), "{text}");
        for record in [&mut a, &mut b] {
            record.trials.retain(|trial| trial.turn.is_some_and(|turn| turn.launch == 0));
        }
        assert!(with(&a, &b).contains("how launches differ is not known from one"), "{}", with(&a, &b));
    }
}
