//! A comparison as a whole: which engines, in which order, and what is kept for the next time.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value as Json, json};

use super::{
    Agreement, Prompts, Taker,
    observe::{Questions, observe},
    verdict,
};
use crate::{
    BUILD_HASH,
    cell::parent::{Cell, CellProgram},
    engine::{EngineInfo, LoadConfig, conformance},
    fairness::{Known, LockRecord},
    plan::{
        Plan,
        registry::{EngineEntry, ModelFormat, Registry},
    },
    results::EngineRecord,
    run::{engine_label, model_digest},
};

/// What a comparison needs beside the plan that names its engines.
pub struct Agree<'a> {
    /// Where an engine's cell program is; an error is a sentence for a person.
    pub cell_program: &'a dyn Fn(&str) -> Result<CellProgram, String>,
    /// The prompts.
    pub prompts: Prompts,
    /// How many ids are generated after each; at least 2.
    pub tokens: u32,
    /// Where comparisons are kept, such as `agreement` in Tacho's cache.
    pub kept: &'a Path,
    /// Whether to compare anew what is kept.
    pub again: bool,
    /// Where cells write their logs.
    pub logs: &'a Path,
    /// Set from outside to stop after the question that is being answered.
    pub interrupted: &'a AtomicBool,
}

/// A comparison, and whether it was kept from an earlier time.
pub struct Agreed {
    /// The comparison.
    pub agreement: Agreement,
    /// The file that it was read from.
    pub kept: Option<PathBuf>,
}

/// An engine configuration that is to take part.
struct Seat<'a> {
    entry: &'a EngineEntry,
    load: LoadConfig,
    program: Result<CellProgram, String>,
    digest: Option<String>,
    label: String,
}

/// Compares the engine configurations of a plan. One engine is loaded at a time. None when it was interrupted.
///
/// # Errors
/// A sentence for a person: fewer than two configurations, several models, a model that cannot be read. What goes wrong in one
/// engine is part of the comparison.
pub fn agree(plan: &Plan, ask: &Agree<'_>, note: &mut dyn FnMut(&str)) -> Result<Option<Agreed>, String> {
    let registry = Registry::embedded().map_err(|error| error.to_string())?;
    let seats = seats(plan, ask, &registry)?;
    let key = key(&seats, ask);
    let file = ask.kept.join(format!("{key}.json"));
    if !ask.again
        && let Some(agreement) = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok())
    {
        return Ok(Some(Agreed { agreement, kept: Some(file) }));
    }
    let mut engines: Vec<Taker> = Vec::new();
    let (mut prompts, mut reference): (Vec<Vec<u32>>, Option<Vec<Vec<u32>>>) = (Vec::new(), None);
    for seat in &seats {
        note(&format!("comparing {}", seat.label));
        let mut taker = Taker {
            label: seat.label.clone(),
            engine: seat.load.engine.clone(),
            model_digest: seat.digest.clone(),
            ..Taker::default()
        };
        let took_part = take_part(seat, ask, plan, &mut prompts, reference.as_deref(), &mut taker);
        if ask.interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Err(why) = took_part {
            note(&format!("{} could not take part: {why}", seat.label));
            taker.failed = Some(why);
        } else if reference.is_none() {
            reference = Some(taker.outputs.clone());
        }
        engines.push(taker);
    }
    let reference = reference.unwrap_or_default();
    let pairs = pairs(&engines, &reference);
    let agreement = Agreement { key, build: BUILD_HASH.to_owned(), prompts, tokens: ask.tokens, engines, pairs };
    // What failed may not fail the next time.
    if agreement.engines.iter().all(|taker| taker.failed.is_none())
        && let Err(error) = keep(&file, &agreement)
    {
        note(&format!("the comparison cannot be kept in {}: {error}", file.display()));
    }
    Ok(Some(Agreed { agreement, kept: None }))
}

fn pairs(engines: &[Taker], reference: &[Vec<u32>]) -> Vec<super::PairAgreement> {
    let mut pairs = Vec::new();
    for (index, a) in engines.iter().enumerate() {
        pairs.extend(engines[index + 1..].iter().map(|b| verdict::compare(a, b, reference)));
    }
    pairs
}

fn keep(file: &Path, agreement: &Agreement) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let aside = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&aside, serde_json::to_vec_pretty(agreement)?)?;
    fs::rename(aside, file)
}

/// Checks that a plan names what can be compared: two engine configurations at least, on one model.
///
/// # Errors
/// A sentence for a person.
pub fn comparable(plan: &Plan) -> Result<(), String> {
    let cells = plan.cells();
    if cells.len() < 2 {
        return Err(format!(
            "expected at least two engine configurations to compare, found {}; name more engines, or an engine's option with \
             several values",
            cells.len()
        ));
    }
    let mut models: BTreeMap<&str, &Path> = BTreeMap::new();
    for model in cells.iter().filter_map(|cell| cell.load.model.as_deref()) {
        let format = if ModelFormat::of(model) == ModelFormat::Gguf { "GGUF files" } else { "model folders" };
        let first = *models.entry(format).or_insert(model);
        if first != model {
            return Err(format!(
                "the plan names several {format}, {} and {}: engines are compared on one model; name it with --model, once in \
                 each format that they need",
                first.display(),
                model.display()
            ));
        }
    }
    Ok(())
}

fn seats<'a>(plan: &Plan, ask: &Agree<'_>, registry: &'a Registry) -> Result<Vec<Seat<'a>>, String> {
    comparable(plan)?;
    let mut digests: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut seats = Vec::new();
    for cell in plan.cells() {
        if let Some(model) = cell.load.model.as_ref().filter(|model| !digests.contains_key(*model)) {
            let digest = model_digest(model)
                .map_err(|error| format!("the model {} cannot be read: {error}", model.display()))?;
            digests.insert(model.clone(), digest);
        }
        let digest = cell.load.model.as_ref().and_then(|model| digests.get(model)).cloned();
        let load = LoadConfig {
            // As in the conformance checks where that is enough: MAX compiles these in and keeps what it compiled.
            max_seqs: conformance::SEQS,
            max_model_len: conformance::LONGEST.max(ask.prompts.longest() + ask.tokens + 1),
            ..cell.load
        };
        let entry = registry.get(&load.engine).map_err(|error| error.to_string())?;
        let label = engine_label(&load, digest.as_deref());
        seats.push(Seat { entry, program: (ask.cell_program)(&load.engine), load, digest, label });
    }
    Ok(seats)
}

/// A hash of all that decides what comes out: the engines with their options, environments and weights, the sources of Tacho
/// (adapters and rule among them), the prompts.
fn key(seats: &[Seat<'_>], ask: &Agree<'_>) -> String {
    let told = |seat: &Seat<'_>| -> Json {
        let program = seat.program.as_ref().ok().map(|program| {
            let env = program.env.iter().map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()));
            env.collect::<Vec<_>>()
        });
        json!({ "engine": seat.load.engine, "options": seat.load.options, "model": seat.digest, "environment": program })
    };
    let seats: Vec<Json> = seats.iter().map(told).collect();
    let inherited = std::env::var_os(crate::cell::PYTHON_VARIABLE).map(|python| python.to_string_lossy().into_owned());
    let what = json!({
        "build": BUILD_HASH,
        "engines": seats,
        "python": inherited,
        "prompts": ask.prompts.identity(),
        "tokens": ask.tokens,
    });
    blake3::hash(what.to_string().as_bytes()).to_hex().to_string()
}

fn take_part(
    seat: &Seat<'_>,
    ask: &Agree<'_>,
    plan: &Plan,
    prompts: &mut Vec<Vec<u32>>,
    reference: Option<&[Vec<u32>]>,
    taker: &mut Taker,
) -> Result<(), String> {
    let program = seat.program.as_ref().map_err(Clone::clone)?;
    let log = ask.logs.join(format!("agreement-{}.log", seat.load.engine));
    let mut cell = Cell::start(program, &log).map_err(|error| error.to_string())?;
    let loaded = cell.load(&seat.load, plan.load_within);
    let (info, load_ns) = loaded.map_err(|error| with_log(&error.to_string(), &cell))?;
    taker.version = info.version.clone();
    taker.double = info.double.clone();
    taker.device = info.device.clone();
    taker.dtype = dtype(seat, &info, load_ns);
    if prompts.is_empty() {
        *prompts = ask.prompts.ids(&info.model.ordinary_ids)?;
    }
    let questions = Questions {
        prompts,
        tokens: ask.tokens,
        reference,
        cannot_score: seat.entry.cannot_score.as_deref(),
        within: plan.trial_within.max(Duration::from_secs(60)),
        interrupted: ask.interrupted,
    };
    observe(&mut cell, &questions, taker).map_err(|error| with_log(&error.to_string(), &cell))?;
    // A cell that does not end cleanly has answered all the same; dropping it kills it.
    let _ = cell.shutdown();
    Ok(())
}

fn with_log(error: &str, cell: &Cell) -> String {
    let last = cell.last_lines();
    match last.last() {
        Some(line) if !error.contains(line.as_str()) => format!("{error} (its cell's last line: {line})"),
        _ => error.to_owned(),
    }
}

/// The coarsest of the number types that the engine's weights and cached keys and values have.
fn dtype(seat: &Seat<'_>, info: &EngineInfo, load_ns: u64) -> String {
    let record =
        EngineRecord { asked: seat.load.clone(), info: info.clone(), load_ns, model_digest: seat.digest.clone() };
    let lock = LockRecord::new(&seat.label, &record, &seat.entry.lock, None);
    let told = ["weights_dtype", "kv_dtype"].map(|field| match lock.get(field) {
        Known::Value { value: Json::Array(parts), .. } => parts.iter().map(text).collect(),
        Known::Value { value, .. } => vec![text(&value)],
        Known::Unknown { .. } => vec!["unknown".to_owned()],
    });
    let coarser = |a: String, b: String| if verdict::dtype_floor(&b) > verdict::dtype_floor(&a) { b } else { a };
    told.into_iter().flatten().reduce(coarser).unwrap_or_default()
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
