//! One engine's part: its outputs, what it thinks of the common continuations, and how much it differs from itself.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::record::{Floor, Taker};
use crate::{
    cell::parent::{Cell, CellError},
    engine::{ErrorKind, Forced, Scored, TokenId},
};

/// What to ask of every engine.
pub(super) struct Questions<'a> {
    pub prompts: &'a [Vec<u32>],
    pub tokens: u32,
    /// The common continuations; None for the first engine, which gives them.
    pub reference: Option<&'a [Vec<u32>]>,
    /// Why its scores are not asked for.
    pub cannot_score: Option<&'a str>,
    pub within: Duration,
    /// Once it is set, no more is asked; what was answered is not to be used then.
    pub interrupted: &'a AtomicBool,
}

impl Questions<'_> {
    fn over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// Asks a loaded engine and fills in what it answered.
///
/// # Errors
/// When it cannot generate. That it cannot score is part of what it answered.
pub(super) fn observe(cell: &mut Cell, questions: &Questions<'_>, taker: &mut Taker) -> Result<(), CellError> {
    let mut asked = |prompts: &[Vec<u32>]| match questions.over() {
        true => Ok(Vec::new()),
        false => cell.generate(prompts.to_vec(), questions.tokens, questions.within),
    };
    let together = asked(questions.prompts)?;
    let again = asked(questions.prompts)?;
    let mut alone = Vec::with_capacity(questions.prompts.len());
    for prompt in questions.prompts {
        alone.extend(asked(std::slice::from_ref(prompt))?);
    }
    taker.floor =
        Floor { runs_parted: parted(&together, &again), batch_parted: parted(&together, &alone), ..Floor::default() };
    if questions.over() {
        return Ok(());
    }
    let reference = questions.reference.unwrap_or(&together).to_vec();
    taker.outputs = together;
    if let Some(why) = questions.cannot_score {
        taker.scores_null_reason = Some(why.to_owned());
        return Ok(());
    }
    match score(cell, questions, &reference, taker) {
        Err(CellError::Engine(error)) if error.kind == ErrorKind::Unsupported => {
            taker.scores_null_reason = Some(error.message);
            Ok(())
        }
        other => other,
    }
}

fn score(
    cell: &mut Cell,
    questions: &Questions<'_>,
    reference: &[Vec<u32>],
    taker: &mut Taker,
) -> Result<(), CellError> {
    let ids = |ids: &[u32]| ids.iter().copied().map(TokenId).collect();
    let all: Vec<Forced> = questions
        .prompts
        .iter()
        .zip(reference)
        .map(|(prompt, continuation)| Forced { prompt: ids(prompt), continuation: ids(continuation) })
        .collect();
    let mut asked =
        |all: Vec<Forced>| if questions.over() { Ok(Vec::new()) } else { cell.score(all, questions.within) };
    let together = asked(all.clone())?;
    let again = asked(all.clone())?;
    let mut alone = Vec::with_capacity(all.len());
    for one in all {
        alone.extend(asked(vec![one])?);
    }
    taker.floor.runs_lp = Some(largest_change(&together, &again));
    taker.floor.batch_lp = Some(largest_change(&together, &alone));
    taker.scores = Some(together);
    Ok(())
}

fn parted(one: &[Vec<u32>], other: &[Vec<u32>]) -> u32 {
    one.iter().zip(other).filter(|(a, b)| a != b).count() as u32
}

/// The largest change of a given id's log-probability, or of the likeliest one's where that is the same id.
fn largest_change(one: &[Vec<Scored>], other: &[Vec<Scored>]) -> f64 {
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    let change = |(a, b): (&Scored, &Scored)| {
        let given = (a.given_lp - b.given_lp).abs();
        if a.top1 == b.top1 { given.max((a.top1_lp - b.top1_lp).abs()) } else { given }
    };
    pairs.map(change).fold(0.0, f64::max)
}
