//! What a shim takes and gives back, converted in one pass with the interpreter lock held.
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyList, PyString, PyTuple},
};
use tacho::engine::{
    Completions, EventBuf, FinishReason, RequestBatch, RequestId, Scored, StepRecord, TokenId, ids_digest,
};

/// Ids as a list of integers.
pub fn ids_to_list<'py>(py: Python<'py>, ids: &[TokenId]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, ids.iter().map(|id| id.0))
}

fn shape(what: &str, wanted: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let mut text = found.repr().map_or_else(|_| "something without a repr".to_owned(), |text| text.to_string());
    if let Some((cut, _)) = text.char_indices().nth(200) {
        text.truncate(cut);
        text.push('…');
    }
    PyTypeError::new_err(format!("the shim's {what} should be {wanted}, found {text}"))
}

fn extend_ids(found: &Bound<'_, PyAny>, into: &mut Vec<TokenId>) -> PyResult<()> {
    if let Ok(list) = found.cast::<PyList>() {
        for id in list.iter() {
            into.push(TokenId(id.extract()?));
        }
    } else {
        // Tuples, arrays and the engines' own read-only lists.
        for id in found.try_iter()? {
            into.push(TokenId(id?.extract()?));
        }
    }
    Ok(())
}

fn finish(found: &Bound<'_, PyAny>) -> PyResult<Option<FinishReason>> {
    if found.is_none() {
        return Ok(None);
    }
    let reason = match found.cast::<PyString>().ok().map(|text| text.to_str()).transpose()? {
        Some("length") => FinishReason::Length,
        Some("stop") => FinishReason::Stop,
        Some("cancelled") => FinishReason::Cancelled,
        Some("error") => FinishReason::Error,
        _ => return Err(shape("finish reason", "None, 'length', 'stop', 'cancelled' or 'error'", found)),
    };
    Ok(Some(reason))
}

const EVENT: &str = "a tuple (request, new_ids, input_tokens | None, finish | None)";

/// The answer of `step`: `(time_ns, events, record)`.
pub fn step(answer: &Bound<'_, PyAny>, out: &mut EventBuf) -> PyResult<()> {
    let wanted = "a tuple (time_ns, events, record | None)";
    let parts = answer.cast::<PyTuple>().map_err(|_| shape("step", wanted, answer))?;
    if parts.len() != 3 {
        return Err(shape("step", wanted, answer));
    }
    let time_ns: u64 = parts.get_borrowed_item(0)?.extract()?;
    let events = parts.get_borrowed_item(1)?;
    let events = events.cast::<PyList>().map_err(|_| shape("step's events", "a list", &events))?;
    for event in events.iter() {
        let event = event.cast::<PyTuple>().map_err(|_| shape("event", EVENT, &event))?;
        if event.len() != 4 {
            return Err(shape("event", EVENT, event));
        }
        let request = RequestId(event.get_borrowed_item(0)?.extract()?);
        let start = out.ids.len();
        extend_ids(&*event.get_borrowed_item(1)?, &mut out.ids)?;
        let tokens = start..out.ids.len();
        let input_tokens = event.get_borrowed_item(2)?.extract()?;
        let finish = finish(&*event.get_borrowed_item(3)?)?;
        out.events.push(tacho::engine::Event { request, time_ns, tokens, input_tokens, finish });
    }
    let record = parts.get_borrowed_item(2)?;
    if !record.is_none() {
        let (start_ns, prefill_tokens, decode_seqs, running, waiting, kv_tokens): (
            u64,
            u32,
            u32,
            u32,
            u32,
            Option<u64>,
        ) = record.extract().map_err(|_| {
            let wanted = "None or (start_ns, prefill_tokens, decode_seqs, running, waiting, kv_tokens | None)";
            shape("step record", wanted, &record)
        })?;
        let kv_tokens = kv_tokens.unwrap_or(u64::MAX);
        let end_ns = time_ns;
        out.steps.push(StepRecord { start_ns, end_ns, prefill_tokens, decode_seqs, running, waiting, kv_tokens });
    }
    Ok(())
}

/// The answer of `generate`: a list of `(ids, input_tokens, finish)`, one a request in the batch's order.
pub fn completions(batch: &RequestBatch, answer: &Bound<'_, PyAny>, out: &mut Completions) -> PyResult<()> {
    let rows = answer.cast::<PyList>().map_err(|_| shape("generate", "a list", answer))?;
    if rows.len() != batch.len() {
        return Err(PyTypeError::new_err(format!(
            "the shim's generate was given {} requests and answered {}",
            batch.len(),
            rows.len()
        )));
    }
    out.rows.reserve(rows.len());
    let mut ids = Vec::new();
    for (request, row) in batch.iter().zip(rows.iter()) {
        let wanted = "a tuple (ids, input_tokens, finish)";
        let row = row.cast::<PyTuple>().map_err(|_| shape("completion", wanted, &row))?;
        if row.len() != 3 {
            return Err(shape("completion", wanted, row));
        }
        ids.clear();
        extend_ids(&*row.get_borrowed_item(0)?, &mut ids)?;
        let input_tokens = row.get_borrowed_item(1)?.extract()?;
        let ended = finish(&*row.get_borrowed_item(2)?)?.unwrap_or(FinishReason::Error);
        out.push(request.id, input_tokens, &ids, ended);
    }
    Ok(())
}

/// The answer of `consumed`, hashed as [`Engine::consumed_digest`](tacho::engine::Engine::consumed_digest) says: a list of
/// `(request | None, ids)`; None stands for the next one of `generated`.
pub fn consumed(answer: &Bound<'_, PyAny>, generated: &[RequestId]) -> PyResult<u64> {
    let wanted = "a list of tuples (request | None, ids), of which as many have None as generate was given requests";
    let rows = answer.cast::<PyList>().map_err(|_| shape("consumed", wanted, answer))?;
    let (mut sum, mut ids, mut generated) = (0_u64, Vec::new(), generated.iter());
    for row in rows.iter() {
        let (request, told): (Option<u32>, Bound<'_, PyAny>) =
            row.extract().map_err(|_| shape("consumed", wanted, &row))?;
        let request = request.map(RequestId).or_else(|| generated.next().copied());
        let request = request.ok_or_else(|| shape("consumed", wanted, &row))?;
        ids.clear();
        extend_ids(&told, &mut ids)?;
        sum = sum.wrapping_add(ids_digest(request, ids.iter().copied()));
    }
    Ok(sum)
}

/// A position's answer: `(top1, top1_lp, top2, top2_lp, given_lp)`.
type ScoreTuple = (u32, f64, u32, f64, f64);

/// The answer of `score`: a list a sequence of tuples `(top1, top1_lp, top2, top2_lp, given_lp)`, one a position.
pub fn scores(answer: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<Scored>>> {
    let rows: Vec<Vec<ScoreTuple>> = answer
        .extract()
        .map_err(|_| shape("score", "a list a sequence of tuples (top1, top1_lp, top2, top2_lp, given_lp)", answer))?;
    let scored = |(top1, top1_lp, top2, top2_lp, given_lp)| Scored { top1, top1_lp, top2, top2_lp, given_lp };
    Ok(rows.into_iter().map(|row| row.into_iter().map(scored).collect()).collect())
}
