//! A context: the KV cache, and the forward pass over a batch of tokens of many sequences.
use std::{ptr::NonNull, rc::Rc};

use tacho::engine::{EngineError, TokenId};

use crate::{log, model::Model, options::FlashAttn, sampler::Sampler, scheduler::Row, sys, told::Told};

/// What a context is made with, all values settled.
#[derive(Clone, Copy, Debug)]
pub struct ContextSpec {
    /// Tokens that the KV cache holds, all sequences together.
    pub n_ctx: u32,
    /// The most tokens handed over in one call.
    pub n_batch: u32,
    /// The most tokens computed at once.
    pub n_ubatch: u32,
    /// Sequences.
    pub n_seq_max: u32,
    /// Threads for steps of one token.
    pub threads: u32,
    /// Threads for steps of more.
    pub threads_batch: u32,
    /// Flash attention.
    pub flash_attn: FlashAttn,
    /// Type of the cached keys.
    pub type_k: sys::ggml_type,
    /// Type of the cached values.
    pub type_v: sys::ggml_type,
    /// One cache that all sequences share, or one a sequence.
    pub kv_unified: bool,
    /// Whether the backend picks each sequence's likeliest token.
    pub backend_sampling: bool,
}

/// A context with its batch; freed on drop, before the model.
#[derive(Debug)]
pub struct Context {
    pointer: NonNull<sys::llama_context>,
    batch: Batch,
    vocab_size: usize,
    /// What the backend picks tokens with, one a sequence, freed after the context; empty when logits are handed over.
    pickers: Vec<Sampler>,
    told: Told,
    model: Rc<Model>,
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the library and is freed once; the model is still held.
        unsafe { sys::llama_free(self.pointer.as_ptr()) };
    }
}

impl Context {
    /// Whose context it is.
    pub fn model(&self) -> &Rc<Model> {
        &self.model
    }

    /// Makes a context.
    ///
    /// # Errors
    /// `Load`, with llama.cpp's last words: as a rule there is not enough memory, or the options do not fit the model.
    pub fn new(model: &Rc<Model>, spec: &ContextSpec) -> Result<Self, EngineError> {
        // SAFETY: plain values.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = spec.n_ctx;
        params.n_batch = spec.n_batch;
        params.n_ubatch = spec.n_ubatch;
        params.n_seq_max = spec.n_seq_max;
        params.n_threads = spec.threads as i32;
        params.n_threads_batch = spec.threads_batch as i32;
        params.flash_attn_type = match spec.flash_attn {
            FlashAttn::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttn::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttn::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        params.type_k = spec.type_k;
        params.type_v = spec.type_v;
        params.kv_unified = spec.kv_unified;
        params.no_perf = true;
        let sequences = if spec.backend_sampling { spec.n_seq_max as i32 } else { 0 };
        let pickers: Vec<Sampler> = (0..sequences).map(|_| Sampler::greedy()).collect::<Result<_, _>>()?;
        let mut chains: Vec<sys::llama_sampler_seq_config> = (0..sequences)
            .zip(&pickers)
            .map(|(seq_id, picker)| sys::llama_sampler_seq_config { seq_id, sampler: picker.as_ptr() })
            .collect();
        if spec.backend_sampling {
            params.n_outputs_max_per_seq = 1;
            params.samplers = chains.as_mut_ptr();
            params.n_samplers = chains.len();
        }
        log::forget();
        // SAFETY: the model is valid and outlives the context, which holds a count of it; the list of chains is read
        // during the call, and the chains themselves are kept beside the context.
        let (pointer, lines) = log::noting(|| unsafe { sys::llama_init_from_model(model.as_ptr(), params) });
        let told = Told::from_lines(lines.iter().map(String::as_str));
        let pointer = NonNull::new(pointer).ok_or_else(|| {
            EngineError::load(format!(
                "llama.cpp could not make a context of {} KV tokens for {} sequences: ask for fewer or shorter \
                 requests (or set max_seqs or kv_tokens), and check that flash_attn, type_k and type_v suit the model.{}",
                spec.n_ctx,
                spec.n_seq_max,
                log::said(),
            ))
        })?;
        // SAFETY: the context is valid.
        let n_batch = unsafe { sys::llama_n_batch(pointer.as_ptr()) };
        let vocab_size = model.vocab_size() as usize;
        Ok(Self { pointer, batch: Batch::new(n_batch), vocab_size, pickers, told, model: Rc::clone(model) })
    }

    /// What it said of itself as it was made.
    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    pub(crate) fn as_ptr(&mut self) -> *mut sys::llama_context {
        self.pointer.as_ptr()
    }

    /// The sizes that the context really has: `(n_ctx, n_ctx_seq, n_batch, n_ubatch, n_seq_max)`.
    pub fn sizes(&self) -> (u32, u32, u32, u32, u32) {
        let context = self.pointer.as_ptr();
        // SAFETY: the context is valid.
        unsafe {
            (
                sys::llama_n_ctx(context),
                sys::llama_n_ctx_seq(context),
                sys::llama_n_batch(context),
                sys::llama_n_ubatch(context),
                sys::llama_n_seq_max(context),
            )
        }
    }

    /// Threads for one token, and for more.
    pub fn threads(&mut self) -> (i32, i32) {
        // SAFETY: the context is valid.
        unsafe { (sys::llama_n_threads(self.as_ptr()), sys::llama_n_threads_batch(self.as_ptr())) }
    }

    /// One forward pass. Afterwards [`Context::logits`] has the rows whose `output` is set.
    ///
    /// # Errors
    /// `Engine` when llama.cpp refused or failed; the cache's content is then unknown until [`Context::clear`].
    pub fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError> {
        self.batch.fill(rows)?;
        // SAFETY: the batch's arrays hold as many entries as it says; tokens, positions and sequence ids are checked by
        // llama.cpp itself, which answers -1 for those that are out of range.
        let status = unsafe { sys::llama_decode(self.as_ptr(), self.batch.raw) };
        let reason = match status {
            0 => return Ok(()),
            1 => "found no room in the KV cache",
            2 => "was aborted",
            -1 => "called the batch invalid",
            _ => "failed",
        };
        Err(EngineError::engine(format!("llama_decode over {} tokens {reason} ({status}).{}", rows.len(), log::said())))
    }

    /// The logits after the token at `row` of the last pass; None when that row had no output.
    pub fn logits(&mut self, row: usize) -> Option<&[f32]> {
        // SAFETY: the context is valid; the library answers null for a row without output. A row's logits are as many as
        // the vocabulary and stay as they are until the next pass, which needs `&mut self` again.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.as_ptr(), row as i32);
            (!logits.is_null()).then(|| std::slice::from_raw_parts(logits, self.vocab_size))
        }
    }

    /// Whether the backend picks the tokens: there are no logits then.
    pub fn picks(&self) -> bool {
        !self.pickers.is_empty()
    }

    /// The token that the backend picked after the one at `row` of the last pass; None when it picked none there.
    pub fn picked(&mut self, row: usize) -> Option<TokenId> {
        // SAFETY: the context is valid; the library answers LLAMA_TOKEN_NULL, which is negative, where there is none.
        let id = unsafe { sys::llama_get_sampled_token_ith(self.as_ptr(), row as i32) };
        u32::try_from(id).ok().map(TokenId)
    }

    /// Frees a sequence's KV cache.
    pub fn forget(&mut self, sequence: usize) {
        // SAFETY: the context and its memory are valid. Removing a whole sequence never fails.
        unsafe { sys::llama_memory_seq_rm(sys::llama_get_memory(self.as_ptr()), sequence as i32, -1, -1) };
    }

    /// Empties the KV cache.
    pub fn clear(&mut self) {
        // SAFETY: the context and its memory are valid; the data buffers need no wiping, nothing refers to them.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.as_ptr()), false) };
    }
}

/// llama.cpp's arrays for the tokens of one call, made once.
#[derive(Debug)]
struct Batch {
    raw: sys::llama_batch,
    capacity: usize,
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: the arrays came from llama_batch_init and are freed once.
        unsafe { sys::llama_batch_free(self.raw) };
    }
}

impl Batch {
    fn new(capacity: u32) -> Self {
        // SAFETY: allocates `capacity` entries of one sequence each, without embeddings.
        let raw = unsafe { sys::llama_batch_init(capacity as i32, 0, 1) };
        Self { raw, capacity: capacity as usize }
    }

    fn fill(&mut self, rows: &[Row]) -> Result<(), EngineError> {
        if rows.len() > self.capacity {
            let message = format!("a step of {} tokens does not fit n_batch = {}", rows.len(), self.capacity);
            return Err(EngineError::engine(message));
        }
        self.raw.n_tokens = rows.len() as i32;
        for (index, row) in rows.iter().enumerate() {
            // SAFETY: every array has `capacity` entries, `seq_id` one element in each, and index < len <= capacity.
            unsafe {
                *self.raw.token.add(index) = row.token.0 as i32;
                *self.raw.pos.add(index) = row.position as i32;
                *self.raw.n_seq_id.add(index) = 1;
                **self.raw.seq_id.add(index) = row.slot as i32;
                *self.raw.logits.add(index) = i8::from(row.output);
            }
        }
        Ok(())
    }
}
