//! Log-probabilities of given ids, from llama.cpp's own logits.
use tacho::engine::{EngineError, Forced, Scored, TokenId};

use crate::{
    context::Context,
    scheduler::{Limits, Row},
};

/// One token of a pass, and which position of which sequence it is asked about, if any.
struct Asked {
    row: Row,
    about: Option<(usize, usize)>,
}

/// Scores the sequences, as many together as the context has slots for. The cache is emptied before and after.
///
/// # Errors
/// `BadRequest` for a sequence that does not fit, `Engine` when llama.cpp failed or its logits are broken.
pub fn score(context: &mut Context, limits: &Limits, sequences: &[Forced]) -> Result<Vec<Vec<Scored>>, EngineError> {
    let longest = sequences.iter().map(|s| s.prompt.len() + s.continuation.len()).max().unwrap_or(0);
    if longest > limits.max_model_len as usize {
        return Err(EngineError::bad_request(format!(
            "llama.cpp: a sequence of {longest} tokens is to be scored; expected at most {}",
            limits.max_model_len
        )));
    }
    if let Some(id) =
        sequences.iter().flat_map(|s| s.prompt.iter().chain(&s.continuation)).find(|id| id.0 >= limits.vocab_size)
    {
        return Err(EngineError::bad_request(format!(
            "llama.cpp: id {} is to be scored; the vocabulary has {}",
            id.0, limits.vocab_size
        )));
    }
    let mut scores = Vec::with_capacity(sequences.len());
    // One cache may be shared by all: a wave is what fits whichever way it is divided.
    let room = limits.kv_tokens / (longest as u64).max(1);
    let together = u64::from(limits.max_seqs).min(room).max(1) as usize;
    for wave in sequences.chunks(together) {
        context.clear();
        scores.extend(score_wave(context, limits, wave)?);
    }
    context.clear();
    Ok(scores)
}

fn score_wave(context: &mut Context, limits: &Limits, wave: &[Forced]) -> Result<Vec<Vec<Scored>>, EngineError> {
    let mut asked = Vec::new();
    for (slot, sequence) in wave.iter().enumerate() {
        let ids = sequence.prompt.iter().chain(&sequence.continuation);
        // What follows the last id is not asked.
        let fed = sequence.prompt.len() + sequence.continuation.len() - 1;
        for (position, token) in ids.take(fed).enumerate() {
            let about = (position + 1).checked_sub(sequence.prompt.len()).map(|index| (slot, index));
            let row = Row { token: *token, position: position as u32, slot: slot as u32, output: about.is_some() };
            asked.push(Asked { row, about });
        }
    }
    let mut scores: Vec<Vec<Scored>> = wave.iter().map(|s| Vec::with_capacity(s.continuation.len())).collect();
    for pass in asked.chunks(limits.n_batch as usize) {
        let rows: Vec<Row> = pass.iter().map(|asked| asked.row).collect();
        context.decode(&rows)?;
        for (row, (slot, index)) in pass.iter().enumerate().filter_map(|(row, asked)| Some((row, asked.about?))) {
            let given: TokenId = wave[slot].continuation[index];
            let scored = context.logits(row).and_then(|logits| Scored::from_logits(logits, given));
            scores[slot].push(scored.ok_or_else(|| {
                EngineError::engine(format!("llama.cpp gave no usable logits for position {index} of a sequence"))
            })?);
        }
    }
    Ok(scores)
}
