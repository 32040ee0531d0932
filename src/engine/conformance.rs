//! What every adapter must do, checked on the running engine: the same assertions for all of them.
//!
//! The checks use small requests, so that they run on a CPU in seconds. They need room for four sequences and for
//! [`LONGEST`] tokens in one.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Completions, Engine, EngineError, ErrorKind, EventBuf, FinishReason, Request, RequestBatch, RequestId, Sampling,
};
use crate::{
    engine::TokenId,
    workload::{Workload, WorkloadSpec},
};

/// Prompt plus output of the longest request that the checks make, in tokens.
pub const LONGEST: u32 = 96;
/// How many sequences the checks keep running at once.
pub const SEQS: u32 = 4;
/// How long the step loop may go without telling anything.
const PATIENCE_NS: u64 = 120_000_000_000;

/// How one check came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not so: what was expected and what was found.
    Failed(String),
    /// The engine says that its door cannot do this.
    Skipped(String),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// How it came out.
    pub outcome: Outcome,
}

/// What a check returns: `Ok(Some(reason))` when it does not apply.
type Verdict = Result<Option<String>, String>;
type CheckFn = fn(&mut dyn Engine) -> Verdict;

/// Runs all checks. The engine is usable afterwards unless it failed.
pub fn run(engine: &mut dyn Engine) -> Vec<Check> {
    let checks: &[(&str, CheckFn)] = &[
        ("info is complete", info_is_complete),
        ("generate gives exact lengths and ordinary ends", generate_is_exact),
        ("generate takes mixed lengths", generate_takes_mixed_lengths),
        ("greedy output repeats after reset", greedy_repeats),
        ("different prompts give different outputs", prompts_matter),
        ("the step loop gives exact lengths in order of time", steps_are_exact),
        ("generate and the step loop give the same greedy ids", doors_agree),
        ("requests join while others run", requests_join),
        ("step records add up", step_records_add_up),
        ("sampling follows its seed", sampling_follows_seed),
        ("cancel ends a request and frees its place", cancel_works),
        ("reset drops pending work", reset_drops),
        ("a request that cannot fit is refused, and the engine lives on", too_long_is_refused),
        ("no prefix is answered from a cache", no_prefix_hits),
    ];
    checks
        .iter()
        .map(|(name, check)| {
            let verdict = engine.reset().map_err(describe).and_then(|()| check(engine));
            let outcome = match verdict {
                Ok(None) => Outcome::Passed,
                Ok(Some(reason)) => Outcome::Skipped(reason),
                Err(reason) => Outcome::Failed(reason),
            };
            Check { name: (*name).to_owned(), outcome }
        })
        .collect()
}

/// The failed ones, a line each; empty when all is well.
pub fn failures(checks: &[Check]) -> Vec<String> {
    checks
        .iter()
        .filter_map(|check| match &check.outcome {
            Outcome::Failed(detail) => Some(format!("{}: {detail}", check.name)),
            Outcome::Passed | Outcome::Skipped(_) => None,
        })
        .collect()
}

fn describe(error: EngineError) -> String {
    format!("{:?}: {error}", error.kind)
}

fn workload(engine: &dyn Engine, stream: u64, requests: u32, input: &str, output: &str) -> Result<Workload, String> {
    let mut ids = engine.info().model.ordinary_ids.clone();
    if ids.is_empty() {
        return Err("info.model.ordinary_ids is empty: no prompt can be drawn".to_owned());
    }
    ids.truncate(10_000);
    Workload::new(WorkloadSpec {
        requests,
        input: input.parse().map_err(|error| format!("{error}"))?,
        output: output.parse().map_err(|error| format!("{error}"))?,
        sampling: Sampling::default(),
        seed: 20_260_101,
        stream,
        ids,
        saved: None,
    })
    .map_err(|error| error.to_string())
}

fn outputs(completions: &Completions) -> Vec<Vec<TokenId>> {
    completions.rows.iter().map(|row| completions.ids[row.tokens.clone()].to_vec()).collect()
}

fn check_completions(engine: &dyn Engine, batch: &RequestBatch, answer: &Completions) -> Result<(), String> {
    if answer.rows.len() != batch.len() {
        return Err(format!("{} requests in, {} answers out", batch.len(), answer.rows.len()));
    }
    let vocab_size = engine.info().model.vocab_size;
    for (request, row) in batch.iter().zip(&answer.rows) {
        let found = (row.request, row.input_tokens as usize, row.tokens.len(), row.finish);
        let wanted = (request.id, request.prompt.len(), request.output_tokens as usize, FinishReason::Length);
        if found != wanted {
            return Err(format!("expected (request, input, output, finish) {wanted:?}, found {found:?}"));
        }
        if let Some(id) = answer.ids[row.tokens.clone()].iter().find(|id| id.0 >= vocab_size) {
            return Err(format!("output id {} with a vocabulary of {vocab_size}", id.0));
        }
    }
    Ok(())
}

/// What the step loop said of one request.
#[derive(Default, Debug)]
struct Life {
    ids: Vec<TokenId>,
    times_ns: Vec<u64>,
    input: Option<u32>,
    finish: Option<FinishReason>,
}

/// Polls until `ended` requests have ended, collecting what is said.
fn drain(
    engine: &mut dyn Engine,
    ended: usize,
    lives: &mut BTreeMap<RequestId, Life>,
    steps: &mut EventBuf,
) -> Result<(), String> {
    let mut out = EventBuf::default();
    let mut quiet_since_ns = engine.now_ns();
    while lives.values().filter(|life| life.finish.is_some()).count() < ended {
        let now_ns = engine.now_ns();
        engine.poll(now_ns + 50_000_000, &mut out).map_err(describe)?;
        if out.events.is_empty() && engine.now_ns() - quiet_since_ns > PATIENCE_NS {
            return Err(format!("the step loop said nothing for {} s", PATIENCE_NS / 1_000_000_000));
        }
        if !out.events.is_empty() {
            quiet_since_ns = engine.now_ns();
        }
        for event in &out.events {
            let life = lives.entry(event.request).or_default();
            if life.finish.is_some() {
                return Err(format!("request {} spoke after its end", event.request.0));
            }
            life.ids.extend_from_slice(&out.ids[event.tokens.clone()]);
            if !event.tokens.is_empty() {
                life.times_ns.push(event.time_ns);
            }
            life.input = event.input_tokens.or(life.input);
            life.finish = event.finish;
        }
        steps.steps.extend_from_slice(&out.steps);
        out.clear();
    }
    Ok(())
}

fn run_steps(engine: &mut dyn Engine, batch: &RequestBatch) -> Result<(BTreeMap<RequestId, Life>, EventBuf), String> {
    for request in batch.iter() {
        engine.submit(request).map_err(describe)?;
    }
    let (mut lives, mut steps) = (BTreeMap::new(), EventBuf::default());
    drain(engine, batch.len(), &mut lives, &mut steps)?;
    Ok((lives, steps))
}

fn check_lives(batch: &RequestBatch, lives: &BTreeMap<RequestId, Life>) -> Result<(), String> {
    for request in batch.iter() {
        let life = lives.get(&request.id).ok_or_else(|| format!("request {} was never heard of", request.id.0))?;
        let found = (life.input, life.ids.len(), life.finish);
        let wanted = (Some(request.prompt.len() as u32), request.output_tokens as usize, Some(FinishReason::Length));
        if found != wanted {
            return Err(format!(
                "request {}: expected (input, output, finish) {wanted:?}, found {found:?}",
                request.id.0
            ));
        }
        if !life.times_ns.is_sorted() {
            return Err(format!("request {}: its tokens' times go back", request.id.0));
        }
    }
    if lives.len() != batch.len() {
        return Err(format!("{} requests in, {} heard of", batch.len(), lives.len()));
    }
    Ok(())
}

fn no_steps(engine: &dyn Engine) -> Option<String> {
    let able = engine.info().capabilities.continuous_batching;
    (!able).then(|| "its door has no continuous batching".to_owned())
}

fn info_is_complete(engine: &mut dyn Engine) -> Verdict {
    let info = engine.info();
    let mut missing = Vec::new();
    for (name, empty) in [
        ("engine", info.engine.is_empty()),
        ("version", info.version.is_empty()),
        ("device", info.device.is_empty()),
        ("model.name", info.model.name.is_empty()),
        ("model.vocab_size", info.model.vocab_size == 0),
        ("model.ordinary_ids", info.model.ordinary_ids.is_empty()),
        ("max_model_len", info.max_model_len.is_none_or(|len| len < LONGEST)),
        ("effective", info.effective.is_empty()),
    ] {
        if empty {
            missing.push(name);
        }
    }
    let sorted = info.model.ordinary_ids.windows(2).all(|pair| pair[0].end <= pair[1].start);
    let inside = info.model.ordinary_ids.iter().all(|ids| ids.start < ids.end && ids.end <= info.model.vocab_size);
    if !sorted || !inside {
        missing.push("model.ordinary_ids ascending, disjoint and inside the vocabulary");
    }
    if missing.is_empty() { Ok(None) } else { Err(format!("missing or too small: {}", missing.join(", "))) }
}

fn generate_is_exact(engine: &mut dyn Engine) -> Verdict {
    let batch = workload(engine, 1, SEQS, "17", "9")?.batch(0..SEQS);
    let answer = engine.generate(&batch).map_err(describe)?;
    check_completions(engine, &batch, &answer)?;
    Ok(None)
}

fn generate_takes_mixed_lengths(engine: &mut dyn Engine) -> Verdict {
    if !engine.info().capabilities.mixed_lengths {
        return Ok(Some("its door takes one output length a batch".to_owned()));
    }
    // More requests than sequences: some have to wait.
    let batch = workload(engine, 2, 3 * SEQS, "1..40", "1..24")?.batch(0..3 * SEQS);
    let answer = engine.generate(&batch).map_err(describe)?;
    check_completions(engine, &batch, &answer)?;
    Ok(None)
}

fn greedy_repeats(engine: &mut dyn Engine) -> Verdict {
    let batch = workload(engine, 3, 2, "12", "8")?.batch(0..2);
    let first = engine.generate(&batch).map_err(describe)?;
    engine.reset().map_err(describe)?;
    let second = engine.generate(&batch).map_err(describe)?;
    if outputs(&first) != outputs(&second) {
        return Err(format!("first {:?}, then {:?}", outputs(&first), outputs(&second)));
    }
    Ok(None)
}

fn prompts_matter(engine: &mut dyn Engine) -> Verdict {
    let batch = workload(engine, 4, SEQS, "16", "12")?.batch(0..SEQS);
    let answer = outputs(&engine.generate(&batch).map_err(describe)?);
    if answer.iter().all(|ids| *ids == answer[0]) {
        return Err(format!("four prompts, one output: {:?}", answer[0]));
    }
    Ok(None)
}

fn steps_are_exact(engine: &mut dyn Engine) -> Verdict {
    if let Some(reason) = no_steps(engine) {
        return Ok(Some(reason));
    }
    let batch = workload(engine, 5, SEQS, "5..30", "2..16")?.batch(0..SEQS);
    let before_ns = engine.now_ns();
    let (lives, _) = run_steps(engine, &batch)?;
    let after_ns = engine.now_ns();
    check_lives(&batch, &lives)?;
    for (id, life) in &lives {
        if life.times_ns.iter().any(|time_ns| !(before_ns..=after_ns).contains(time_ns)) {
            return Err(format!("request {}: a time outside the call's", id.0));
        }
    }
    Ok(None)
}

fn doors_agree(engine: &mut dyn Engine) -> Verdict {
    if let Some(reason) = no_steps(engine) {
        return Ok(Some(reason));
    }
    // One request at a time: batching may change the numerics, and with them near ties.
    let workload = workload(engine, 6, 2, "14", "10")?;
    for index in 0..2 {
        let batch = workload.batch(index..index + 1);
        let answer = outputs(&engine.generate(&batch).map_err(describe)?);
        engine.reset().map_err(describe)?;
        let (lives, _) = run_steps(engine, &batch)?;
        engine.reset().map_err(describe)?;
        let stepped = lives.values().next().map(|life| life.ids.clone()).unwrap_or_default();
        if answer[0] != stepped {
            return Err(format!("generate gave {:?}, the step loop {stepped:?}", answer[0]));
        }
    }
    Ok(None)
}

fn requests_join(engine: &mut dyn Engine) -> Verdict {
    if let Some(reason) = no_steps(engine) {
        return Ok(Some(reason));
    }
    let batch = workload(engine, 7, 3, "8", "20")?.batch(0..3);
    engine.submit(batch.get(0)).map_err(describe)?;
    let (mut lives, mut steps) = (BTreeMap::new(), EventBuf::default());
    let mut out = EventBuf::default();
    let began_ns = engine.now_ns();
    while out.events.is_empty() {
        let now_ns = engine.now_ns();
        engine.poll(now_ns + 50_000_000, &mut out).map_err(describe)?;
        if engine.now_ns() - began_ns > PATIENCE_NS {
            return Err("the first request gave no token".to_owned());
        }
    }
    for event in &out.events {
        let life: &mut Life = lives.entry(event.request).or_default();
        life.ids.extend_from_slice(&out.ids[event.tokens.clone()]);
        life.times_ns.push(event.time_ns);
        life.input = event.input_tokens;
        life.finish = event.finish;
    }
    engine.submit(batch.get(1)).map_err(describe)?;
    engine.submit(batch.get(2)).map_err(describe)?;
    drain(engine, 3, &mut lives, &mut steps)?;
    check_lives(&batch, &lives)?;
    let first_ended = lives[&RequestId(0)].times_ns.last().copied().unwrap_or(0);
    let joined = lives[&RequestId(1)].times_ns.first().copied().unwrap_or(u64::MAX);
    if joined > first_ended {
        return Err("the second request got its first token only after the first request's last".to_owned());
    }
    Ok(None)
}

fn step_records_add_up(engine: &mut dyn Engine) -> Verdict {
    if let Some(reason) = no_steps(engine) {
        return Ok(Some(reason));
    }
    let workload = workload(engine, 8, SEQS, "3..30", "2..12")?;
    let (_, steps) = run_steps(engine, &workload.batch(0..SEQS))?;
    if steps.steps.is_empty() {
        return Err("no step record came out".to_owned());
    }
    let (input, output) = workload.totals();
    let prefilled: u64 = steps.steps.iter().map(|step| u64::from(step.prefill_tokens)).sum();
    let decoded: u64 = steps.steps.iter().map(|step| u64::from(step.decode_seqs)).sum();
    // A request's first token comes from its prefill, every further one from a decode.
    let wanted = (input, output - u64::from(SEQS));
    if (prefilled, decoded) != wanted {
        return Err(format!(
            "expected (prompt, decode) tokens {wanted:?} over all steps, found {:?}",
            (prefilled, decoded)
        ));
    }
    if steps.steps.iter().any(|step| step.end_ns < step.start_ns) {
        return Err("a step ended before it began".to_owned());
    }
    Ok(None)
}

fn sampling_follows_seed(engine: &mut dyn Engine) -> Verdict {
    if !engine.info().capabilities.sampling {
        return Ok(Some("its door decodes greedily only".to_owned()));
    }
    let workload = workload(engine, 9, 1, "10", "24")?;
    let mut prompt = Vec::new();
    let mut sampled = |seed: u64| -> Result<Vec<Vec<TokenId>>, String> {
        let request = workload.request(0, &mut prompt);
        let mut batch = RequestBatch::new();
        batch.push(Request { sampling: Sampling { temperature: 1.0, top_p: 0.95, top_k: 50, seed }, ..request });
        engine.reset().map_err(describe)?;
        let answer = engine.generate(&batch).map_err(describe)?;
        check_completions(engine, &batch, &answer)?;
        Ok(outputs(&answer))
    };
    let (first, again, other) = (sampled(11)?, sampled(11)?, sampled(12)?);
    if first != again {
        return Err(format!("seed 11 gave {first:?}, then {again:?}"));
    }
    if first == other {
        return Err(format!("seeds 11 and 12 gave the same 24 tokens: {first:?}"));
    }
    Ok(None)
}

fn cancel_works(engine: &mut dyn Engine) -> Verdict {
    if let Some(reason) = no_steps(engine) {
        return Ok(Some(reason));
    }
    if !engine.info().capabilities.cancel {
        return Ok(Some("its door cannot cancel".to_owned()));
    }
    let batch = workload(engine, 10, SEQS + 1, "8", "40")?.batch(0..SEQS + 1);
    for request in batch.iter() {
        engine.submit(request).map_err(describe)?;
    }
    let mut out = EventBuf::default();
    let began_ns = engine.now_ns();
    while out.events.len() < 2 * SEQS as usize {
        let now_ns = engine.now_ns();
        engine.poll(now_ns + 50_000_000, &mut out).map_err(describe)?;
        if engine.now_ns() - began_ns > PATIENCE_NS {
            return Err("no tokens before the cancel".to_owned());
        }
    }
    engine.cancel(RequestId(0)).map_err(describe)?;
    engine.cancel(RequestId(999)).map_err(|error| format!("cancelling an unknown id: {}", describe(error)))?;
    out.clear();
    let mut lives: BTreeMap<RequestId, Life> = BTreeMap::new();
    // All but the cancelled one must end; a cancelled one may or may not speak once more.
    while (1..=SEQS).any(|id| lives.get(&RequestId(id)).is_none_or(|life| life.finish.is_none())) {
        let now_ns = engine.now_ns();
        engine.poll(now_ns + 50_000_000, &mut out).map_err(describe)?;
        for event in &out.events {
            if event.request == RequestId(0) && event.finish != Some(FinishReason::Cancelled) {
                return Err(format!("request 0 was cancelled, then said {event:?}"));
            }
            lives.entry(event.request).or_default().finish = event.finish;
        }
        out.clear();
        if engine.now_ns() - began_ns > PATIENCE_NS {
            return Err("the others did not end after the cancel".to_owned());
        }
    }
    Ok(None)
}

fn reset_drops(engine: &mut dyn Engine) -> Verdict {
    if let Some(reason) = no_steps(engine) {
        return Ok(Some(reason));
    }
    let workload = workload(engine, 11, 2, "8", "30")?;
    for request in workload.batch(0..2).iter() {
        engine.submit(request).map_err(describe)?;
    }
    let mut out = EventBuf::default();
    let now_ns = engine.now_ns();
    engine.poll(now_ns + 1_000_000_000, &mut out).map_err(describe)?;
    engine.reset().map_err(describe)?;
    out.clear();
    let now_ns = engine.now_ns();
    engine.poll(now_ns + 20_000_000, &mut out).map_err(describe)?;
    if let Some(event) = out.events.iter().find(|event| event.finish != Some(FinishReason::Cancelled)) {
        return Err(format!("after reset the step loop still said {event:?}"));
    }
    // The same numbers are free again.
    let batch = workload.batch(0..2);
    let (lives, _) = run_steps(engine, &batch)?;
    check_lives(&batch, &lives)?;
    Ok(None)
}

fn too_long_is_refused(engine: &mut dyn Engine) -> Verdict {
    let Some(limit) = engine.info().max_model_len else {
        return Ok(Some("it does not tell its longest sequence".to_owned()));
    };
    let workload = workload(engine, 12, 1, "8", "4")?;
    let mut prompt = Vec::new();
    let request = Request { output_tokens: limit, ..workload.request(0, &mut prompt) };
    let mut batch = RequestBatch::new();
    batch.push(request);
    match engine.generate(&batch) {
        Err(error) if error.kind == ErrorKind::BadRequest => {}
        Err(error) => return Err(format!("expected a BadRequest, found {}", describe(error))),
        Ok(_) => return Err(format!("8 + {limit} tokens were accepted with a limit of {limit}")),
    }
    engine.reset().map_err(describe)?;
    let batch = workload.batch(0..1);
    let answer = engine.generate(&batch).map_err(|error| format!("afterwards: {}", describe(error)))?;
    check_completions(engine, &batch, &answer)?;
    Ok(None)
}

fn no_prefix_hits(engine: &mut dyn Engine) -> Verdict {
    let name = super::stat::PREFIX_HIT_TOKENS;
    let Some(before) = engine.stats().get(name).copied() else {
        return Ok(Some("it does not count prefix hits".to_owned()));
    };
    // The same prompts twice, with no reset between: a cache that is on would answer the second time.
    let batch = workload(engine, 13, 2, "40", "2")?.batch(0..2);
    for _ in 0..2 {
        engine.generate(&batch).map_err(describe)?;
    }
    let hits = engine.stats().get(name).copied().unwrap_or(before) - before;
    if hits == 0.0 { Ok(None) } else { Err(format!("{hits} prompt tokens came from a prefix cache")) }
}
