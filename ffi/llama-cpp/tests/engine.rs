//! The adapter over a real model.
mod common;

use common::{batch, config, france, greedy};
use serde_json::json;
use tacho::engine::{Engine, ErrorKind, EventBuf, FinishReason, Request, RequestId, Sampling, TokenId, conformance};
use tacho_llama_cpp::LlamaCpp;

fn engine(options: &[(&str, serde_json::Value)]) -> Option<LlamaCpp> {
    let model = common::model()?;
    Some(LlamaCpp::load(&config(&model, options)).unwrap())
}

fn output(engine: &mut LlamaCpp, request: Request<'_>) -> Vec<TokenId> {
    engine.generate(&batch(&[request])).unwrap().ids
}

/// Polls until all of `requests` have ended; what each said, in order of the requests.
fn run_steps(engine: &mut LlamaCpp, requests: &[Request<'_>]) -> (Vec<Vec<TokenId>>, EventBuf) {
    for request in requests {
        engine.submit(*request).unwrap();
    }
    let (mut all, mut out) = (EventBuf::default(), EventBuf::default());
    let mut ids = vec![Vec::new(); requests.len()];
    let mut ended = 0;
    while ended < requests.len() {
        engine.poll(engine.now_ns() + 1_000_000_000, &mut out).unwrap();
        for event in &out.events {
            let index = requests.iter().position(|request| request.id == event.request).unwrap();
            ids[index].extend_from_slice(&out.ids[event.tokens.clone()]);
            ended += usize::from(event.finish.is_some());
        }
        all.steps.append(&mut out.steps);
        out.clear();
    }
    (ids, all)
}

#[test]
fn conformance_holds() {
    let Some(mut engine) = engine(&[]) else { return };
    assert_eq!(conformance::failures(&conformance::run(&mut engine)), Vec::<String>::new());
    engine.shutdown().unwrap();
}

/// Of what the C API has no getter for, the context's own log says what it is.
#[test]
fn what_the_context_was_made_of_is_read_back_and_nothing_compiles() {
    let options = [("type_k", json!("q8_0")), ("flash_attn", json!("auto")), ("kv_unified", json!(true))];
    let Some(mut engine) = engine(&options) else { return };
    let told = |name: &str| engine.info().effective[name].clone();
    assert_eq!([told("cache_type_k"), told("cache_type_v")], [json!("q8_0"), json!("f16")]);
    assert_eq!((told("cache_unified"), told("flash_attn")), (json!(true), json!("auto")));
    assert!(told("flash_attn_used").is_boolean(), "{:?}", engine.info().effective);
    let prompt = france();
    output(&mut engine, greedy(0, &prompt, 4));
    assert_eq!((engine.stats()["compiles"], engine.info().uncounted.is_empty()), (0.0, true));
}

#[test]
fn conformance_holds_with_a_shared_cache_and_small_batches() {
    let options = [("kv_unified", json!(true)), ("n_batch", json!(32)), ("n_ubatch", json!(8))];
    let Some(mut engine) = engine(&options) else { return };
    assert_eq!(conformance::failures(&conformance::run(&mut engine)), Vec::<String>::new());
}

#[test]
fn the_backend_picks_what_the_host_would() {
    let (Some(mut host), Some(mut backend)) = (engine(&[]), engine(&[("backend_sampling", json!(true))])) else {
        return;
    };
    assert_eq!(backend.info().effective["backend_sampling"], json!(true));
    let prompt = france();
    let longer: Vec<TokenId> = prompt.iter().chain(&prompt).copied().collect();
    let requests = [greedy(0, &prompt, 24), greedy(1, &longer, 12)];
    assert_eq!(run_steps(&mut backend, &requests).0, run_steps(&mut host, &requests).0);
    let sampled = Request { sampling: Sampling { temperature: 0.7, ..Sampling::default() }, ..greedy(2, &prompt, 4) };
    let refused = backend.generate(&batch(&[sampled])).unwrap_err();
    assert!(refused.kind == ErrorKind::Unsupported && refused.message.contains("greedily only"), "{refused}");
}

#[test]
fn text_goes_in_as_the_same_ids_and_comes_out_as_text() {
    let Some(mut engine) = engine(&[]) else { return };
    let text = "Water boils at a lower temperature on a high mountain than it does at the sea, because the pressure of the air";
    let ids = [
        12615, 36411, 418, 253, 2208, 2779, 335, 253, 904, 6740, 670, 357, 1072, 418, 260, 3426, 28, 975, 260, 2456,
        282, 260, 1512,
    ];
    let prompt = ids.map(TokenId);
    let request = batch(&[greedy(0, &prompt, 8)]);
    let plain = engine.generate(&request).unwrap();
    let (done, characters) = engine.generate_text(&request, Some(&[text.to_owned()]), true).unwrap();
    assert_eq!((done.ids, done.rows), (plain.ids.clone(), plain.rows));
    assert!(characters > 8, "{characters} characters of 8 tokens");
    let (done, characters) = engine.generate_text(&request, None, false).unwrap();
    assert_eq!((done.ids, characters), (plain.ids, 0));
    let other = engine.generate_text(&request, Some(&["Water freezes".to_owned()]), false).unwrap_err();
    assert!(other.kind == ErrorKind::Mismatch && other.message.contains("23 given ids"), "{other}");
}

#[test]
fn greedy_output_is_the_models_and_stays_the_same() {
    let prompt = france();
    let Some(mut first) = engine(&[]) else { return };
    let ids = output(&mut first, greedy(0, &prompt, 10));
    // " Paris": the same first token as vLLM, MAX and SGLang give on these weights in F32.
    assert_eq!(ids.first(), Some(&TokenId(7042)), "{ids:?}");
    assert_eq!(output(&mut first, greedy(1, &prompt, 10)), ids, "without a reset");
    drop(first);
    let mut second = engine(&[]).unwrap();
    assert_eq!(output(&mut second, greedy(0, &prompt, 10)), ids, "after loading anew");
    assert_eq!(run_steps(&mut second, &[greedy(0, &prompt, 10)]).0[0], ids, "through the step loop");
}

#[test]
fn the_end_of_text_does_not_end_a_request() {
    let Some(mut engine) = engine(&[]) else { return };
    // After "<|im_end|>" this model likes to end; 150 tokens give it every chance.
    let prompt: Vec<TokenId> = france().into_iter().chain([TokenId(2)]).collect();
    assert_eq!(output(&mut engine, greedy(0, &prompt, 150)).len(), 150);
}

#[test]
fn mixed_lengths_are_exact_and_in_order() {
    let Some(mut engine) = engine(&[]) else { return };
    let prompt = france();
    let lengths = [7, 1, 30, 2, 11, 64, 3];
    let requests: Vec<_> = (0..7).map(|index| greedy(100 - index, &prompt, lengths[index as usize])).collect();
    let answer = engine.generate(&batch(&requests)).unwrap();
    for (row, request) in answer.rows.iter().zip(&requests) {
        assert_eq!((row.request, row.input_tokens, row.finish), (request.id, 5, FinishReason::Length));
        assert_eq!(row.tokens.len(), request.output_tokens as usize);
    }
}

#[test]
fn a_cancelled_request_frees_its_slot_and_its_cache() {
    let Some(mut engine) = engine(&[("max_seqs", json!(1))]) else { return };
    let prompt = france();
    engine.submit(greedy(0, &prompt, 100)).unwrap();
    engine.submit(greedy(1, &prompt, 4)).unwrap();
    let mut out = EventBuf::default();
    for _ in 0..3 {
        engine.poll(u64::MAX, &mut out).unwrap();
    }
    assert!(out.events.iter().all(|event| event.request == RequestId(0)), "one slot, so the second request waits");
    engine.cancel(RequestId(0)).unwrap();
    out.clear();
    engine.poll(u64::MAX, &mut out).unwrap();
    assert_eq!(out.events.len(), 1);
    assert_eq!(out.events[0].finish, Some(FinishReason::Cancelled));
    out.clear();
    engine.poll(u64::MAX, &mut out).unwrap();
    // Only the second request's prompt is in the cache: the first one's is gone.
    assert_eq!((out.events[0].request, out.steps[0].kv_tokens), (RequestId(1), 5));
}

#[test]
fn what_cannot_fit_is_refused_and_nothing_stays_queued() {
    let Some(mut engine) = engine(&[]) else { return };
    let prompt = france();
    let bad = [greedy(0, &prompt, 4), greedy(1, &prompt, 252)];
    let error = engine.generate(&batch(&bad)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
    assert!(error.message.contains("257 together") && error.message.contains("256"), "{error}");
    let error = engine.submit(greedy(2, &[TokenId(49_152)], 1)).unwrap_err();
    assert!(error.message.contains("49152"), "{error}");
    assert_eq!(output(&mut engine, greedy(3, &prompt, 251)).len(), 251);
}

#[test]
fn sampling_repeats_by_seed_and_leaves_the_neighbours_alone() {
    let Some(mut engine) = engine(&[]) else { return };
    let prompt = france();
    let sampled = |id, seed| Request {
        sampling: Sampling { temperature: 1.0, top_p: 0.9, top_k: 40, seed },
        ..greedy(id, &prompt, 20)
    };
    let requests = [sampled(0, 1), greedy(1, &prompt, 20), sampled(2, 1 << 40), sampled(3, 1)];
    let first = run_steps(&mut engine, &requests).0;
    engine.reset().unwrap();
    assert_eq!(run_steps(&mut engine, &requests).0, first);
    assert_eq!(first[0], first[3], "one seed, one output");
    assert_ne!(first[0], first[2]);
    assert_eq!(first[1][0], TokenId(7042));
}

#[test]
fn step_records_tell_the_cache_and_the_counts() {
    let Some(mut engine) = engine(&[("n_batch", json!(16)), ("n_ubatch", json!(16))]) else { return };
    let prompt: Vec<TokenId> = (0..40).map(|index| TokenId(1000 + index)).collect();
    let requests = [greedy(0, &prompt, 6), greedy(1, &prompt, 9), greedy(2, &prompt, 1)];
    let (_, out) = run_steps(&mut engine, &requests);
    assert_eq!(out.steps.iter().map(|step| step.prefill_tokens).sum::<u32>(), 120);
    assert_eq!(out.steps.iter().map(|step| step.decode_seqs).sum::<u32>(), 5 + 8);
    assert!(out.steps.iter().all(|step| step.prefill_tokens + step.decode_seqs <= 16));
    assert!(out.steps.windows(2).all(|pair| pair[0].end_ns <= pair[1].start_ns));
    let last = out.steps.last().unwrap();
    assert_eq!((last.running, last.waiting, last.kv_tokens), (0, 0, 0));
    assert_eq!(out.steps[0].kv_tokens, 16);
}

#[test]
fn generate_refuses_to_run_over_pending_work() {
    let Some(mut engine) = engine(&[]) else { return };
    let prompt = france();
    engine.submit(greedy(0, &prompt, 4)).unwrap();
    assert_eq!(engine.generate(&batch(&[greedy(1, &prompt, 4)])).unwrap_err().kind, ErrorKind::BadRequest);
    engine.reset().unwrap();
    assert_eq!(output(&mut engine, greedy(1, &prompt, 4)).len(), 4);
}
