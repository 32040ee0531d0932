//! The bridge's handle, with errors of Tacho's kinds.
use cxx::UniquePtr;
use tacho::engine::{EngineError, ErrorKind};

pub use crate::bridge::{ExecutorOptions, NewRequest};
use crate::{
    ID,
    bridge::{self, Fault, Handle, IterationRow, ResponseRow, Status},
};

/// Responses that have come in, kept between calls so that a steady loop allocates nothing.
#[derive(Default)]
pub struct Responses {
    /// All tokens, response after response.
    pub tokens: Vec<i32>,
    /// One a response.
    pub rows: Vec<ResponseRow>,
    /// The texts of those that are errors, in their order.
    pub errors: Vec<String>,
}

impl Responses {
    /// Forgets what was in it, keeping the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.rows.clear();
        self.errors.clear();
    }
}

/// A running executor. Shut down when dropped.
pub struct Executor {
    handle: UniquePtr<Handle>,
}

/// The library's own version.
pub fn version() -> String {
    bridge::version()
}

impl Executor {
    /// Registers the plugins and starts an executor. Blocks while weights are loaded.
    ///
    /// # Errors
    /// `Load`, or `OutOfMemory`, with the library's own words.
    pub fn start(options: &ExecutorOptions) -> Result<Self, EngineError> {
        let mut status = bridge::init_plugins();
        check(&status, ErrorKind::Load, "the plugins cannot be registered")?;
        let handle = bridge::create(options, &mut status);
        check(&status, ErrorKind::Load, "the executor cannot be started")?;
        if handle.is_null() {
            return Err(EngineError::load(format!("{ID}: the bridge gave neither an executor nor an error")));
        }
        Ok(Self { handle })
    }

    /// Hands over requests, all or none; appends an engine id each to `engine_ids`.
    ///
    /// # Errors
    /// `BadRequest` when the queue is full or the library refuses one, `Engine` after the end.
    pub fn enqueue(
        &self,
        prompts: &[u32],
        requests: &[NewRequest],
        engine_ids: &mut Vec<u64>,
    ) -> Result<(), EngineError> {
        let status = self.handle.enqueue(prompts, requests, engine_ids);
        check(&status, ErrorKind::BadRequest, "requests were not taken")
    }

    /// Waits for responses and appends all that are ready; nothing after `timeout_ms`.
    ///
    /// # Errors
    /// `Engine` or `OutOfMemory`, with the library's own words.
    pub fn await_responses(&self, timeout_ms: i64, out: &mut Responses) -> Result<(), EngineError> {
        let status = self.handle.await_responses(timeout_ms, &mut out.tokens, &mut out.rows, &mut out.errors);
        check(&status, ErrorKind::Engine, "responses cannot be had")
    }

    /// Appends the iterations since the last call.
    ///
    /// # Errors
    /// `Engine` after the end.
    pub fn iterations(&self, out: &mut Vec<IterationRow>) -> Result<(), EngineError> {
        check(&self.handle.iterations(out), ErrorKind::Engine, "iteration statistics cannot be had")
    }

    /// Asks for a request's end; a finished one is ignored.
    ///
    /// # Errors
    /// `Engine` after the end.
    pub fn cancel(&self, engine_id: u64) -> Result<(), EngineError> {
        check(&self.handle.cancel(engine_id), ErrorKind::Engine, "a request cannot be cancelled")
    }

    /// Whether this process may hand over requests: false on ranks that follow.
    ///
    /// # Errors
    /// `Engine` when the library throws.
    pub fn can_enqueue(&self) -> Result<bool, EngineError> {
        let mut answer = false;
        check(&self.handle.can_enqueue(&mut answer), ErrorKind::Engine, "its part in the group cannot be asked")?;
        Ok(answer)
    }

    /// Ends it; every later call is an error. On a rank that follows, blocks until the leader ends.
    ///
    /// # Errors
    /// `Engine` when the library throws.
    pub fn shutdown(&self) -> Result<(), EngineError> {
        check(&self.handle.shutdown(), ErrorKind::Engine, "the executor did not end cleanly")
    }
}

/// A status as an error of `kind`, unless the fault says better.
fn check(status: &Status, kind: ErrorKind, what: &str) -> Result<(), EngineError> {
    let (kind, hint) = match status.fault {
        Fault::None => return Ok(()),
        Fault::OutOfMemory => (ErrorKind::OutOfMemory, ""),
        Fault::QueueFull => (ErrorKind::BadRequest, "; raise max_queue_size, or keep fewer requests in flight"),
        Fault::Mpi => (kind, "; TensorRT-LLM needs MPI even on one GPU: see docs/engines/tensorrt-llm.md"),
        _ => (kind, ""),
    };
    Err(EngineError::new(kind, format!("{ID}: {what}: {}{hint}", status.message)))
}
