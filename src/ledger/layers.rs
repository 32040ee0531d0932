//! Paired differences between rungs.
use super::Rung;
use super::engine::Process;
use super::record::{Cost, Layer, PointLedger, RungRecord, RungState, SameOutputs, TurnRecord};
use crate::stats::{
    RESAMPLES,
    paired::{Judge, estimate},
};

/// Fills in what a point's turns come to; `apart` as [`Process::of`] takes it.
pub(super) fn settle(point: &mut PointLedger, seed: u64, apart: bool) {
    let measured: Vec<&RungRecord> =
        point.rungs.iter().filter(|rung| matches!(rung.state, RungState::Measured) && !rung.turns.is_empty()).collect();
    let work = Work { batch: point.batch, output_tokens: point.output_tokens, seed, apart };
    let find = |rung: Rung| measured.iter().find(|record| record.rung == rung).copied();
    let layers = measured.iter().filter_map(|to| {
        let from = to.rung.bases().iter().find_map(|base| find(*base))?;
        Some(work.layer(from, to))
    });
    let layers: Vec<Layer> = layers.collect();
    let totals = measured.iter().skip(1).map(|to| work.layer(measured[0], to)).collect();
    let same_outputs = same_outputs(&measured);
    (point.layers, point.totals, point.same_outputs) = (layers, totals, same_outputs);
}

struct Work {
    batch: u32,
    output_tokens: u32,
    seed: u64,
    apart: bool,
}

impl Work {
    fn layer(&self, from: &RungRecord, to: &RungRecord) -> Layer {
        let blocks = blocks(from, to, self.apart);
        let judge = Judge { threshold: 0.0, resident: blocks.resident, resamples: RESAMPLES, seed: self.seed };
        let mut layer = Layer {
            from: from.rung,
            to: to.rung,
            what: to.rung.layer(from.rung).to_owned(),
            batch_ms: None,
            request_ms: None,
            output_token_us: None,
            ratio: None,
            unit: None,
            ratio_unit: None,
            launches: blocks.seconds.len() as u32,
            blocks: blocks.seconds.iter().map(Vec::len).sum::<usize>() as u32,
            note: Some("there is no block in which both had their turns".to_owned()),
        };
        if layer.blocks == 0 {
            return layer;
        }
        let seconds = estimate(&blocks.seconds, &judge);
        let logs = estimate(&blocks.logs, &judge);
        let interval = |of: Option<(f64, f64)>| (of.map(|ends| ends.0), of.map(|ends| ends.1));
        let (low, high) = interval(seconds.interval);
        let batch = Cost { mean: seconds.mean, low, high }.times(1e3);
        let (low, high) = interval(logs.interval);
        layer.batch_ms = Some(batch);
        layer.request_ms = Some(batch.times(1.0 / f64::from(self.batch)));
        layer.output_token_us = Some(batch.times(1e3 / (f64::from(self.batch) * f64::from(self.output_tokens))));
        layer.ratio = Some(Cost { mean: logs.mean.exp(), low: low.map(f64::exp), high: high.map(f64::exp) });
        layer.unit = Some(seconds.unit);
        layer.ratio_unit = Some(logs.unit);
        layer.note = seconds.note;
        layer
    }
}

/// The blocks' differences, a row a launch: in seconds, and of logarithms.
struct Blocks {
    seconds: Vec<Vec<f64>>,
    logs: Vec<Vec<f64>>,
    /// Whether both sides were at hand in all of them.
    resident: bool,
}

fn blocks(from: &RungRecord, to: &RungRecord, apart: bool) -> Blocks {
    let mut found = Blocks { seconds: Vec::new(), logs: Vec::new(), resident: true };
    let launches = from.turns.iter().map(|turn| turn.launch + 1).max().unwrap_or(0);
    for launch in 0..launches {
        let (mut seconds, mut logs) = (Vec::new(), Vec::new());
        let count =
            from.turns.iter().filter(|turn| turn.launch == launch).map(|turn| turn.block + 1).max().unwrap_or(0);
        for block in 0..count {
            let of = |record: &RungRecord| -> Vec<TurnRecord> {
                record.turns.iter().filter(|turn| (turn.launch, turn.block) == (launch, block)).cloned().collect()
            };
            let (a, b) = (of(from), of(to));
            // Both have had both their turns: what drifts cancels only then.
            if a.len() != 2 || b.len() != 2 {
                continue;
            }
            // Rungs of one process alternate in blocks even where processes have launches of their own.
            let one_process = Process::of(from.rung, apart) == Process::of(to.rung, apart);
            found.resident &= one_process || a.iter().chain(&b).all(|turn| turn.resident);
            let mean = |turns: &[TurnRecord], of: fn(f64) -> f64| {
                turns.iter().map(|turn| of(turn.seconds)).sum::<f64>() / turns.len() as f64
            };
            seconds.push(mean(&b, |s| s) - mean(&a, |s| s));
            logs.push(mean(&b, f64::ln) - mean(&a, f64::ln));
        }
        if !seconds.is_empty() {
            found.seconds.push(seconds);
            found.logs.push(logs);
        }
    }
    found
}

fn same_outputs(measured: &[&RungRecord]) -> Option<SameOutputs> {
    let told: Vec<&&RungRecord> =
        measured.iter().filter(|record| record.turns.iter().all(|turn| turn.output_digest.is_some())).collect();
    let (first, others) = told.split_first().filter(|(_, others)| !others.is_empty())?;
    let (mut same, mut of) = (0, 0);
    for turn in &first.turns {
        let key = |turn: &TurnRecord| (turn.launch, turn.block, turn.second);
        let digests = others.iter().filter_map(|other| other.turns.iter().find(|its| key(its) == key(turn)));
        let alike: Vec<bool> = digests.map(|its| its.output_digest == turn.output_digest).collect();
        if alike.len() == others.len() {
            of += 1;
            same += u32::from(alike.into_iter().all(|alike| alike));
        }
    }
    (of > 0).then_some(SameOutputs { same, of })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::paired::Unit;

    /// Turns of a rung that takes so long, with a drift that grows from turn to turn and is the same for all.
    fn rung(rung: Rung, ms: f64, resident: bool) -> RungRecord {
        let mut turns = Vec::new();
        for launch in 0..3 {
            for block in 0..4 {
                for second in [false, true] {
                    let drift = f64::from(launch * 8 + block * 2) * 0.1;
                    // A little noise that no two blocks share.
                    let noise = f64::from((launch * 7 + block * 5 + u32::from(second) * 3 + rung as u32) % 4) * 0.01;
                    turns.push(TurnRecord {
                        launch,
                        block,
                        second,
                        resident,
                        seconds: (ms + drift + noise) / 1e3,
                        input_tokens: Some(16),
                        output_tokens: 8,
                        output_digest: (rung != Rung::Http).then(|| format!("{launch}{block}{second}")),
                        characters: None,
                        first_event_ms: None,
                    });
                }
            }
        }
        RungRecord { rung, state: RungState::Measured, warmup_seconds: Vec::new(), turns }
    }

    fn point(rungs: Vec<RungRecord>) -> PointLedger {
        let mut point = PointLedger {
            batch: 2,
            input_tokens: 8,
            output_tokens: 4,
            prompts_digest: None,
            same_outputs: None,
            rungs,
            layers: Vec::new(),
            totals: Vec::new(),
        };
        settle(&mut point, 1, false);
        point
    }

    #[test]
    fn a_layer_costs_what_its_rung_takes_longer_whatever_drifts() {
        let missing = RungState::NotOffered { reason: "none".to_owned() };
        let rungs = vec![
            rung(Rung::Steps, 10.0, true),
            rung(Rung::Generate, 10.5, true),
            RungRecord { state: missing, turns: Vec::new(), ..rung(Rung::Child, 0.0, true) },
            rung(Rung::Http, 14.5, true),
        ];
        let point = point(rungs);
        let pairs: Vec<(Rung, Rung)> = point.layers.iter().map(|layer| (layer.from, layer.to)).collect();
        assert_eq!(pairs, [(Rung::Steps, Rung::Generate), (Rung::Generate, Rung::Http)]);
        let http = &point.layers[1];
        let batch = http.batch_ms.unwrap();
        assert!((batch.mean - 4.0).abs() < 0.03 && batch.low.unwrap() > 3.9 && batch.high.unwrap() < 4.1, "{batch:?}");
        // 2 requests of 4 tokens.
        assert!((http.request_ms.unwrap().mean - batch.mean / 2.0).abs() < 1e-12);
        assert!((http.output_token_us.unwrap().mean - batch.mean * 1e3 / 8.0).abs() < 1e-9);
        assert!(http.ratio.unwrap().mean > 1.3 && http.blocks == 12, "{http:?}");
        assert_eq!(point.totals.len(), 2);
        assert_eq!((point.totals[1].from, point.totals[1].to), (Rung::Steps, Rung::Http));
        assert_eq!(point.same_outputs, Some(SameOutputs { same: 24, of: 24 }));
    }

    #[test]
    fn processes_with_launches_of_their_own_are_judged_by_launches() {
        let point = point(vec![
            rung(Rung::Steps, 10.0, false),
            rung(Rung::Generate, 10.5, false),
            rung(Rung::Http, 14.5, false),
        ]);
        assert_eq!(point.layers[0].unit, Some(Unit::Block));
        assert_eq!(point.layers[1].unit, Some(Unit::Launch));
    }

    #[test]
    fn a_ratio_says_what_its_own_interval_is_over() {
        // The same milliseconds more in every launch, on top of turns that take ever longer: only the ratio differs.
        let slower = |mut record: RungRecord| {
            for turn in &mut record.turns {
                turn.seconds += 0.02 * f64::from(turn.launch);
            }
            record
        };
        let point = point(vec![slower(rung(Rung::Steps, 10.0, true)), slower(rung(Rung::Http, 14.5, true))]);
        let layer = &point.layers[0];
        assert_eq!((layer.unit, layer.ratio_unit), (Some(Unit::Block), Some(Unit::Launch)), "{layer:?}");
        let text = crate::ledger::render::over(layer);
        assert_eq!(text, "12 blocks; the ratio over 3 launches");
        // Student's with 2 degrees of freedom over the launches' logarithms.
        let logs: Vec<f64> = [1.45, 34.5 / 30.0, 54.5 / 50.0].map(f64::ln).to_vec();
        let mean = logs.iter().sum::<f64>() / 3.0;
        let error = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / 6.0).sqrt();
        let ratio = layer.ratio.unwrap();
        assert!((ratio.low.unwrap().ln() - (mean - 4.303 * error)).abs() < 0.02, "{ratio:?} {mean} {error}");
    }

    #[test]
    fn a_block_in_which_one_side_lacks_a_turn_does_not_count() {
        let mut short = rung(Rung::Generate, 10.5, true);
        short.turns.remove(0);
        let whole = point(vec![rung(Rung::Steps, 10.0, true), short]);
        assert_eq!(whole.layers[0].blocks, 11);
        let mut none = rung(Rung::Generate, 10.5, true);
        none.turns.truncate(1);
        let none = point(vec![rung(Rung::Steps, 10.0, true), none]);
        assert!(none.layers[0].batch_ms.is_none() && none.layers[0].note.as_ref().unwrap().contains("no block"));
    }
}
