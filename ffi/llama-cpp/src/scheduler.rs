//! Continuous batching on top of a library that only decodes batches.
//!
//! A step takes one token of every decoding sequence and fills up with prompt tokens of joining ones, in order of
//! admission, up to `n_batch` tokens; the step that ends a prompt gives its first token. A request is admitted when a
//! slot is free and the KV cache has room for its prompt and whole output, so nothing is ever evicted.
use std::collections::VecDeque;

use tacho::engine::{
    EngineError, FinishReason, Request, RequestId, Sampling, TokenId, ids_digest_next, ids_digest_start,
};

/// One token of a step's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: TokenId,
    /// Its place in its sequence, from 0.
    pub position: u32,
    /// Its sequence.
    pub slot: u32,
    /// Whether the token after it is wanted.
    pub output: bool,
}

/// What the scheduler needs of the engine under it.
pub trait Decoder {
    /// A slot gets a new request.
    ///
    /// # Errors
    /// When its sampler cannot be made.
    fn begin(&mut self, slot: usize, sampling: &Sampling) -> Result<(), EngineError>;
    /// One forward pass.
    ///
    /// # Errors
    /// When the engine failed.
    fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError>;
    /// The token after `row`, an index into the last pass's rows, for the request in `slot`.
    ///
    /// # Errors
    /// When the engine's output is broken.
    fn pick(&mut self, row: usize, slot: usize) -> Result<TokenId, EngineError>;
    /// A slot's request is gone, and its cache with it.
    fn end(&mut self, slot: usize);
}

/// The scheduler's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Slots.
    pub max_seqs: u32,
    /// Tokens a step; at least `max_seqs`.
    pub n_batch: u32,
    /// Tokens of one sequence, prompt and output.
    pub max_model_len: u32,
    /// Tokens in the KV cache, all sequences together.
    pub kv_tokens: u64,
    /// Rows of the vocabulary.
    pub vocab_size: u32,
}

/// A new token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Emitted {
    /// Whose.
    pub request: RequestId,
    /// What the caller gave with the request.
    pub tag: u32,
    /// The token.
    pub token: TokenId,
    /// The request's prompt tokens.
    pub input_tokens: u32,
    /// Set on the last.
    pub finish: Option<FinishReason>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Prompt tokens computed.
    pub prefill_tokens: u32,
    /// Sequences that got a decode token.
    pub decode_seqs: u32,
}

struct Seq {
    id: RequestId,
    tag: u32,
    prompt: Vec<TokenId>,
    prefilled: u32,
    produced: u32,
    output: u32,
    sampling: Sampling,
    /// The newest token, which the next decode starts from.
    last: TokenId,
    /// Prompt tokens in the step under way.
    chunk: u32,
    /// Hash of the prompt's ids that were put into steps so far.
    digest: u64,
}

impl Seq {
    fn is_decoding(&self) -> bool {
        self.prefilled as usize == self.prompt.len()
    }

    fn reserved(&self) -> u64 {
        self.prompt.len() as u64 + u64::from(self.output)
    }

    /// KV-cache tokens in use: the newest token's entry is written when it is decoded from.
    fn kv_tokens(&self) -> u64 {
        u64::from(self.prefilled) + u64::from(self.produced.saturating_sub(1))
    }
}

/// The queue, the slots, and the buffers that a step reuses.
pub struct Scheduler {
    limits: Limits,
    waiting: VecDeque<Seq>,
    slots: Vec<Option<Seq>>,
    running: u32,
    /// Slots whose prompt is not done, in order of admission.
    prefilling: VecDeque<usize>,
    kv_reserved: u64,
    kv_used: u64,
    /// Sum of the digests of the prompts that were decoded whole.
    consumed: u64,
    rows: Vec<Row>,
    /// The rows with output, and their slots.
    outputs: Vec<(usize, usize)>,
    emitted: Vec<Emitted>,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(limits: Limits) -> Self {
        let seqs = limits.max_seqs as usize;
        Self {
            limits,
            waiting: VecDeque::new(),
            slots: (0..seqs).map(|_| None).collect(),
            running: 0,
            prefilling: VecDeque::with_capacity(seqs),
            kv_reserved: 0,
            kv_used: 0,
            consumed: 0,
            rows: Vec::with_capacity(limits.n_batch as usize),
            outputs: Vec::with_capacity(seqs),
            emitted: Vec::with_capacity(seqs),
        }
    }

    /// Whether a request can ever run.
    ///
    /// # Errors
    /// `BadRequest`, with what it wants and what there is.
    pub fn check(&self, request: &Request<'_>) -> Result<(), EngineError> {
        let (input, output) = (request.prompt.len() as u64, u64::from(request.output_tokens));
        let limit = u64::from(self.limits.max_model_len).min(self.limits.kv_tokens);
        if input == 0 || output == 0 || input + output > limit {
            return Err(EngineError::bad_request(format!(
                "llama.cpp: request {} wants {input} tokens in and {output} out, {} together; expected at least 1 each \
                 and at most {limit} together (a sequence's share of the KV cache)",
                request.id.0,
                input + output,
            )));
        }
        if let Some(id) = request.prompt.iter().find(|id| id.0 >= self.limits.vocab_size) {
            return Err(EngineError::bad_request(format!(
                "llama.cpp: request {} has the token id {} in its prompt; the vocabulary has {} rows",
                request.id.0, id.0, self.limits.vocab_size
            )));
        }
        Ok(())
    }

    /// Queues a request, with a tag that its tokens carry.
    ///
    /// # Errors
    /// As [`Scheduler::check`].
    pub fn submit(&mut self, request: Request<'_>, tag: u32) -> Result<(), EngineError> {
        self.check(&request)?;
        self.waiting.push_back(Seq {
            id: request.id,
            tag,
            prompt: request.prompt.to_vec(),
            prefilled: 0,
            produced: 0,
            output: request.output_tokens,
            sampling: request.sampling,
            last: TokenId(0),
            chunk: 0,
            digest: ids_digest_start(request.id),
        });
        Ok(())
    }

    /// Drops a request; false when there is none of that number.
    pub fn cancel(&mut self, id: RequestId, decoder: &mut impl Decoder) -> bool {
        if let Some(index) = self.waiting.iter().position(|seq| seq.id == id) {
            self.waiting.remove(index);
            return true;
        }
        let Some(slot) = self.slots.iter().position(|seq| seq.as_ref().is_some_and(|seq| seq.id == id)) else {
            return false;
        };
        self.prefilling.retain(|other| *other != slot);
        self.free(slot, decoder);
        true
    }

    /// Forgets everything. The caller empties the KV cache.
    pub fn clear(&mut self, decoder: &mut impl Decoder) {
        self.waiting.clear();
        self.prefilling.clear();
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_some() {
                self.free(slot, decoder);
            }
        }
        // A step that failed half-way has counted tokens that were never cached.
        (self.kv_reserved, self.kv_used) = (0, 0);
        self.consumed = 0;
        self.emitted.clear();
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Requests that run.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Requests that wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.len() as u32
    }

    /// KV-cache tokens in use.
    pub fn kv_used(&self) -> u64 {
        self.kv_used
    }

    /// Sum of the digests of the prompts that were put into steps whole, since the last [`Scheduler::clear`].
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Whether nothing runs or waits.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }

    /// The last step's new tokens.
    pub fn emitted(&self) -> &[Emitted] {
        &self.emitted
    }

    /// Runs one step: admits, decodes, picks. Does nothing when idle.
    ///
    /// # Errors
    /// What the decoder failed with; only [`Scheduler::clear`] makes sense then.
    pub fn step(&mut self, decoder: &mut impl Decoder) -> Result<StepCounts, EngineError> {
        self.emitted.clear();
        self.admit(decoder)?;
        let counts = self.plan();
        if self.rows.is_empty() {
            return Ok(counts);
        }
        decoder.decode(&self.rows)?;
        for index in 0..self.outputs.len() {
            let (row, slot) = self.outputs[index];
            let token = decoder.pick(row, slot)?;
            let Some(seq) = &mut self.slots[slot] else { continue };
            seq.last = token;
            seq.produced += 1;
            let finish = (seq.produced == seq.output).then_some(FinishReason::Length);
            self.emitted.push(Emitted {
                request: seq.id,
                tag: seq.tag,
                token,
                input_tokens: seq.prompt.len() as u32,
                finish,
            });
            if finish.is_some() {
                self.free(slot, decoder);
            }
        }
        Ok(counts)
    }

    fn admit(&mut self, decoder: &mut impl Decoder) -> Result<(), EngineError> {
        while let Some(next) = self.waiting.front() {
            let reserved = next.reserved();
            // The lowest free slot: llama.cpp computes neighbouring sequences together.
            let free = self.slots.iter().position(Option::is_none);
            let Some(slot) = free.filter(|_| self.kv_reserved + reserved <= self.limits.kv_tokens) else { break };
            decoder.begin(slot, &next.sampling)?;
            self.slots[slot] = self.waiting.pop_front();
            self.prefilling.push_back(slot);
            self.kv_reserved += reserved;
            self.running += 1;
        }
        Ok(())
    }

    /// Fills `rows` and `outputs` for the next step.
    fn plan(&mut self) -> StepCounts {
        self.rows.clear();
        self.outputs.clear();
        let decoding = self.running - self.prefilling.len() as u32;
        let mut room = self.limits.n_batch - decoding;
        for slot in &self.prefilling {
            let Some(seq) = &mut self.slots[*slot] else { continue };
            seq.chunk = room.min(seq.prompt.len() as u32 - seq.prefilled);
            room -= seq.chunk;
        }
        let mut counts = StepCounts { prefill_tokens: 0, decode_seqs: decoding };
        // In the slots' order, whatever the order of admission: see `admit`.
        for (slot, seq) in self.slots.iter_mut().enumerate() {
            let Some(seq) = seq else { continue };
            if seq.is_decoding() {
                let position = seq.prompt.len() as u32 + seq.produced - 1;
                self.outputs.push((self.rows.len(), slot));
                self.rows.push(Row { token: seq.last, position, slot: slot as u32, output: true });
                self.kv_used += 1;
                continue;
            }
            let (from, to) = (seq.prefilled, seq.prefilled + seq.chunk);
            for position in from..to {
                let token = seq.prompt[position as usize];
                seq.digest = ids_digest_next(seq.digest, token);
                self.rows.push(Row { token, position, slot: slot as u32, output: false });
            }
            counts.prefill_tokens += seq.chunk;
            self.kv_used += u64::from(seq.chunk);
            seq.prefilled = to;
            seq.chunk = 0;
            if seq.is_decoding() {
                self.consumed = self.consumed.wrapping_add(seq.digest);
                self.outputs.push((self.rows.len() - 1, slot));
                if let Some(last) = self.rows.last_mut() {
                    last.output = true;
                }
            }
        }
        let slots = &self.slots;
        self.prefilling.retain(|slot| slots[*slot].as_ref().is_some_and(|seq| !seq.is_decoding()));
        counts
    }

    fn free(&mut self, slot: usize, decoder: &mut impl Decoder) {
        if let Some(seq) = self.slots[slot].take() {
            self.kv_reserved -= seq.reserved();
            self.kv_used -= seq.kv_tokens();
            self.running -= 1;
            decoder.end(slot);
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
