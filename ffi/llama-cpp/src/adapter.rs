//! llama.cpp as a Tacho engine.
use std::rc::Rc;

use serde_json::{Value, json};
use tacho::{
    engine::{
        Boundary, Capabilities, Completion, Completions, Engine, EngineError, EngineInfo, EventBuf, FinishReason,
        Forced, LoadConfig, Options, Request, RequestBatch, RequestId, Sampling, Scheduler as Schedules, Scored, Stats,
        StepRecord, TokenId, stat,
    },
    measure::{monotonic_ns, sleep_until_ns},
};

use crate::{
    argmax::argmax,
    backend::{Backend, Device},
    compiles,
    context::{Context, ContextSpec},
    log,
    model::Model,
    options::LlamaOptions,
    sampler::Sampler,
    scheduler::{Decoder, Limits, Row, Scheduler},
    score, text, threads,
};

/// The engine's id, as in `engines/llama.cpp`.
pub const ID: &str = "llama.cpp";

/// The cells of a sequence's cache come in blocks of this many.
const KV_BLOCK: u32 = 256;
/// The tag of requests from `submit`, which the step loop does not need.
const NO_TAG: u32 = 0;

/// llama.cpp, loaded.
pub struct LlamaCpp {
    info: EngineInfo,
    scheduler: Scheduler,
    runner: Runner,
    /// Cancelled since the last poll.
    cancelled: Vec<RequestId>,
    steps: u64,
}

impl LlamaCpp {
    /// Loads a model and makes the one context that all trials use.
    ///
    /// # Errors
    /// `Unsupported` for options that are not known or cannot be, `Load` when the model or the context cannot be made.
    pub fn load(config: &LoadConfig) -> Result<Self, EngineError> {
        let options = LlamaOptions::from_config(config)?;
        let path = config.model.as_deref().ok_or_else(|| {
            EngineError::load("llama.cpp: expected a GGUF file as the model, found none: name one with --model")
        })?;
        let spec = sizes(config, &options)?;
        let model = Rc::new(Model::load(path, &options)?);
        if config.max_model_len > model.context_len() {
            return Err(EngineError::load(format!(
                "llama.cpp: requests of up to {} tokens are planned, {} was made for {}: shorten the prompts or outputs",
                config.max_model_len,
                path.display(),
                model.context_len(),
            )));
        }
        let mut context = Context::new(&model, &spec)?;
        let (n_ctx, n_ctx_seq, n_batch, _, n_seq_max) = context.sizes();
        let max_model_len = n_ctx_seq.min(model.context_len());
        if max_model_len < config.max_model_len {
            return Err(EngineError::load(format!(
                "llama.cpp: requests of up to {} tokens are planned, but {n_ctx} KV tokens over {n_seq_max} sequences \
                 leave {n_ctx_seq} for each: raise kv_tokens, lower max_seqs, or set kv_unified",
                config.max_model_len,
            )));
        }
        if n_batch < n_seq_max {
            return Err(EngineError::unsupported(format!(
                "llama.cpp: expected n_batch of at least max_seqs, found {n_batch} and {n_seq_max}: a step takes a token \
                 of every running sequence"
            )));
        }
        let info = describe(&model, &mut context, &options, max_model_len);
        let limits = Limits {
            max_seqs: n_seq_max,
            n_batch,
            max_model_len,
            kv_tokens: u64::from(n_ctx),
            vocab_size: info.model.vocab_size,
        };
        let samplers = (0..n_seq_max).map(|_| None).collect();
        Ok(Self {
            info,
            scheduler: Scheduler::new(limits),
            runner: Runner { context, samplers },
            cancelled: Vec::new(),
            steps: 0,
        })
    }
}

/// The context's sizes from what the points need and what the options say.
fn sizes(config: &LoadConfig, options: &LlamaOptions) -> Result<ContextSpec, EngineError> {
    let most = Backend::get().max_sequences();
    let n_seq_max = options.max_seqs.unwrap_or(config.max_seqs.clamp(1, most));
    if n_seq_max > most {
        return Err(EngineError::unsupported(format!(
            "llama.cpp: expected max_seqs of at most {most} (a constant of this build), found {n_seq_max}"
        )));
    }
    let longest = config.max_model_len.max(1).checked_next_multiple_of(KV_BLOCK);
    let n_ctx = match options.kv_tokens {
        Some(tokens) => Some(tokens),
        None => longest.and_then(|longest| longest.checked_mul(n_seq_max)),
    };
    let n_ctx = n_ctx.ok_or_else(|| {
        EngineError::load(format!(
            "llama.cpp: {n_seq_max} sequences of {} tokens are more KV tokens than it can count: set max_seqs or kv_tokens",
            config.max_model_len
        ))
    })?;
    let threads = options.threads.unwrap_or_else(threads::physical_cores);
    let (type_k, type_v) = options.cache_types()?;
    Ok(ContextSpec {
        n_ctx,
        n_batch: options.n_batch,
        n_ubatch: options.n_ubatch,
        n_seq_max,
        threads,
        threads_batch: options.threads_batch.unwrap_or(threads),
        flash_attn: options.flash_attn,
        type_k,
        type_v,
        kv_unified: options.kv_unified,
        backend_sampling: options.backend_sampling,
    })
}

fn describe(model: &Model, context: &mut Context, options: &LlamaOptions, max_model_len: u32) -> EngineInfo {
    let backend = Backend::get();
    let (n_ctx, n_ctx_seq, n_batch, n_ubatch, n_seq_max) = context.sizes();
    let (threads, threads_batch) = context.threads();
    let told = context.told().clone();
    let modules = backend.modules();
    let names = options.device_names();
    let used =
        |device: &&Device| device.gpu && names.as_ref().is_none_or(|names| names.contains(&device.name.as_str()));
    let gpus: Vec<&str> = backend.devices().iter().filter(used).map(|d| d.description.as_str()).collect();
    let on_gpu = !gpus.is_empty() && options.n_gpu_layers != Some(0);
    let device = if on_gpu {
        gpus.join(" + ")
    } else {
        let cpu = backend.devices().iter().find(|device| !device.gpu);
        let name = cpu.map_or("CPU", |cpu| cpu.description.as_str());
        let module = modules.iter().find(|module| module.starts_with("libggml-cpu")).map_or("built in", String::as_str);
        format!("CPU: {name} ({module})")
    };
    let devices: Vec<Value> = backend
        .devices()
        .iter()
        .map(|device| json!({"name": device.name, "description": device.description, "gpu": device.gpu}))
        .collect();
    let effective = [
        ("n_ctx", json!(n_ctx)),
        ("n_ctx_seq", json!(n_ctx_seq)),
        ("n_batch", json!(n_batch)),
        ("n_ubatch", json!(n_ubatch)),
        ("n_seq_max", json!(n_seq_max)),
        ("threads", json!(threads)),
        ("threads_batch", json!(threads_batch)),
        ("flash_attn", json!(options.flash_attn)),
        ("flash_attn_used", json!(told.flash_attn)),
        ("type_k", json!(options.type_k)),
        ("type_v", json!(options.type_v)),
        ("cache_type_k", json!(told.type_k)),
        ("cache_type_v", json!(told.type_v)),
        ("cache_unified", json!(told.kv_unified)),
        ("n_gpu_layers", json!(options.n_gpu_layers.unwrap_or_else(Model::default_gpu_layers))),
        ("devices_asked", json!(options.devices)),
        ("kv_unified", json!(options.kv_unified)),
        ("use_mmap", json!(options.use_mmap)),
        ("backend_sampling", json!(context.picks())),
        ("modules", json!(modules)),
        ("devices", json!(devices)),
        ("model_desc", json!(model.desc())),
        ("system_info", json!(backend.system_info())),
        ("source", json!(env!("TACHO_LLAMA_SOURCE"))),
        ("build", json!(env!("TACHO_LLAMA_BUILD"))),
    ];
    EngineInfo {
        engine: ID.to_owned(),
        version: format!("{} ({})", backend.version(), env!("TACHO_LLAMA_SOURCE")),
        double: None,
        boundary: Boundary::InCore,
        scheduler: Schedules::Tacho,
        device,
        compile_mode: None,
        gpu_in_process: on_gpu.then_some(true),
        parallelism: (1, 1),
        model: model.info(),
        kv_capacity_tokens: Some(u64::from(n_ctx)),
        max_seqs: Some(n_seq_max),
        max_model_len: Some(max_model_len),
        virtual_time: false,
        capabilities: Capabilities::ALL,
        effective: effective.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Options>(),
        observed: Options::new(),
        uncounted: compiles::uncounted(backend, on_gpu)
            .map(|why| (stat::COMPILES.to_owned(), why))
            .into_iter()
            .collect(),
    }
}

/// The context, and the samplers of the slots that do not decode greedily.
struct Runner {
    context: Context,
    samplers: Vec<Option<Sampler>>,
}

impl Decoder for Runner {
    fn begin(&mut self, slot: usize, sampling: &Sampling) -> Result<(), EngineError> {
        if self.context.picks() && !sampling.is_greedy() {
            return Err(EngineError::unsupported(
                "llama.cpp: backend_sampling decodes greedily only: unset it, or ask for temperature 0",
            ));
        }
        self.samplers[slot] = if sampling.is_greedy() { None } else { Some(Sampler::new(sampling)?) };
        Ok(())
    }

    fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError> {
        self.context.decode(rows)
    }

    fn pick(&mut self, row: usize, slot: usize) -> Result<TokenId, EngineError> {
        if self.context.picks() {
            return self.context.picked(row).ok_or_else(|| {
                EngineError::engine(format!("llama.cpp's backend picked no token for row {row}, which was to have one"))
            });
        }
        let logits = self.context.logits(row).ok_or_else(|| {
            EngineError::engine(format!("llama.cpp gave no logits for row {row}, which was to have some"))
        })?;
        // Sampling needs a likeliest token too: llama.cpp ends the process over logits that have none.
        let likeliest = argmax(logits).ok_or_else(|| {
            EngineError::engine(
                "llama.cpp computed logits that are all NaN or negative infinity: the weights are broken",
            )
        })?;
        Ok(match &mut self.samplers[slot] {
            None => TokenId(likeliest as u32),
            Some(sampler) => sampler.sample(&mut self.context, row),
        })
    }

    fn end(&mut self, slot: usize) {
        self.samplers[slot] = None;
        self.context.forget(slot);
    }
}

impl Engine for LlamaCpp {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn generate(&mut self, batch: &RequestBatch) -> Result<Completions, EngineError> {
        if !self.scheduler.is_idle() {
            return Err(EngineError::bad_request(format!(
                "llama.cpp: generate needs an idle engine, found {} requests running and {} waiting: reset first",
                self.scheduler.running(),
                self.scheduler.waiting()
            )));
        }
        // All or nothing: no request stays queued behind a refused one.
        for request in batch.iter() {
            self.scheduler.check(&request)?;
        }
        let mut completions = Completions::default();
        completions.rows.reserve_exact(batch.len());
        let mut end = 0;
        for (index, request) in batch.iter().enumerate() {
            self.scheduler.submit(request, index as u32)?;
            let start = end;
            end += request.output_tokens as usize;
            // The range grows to its end as the tokens come.
            completions.rows.push(Completion {
                request: request.id,
                input_tokens: 0,
                tokens: start..start,
                finish: FinishReason::Error,
            });
        }
        completions.ids.resize(end, TokenId(0));
        while !self.scheduler.is_idle() {
            self.scheduler.step(&mut self.runner)?;
            self.steps += 1;
            for new in self.scheduler.emitted() {
                let row = &mut completions.rows[new.tag as usize];
                completions.ids[row.tokens.end] = new.token;
                row.tokens.end += 1;
                row.input_tokens = new.input_tokens;
                row.finish = new.finish.unwrap_or(row.finish);
            }
        }
        Ok(completions)
    }

    fn generate_text(
        &mut self,
        batch: &RequestBatch,
        texts: Option<&[String]>,
        detokenise: bool,
    ) -> Result<(Completions, u64), EngineError> {
        let model = Rc::clone(self.runner.context.model());
        for (text, request) in texts.unwrap_or_default().iter().zip(batch.iter()) {
            let ids = text::tokenise(&model, text)?;
            if ids != request.prompt {
                return Err(EngineError::mismatch(format!(
                    "llama.cpp: request {}: its text was to be {} given ids, llama.cpp's tokenizer made {} of it, not all the same",
                    request.id.0,
                    request.prompt.len(),
                    ids.len()
                )));
            }
        }
        let completions = self.generate(batch)?;
        let mut characters = 0;
        if detokenise {
            for row in &completions.rows {
                characters += text::detokenise(&model, &completions.ids[row.tokens.clone()])?.chars().count() as u64;
            }
        }
        Ok((completions, characters))
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), EngineError> {
        self.scheduler.submit(request, NO_TAG)
    }

    fn poll(&mut self, deadline_ns: u64, out: &mut EventBuf) -> Result<(), EngineError> {
        if !self.cancelled.is_empty() {
            let time_ns = monotonic_ns();
            for id in self.cancelled.drain(..) {
                out.push(id, time_ns, &[], None, Some(FinishReason::Cancelled));
            }
            return Ok(());
        }
        if self.scheduler.is_idle() {
            sleep_until_ns(deadline_ns);
            return Ok(());
        }
        let start_ns = monotonic_ns();
        let counts = self.scheduler.step(&mut self.runner)?;
        self.steps += 1;
        let end_ns = monotonic_ns();
        for new in self.scheduler.emitted() {
            let input = new.finish.map(|_| new.input_tokens);
            out.push(new.request, end_ns, &[new.token], input, new.finish);
        }
        out.steps.push(StepRecord {
            start_ns,
            end_ns,
            prefill_tokens: counts.prefill_tokens,
            decode_seqs: counts.decode_seqs,
            running: self.scheduler.running(),
            waiting: self.scheduler.waiting(),
            kv_tokens: self.scheduler.kv_used(),
        });
        Ok(())
    }

    fn cancel(&mut self, id: RequestId) -> Result<(), EngineError> {
        if self.scheduler.cancel(id, &mut self.runner) {
            self.cancelled.push(id);
        }
        Ok(())
    }

    fn score(&mut self, sequences: &[Forced]) -> Result<Vec<Vec<Scored>>, EngineError> {
        if !self.scheduler.is_idle() {
            return Err(EngineError::bad_request("llama.cpp: scoring needs an idle engine: reset first"));
        }
        score::score(&mut self.runner.context, self.scheduler.limits(), sequences)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.scheduler.clear(&mut self.runner);
        self.runner.context.clear();
        self.cancelled.clear();
        Ok(())
    }

    fn stats(&mut self) -> Stats {
        // The scheduler shares no prefixes and evicts nobody.
        Stats::from([
            (stat::STEPS.to_owned(), self.steps as f64),
            (stat::PREFIX_HIT_TOKENS.to_owned(), 0.0),
            (stat::PREEMPTIONS.to_owned(), 0.0),
            // See `compiles`: all that there is to count.
            (stat::COMPILES.to_owned(), log::captures() as f64),
        ])
    }

    fn consumed_digest(&mut self) -> Option<u64> {
        Some(self.scheduler.consumed())
    }

    fn shutdown(&mut self) -> Result<(), EngineError> {
        self.reset()
    }
}
