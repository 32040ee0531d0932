//! What the engine consumed, produced and counted.
use super::{Limits, finding::Finding};
use crate::{cell::evidence::Asked, engine::stat, plan::Point, results::TrialRecord};

const NOT_KEPT: &str = "the record does not hold what was asked for: it is from a tacho that did not keep it";

/// Options by which plans ask for a prefix cache, by the engines' own names, and the value that does.
const PREFIX_CACHE: [(&str, bool); 4] = [
    ("enable_prefix_caching", true),
    ("disable_radix_cache", false),
    ("enable_block_reuse", true),
    ("prefix_cache", true),
];

/// The trial against what it was asked for.
fn asked(trial: &TrialRecord, check: impl Fn(Asked) -> Finding) -> Finding {
    // The schedule's reason says so; that the rest is missing follows from it.
    if trial.summary.schedule.as_ref().is_some_and(|schedule| schedule.saturation.is_some()) {
        return Finding::unknown("the engine was overloaded and the trial was ended early");
    }
    trial.summary.evidence.asked.map_or_else(|| Finding::unknown(NOT_KEPT), check)
}

pub(super) fn input_ids(trial: &TrialRecord) -> Finding {
    asked(trial, |asked| {
        let (want, found) = (asked.input_tokens, trial.summary.input_tokens);
        if want != found {
            let sentence = format!("{want} prompt tokens were given and {found} were consumed");
            return Finding::bad(
                sentence,
                &[
                    ("difference_tokens", want.abs_diff(found) as f64),
                    ("given_tokens", want as f64),
                    ("consumed_tokens", found as f64),
                ],
            );
        }
        let evidence = &trial.summary.evidence;
        match (evidence.given_digest, evidence.consumed_digest) {
            (Some(given), Some(consumed)) if given == consumed => Finding::Good,
            (Some(given), Some(consumed)) => {
                let sentence =
                    format!("prompts of hash {given:016x} were given and ids of hash {consumed:016x} consumed");
                Finding::bad(sentence, &[])
            }
            _ => Finding::unknown("by number only: the engine does not show which ids it consumed"),
        }
    })
}

pub(super) fn output_counts(trial: &TrialRecord) -> Finding {
    asked(trial, |asked| {
        let (want, found) = (asked.output_tokens, trial.summary.output_tokens);
        if want == found {
            return Finding::Good;
        }
        let sentence = format!("{want} output tokens were asked for and {found} were produced");
        Finding::bad(
            sentence,
            &[
                ("difference_tokens", want.abs_diff(found) as f64),
                ("asked_tokens", want as f64),
                ("produced_tokens", found as f64),
            ],
        )
    })
}

pub(super) fn finish_reasons(trial: &TrialRecord) -> Finding {
    asked(trial, |asked| {
        // Of the summary's requests, only those are counted that ended by their length.
        let (want, found) = (asked.requests, trial.summary.requests);
        if want == found {
            return Finding::Good;
        }
        let sentence = format!("{want} requests were handed over and {found} ended by their length");
        Finding::bad(
            sentence,
            &[
                ("difference_requests", f64::from(want.abs_diff(found))),
                ("asked_requests", f64::from(want)),
                ("ended_by_length_requests", f64::from(found)),
            ],
        )
    })
}

/// Whether the plan asks for a prefix cache: hits are then what it wants to see.
pub(super) fn wants_prefix_cache(point: &Point) -> bool {
    let options = &point.engine.options;
    // TensorRT-LLM has it in a table of options of its own.
    let inner = options.values().filter_map(|value| value.as_object());
    let in_tables = inner.flat_map(|table| table.iter().map(|(name, value)| (name.as_str(), value)));
    options
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .chain(in_tables)
        .any(|(name, value)| PREFIX_CACHE.iter().any(|(known, on)| *known == name && value.as_bool() == Some(*on)))
}

pub(super) fn prefix_hits(trial: &TrialRecord) -> Finding {
    counter(trial, stat::PREFIX_HIT_TOKENS, 0.0, |found| {
        let sentence = format!("{found} prompt tokens came from a prefix cache that the plan did not ask for");
        Finding::bad(sentence, &[("prefix_hit_tokens", found)])
    })
}

/// Hits that the plan asks for. Where requests are turns of conversations, it is known how many there can be within a trial: more
/// are answers to another trial's prompts. An evicted sequence that starts over may hit its own prompt again.
pub(super) fn intended_hits(trial: &TrialRecord) -> Finding {
    let Some(sessions) = &trial.summary.sessions else {
        return Finding::unknown("how many hits were planned is not known: the plan turns the prefix cache on");
    };
    if trial.summary.stats.get(stat::PREEMPTIONS).is_some_and(|count| *count > 0.0) {
        return Finding::unknown("evicted sequences started over, and may have hit their own prompts");
    }
    let most = sessions.reusable_tokens as f64;
    counter(trial, stat::PREFIX_HIT_TOKENS, most, |found| {
        let sentence = format!(
            "{found} prompt tokens came from the prefix cache; the trial's turns can share {most} at most: the others were \
             kept from before the trial"
        );
        Finding::bad(sentence, &[("prefix_hit_tokens", found), ("reusable_tokens", most)])
    })
}

/// `uncounted` is why the engine's count is none, or of a part: such a count speaks against a trial, and not for one.
pub(super) fn compiles(trial: &TrialRecord, uncounted: Option<&str>) -> Finding {
    let stats = &trial.summary.stats;
    let parts: Vec<(&str, f64)> = stats
        .iter()
        .filter_map(|(name, count)| Some((name.strip_prefix(stat::COMPILES_PART)?, *count)))
        .filter(|(_, count)| *count > 0.0)
        .collect();
    let total = stats.get(stat::COMPILES).copied();
    // Parts without their total are told where one of them was lost.
    let found = total.unwrap_or_default().max(parts.iter().map(|(_, count)| count).sum());
    if found > 0.0 {
        let kinds: Vec<String> =
            parts.iter().map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
        let sentence = format!("the engine captured graphs, compiled or tuned {found} times while it was timed{kinds}");
        return Finding::bad(sentence, &[("compiles", found)]);
    }
    match (uncounted, total) {
        (Some(why), _) => Finding::unknown(why),
        (None, None) => Finding::unknown("the engine does not tell"),
        (None, Some(_)) => Finding::Good,
    }
}

pub(super) fn preemptions(trial: &TrialRecord, limits: &Limits) -> Finding {
    let limit = f64::from(limits.max_preemptions);
    counter(trial, stat::PREEMPTIONS, limit, |found| {
        let sentence = format!("{found} sequences were evicted and started over; expected at most {limit}");
        Finding::bad(sentence, &[("preemptions", found), ("limit", limit)])
    })
}

/// A counter of the engine's that must not exceed its limit.
fn counter(trial: &TrialRecord, name: &str, limit: f64, bad: impl Fn(f64) -> Finding) -> Finding {
    match trial.summary.stats.get(name) {
        None => Finding::unknown("the engine does not tell"),
        Some(found) if *found > limit => bad(*found),
        Some(_) => Finding::Good,
    }
}
