//! What two engines come to.
//!
//! The joint floor F is the largest of both engines' own floors and [`dtype_floor`] of the coarser of their number types.
//! If every log-probability is within F of the true one's other rendering, the order of two ids can only change where the
//! margin between them is at most 2 F: each of the two may move by F. So a divergence at a margin of at most 2 F is what
//! another order of arithmetic does, and one at a wider margin is not.
use super::record::{Divergence, ForcedComparison, PairAgreement, Taker, Verdict};
use super::section::nats;
use crate::engine::Scored;

/// The least share of positions at which two engines must have the same likeliest id along the common continuations to be
/// one model. On flat predictions every margin is small and the margin rule alone says nothing; of a trained model's
/// positions in bfloat16 about one in five has a margin under 2 F, and a flip needs errors of opposite sign on top of that.
pub const LEAST_AGREEMENT: f64 = 0.9;

/// By how much correct engines differ in a log-probability when they compute in that type, in nats. float32: between llama.cpp and
/// vLLM or MAX on the same weights 4e-4 in the median was seen (docs/results/2026-11-22-agreement-cpu), between those two 7e-6. For
/// the 16-bit types: a bfloat16 logit of 16 to 32 has steps of 0.125, and two of them are rounded; float16's are 8 times finer.
/// Quantised types are dequantised to, or multiplied in, such a type: they get bfloat16's. 0 where nothing is computed.
pub fn dtype_floor(dtype: &str) -> f64 {
    match dtype {
        "none" => 0.0,
        "f64" | "f32" => 1e-3,
        "f16" => 0.25 / 8.0,
        _ => 0.25,
    }
}

/// Compares two engines that generated from the same prompts and scored `reference`, a continuation a prompt.
pub fn compare(a: &Taker, b: &Taker, reference: &[Vec<u32>]) -> PairAgreement {
    let floor =
        [a.floor.lp(), b.floor.lp(), dtype_floor(&a.dtype), dtype_floor(&b.dtype)].into_iter().fold(0.0, f64::max);
    let mut pair = PairAgreement {
        a: a.label.clone(),
        b: b.label.clone(),
        verdict: None,
        why: String::new(),
        floor,
        identical: 0,
        divergences: Vec::new(),
        forced: None,
    };
    if let Some((who, why)) = [a, b].iter().find_map(|taker| Some((&taker.label, taker.failed.as_ref()?))) {
        pair.why = format!("{who} could not take part: {why}");
        return pair;
    }
    pair.divergences = divergences(a, b, reference);
    pair.identical = (a.outputs.len() - pair.divergences.len()) as u32;
    pair.forced = match (&a.scores, &b.scores) {
        (Some(one), Some(other)) => forced(one, other),
        _ => None,
    };
    let (verdict, why) = decide(&pair, [a, b].iter().find_map(|taker| taker.scores_null_reason.as_deref()));
    pair.verdict = Some(verdict);
    pair.why = why;
    pair
}

fn divergences(a: &Taker, b: &Taker, reference: &[Vec<u32>]) -> Vec<Divergence> {
    let mut found = Vec::new();
    for (prompt, (one, other)) in a.outputs.iter().zip(&b.outputs).enumerate() {
        let Some(position) = one.iter().zip(other).position(|(a, b)| a != b) else { continue };
        // What was scored is the reference: it tells of this position only if both followed it so far.
        let followed = reference.get(prompt).and_then(|ids| ids.get(..position)) == Some(&one[..position]);
        let at = |taker: &Taker| taker.scores.as_ref()?.get(prompt)?.get(position).copied();
        let told: Vec<Scored> = [at(a), at(b)].into_iter().flatten().filter(|_| followed).collect();
        let (a, b) = (one[position], other[position]);
        let two = |scored: &Scored| [(a, b), (b, a)].contains(&(scored.top1, scored.top2));
        found.push(Divergence {
            prompt: prompt as u32,
            position: position as u32,
            a,
            b,
            margin: told.iter().map(Scored::margin).reduce(f64::max),
            of_top_two: told.iter().all(two),
        });
    }
    found
}

fn forced(one: &[Vec<Scored>], other: &[Vec<Scored>]) -> Option<ForcedComparison> {
    let pairs: Vec<(&Scored, &Scored)> = one.iter().flatten().zip(other.iter().flatten()).collect();
    let apart: Vec<f64> = pairs.iter().map(|(a, b)| (a.given_lp - b.given_lp).abs()).collect();
    let flips = pairs.iter().filter(|(a, b)| a.top1 != b.top1);
    let widths: Vec<f64> = flips.map(|(a, b)| a.margin().max(b.margin())).collect();
    Some(ForcedComparison {
        positions: pairs.len() as u32,
        same_top: (pairs.len() - widths.len()) as u32,
        widest_flip: widths.iter().copied().reduce(f64::max),
        median_lp: crate::metrics::median(&apart)?,
        max_lp: apart.iter().copied().fold(0.0, f64::max),
    })
}

fn decide(pair: &PairAgreement, unscored: Option<&str>) -> (Verdict, String) {
    let (floor, limit) = (pair.floor, 2.0 * pair.floor);
    let explained = nats(limit);
    let alone = unscored.map_or_else(String::new, |why| format!(" (by outputs alone: {why})"));
    for parted in &pair.divergences {
        let place = format!("prompt {}, position {}", parted.prompt, parted.position);
        match parted.margin {
            Some(margin) if margin > limit => {
                let why = format!(
                    "outputs part at {place}, where the likeliest id leads by {} nats; the floor explains {explained}",
                    nats(margin)
                );
                return (Verdict::Different, why + &alone);
            }
            Some(_) if !parted.of_top_two => {
                let why = format!("outputs part at {place} into ids that are not the two likeliest");
                return (Verdict::Different, why + &alone);
            }
            None if pair.forced.is_none() => {
                let why =
                    format!("outputs part at {place}, and nothing tells by how much the likeliest id leads there");
                return (Verdict::Different, why + &alone);
            }
            _ => {}
        }
    }
    if let Some(forced) = &pair.forced {
        if let Some(width) = forced.widest_flip.filter(|width| *width > limit) {
            let why = format!(
                "along the same ids, predictions differ where one leads by {} nats; the floor explains {explained}",
                nats(width)
            );
            return (Verdict::Different, why);
        }
        let share = f64::from(forced.same_top) / f64::from(forced.positions.max(1));
        if share < LEAST_AGREEMENT {
            let why = format!(
                "along the same ids, predictions are the same at {} of {} positions; expected {:.0} %",
                forced.same_top,
                forced.positions,
                LEAST_AGREEMENT * 100.0
            );
            return (Verdict::Different, why);
        }
        if forced.median_lp > floor {
            let why = format!(
                "along the same ids, log-probabilities differ by {} nats in the median; the floor is {}",
                nats(forced.median_lp),
                nats(floor)
            );
            return (Verdict::Different, why);
        }
        if pair.divergences.is_empty() && forced.widest_flip.is_none() && forced.max_lp <= floor {
            let why =
                format!("the same outputs and predictions, log-probabilities within {} nats", nats(forced.max_lp));
            return (Verdict::Same, why);
        }
        let why = format!(
            "log-probabilities within {} nats; all that differs does so at margins of at most {explained}",
            nats(forced.max_lp)
        );
        return (Verdict::Numerics, why);
    }
    if pair.divergences.is_empty() {
        return (Verdict::Same, format!("the same outputs{alone}"));
    }
    (Verdict::Numerics, format!("outputs part only at margins of at most {explained} nats{alone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ids at each position: 1 leads 2 by the margin.
    fn scored(margin: f64, shift: f64) -> Scored {
        Scored { top1: 1, top1_lp: -0.5 + shift, top2: 2, top2_lp: -0.5 - margin, given_lp: -0.5 + shift }
    }

    fn taker(label: &str, dtype: &str, outputs: &[u32], scores: Option<Vec<Scored>>) -> Taker {
        Taker {
            label: label.to_owned(),
            dtype: dtype.to_owned(),
            outputs: vec![outputs.to_vec()],
            scores_null_reason: scores.is_none().then(|| "its door is mute".to_owned()),
            scores: scores.map(|scores| vec![scores]),
            ..Taker::default()
        }
    }

    fn verdict(a: &Taker, b: &Taker) -> (Verdict, String) {
        let pair = compare(a, b, &a.outputs);
        (pair.verdict.unwrap(), pair.why)
    }

    #[test]
    fn the_same_is_the_same_within_the_floor() {
        let a = taker("a", "f32", &[1; 20], Some(vec![scored(1.0, 0.0); 20]));
        let within = taker("b", "f32", &[1; 20], Some(vec![scored(1.0, 5e-4); 20]));
        assert_eq!(verdict(&a, &within).0, Verdict::Same);
        // Beyond the floor in the median: other weights that happen to say the same.
        let beyond = taker("c", "f32", &[1; 20], Some(vec![scored(1.0, 5e-3); 20]));
        assert_eq!(verdict(&a, &beyond).0, Verdict::Different);
        // What bfloat16 explains.
        assert_eq!(verdict(&a, &taker("d", "bf16", &[1; 20], Some(vec![scored(1.0, 5e-3); 20]))).0, Verdict::Same);
    }

    #[test]
    fn a_divergence_is_numerics_at_a_narrow_margin_and_different_at_a_wide_one() {
        let mut parted = vec![1; 20];
        parted[7] = 2;
        let scores = |margin: f64| {
            let mut all = vec![scored(1.0, 0.0); 20];
            all[7] = scored(margin, 0.0);
            all
        };
        let a = |margin| taker("a", "f32", &[1; 20], Some(scores(margin)));
        let b = |margin| taker("b", "f32", &parted, Some(scores(margin)));
        assert_eq!(verdict(&a(1.9e-3), &b(1e-4)).0, Verdict::Numerics);
        let (found, why) = verdict(&a(2.1e-3), &b(1e-4));
        assert!(found == Verdict::Different && why.contains("position 7"), "{why}");
        // Its own noise is larger than what the type explains.
        let mut noisy = b(1e-4);
        noisy.floor.batch_lp = Some(2e-3);
        assert_eq!(verdict(&a(2.1e-3), &noisy).0, Verdict::Numerics);
        // An id that is not among the two likeliest.
        parted[7] = 9;
        let stray = taker("b", "f32", &parted, Some(scores(1e-4)));
        assert_eq!(verdict(&a(1e-4), &stray).0, Verdict::Different);
    }

    #[test]
    fn flat_predictions_do_not_pass_by_small_margins() {
        let flat = |top: u32| Scored { top1: top, top1_lp: -9.0, top2: 3 - top, top2_lp: -9.0001, given_lp: -9.0 };
        let a = taker("a", "f32", &[1; 20], Some(vec![flat(1); 20]));
        let b = taker("b", "f32", &[1; 20], Some((0..20).map(|at| flat(1 + at % 2)).collect()));
        let (found, why) = verdict(&a, &b);
        assert!(found == Verdict::Different && why.contains("10 of 20"), "{why}");
    }

    #[test]
    fn without_scores_outputs_alone_decide_and_it_says_so() {
        let a = taker("a", "f32", &[1; 20], Some(vec![scored(1e-4, 0.0); 20]));
        let (found, why) = verdict(&a, &taker("b", "f32", &[1; 20], None));
        assert!(found == Verdict::Same && why.contains("by outputs alone: its door is mute"), "{why}");
        assert_eq!(verdict(&a, &taker("b", "f32", &[2; 20], None)).0, Verdict::Numerics);
        let mute = taker("a", "f32", &[1; 20], None);
        assert_eq!(verdict(&mute, &taker("b", "f32", &[2; 20], None)).0, Verdict::Different);
    }

    #[test]
    fn who_could_not_take_part_gets_no_verdict() {
        let a = taker("a", "f32", &[1; 20], None);
        let gone = Taker { label: "b".to_owned(), failed: Some("no memory".to_owned()), ..Taker::default() };
        let pair = compare(&a, &gone, &a.outputs);
        assert!(pair.verdict.is_none() && pair.why.contains("no memory"), "{}", pair.why);
    }
}
