//! The executor as a Tacho engine.
use rustc_hash::FxHashMap;
use tacho::{
    engine::{
        Completions, Engine, EngineError, EngineInfo, EventBuf, FinishReason, LoadConfig, Request, RequestBatch,
        RequestId, Stats, TokenId, stat,
    },
    measure::{monotonic_ns, sleep_until_ns},
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    ID,
    bridge::{IterationRow, ResponseRow},
    executor::{Executor, NewRequest, Responses},
    load::{self, Limits},
    steps::Steps,
};

/// How long cancelled requests may take to end.
const CANCEL_NS: u64 = 30_000_000_000;
/// The longest that one wait for responses lasts.
const WAIT_MS: i64 = 1000;

/// TensorRT-LLM's C++ executor, loaded.
pub struct TensorRtLlm {
    info: EngineInfo,
    executor: Executor,
    limits: Limits,
    steps: Steps,
    /// Raised at each reset and each `generate`: responses of an older one are dropped.
    epoch: u32,
    /// Handed over by `submit`, neither ended nor cancelled.
    live: FxHashMap<RequestId, Live>,
    /// Handed over in any way, without a final response yet.
    in_engine: usize,
    /// Cancelled since the last poll.
    cancelled: Vec<RequestId>,
    hit_blocks: u64,
    responses: Responses,
    told: Vec<IterationRow>,
}

struct Live {
    engine_id: u64,
    input_tokens: u32,
    output_tokens: u32,
    produced: u32,
    /// Responses in the poll that is under way.
    seen: usize,
}

impl TensorRtLlm {
    /// Starts an executor on the folder of engines that `config.model` names.
    ///
    /// # Errors
    /// `Unsupported` for options that are not known or cannot be, `Load` when the engine cannot be started.
    pub fn load(config: &LoadConfig) -> Result<Self, EngineError> {
        let loaded = load::load(config)?;
        Ok(Self {
            info: loaded.info,
            executor: loaded.executor,
            limits: loaded.limits,
            steps: loaded.steps,
            epoch: 0,
            live: FxHashMap::default(),
            in_engine: 0,
            cancelled: Vec::new(),
            hit_blocks: 0,
            responses: Responses::default(),
            told: Vec::new(),
        })
    }

    fn check(&self, request: &Request<'_>) -> Result<(), EngineError> {
        let (input, output) = (request.prompt.len() as u64, u64::from(request.output_tokens));
        let Limits { max_input_len, max_seq_len, vocab_size } = self.limits;
        if input == 0 || output == 0 || input > u64::from(max_input_len) || input + output > u64::from(max_seq_len) {
            return Err(EngineError::bad_request(format!(
                "{ID}: request {} wants {input} tokens in and {output} out; expected at least 1 each, at most {max_input_len} \
                 in and {max_seq_len} together, as the engine was built",
                request.id.0
            )));
        }
        match request.prompt.iter().find(|id| id.0 >= vocab_size) {
            Some(id) => Err(EngineError::bad_request(format!(
                "{ID}: request {} holds id {}, outside the vocabulary of {vocab_size}",
                request.id.0, id.0
            ))),
            None => Ok(()),
        }
    }

    fn new_request(&self, request: &Request<'_>, tag: u32, streaming: bool) -> NewRequest {
        let sampling = request.sampling;
        NewRequest {
            client_id: u64::from(self.epoch) << 32 | u64::from(tag),
            prompt_len: request.prompt.len() as u32,
            max_tokens: request.output_tokens as i32,
            streaming,
            greedy: sampling.is_greedy(),
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k as i32,
            seed: sampling.seed,
        }
    }

    /// The number that a response carries, if it is of this epoch.
    fn tag(&self, row: &ResponseRow) -> Option<u32> {
        (row.client_id >> 32 == u64::from(self.epoch)).then_some(row.client_id as u32)
    }

    /// Waits for responses and takes in the statistics; says when the responses could be seen.
    fn wait(&mut self, timeout_ms: i64) -> Result<u64, EngineError> {
        self.responses.clear();
        let waited = self.executor.await_responses(timeout_ms, &mut self.responses);
        let seen_ns = monotonic_ns();
        waited?;
        self.told.clear();
        self.executor.iterations(&mut self.told)?;
        self.steps.told(&self.told);
        for row in self.responses.rows.iter().filter(|row| row.is_final) {
            self.in_engine = self.in_engine.saturating_sub(1);
            self.hit_blocks += u64::try_from(row.reused_blocks).unwrap_or(0);
        }
        Ok(seen_ns)
    }

    /// Waits until nothing is in the executor any more; what still comes is dropped.
    fn drain(&mut self) -> Result<(), EngineError> {
        self.epoch = self.epoch.wrapping_add(1);
        let until_ns = monotonic_ns() + CANCEL_NS;
        while self.in_engine > 0 {
            self.wait(WAIT_MS)?;
            if monotonic_ns() > until_ns {
                return Err(EngineError::engine(format!(
                    "{ID}: {} requests were still unfinished {} s after they had been cancelled",
                    self.in_engine,
                    CANCEL_NS / 1_000_000_000
                )));
            }
        }
        self.steps.clear();
        Ok(())
    }

    /// Hands over a whole batch and collects its completions; on an error the rest of the batch is still in the executor.
    fn run(&mut self, batch: &RequestBatch, engine_ids: &mut Vec<u64>) -> Result<Vec<Option<Ended>>, EngineError> {
        let mut prompts = Vec::with_capacity(batch.iter().map(|request| request.prompt.len()).sum());
        let mut requests = Vec::with_capacity(batch.len());
        for (index, request) in batch.iter().enumerate() {
            prompts.extend(request.prompt.iter().map(|id| id.0));
            requests.push(self.new_request(&request, index as u32, false));
        }
        self.steps.begin(monotonic_ns());
        self.executor.enqueue(&prompts, &requests, engine_ids)?;
        self.in_engine += batch.len();
        let mut ended: Vec<Option<Ended>> = (0..batch.len()).map(|_| None).collect();
        let mut left = batch.len();
        while left > 0 {
            self.wait(WAIT_MS)?;
            let (mut start, mut errors) = (0, 0);
            for row in &self.responses.rows {
                let tokens = start..row.tokens_end;
                start = row.tokens_end;
                let error = row.is_error.then(|| {
                    errors += 1;
                    self.responses.errors.get(errors - 1).map_or("without a reason", String::as_str)
                });
                let Some(slot) = self.tag(row).and_then(|tag| ended.get_mut(tag as usize)) else { continue };
                if let Some(error) = error {
                    return Err(failed(error));
                }
                let end = slot.get_or_insert_with(Ended::default);
                end.ids.extend(self.responses.tokens[tokens].iter().map(|id| token(*id)));
                if row.is_final {
                    end.finish = row.finish;
                    left -= 1;
                }
            }
        }
        Ok(ended)
    }
}

/// A request of `generate`, as its responses told it.
#[derive(Default)]
struct Ended {
    ids: Vec<TokenId>,
    finish: u8,
}

/// A negative id cannot be: it becomes one that the harness's check of ids will name.
fn token(id: i32) -> TokenId {
    TokenId(u32::try_from(id).unwrap_or(u32::MAX))
}

/// Why a request ended, by the library's enumeration; older releases leave it unset on a request that ran its length.
fn finish(code: u8, produced: u32, asked: u32) -> FinishReason {
    match code {
        3 => FinishReason::Length,
        1 | 2 => FinishReason::Stop,
        5 => FinishReason::Cancelled,
        0 if produced == asked => FinishReason::Length,
        _ => FinishReason::Error,
    }
}

fn failed(words: &str) -> EngineError {
    // By the library's own words, when it fetches a request that can never run.
    if words.contains("when fetching new request") {
        EngineError::bad_request(format!("{ID}: {words}"))
    } else {
        EngineError::engine(format!("{ID}: {words}"))
    }
}

impl Engine for TensorRtLlm {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn generate(&mut self, batch: &RequestBatch) -> Result<Completions, EngineError> {
        if !self.live.is_empty() {
            return Err(EngineError::bad_request(format!(
                "{ID}: generate needs an idle engine, found {} requests in flight: reset first",
                self.live.len()
            )));
        }
        for request in batch.iter() {
            self.check(&request)?;
        }
        self.drain()?;
        let mut engine_ids = Vec::with_capacity(batch.len());
        let ended = match self.run(batch, &mut engine_ids) {
            Ok(ended) => ended,
            Err(error) => {
                for id in engine_ids {
                    self.executor.cancel(id)?;
                }
                self.drain()?;
                return Err(error);
            }
        };
        self.steps.clear();
        let mut completions = Completions::default();
        completions.rows.reserve_exact(batch.len());
        for (request, ended) in batch.iter().zip(&ended) {
            let Some(ended) = ended else { continue };
            let why = finish(ended.finish, ended.ids.len() as u32, request.output_tokens);
            // The library takes a prompt whole or answers with an error; it does not repeat the count.
            completions.push(request.id, request.prompt.len() as u32, &ended.ids, why);
        }
        Ok(completions)
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), EngineError> {
        self.check(&request)?;
        if self.in_engine == 0 {
            self.steps.begin(monotonic_ns());
        }
        let prompt = <[u32]>::ref_from_bytes(request.prompt.as_bytes())
            .map_err(|error| EngineError::engine(format!("{ID}: ids are not 32 bits wide: {error}")))?;
        let mut engine_ids = Vec::with_capacity(1);
        self.executor.enqueue(prompt, &[self.new_request(&request, request.id.0, true)], &mut engine_ids)?;
        self.in_engine += 1;
        let engine_id = engine_ids
            .first()
            .copied()
            .ok_or_else(|| EngineError::engine(format!("{ID}: request {} was taken without an id", request.id.0)))?;
        let live = Live {
            engine_id,
            input_tokens: request.prompt.len() as u32,
            output_tokens: request.output_tokens,
            produced: 0,
            seen: 0,
        };
        self.live.insert(request.id, live);
        Ok(())
    }

    fn poll(&mut self, deadline_ns: u64, out: &mut EventBuf) -> Result<(), EngineError> {
        if !self.cancelled.is_empty() {
            let time_ns = monotonic_ns();
            for id in self.cancelled.drain(..) {
                out.push(id, time_ns, &[], None, Some(FinishReason::Cancelled));
            }
            return Ok(());
        }
        if self.in_engine == 0 {
            sleep_until_ns(deadline_ns);
            return Ok(());
        }
        let events = out.events.len();
        let mut ids = Vec::new();
        loop {
            let left_ns = deadline_ns.saturating_sub(monotonic_ns());
            let seen_ns = self.wait((left_ns.div_ceil(1_000_000)).clamp(1, WAIT_MS as u64) as i64)?;
            let (mut start, mut errors, mut iterations) = (0, 0, 0);
            for row in &self.responses.rows {
                let tokens = start..row.tokens_end;
                start = row.tokens_end;
                errors += usize::from(row.is_error);
                // Of another epoch, or cancelled: nothing is said of it any more.
                let Some(id) = self.tag(row).map(RequestId) else { continue };
                let Some(live) = self.live.get_mut(&id) else { continue };
                if row.is_error {
                    self.live.remove(&id);
                    let words = self.responses.errors.get(errors - 1).map_or("without a reason", String::as_str);
                    return Err(failed(words));
                }
                ids.clear();
                ids.extend(self.responses.tokens[tokens].iter().map(|id| token(*id)));
                live.produced += ids.len() as u32;
                // Each response of one request is from an iteration of its own.
                live.seen += 1;
                iterations = iterations.max(live.seen);
                if row.is_final {
                    let why = finish(row.finish, live.produced, live.output_tokens);
                    out.push(id, seen_ns, &ids, Some(live.input_tokens), Some(why));
                    self.live.remove(&id);
                } else {
                    out.push(id, seen_ns, &ids, None, None);
                }
            }
            if iterations > 0 {
                self.live.values_mut().for_each(|live| live.seen = 0);
            }
            if !self.responses.rows.is_empty() {
                self.steps.seen(seen_ns, iterations, self.in_engine == 0, &mut out.steps);
            }
            if out.events.len() > events || self.in_engine == 0 || monotonic_ns() >= deadline_ns {
                return Ok(());
            }
        }
    }

    fn cancel(&mut self, id: RequestId) -> Result<(), EngineError> {
        if let Some(live) = self.live.remove(&id) {
            self.executor.cancel(live.engine_id)?;
            self.cancelled.push(id);
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        for (_, live) in self.live.drain() {
            self.executor.cancel(live.engine_id)?;
        }
        self.cancelled.clear();
        // The executor has no call that drops its prefix cache: with enable_block_reuse it lives on, as the page says.
        self.drain()
    }

    fn stats(&mut self) -> Stats {
        Stats::from([
            (stat::STEPS.to_owned(), self.steps.steps as f64),
            (stat::PREEMPTIONS.to_owned(), self.steps.paused as f64),
            (stat::PREFIX_HIT_TOKENS.to_owned(), (self.hit_blocks * self.steps.block_tokens) as f64),
            ("context_tokens".to_owned(), self.steps.context_tokens as f64),
        ])
    }

    fn shutdown(&mut self) -> Result<(), EngineError> {
        self.reset()?;
        // After the end nothing can be asked any more: the last statistics come first.
        self.told.clear();
        self.executor.iterations(&mut self.told)?;
        self.steps.told(&self.told);
        self.executor.shutdown()
    }
}
