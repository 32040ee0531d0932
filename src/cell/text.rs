//! One timed `generate` call with text on either side: what an engine's own tokenizer costs in the same process and at the
//! same work as a call of ids alone.
use serde::{Deserialize, Serialize};

use super::checks::{Ended, check_ids, hash_ids, hash_start};
use crate::{
    engine::{Broken, Completions, Engine, EngineError, RequestBatch, ids_digest},
    measure::monotonic_ns,
    workload::{Workload, WorkloadSpec},
};

/// What to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextSpec {
    /// The requests, all of one batch.
    pub workload: WorkloadSpec,
    /// Texts of the workload's prompts, in its order, that stand in for their ids; None hands over the ids.
    pub texts: Option<Vec<String>>,
    /// Whether outputs are decoded to text.
    pub detokenise: bool,
}

/// What it came to. Counts are those of ids, checked as in every trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextDone {
    /// Before the call, in nanoseconds of CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// After it.
    pub end_ns: u64,
    /// Prompt tokens that the engine says it consumed.
    pub input_tokens: u64,
    /// Output tokens counted by id.
    pub output_tokens: u64,
    /// As [`super::protocol::TrialSummary::output_digest`].
    pub output_digest: u64,
    /// Characters of decoded text; 0 where none was asked for.
    pub characters: u64,
}

/// Runs it on an engine that is reset first.
///
/// # Errors
/// Kind `Mismatch` when counts differ from those asked or no text came out that was asked for, naming both; `BadRequest` for
/// texts that are not as many as the prompts; otherwise what the engine failed with.
pub fn run_text(engine: &mut dyn Engine, spec: &TextSpec) -> Result<TextDone, EngineError> {
    let workload = Workload::new(spec.workload.clone()).map_err(|error| EngineError::bad_request(error.to_string()))?;
    let batch = workload.batch(0..workload.len());
    if let Some(texts) = spec.texts.as_ref().filter(|texts| texts.len() != batch.len()) {
        let message = format!("expected a text for each of {} requests, found {}", batch.len(), texts.len());
        return Err(EngineError::bad_request(message));
    }
    engine.reset()?;
    let start_ns = monotonic_ns();
    let answered = engine.generate_text(&batch, spec.texts.as_deref(), spec.detokenise);
    let end_ns = monotonic_ns();
    let (answer, characters) = answered?;
    let vocab_size = engine.info().model.vocab_size;
    let mut done = TextDone { start_ns, end_ns, input_tokens: 0, output_tokens: 0, output_digest: 0, characters };
    check(&batch, &answer, vocab_size, &mut done)?;
    let given = batch
        .iter()
        .fold(0_u64, |sum, request| sum.wrapping_add(ids_digest(request.id, request.prompt.iter().copied())));
    if engine.consumed_digest().is_some_and(|consumed| consumed != given) {
        let message = "the engine's tokenizer made other ids of the texts than the prompts have".to_owned();
        return Err(EngineError::mismatch(message));
    }
    if spec.detokenise && characters == 0 {
        let message = format!("{} output tokens were to be decoded, and no character came out", done.output_tokens);
        return Err(EngineError::mismatch(message));
    }
    Ok(done)
}

fn check(batch: &RequestBatch, answer: &Completions, vocab_size: u32, done: &mut TextDone) -> Result<(), EngineError> {
    if batch.len() != answer.rows.len() {
        let message = format!("generate was given {} requests and answered {}", batch.len(), answer.rows.len());
        return Err(EngineError::broken(Broken::OutputCounts, message));
    }
    for (request, row) in batch.iter().zip(&answer.rows) {
        let ids = answer.ids.get(row.tokens.clone()).unwrap_or_default();
        let ended = Ended { id: request.id, input: Some(row.input_tokens), output: ids.len() as u32 };
        ended.check(request.prompt.len() as u32, request.output_tokens, row.finish)?;
        check_ids(request.id, ids, vocab_size)?;
        done.input_tokens += u64::from(row.input_tokens);
        done.output_tokens += ids.len() as u64;
        done.output_digest = done.output_digest.wrapping_add(hash_ids(hash_start(request.id), ids));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            IdRange, Sampling,
            testing::{Changed, sim},
        },
        workload::LengthDist,
    };

    /// The simulated engine with a text door: a double that decodes every id to two characters, or none.
    fn double(mute: bool) -> Changed {
        let text =
            move |done: &Completions, detokenise| if detokenise && !mute { 2 * done.ids.len() as u64 } else { 0 };
        Changed { sim: sim(), poll: None, text: Some(Box::new(text)) }
    }

    fn spec(texts: Option<usize>, detokenise: bool) -> TextSpec {
        TextSpec {
            workload: WorkloadSpec {
                requests: 3,
                input: LengthDist::Fixed(8),
                output: LengthDist::Fixed(5),
                sampling: Sampling::default(),
                seed: 1,
                stream: 1,
                ids: vec![IdRange { start: 10, end: 1000 }],
                saved: None,
            },
            texts: texts.map(|count| vec!["a".to_owned(); count]),
            detokenise,
        }
    }

    #[test]
    fn counts_and_digests_are_those_of_a_call_with_ids() {
        let mut double = double(false);
        let text = run_text(&mut double, &spec(Some(3), true)).unwrap();
        assert_eq!((text.input_tokens, text.output_tokens, text.characters), (24, 15, 30));
        let ids = run_text(&mut double, &spec(None, false)).unwrap();
        assert_eq!((ids.output_digest, ids.characters), (text.output_digest, 0));
    }

    #[test]
    fn a_door_without_text_texts_that_are_missing_and_silence_are_errors() {
        let error = run_text(&mut sim(), &spec(Some(3), true)).unwrap_err().to_string();
        assert!(error.contains("takes and gives token ids alone"), "{error}");
        let mut double = double(true);
        let error = run_text(&mut double, &spec(Some(2), false)).unwrap_err().to_string();
        assert!(error.contains("expected a text for each of 3 requests, found 2"), "{error}");
        let error = run_text(&mut double, &spec(Some(3), true)).unwrap_err().to_string();
        assert!(error.contains("15 output tokens were to be decoded"), "{error}");
    }
}
