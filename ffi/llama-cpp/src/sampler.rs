//! Sampling other than greedy: llama.cpp's own chain.
use std::ptr::NonNull;

use tacho::engine::{EngineError, Sampling, TokenId};

use crate::{context::Context, sys};

/// A chain for one request: top-k, temperature, top-p, then a draw. Freed on drop.
#[derive(Debug)]
pub struct Sampler {
    pointer: NonNull<sys::llama_sampler>,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: the chain came from the library, owns its parts, and is freed once.
        unsafe { sys::llama_sampler_free(self.pointer.as_ptr()) };
    }
}

impl Sampler {
    /// A chain that takes the likeliest token, for the backend to run.
    ///
    /// # Errors
    /// `Engine` when memory ran out.
    pub fn greedy() -> Result<Self, EngineError> {
        let broken = || EngineError::engine("llama.cpp could not make a sampler chain");
        // SAFETY: plain values; the chain takes ownership of its one part, which is checked for null.
        unsafe {
            let mut params = sys::llama_sampler_chain_default_params();
            params.no_perf = true;
            let chain = Self { pointer: NonNull::new(sys::llama_sampler_chain_init(params)).ok_or_else(broken)? };
            let part = NonNull::new(sys::llama_sampler_init_greedy()).ok_or_else(broken)?;
            sys::llama_sampler_chain_add(chain.pointer.as_ptr(), part.as_ptr());
            Ok(chain)
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::llama_sampler {
        self.pointer.as_ptr()
    }

    /// The chain for `sampling`. Top-k stands before the temperature because it is then a selection over raw logits; the
    /// order of those two does not change the outcome. Top-p sees the tempered probabilities, as in vLLM.
    ///
    /// # Errors
    /// `Engine` when memory ran out.
    pub fn new(sampling: &Sampling) -> Result<Self, EngineError> {
        let broken = || EngineError::engine("llama.cpp could not make a sampler chain");
        // SAFETY: plain values; the chain takes ownership of each part that is added; parts are checked for null.
        unsafe {
            let mut params = sys::llama_sampler_chain_default_params();
            params.no_perf = true;
            let chain = Self { pointer: NonNull::new(sys::llama_sampler_chain_init(params)).ok_or_else(broken)? };
            let add = |part: *mut sys::llama_sampler| -> Result<(), EngineError> {
                sys::llama_sampler_chain_add(chain.pointer.as_ptr(), NonNull::new(part).ok_or_else(broken)?.as_ptr());
                Ok(())
            };
            if sampling.top_k > 0 {
                add(sys::llama_sampler_init_top_k(sampling.top_k.min(i32::MAX as u32) as i32))?;
            }
            add(sys::llama_sampler_init_temp(sampling.temperature))?;
            if sampling.top_p < 1.0 {
                add(sys::llama_sampler_init_top_p(sampling.top_p, 1))?;
            }
            add(sys::llama_sampler_init_dist(fold(sampling.seed)))?;
            Ok(chain)
        }
    }

    /// Draws the token that follows `row` of the context's last pass, which must have had an output there.
    pub fn sample(&mut self, context: &mut Context, row: usize) -> TokenId {
        // SAFETY: the chain and the context are valid; the caller has seen the row's logits.
        let id = unsafe { sys::llama_sampler_sample(self.pointer.as_ptr(), context.as_ptr(), row as i32) };
        TokenId(id as u32)
    }
}

/// llama.cpp's seed has 32 bits, and takes the largest as "draw me one".
fn fold(seed: u64) -> u32 {
    let folded = (seed ^ (seed >> 32)) as u32;
    if folded == sys::LLAMA_DEFAULT_SEED { 0 } else { folded }
}
