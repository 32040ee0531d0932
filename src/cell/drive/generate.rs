//! Trials of the `generate` call: everything is made before the first stamp and checked after the second.
use super::DriveError;
use crate::{
    cell::{
        checks::{Ended, check_ids, hash_ids, hash_start},
        host_time::{Clock, HostTime, Span},
        protocol::{NO_SESSION, NONE, RequestRow},
        recorder::Recorder,
    },
    engine::{Broken, Engine, EngineError},
    workload::Workload,
};

pub(super) fn run(
    engine: &mut dyn Engine,
    workload: &Workload,
    batch: u32,
    clock: Clock<'_>,
    recorder: &mut Recorder<'_>,
) -> Result<Span, DriveError> {
    let batch = batch.clamp(1, workload.len());
    let batches: Vec<_> = (0..workload.len())
        .step_by(batch as usize)
        .map(|start| workload.batch(start..start.saturating_add(batch).min(workload.len())))
        .collect();
    let mut answers = Vec::with_capacity(batches.len());
    let mut called_ns = Vec::with_capacity(batches.len());
    let clock = clock.start(0);
    let mut host = HostTime::start();
    let start_ns = engine.now_ns();
    for batch in &batches {
        called_ns.push(engine.now_ns());
        answers.push(host.call(|| engine.generate(batch))?);
    }
    let end_ns = engine.now_ns();
    let (span, _) = host.end(start_ns, end_ns, clock);
    let vocab_size = engine.info().model.vocab_size;
    for ((batch, answer), called_ns) in batches.iter().zip(&answers).zip(called_ns) {
        if batch.len() != answer.rows.len() {
            let message = format!("generate was given {} requests and answered {}", batch.len(), answer.rows.len());
            return Err(EngineError::broken(Broken::OutputCounts, message).into());
        }
        for (request, row) in batch.iter().zip(&answer.rows) {
            let ids = &answer.ids[row.tokens.clone()];
            if row.request != request.id {
                return Err(EngineError::mismatch(format!(
                    "generate answered request {} where request {} stood",
                    row.request.0, request.id.0
                ))
                .into());
            }
            let ended = Ended { id: request.id, input: Some(row.input_tokens), output: ids.len() as u32 };
            ended.check(request.prompt.len() as u32, request.output_tokens, row.finish)?;
            check_ids(request.id, ids, vocab_size)?;
            recorder.request(RequestRow {
                scheduled_ns: called_ns,
                released_ns: NONE,
                submitted_ns: called_ns,
                first_ns: NONE,
                last_ns: NONE,
                output_hash: hash_ids(hash_start(request.id), ids),
                request: request.id.0,
                input_tokens: row.input_tokens,
                output_tokens: ids.len() as u32,
                finish: row.finish as u32,
                session: NO_SESSION,
                turn: NO_SESSION,
            })?;
        }
    }
    Ok(span)
}
