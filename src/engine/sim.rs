//! `sim`: a simulated engine whose cost model is declared, so that what the harness reports can be checked against what
//! is true. It runs in real time (it waits) or in virtual time (its clock jumps).
//!
//! A step takes `step_base_us + prefill_token_us × prompt tokens computed + decode_seq_us × sequences decoding`
//! microseconds. Each step first gives every running sequence one decode token, then computes waiting prompts in order
//! of submission, up to `prefill_chunk` tokens a step; the step that finishes a prompt also gives its first token.
//! A request is admitted when a sequence slot is free and the KV cache has room for its prompt and whole output.
//! Tokens are a hash of the prompt, the position and, when sampling, the seed.
use std::collections::{BTreeMap, VecDeque};

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    Boundary, Capabilities, Completions, Engine, EngineError, EngineInfo, Event, EventBuf, FinishReason, Forced,
    IdRange, LoadConfig, ModelInfo, Options, Request, RequestBatch, RequestId, Scheduler, Scored, Stats, StepRecord,
    TokenId, ids_digest,
    sim_faults::{commit, commit_at_load},
    sim_scores::Model,
    stat,
};
use crate::{
    measure::{monotonic_ns, sleep_until_ns, wake_on_time},
    workload::{mix, standard_normal},
};

pub use super::sim_options::{Fault, SimOptions, Time};

/// The engine's id.
pub const ID: &str = "sim";

/// What [`Fault::Grow`] takes: more than any allocator keeps when it is given back.
const GROW_BYTES: usize = 96 << 20;
/// In which step after a reset: those before it let a sampler see the memory without it.
const GROW_STEP: u64 = 4;

struct Seq {
    id: RequestId,
    prompt_hash: u64,
    prompt: u32,
    prefilled: u32,
    produced: u32,
    output: u32,
    /// KV-cache tokens set aside at admission.
    reserved: u64,
    ended: bool,
}

impl Seq {
    /// KV-cache tokens in use: the newest token's entry is written when it is decoded from.
    fn kv_tokens(&self) -> u64 {
        u64::from(self.prefilled) + u64::from(self.produced.saturating_sub(1))
    }
}

/// The latest wake-up from a step that `generate` makes up for.
const LATE_NS: u64 = 1_000_000;

/// The simulated engine.
pub struct Sim {
    info: EngineInfo,
    options: SimOptions,
    max_seqs: usize,
    virtual_ns: u64,
    waiting: VecDeque<Seq>,
    running: Vec<Seq>,
    /// Cancelled since the last poll.
    cancelled: Vec<RequestId>,
    kv_reserved: u64,
    kv_used: u64,
    steps: u64,
    /// What counting faults have counted.
    faults: u64,
    /// What [`Fault::Grow`] holds.
    grown: Vec<u8>,
    steps_at_reset: u64,
    resets: u64,
    consumed: u64,
    prefixes: Prefixes,
    endless: bool,
    rng: Xoshiro256PlusPlus,
    model: Model,
}

impl Sim {
    /// Loads the engine.
    ///
    /// # Errors
    /// `Unsupported` for an unknown or ill-typed option.
    pub fn load(config: &LoadConfig) -> Result<Self, EngineError> {
        let map = config.options.clone().into_iter().collect();
        let mut options: SimOptions = serde_json::from_value(serde_json::Value::Object(map))
            .map_err(|error| EngineError::unsupported(format!("sim: option not understood: {error}")))?;
        let costs = [options.step_base_us, options.prefill_token_us, options.decode_seq_us, options.jitter];
        if costs.iter().any(|cost| !cost.is_finite() || *cost < 0.0) {
            return Err(EngineError::unsupported("sim: costs and jitter must be finite and not negative"));
        }
        let max_seqs = options.max_seqs.unwrap_or(config.max_seqs.max(1));
        if max_seqs == 0 || options.prefill_chunk == 0 || options.vocab_size < 16 {
            return Err(EngineError::unsupported(
                "sim: expected max_seqs and prefill_chunk of at least 1 and vocab_size of at least 16",
            ));
        }
        if options.fault == Some(Fault::FewerKv) {
            options.kv_tokens -= options.kv_tokens / 10;
        }
        if options.memory_at_load {
            let all = u64::from(config.max_seqs) * u64::from(config.max_model_len);
            options.room_for(all)?;
        }
        options.fault.into_iter().for_each(commit_at_load);
        let model = Model::new(&options)?;
        let effective = match serde_json::to_value(&options) {
            Ok(serde_json::Value::Object(map)) => map.into_iter().collect(),
            _ => Options::new(),
        };
        let info = EngineInfo {
            engine: ID.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            double: Some("simulated engine: its figures say nothing about any hardware".to_owned()),
            boundary: Boundary::InCore,
            scheduler: Scheduler::Engine,
            device: "simulated".to_owned(),
            compile_mode: None,
            gpu_in_process: options.gpu.then_some(true),
            parallelism: (1, 1),
            model: ModelInfo {
                name: "sim".to_owned(),
                vocab_size: options.vocab_size,
                context_len: Some(options.max_model_len),
                // The first ids stand for a real vocabulary's control tokens.
                ordinary_ids: vec![IdRange { start: 4, end: options.vocab_size }],
                ..ModelInfo::default()
            },
            kv_capacity_tokens: Some(options.kv_tokens),
            max_seqs: Some(max_seqs),
            max_model_len: Some(options.max_model_len),
            virtual_time: options.time == Time::Virtual,
            capabilities: Capabilities::ALL,
            effective,
            observed: Options::new(),
            uncounted: BTreeMap::new(),
        };
        if options.time == Time::Real {
            wake_on_time();
        }
        Ok(Self {
            info,
            max_seqs: max_seqs as usize,
            virtual_ns: 1, // 0 stands for "never" in tables
            waiting: VecDeque::new(),
            running: Vec::new(),
            cancelled: Vec::new(),
            kv_reserved: 0,
            kv_used: 0,
            steps: 0,
            faults: 0,
            grown: Vec::new(),
            steps_at_reset: 0,
            resets: 0,
            consumed: 0,
            prefixes: Prefixes::default(),
            endless: false,
            rng: Xoshiro256PlusPlus::seed_from_u64(config.seed),
            options,
            model,
        })
    }

    /// Whether a fault that lasts from its step on has begun.
    fn lasting(&self, fault: Fault) -> bool {
        self.options.fault == Some(fault) && self.steps >= self.options.fault_at_step
    }

    fn lasting_fault(&mut self) {
        if [Fault::Compile, Fault::Preempt, Fault::PrefixHit].into_iter().any(|fault| self.lasting(fault)) {
            self.faults += 1;
        }
        if self.lasting(Fault::Grow) && self.steps - self.steps_at_reset == GROW_STEP - 1 {
            // Written to, so that the pages are there.
            self.grown = vec![1; GROW_BYTES];
        }
    }

    /// What a counting fault has counted; 0 for the others.
    fn counted(&self, fault: Fault) -> f64 {
        if self.options.fault == Some(fault) { self.faults as f64 } else { 0.0 }
    }

    fn admit(&mut self) {
        while self.running.len() < self.max_seqs {
            let Some(next) = self.waiting.front() else { return };
            if self.kv_reserved + next.reserved > self.options.kv_tokens {
                return;
            }
            self.kv_reserved += next.reserved;
            self.kv_used += u64::from(next.prefilled);
            self.running.extend(self.waiting.pop_front());
        }
    }

    /// One step from `start_ns` on; the caller has made sure that something runs. Gives when the step was to end.
    fn step(&mut self, start_ns: u64, out: &mut EventBuf) -> Result<u64, EngineError> {
        let fault = self.options.fault.filter(|_| self.steps == self.options.fault_at_step);
        self.lasting_fault();
        self.endless |= fault == Some(Fault::Endless);
        self.steps += 1;
        let (mut short, mut few, mut wrong_input) = (false, false, 0);
        match fault {
            None => {}
            Some(Fault::ShortOutput) => short = true,
            Some(Fault::FewTokens) => few = true,
            Some(Fault::WrongInput) => wrong_input = 1,
            Some(fault) => commit(fault)?,
        }
        let mut decode_seqs = 0;
        let mut prefill_tokens = 0;
        for seq in &mut self.running {
            if seq.prefilled == seq.prompt {
                decode_seqs += 1;
                seq.produced += 1;
                self.kv_used += 1;
            } else {
                let chunk = (seq.prompt - seq.prefilled).min(self.options.prefill_chunk - prefill_tokens);
                prefill_tokens += chunk;
                seq.prefilled += chunk;
                self.kv_used += u64::from(chunk);
                if seq.prefilled == seq.prompt {
                    seq.produced = 1;
                }
            }
        }
        let mut cost_us = self.options.step_base_us
            + self.options.prefill_token_us * f64::from(prefill_tokens)
            + self.options.decode_seq_us * f64::from(decode_seqs);
        if self.options.jitter > 0.0 {
            cost_us *= (1.0 + self.options.jitter * standard_normal(&mut self.rng)).max(0.0);
        }
        if self.options.fault == Some(Fault::TwoPaces) && self.resets.is_multiple_of(2) {
            cost_us *= 1.1;
        }
        let cost_ns = (cost_us * 1000.0).round() as u64;
        match self.options.time {
            Time::Virtual => self.virtual_ns += cost_ns,
            Time::Real if cost_ns > 0 => sleep_until_ns(start_ns + cost_ns),
            Time::Real => {}
        }
        let end_ns = self.now_ns();
        let due_ns = if self.options.time == Time::Real { start_ns + cost_ns } else { end_ns };
        for index in 0..self.running.len() {
            let seq = &self.running[index];
            if seq.produced == 0 || seq.prefilled < seq.prompt {
                continue;
            }
            let token = self.model.token(seq.prompt_hash, seq.produced - 1);
            let finish = if self.endless {
                None
            } else if seq.produced == seq.output || std::mem::take(&mut few) {
                Some(FinishReason::Length)
            } else if short {
                Some(FinishReason::Stop)
            } else {
                None
            };
            let input = finish.map(|_| seq.prompt + wrong_input);
            out.push(seq.id, end_ns, &[token], input, finish);
            if finish.is_some() {
                short &= finish == Some(FinishReason::Length);
                self.kv_reserved -= seq.reserved;
                self.kv_used -= seq.kv_tokens();
                self.running[index].ended = true;
            }
        }
        self.running.retain(|seq| !seq.ended);
        out.steps.push(StepRecord {
            start_ns,
            end_ns,
            prefill_tokens,
            decode_seqs,
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            kv_tokens: self.kv_used,
        });
        Ok(due_ns)
    }
}

/// Hashes of the beginnings of all prompts since the last reset. A prompt is known as soon as it is handed over: a simulation of
/// what a cache gives to a conversation, whose turns come one after the other.
#[derive(Default)]
struct Prefixes {
    known: rustc_hash::FxHashSet<u64>,
    hits: u64,
}

impl Prefixes {
    /// How many tokens of the prompt need not be computed; remembers it.
    fn answer(&mut self, prompt: &[TokenId]) -> u32 {
        let (mut hash, mut known) = (0, 0);
        for (before, id) in (0..).zip(prompt) {
            hash = mix(hash, u64::from(id.0));
            if !self.known.insert(hash) && known == before {
                known += 1;
            }
        }
        known = known.min(prompt.len() as u32 - 1);
        self.hits += u64::from(known);
        known
    }

    fn forget(&mut self) {
        self.known.clear();
    }
}

impl Engine for Sim {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn generate(&mut self, batch: &RequestBatch) -> Result<Completions, EngineError> {
        let mut out = EventBuf::default();
        let mut outputs: Vec<(u32, Vec<TokenId>, Option<FinishReason>)> = Vec::with_capacity(batch.len());
        let mut index_of = rustc_hash::FxHashMap::default();
        for (index, request) in batch.iter().enumerate() {
            self.submit(request)?;
            index_of.insert(request.id, index);
            outputs.push((0, Vec::with_capacity(request.output_tokens as usize), None));
        }
        let mut due_ns = self.now_ns();
        while !self.waiting.is_empty() || !self.running.is_empty() {
            out.clear();
            self.admit();
            // Its own loop: how late this thread woke from a step does not put off the next one; a stall does.
            let start_ns = due_ns.max(self.now_ns().saturating_sub(LATE_NS));
            due_ns = self.step(start_ns, &mut out)?;
            for event in &out.events {
                let Some(&index) = index_of.get(&event.request) else { continue };
                let (input, ids, finish) = &mut outputs[index];
                ids.extend_from_slice(&out.ids[event.tokens.clone()]);
                *input = event.input_tokens.unwrap_or(*input);
                *finish = event.finish.or(*finish);
            }
        }
        let mut completions = Completions::default();
        for (request, (input, ids, finish)) in batch.iter().zip(&outputs) {
            completions.push(request.id, *input, ids, finish.unwrap_or(FinishReason::Error));
        }
        Ok(completions)
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), EngineError> {
        let need = request.prompt.len() as u64 + u64::from(request.output_tokens);
        let limit = u64::from(self.options.max_model_len).min(self.options.kv_tokens);
        if request.prompt.is_empty() || request.output_tokens == 0 || need > limit {
            return Err(EngineError::bad_request(format!(
                "sim: request {} wants {} tokens in and {} out; expected at least 1 each and at most {limit} together",
                request.id.0,
                request.prompt.len(),
                request.output_tokens,
            )));
        }
        // Added up only where there is a limit: a queue may be millions long.
        if self.options.memory_tokens.is_some() {
            let handed_over = self.waiting.iter().chain(&self.running).map(|seq| seq.reserved).sum::<u64>();
            self.options.room_for(handed_over + need)?;
        }
        let changed = u32::from(self.lasting(Fault::ChangedPrompt));
        let ids = (0..).zip(request.prompt).map(|(place, id)| TokenId(if place == 0 { id.0 ^ changed } else { id.0 }));
        self.consumed = self.consumed.wrapping_add(ids_digest(request.id, ids));
        let seed = if request.sampling.is_greedy() { 0 } else { mix(1, request.sampling.seed) };
        let prompt_hash = self.model.hash(seed, request.prompt);
        let known = if self.options.prefix_cache { self.prefixes.answer(request.prompt) } else { 0 };
        self.waiting.push_back(Seq {
            id: request.id,
            prompt_hash,
            prompt: request.prompt.len() as u32,
            prefilled: known,
            produced: 0,
            output: request.output_tokens,
            reserved: need,
            ended: false,
        });
        Ok(())
    }

    fn poll(&mut self, deadline_ns: u64, out: &mut EventBuf) -> Result<(), EngineError> {
        if !self.cancelled.is_empty() {
            let time_ns = self.now_ns();
            for id in self.cancelled.drain(..) {
                let tokens = out.ids.len()..out.ids.len();
                let finish = Some(FinishReason::Cancelled);
                out.events.push(Event { request: id, time_ns, tokens, input_tokens: None, finish });
            }
            return Ok(());
        }
        self.admit();
        if self.running.is_empty() {
            match self.options.time {
                Time::Virtual => self.virtual_ns = self.virtual_ns.max(deadline_ns),
                Time::Real => sleep_until_ns(deadline_ns),
            }
            return Ok(());
        }
        self.step(self.now_ns(), out).map(|_| ())
    }

    fn cancel(&mut self, id: RequestId) -> Result<(), EngineError> {
        if let Some(index) = self.waiting.iter().position(|seq| seq.id == id) {
            self.waiting.remove(index);
            self.cancelled.push(id);
        } else if let Some(index) = self.running.iter().position(|seq| seq.id == id) {
            let seq = self.running.remove(index);
            self.kv_reserved -= seq.reserved;
            self.kv_used -= seq.kv_tokens();
            self.cancelled.push(id);
        }
        Ok(())
    }

    fn score(&mut self, sequences: &[Forced]) -> Result<Vec<Vec<Scored>>, EngineError> {
        Ok(sequences.iter().map(|sequence| self.model.score(sequence)).collect())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.model.redraw();
        self.waiting.clear();
        self.running.clear();
        self.cancelled.clear();
        (self.kv_reserved, self.kv_used) = (0, 0);
        self.grown = Vec::new();
        self.steps_at_reset = self.steps;
        self.resets += 1;
        self.consumed = 0;
        self.prefixes.forget();
        Ok(())
    }

    fn stats(&mut self) -> Stats {
        Stats::from([
            (stat::STEPS.to_owned(), self.steps as f64),
            (stat::PREFIX_HIT_TOKENS.to_owned(), self.counted(Fault::PrefixHit) + self.prefixes.hits as f64),
            (stat::PREEMPTIONS.to_owned(), self.counted(Fault::Preempt)),
            (stat::COMPILES.to_owned(), self.counted(Fault::Compile)),
        ])
    }

    fn consumed_digest(&mut self) -> Option<u64> {
        Some(self.consumed)
    }

    fn shutdown(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        match self.options.time {
            Time::Real => monotonic_ns(),
            Time::Virtual => self.virtual_ns,
        }
    }
}
