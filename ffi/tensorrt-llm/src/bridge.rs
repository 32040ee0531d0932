//! The bridge to `cpp/bridge.cpp`: plain structs both sides share, and one opaque handle.
#![allow(missing_docs, reason = "what cxx generates has no documentation; what is declared here has")]

pub use ffi::*;

#[cxx::bridge(namespace = "tacho::trtllm")]
mod ffi {
    /// What kind of failure the C++ side met.
    #[derive(Debug)]
    enum Fault {
        /// None: all is well.
        None,
        /// The queue holds as many requests as it may; none of those handed over was taken.
        QueueFull,
        /// The executor has been shut down.
        Shutdown,
        /// Host or device memory ran out.
        OutOfMemory,
        /// The library's message speaks of MPI.
        Mpi,
        /// Any other `std::exception`.
        Engine,
        /// Something else was thrown.
        Foreign,
    }

    /// How a call ended.
    #[derive(Debug)]
    struct Status {
        fault: Fault,
        /// The library's own words; empty when all is well.
        message: String,
    }

    /// How an executor is started. Sizes of 0 leave the choice to the library.
    #[derive(Debug, Clone)]
    struct ExecutorOptions {
        /// The folder with `config.json` and `rank0.engine`.
        engine_dir: String,
        /// Sequences at most.
        max_batch_size: i32,
        /// Tokens a step at most.
        max_num_tokens: i32,
        /// Requests that may wait.
        max_queue_size: i32,
        /// Tokens in the KV cache.
        kv_max_tokens: i32,
        /// Part of the free device memory for the KV cache.
        kv_free_gpu_memory_fraction: f32,
        /// Whether prompts are answered from earlier ones' blocks.
        enable_block_reuse: bool,
        /// Whether a prompt may be computed over several steps.
        enable_chunked_context: bool,
        /// `CapacitySchedulerPolicy`: 0 max utilization, 1 guaranteed no evict, 2 static batch.
        policy: u8,
        /// CUDA graphs for decoding steps.
        cuda_graph_mode: bool,
        /// Attention over several blocks a sequence.
        multi_block_mode: bool,
        /// Iterations whose statistics are kept between two calls.
        iter_stats_max: i32,
        /// Devices by rank; empty for the library's choice.
        device_ids: Vec<i32>,
    }

    /// A request to hand over; its prompt lies in the array beside it.
    #[derive(Debug, Clone, Copy)]
    struct NewRequest {
        /// Comes back with every response.
        client_id: u64,
        /// How many ids of the array are its prompt.
        prompt_len: u32,
        /// Output tokens, exactly: no end id is given.
        max_tokens: i32,
        /// A response a step, or one at the end.
        streaming: bool,
        /// Whether the likeliest token is taken; then the fields below say nothing.
        greedy: bool,
        temperature: f32,
        top_p: f32,
        top_k: i32,
        seed: u64,
    }

    /// One response. Times are nanoseconds of CLOCK_MONOTONIC, taken by the library.
    #[derive(Debug, Clone, Copy)]
    struct ResponseRow {
        engine_id: u64,
        /// `u64::MAX` when the library gives none.
        client_id: u64,
        /// Where its tokens end in the array of tokens; they begin where those of the row before end.
        tokens_end: usize,
        is_final: bool,
        /// Whether it is an error; errors' texts lie in an array of their own, in the order of the rows that are one.
        is_error: bool,
        /// `FinishReason`: 0 not finished, 1 end id, 2 stop words, 3 length, 4 timed out, 5 cancelled.
        finish: u8,
        /// Whether the times below were given.
        has_times: bool,
        arrival_ns: u64,
        first_scheduled_ns: u64,
        first_token_ns: u64,
        last_token_ns: u64,
        /// KV-cache blocks taken from earlier requests.
        reused_blocks: i32,
    }

    /// One iteration of the executor's loop, as it stood when the batch had been launched.
    #[derive(Debug, Clone, Copy, Default)]
    struct IterationRow {
        iteration: u64,
        /// Of the iteration before this one: the library tells it when the next is launched.
        latency_ms: f64,
        /// Requests in the batch or held back from it.
        active: i32,
        /// Requests that wait.
        queued: i32,
        /// Requests in the batch; 0 in the record that ends a busy time.
        scheduled: i32,
        context_requests: i32,
        generation_requests: i32,
        /// Requests paused for want of cache.
        paused: i32,
        /// Prompt tokens computed.
        context_tokens: i32,
        /// -1 where the library does not tell.
        kv_used_blocks: i32,
        kv_max_blocks: i32,
        kv_block_tokens: i32,
        kv_reused_blocks: i32,
        /// -1 where the library does not tell.
        kv_missed_blocks: i32,
        gpu_bytes: u64,
    }

    // SAFETY: bridge.cpp catches every exception, keeps no reference to an argument after it returns, and is declared as
    // it is here, which cxx's static assertions check. The executor locks its own state.
    unsafe extern "C++" {
        include!("bridge.h");

        type Handle;

        fn init_plugins() -> Status;
        fn create(options: &ExecutorOptions, status: &mut Status) -> UniquePtr<Handle>;
        fn version() -> String;

        fn enqueue(self: &Handle, prompts: &[u32], requests: &[NewRequest], engine_ids: &mut Vec<u64>) -> Status;
        fn await_responses(
            self: &Handle,
            timeout_ms: i64,
            tokens: &mut Vec<i32>,
            rows: &mut Vec<ResponseRow>,
            errors: &mut Vec<String>,
        ) -> Status;
        fn iterations(self: &Handle, rows: &mut Vec<IterationRow>) -> Status;
        fn cancel(self: &Handle, engine_id: u64) -> Status;
        fn can_enqueue(self: &Handle, answer: &mut bool) -> Status;
        fn shutdown(self: &Handle) -> Status;
    }
}
