//! What a step costs outside the engine: Rust, the crossing into Python, and a shim (vLLM's, and SGLang's in-core), over an
//! engine that does nothing.
//! The limit is 20 µs + 1 µs a running sequence.
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tacho::{
    engine::{Engine, EventBuf, LoadConfig, Request, RequestId, Sampling, TokenId},
    measure::monotonic_ns,
};
use tacho_python::{ENV_PYTHON, PythonEngine};

fn step_cost(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in
        [("idle_vllm.py", include_str!("idle_vllm.py")), ("idle_sglang.py", include_str!("idle_sglang.py"))]
    {
        std::fs::write(folder.path().join(name), text).expect("the shim is written");
    }
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var(ENV_PYTHON, env!("TACHO_BUILD_PYTHON"));
        std::env::set_var("TACHO_CACHE_DIR", folder.path().join("cache"));
        std::env::set_var("TACHO_SHIMS", folder.path());
    }
    for engine in ["vllm", "sglang"] {
        measure(criterion, engine);
    }
}

fn measure(criterion: &mut Criterion, name: &str) {
    let config = LoadConfig {
        engine: format!("idle_{name}"),
        model: None,
        max_seqs: 1024,
        max_model_len: 1024,
        seed: 0,
        options: Default::default(),
    };
    let mut engine = PythonEngine::load(&config).expect("the idle shim loads");
    let mut group = criterion.benchmark_group("step_cost");
    for seqs in [1_u32, 32, 256] {
        engine.reset().expect("reset");
        for id in 0..seqs {
            let request = Request {
                id: RequestId(id),
                prompt: &[TokenId(7); 8],
                output_tokens: 1000,
                sampling: Sampling::default(),
            };
            engine.submit(request).expect("submit");
        }
        let mut out = EventBuf::default();
        group.throughput(Throughput::Elements(u64::from(seqs)));
        group.bench_function(BenchmarkId::new(name, seqs), |bencher| {
            bencher.iter(|| {
                out.clear();
                engine.poll(monotonic_ns() + 1_000_000_000, &mut out).expect("poll");
                assert_eq!(out.events.len(), seqs as usize);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, step_cost);
criterion_main!(benches);
