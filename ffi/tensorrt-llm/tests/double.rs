//! The adapter over the double: the checks every adapter must pass, and what TensorRT-LLM's executor does in odd cases.
//!
//! Nothing here says anything of TensorRT-LLM's own speed or tokens.
mod common;

use std::time::{Duration, Instant};

use common::{DOUBLE, batch, config, engine, engine_dir, greedy, prompt};
use serde_json::json;
use tacho::engine::{
    Engine, ErrorKind, EventBuf, FinishReason, Request, RequestId, Sampling,
    conformance::{self, Outcome},
    stat,
};
use tacho_tensorrt_llm::TensorRtLlm;

fn conforms(lines: &str, options: serde_json::Value) {
    let (mut engine, _dir) = engine(lines, options);
    let checks = conformance::run(&mut engine);
    assert_eq!(conformance::failures(&checks), Vec::<String>::new());
    let skipped: Vec<_> = checks.iter().filter(|check| matches!(check.outcome, Outcome::Skipped(_))).collect();
    assert!(skipped.is_empty(), "the executor can do everything: {skipped:?}");
    engine.shutdown().unwrap();
}

#[test]
fn conformance_holds() {
    conforms("", json!({}));
}

#[test]
fn conformance_holds_with_chunked_prompts_a_small_cache_and_another_cost() {
    // Not free: the executor has a thread of its own, and a request must still run when the next one joins.
    conforms(
        "step_us=2000\nprefill_token_us=0\ndecode_seq_us=0",
        json!({ "max_num_tokens": 8, "kv_cache_max_tokens": 256 }),
    );
}

#[test]
fn the_double_says_what_it_is_everywhere() {
    let (engine, _dir) = engine("", json!({}));
    let info = engine.info();
    assert_eq!(info.double.as_deref(), Some(DOUBLE));
    assert_eq!((info.version.as_str(), info.device.as_str()), (DOUBLE, DOUBLE));
    assert_eq!(info.gpu_in_process, None);
}

#[test]
fn what_runs_is_told() {
    let options = json!({ "kv_cache_max_tokens": 1024, "capacity_scheduler_policy": "max_utilization" });
    let (engine, _dir) = engine("", options);
    let info = engine.info();
    assert_eq!((info.kv_capacity_tokens, info.max_seqs, info.max_model_len), (Some(1024), Some(4), Some(2048)));
    assert_eq!(info.effective["capacity_scheduler_policy"], "max_utilization");
    assert_eq!(
        (&info.effective["enable_block_reuse"], &info.effective["tokens_per_block"]),
        (&json!(false), &json!(32))
    );
    assert_eq!(info.effective["enable_chunked_context"], true);
    assert_eq!(info.model.ordinary_ids.len(), 2, "all but the ids that begin and end: {:?}", info.model.ordinary_ids);
}

#[test]
fn static_batches_run_to_their_end_before_the_next_begins() {
    let options = json!({ "capacity_scheduler_policy": "static_batch", "max_batch_size": 2 });
    let (mut engine, _dir) = engine("step_us=10000", options);
    let prompt = prompt(10, 6);
    let (mut out, mut order) = (EventBuf::default(), Vec::new());
    // A batch of its own, once its first token is there, and long enough that the others are all queued when it ends.
    engine.submit(greedy(9, &prompt, 20)).unwrap();
    while out.events.is_empty() {
        engine.poll(engine.now_ns() + 1_000_000_000, &mut out).unwrap();
    }
    for (id, output) in [(0, 3), (1, 12), (2, 2)] {
        engine.submit(greedy(id, &prompt, output)).unwrap();
    }
    while order.len() < 4 {
        out.clear();
        engine.poll(engine.now_ns() + 1_000_000_000, &mut out).unwrap();
        order.extend(out.events.iter().filter(|event| event.finish.is_some()).map(|event| event.request.0));
    }
    assert_eq!(order, [9, 0, 1, 2], "the last waits for both of the batch before");
}

#[test]
fn a_full_queue_refuses_the_whole_batch_and_the_engine_lives_on() {
    let options = json!({ "max_queue_size": 2, "max_batch_size": 1 });
    let (mut engine, _dir) = engine("step_us=20000", options);
    let prompt = prompt(10, 6);
    let refused = (0..10).map(|id| engine.submit(greedy(id, &prompt, 50))).find_map(Result::err).expect("no refusal");
    assert_eq!(refused.kind, ErrorKind::BadRequest);
    assert!(
        refused.message.contains("Maximum queue size of 2") && refused.message.contains("max_queue_size"),
        "{refused}"
    );
    engine.reset().unwrap();
    assert_eq!(engine.generate(&batch(&[greedy(0, &prompt, 2)])).unwrap().ids.len(), 2);
}

#[test]
fn a_cancelled_request_frees_its_place() {
    let (mut engine, _dir) = engine("step_us=500", json!({ "max_batch_size": 1 }));
    let prompt = prompt(10, 6);
    engine.submit(greedy(0, &prompt, 1000)).unwrap();
    engine.submit(greedy(1, &prompt, 3)).unwrap();
    let (mut out, mut produced) = (EventBuf::default(), 0);
    while produced < 2 {
        engine.poll(engine.now_ns() + 1_000_000_000, &mut out).unwrap();
        produced = out.ids.len();
    }
    assert!(out.events.iter().all(|event| event.request == RequestId(0)), "one place, so the second request waits");
    engine.cancel(RequestId(0)).unwrap();
    out.clear();
    engine.poll(engine.now_ns(), &mut out).unwrap();
    assert_eq!((out.events[0].request, out.events[0].finish), (RequestId(0), Some(FinishReason::Cancelled)));
    out.clear();
    let mut finish = None;
    while finish.is_none() {
        engine.poll(engine.now_ns() + 1_000_000_000, &mut out).unwrap();
        assert!(out.events.iter().all(|event| event.request == RequestId(1)), "{:?}", out.events);
        finish = out.events.last().and_then(|event| event.finish);
    }
    assert_eq!(finish, Some(FinishReason::Length));
}

#[test]
fn a_token_that_ends_the_text_would_be_told_as_a_stop() {
    let (mut engine, _dir) = engine("fault=short_output", json!({}));
    let answer = engine.generate(&batch(&[greedy(0, &prompt(10, 6), 8)])).unwrap();
    assert_eq!((answer.rows[0].finish, answer.ids.len()), (FinishReason::Stop, 7));
}

#[test]
fn whatever_the_library_throws_is_an_error_with_its_words() {
    for (fault, kind, says) in [
        ("throw_foreign", ErrorKind::Engine, "no std::exception"),
        ("throw_memory", ErrorKind::OutOfMemory, "memory ran out"),
        ("fail_step", ErrorKind::Load, "told to fail"),
    ] {
        let dir = engine_dir(&format!("fault={fault}"));
        let error = TensorRtLlm::load(&config(dir.path(), json!({}))).err().expect("the first request should fail");
        assert_eq!(error.kind, kind, "{fault}: {error}");
        assert!(error.message.contains(says), "{fault}: {error}");
    }
}

#[test]
fn a_real_engine_file_is_no_engine_of_the_double() {
    let dir = engine_dir("");
    std::fs::write(dir.path().join("rank0.engine"), b"ftrt\0\0\0").unwrap();
    let error = TensorRtLlm::load(&config(dir.path(), json!({}))).err().expect("it should be refused");
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(error.message.contains("no engine of the double"), "{error}");
}

#[test]
fn plans_that_the_engine_was_not_built_for_say_both_numbers() {
    let dir = engine_dir("");
    for (seqs, len, says) in [(4, 5000, ["5000", "2048"]), (128, 256, ["128", "64"])] {
        let mut config = config(dir.path(), json!({}));
        (config.max_seqs, config.max_model_len) = (seqs, len);
        let error = TensorRtLlm::load(&config).err().expect("it should be refused");
        assert_eq!(error.kind, ErrorKind::Load);
        assert!(says.iter().all(|number| error.message.contains(number)), "{error}");
    }
    let mut config = config(dir.path(), json!({ "kv_cache_max_tokens": 128 }));
    config.max_model_len = 200;
    let error = TensorRtLlm::load(&config).err().expect("it should be refused");
    assert!(error.message.contains("holds 128"), "{error}");
}

#[test]
fn an_engine_for_two_ranks_without_mpi_says_how_to_start_it() {
    let dir = engine_dir("");
    let path = dir.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"world_size\":1", "\"world_size\":2")).unwrap();
    std::fs::copy(dir.path().join("rank0.engine"), dir.path().join("rank1.engine")).unwrap();
    let error = TensorRtLlm::load(&config(dir.path(), json!({}))).err().expect("it should be refused");
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(error.message.contains("mpirun -n 1") && error.message.contains("no MPI launcher"), "{error}");
}

#[test]
fn sampling_depends_on_everything_that_was_asked() {
    let (mut engine, _dir) = engine("step_us=0", json!({}));
    let prompt = prompt(10, 6);
    let mut sampled = |temperature, top_p, top_k, seed| {
        let sampling = Sampling { temperature, top_p, top_k, seed };
        engine.generate(&batch(&[Request { sampling, ..greedy(0, &prompt, 16) }])).unwrap().ids
    };
    let first = sampled(1.0, 0.9, 40, 7);
    assert_eq!(sampled(1.0, 0.9, 40, 7), first);
    for other in
        [sampled(0.9, 0.9, 40, 7), sampled(1.0, 0.8, 40, 7), sampled(1.0, 0.9, 41, 7), sampled(1.0, 0.9, 40, 8)]
    {
        assert_ne!(other, first, "an option did not reach the engine");
    }
    assert_eq!(sampled(0.0, 0.9, 40, 7), sampled(0.0, 0.5, 1, 8), "greedy takes none of them");
}

#[test]
fn counters_tell_what_was_computed() {
    let (mut engine, _dir) = engine("step_us=0", json!({}));
    let before = engine.stats();
    let prompt = prompt(10, 30);
    engine.generate(&batch(&[greedy(0, &prompt, 5), greedy(1, &prompt, 9)])).unwrap();
    let after = engine.stats();
    let spent = |name: &str| after[name] - before[name];
    assert_eq!((spent("context_tokens"), spent(stat::PREFIX_HIT_TOKENS), spent(stat::PREEMPTIONS)), (60.0, 0.0, 0.0));
    assert!((9.0..=12.0).contains(&spent(stat::STEPS)), "{}", spent(stat::STEPS));
}

/// Nanoseconds that this thread has been on a processor.
fn on_cpu_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    told.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn waiting_does_not_spin() {
    let (mut engine, _dir) = engine("step_us=300000", json!({}));
    engine.submit(greedy(0, &prompt(10, 6), 1)).unwrap();
    let (before_ns, start) = (on_cpu_ns(), Instant::now());
    let mut out = EventBuf::default();
    while out.events.is_empty() {
        engine.poll(engine.now_ns() + 1_000_000_000, &mut out).unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(250));
    let spent = Duration::from_nanos(on_cpu_ns() - before_ns);
    assert!(spent < Duration::from_millis(30), "{spent:?} on a processor in {:?} of waiting", start.elapsed());
}
