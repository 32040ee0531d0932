//! A hundred thousand requests in flight at once: nothing may stay behind, and the bridge must cost next to nothing.
mod common;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use tacho_tensorrt_llm::{Executor, ExecutorOptions, NewRequest, Responses};

const REQUESTS: usize = 100_000;
const PROMPT: usize = 4;
/// Set in the child that does the work, whose allocator keeps nothing back for later.
const CHILD: &str = "TACHO_TEST_CHILD";

fn options(folder: &std::path::Path) -> ExecutorOptions {
    ExecutorOptions {
        engine_dir: folder.display().to_string(),
        max_batch_size: REQUESTS as i32,
        max_num_tokens: 0,
        max_queue_size: 0,
        kv_max_tokens: 0,
        kv_free_gpu_memory_fraction: 0.0,
        enable_block_reuse: false,
        enable_chunked_context: true,
        policy: 1,
        cuda_graph_mode: false,
        multi_block_mode: true,
        iter_stats_max: 1000,
        device_ids: Vec::new(),
    }
}

/// An engine file that takes all requests in one step and is done at once.
fn folder() -> tempfile::TempDir {
    common::engine_dir(
        "step_us=0\nprefill_token_us=0\ndecode_seq_us=0\nmax_batch_size=100000\nmax_num_tokens=10000000\nkv_blocks=1000000",
    )
}

fn requests(max_tokens: i32) -> Vec<NewRequest> {
    let request = |client_id| NewRequest {
        client_id,
        prompt_len: PROMPT as u32,
        max_tokens,
        streaming: true,
        greedy: true,
        temperature: 0.0,
        top_p: 1.0,
        top_k: 1,
        seed: 0,
    };
    (0..REQUESTS as u64).map(request).collect()
}

/// All requests through a new executor; counts of final responses and of tokens.
fn round(folder: &std::path::Path, max_tokens: i32) -> (usize, usize) {
    let executor = Executor::start(&options(folder)).unwrap();
    let (prompts, requests) = (vec![7; REQUESTS * PROMPT], requests(max_tokens));
    let mut ids = Vec::new();
    executor.enqueue(&prompts, &requests, &mut ids).unwrap();
    assert_eq!(ids.len(), REQUESTS);
    let (mut ended, mut tokens) = (0, 0);
    let mut responses = Responses::default();
    while ended < REQUESTS {
        responses.clear();
        executor.await_responses(1000, &mut responses).unwrap();
        assert!(responses.errors.is_empty(), "{:?}", responses.errors.first());
        ended += responses.rows.iter().filter(|row| row.is_final).count();
        tokens += responses.tokens.len();
    }
    executor.shutdown().unwrap();
    (ended, tokens)
}

#[repr(C)]
#[derive(Default)]
struct Mallinfo2 {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

unsafe extern "C" {
    fn mallinfo2() -> Mallinfo2;
}

/// Bytes in use by C++ and Rust alike: both allocate by malloc.
fn heap() -> usize {
    // SAFETY: glibc's function takes nothing and returns a plain struct, declared above as malloc.h has it.
    let info = unsafe { mallinfo2() };
    info.uordblks + info.hblkhd
}

#[test]
#[cfg(target_env = "gnu")]
fn a_hundred_thousand_requests_leave_nothing_on_the_heap() {
    if std::env::var_os("TACHO_SANITIZED").is_some() {
        // The sanitizer looks for leaks itself; its own bookkeeping is on this heap.
        assert_eq!(round(folder().path(), 3), (REQUESTS, 3 * REQUESTS));
        return;
    }
    if std::env::var_os(CHILD).is_none() {
        // Chunks that malloc caches for a thread count as used: the child caches none, and the count is exact.
        let run = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_hundred_thousand_requests_leave_nothing_on_the_heap",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, "1")
            .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        eprintln!("{}", said.lines().filter(|line| line.starts_with("heap")).collect::<Vec<_>>().join("\n"));
        assert!(run.status.success(), "{said}");
        return;
    }
    let folder = folder();
    // What is made once in a process, such as locales and the first thread's arena.
    round(folder.path(), 1);
    let before = heap();
    assert_eq!(round(folder.path(), 3), (REQUESTS, 3 * REQUESTS));
    let after = heap();
    eprintln!("heap before {before} bytes, after {after} bytes, {REQUESTS} requests in flight between");
    assert_eq!(before, after);
}

/// Timed: run it alone, `cargo test --release -p tacho-tensorrt-llm --test many -- --ignored --nocapture`.
#[test]
#[ignore = "a timing: run it alone"]
fn the_bridge_costs_less_than_two_microseconds_a_response() {
    let folder = folder();
    let executor = Executor::start(&options(folder.path())).unwrap();
    let (prompts, requests) = (vec![7; REQUESTS * PROMPT], requests(1));
    let mut best = Duration::MAX;
    let mut best_in = Duration::MAX;
    let mut responses = Responses::default();
    for _ in 0..5 {
        let mut ids = Vec::with_capacity(REQUESTS);
        let start = Instant::now();
        executor.enqueue(&prompts, &requests, &mut ids).unwrap();
        best_in = best_in.min(start.elapsed());
        // All are ready before the one call that is timed.
        std::thread::sleep(Duration::from_secs(1));
        responses.clear();
        let start = Instant::now();
        executor.await_responses(1000, &mut responses).unwrap();
        best = best.min(start.elapsed());
        assert_eq!(responses.rows.len(), REQUESTS, "all should come by one call");
    }
    let each = best.as_secs_f64() / REQUESTS as f64 * 1e9;
    let each_in = best_in.as_secs_f64() / REQUESTS as f64 * 1e9;
    println!("through the bridge, best of 5: {each:.0} ns a response, {each_in:.0} ns a request handed over");
    // What the double itself needs is in there; scripts/trtllm-cost.sh measures that alone.
    assert!(each < 2000.0, "{each:.0} ns a response");
}
