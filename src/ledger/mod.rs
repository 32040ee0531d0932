//! The boundary ledger: the same engine and the same work at every boundary that the engine offers, and what each layer
//! between them costs, as paired differences with intervals. `docs/ledger.md` is for readers.
//!
//! In each launch the processes that a rung needs (a cell, a cell with child processes, the engine's own server) are all started and
//! take turns in blocks whose order is drawn and then reversed, so that drift touches all alike; who waits is stopped. Engines that
//! hold a GPU's memory are never loaded together: each process then has a launch of its own, and launches are what is sampled.

mod engine;
mod layers;
mod prompts;
mod record;
mod render;
mod rung;
mod seat;
mod serve;
mod turns;

use std::{path::PathBuf, sync::atomic::AtomicBool};

pub use record::{
    Cost, EngineLedger, FORMAT, Layer, Ledger, PointLedger, RungRecord, RungState, SCHEMA, SameOutputs, ServerRecord,
    TurnRecord,
};
pub use render::{ledger_csv, markdown, turns_csv};
pub use rung::Rung;

use crate::{
    cell::{parent::CellProgram, protocol::Load},
    http::{Endpoint, PromptKind},
    plan::{Plan, registry::Registry},
    results::RunInfo,
};

/// What a ledger needs beside the plan that names engines and work.
pub struct Ask<'a> {
    /// Where an engine's cell program is; an error is a sentence for a person.
    pub cell_program: &'a dyn Fn(&str) -> Result<CellProgram, String>,
    /// This program, which starts again as a server's guard.
    pub tacho: PathBuf,
    /// What stands in for the engine's own server program.
    pub server: Option<PathBuf>,
    /// A server that runs already, in place of one that is started.
    pub endpoint: Option<Endpoint>,
    /// By which name that server knows the model; without it, it is asked.
    pub endpoint_model: Option<String>,
    /// As what prompts are sent; without it, as the engine's server takes them (ids for a running one).
    pub prompt: Option<PromptKind>,
    /// A `tokenizer.json` or its folder, where none lies beside the model.
    pub tokenizer: Option<PathBuf>,
    /// The rungs that are wanted.
    pub rungs: Vec<Rung>,
    /// How often everything is started.
    pub launches: u32,
    /// Blocks a launch.
    pub blocks: u32,
    /// Where `logs` and `prompts` are made.
    pub folder: PathBuf,
    /// Set when the work is to end.
    pub interrupted: &'a AtomicBool,
}

/// Checks that a plan is one that a ledger can be made of.
///
/// # Errors
/// A sentence for a person: another load than offline batches, a dataset, lengths that vary, or rungs with nothing to compare.
pub fn check(plan: &Plan, rungs: &[Rung]) -> Result<(), String> {
    for point in &plan.points {
        let label = point.label();
        if !matches!(point.load, Load::Offline { .. }) {
            return Err(format!(
                "{label}: a ledger hands over whole batches (--batch); other loads have no equal at every boundary"
            ));
        }
        if point.workload.data.is_some()
            || fixed(point.workload.input).is_none()
            || fixed(point.workload.output).is_none()
        {
            return Err(format!(
                "{label}: a ledger needs exact lengths (--input 128 --output 64), neither a dataset nor a range that is drawn"
            ));
        }
        if !point.workload.sampling.is_greedy() {
            return Err(format!(
                "{label}: a ledger decodes greedily, so that all boundaries give the same tokens: leave --temperature at 0"
            ));
        }
    }
    if !rungs.iter().any(|rung| *rung != Rung::Http) {
        return Err("expected a rung besides http, to hold it against: such as --rungs generate,http".to_owned());
    }
    Ok(())
}

fn fixed(length: crate::workload::LengthDist) -> Option<u32> {
    match length {
        crate::workload::LengthDist::Fixed(tokens) => Some(tokens),
        _ => None,
    }
}

/// Measures the ledger of every engine configuration of a plan that [`check`] found fit. `kept` is called with what there is
/// whenever a configuration is done.
///
/// # Errors
/// A sentence when nothing can be measured. What goes wrong at one rung is part of the ledger.
pub fn measure(
    plan: &Plan,
    mut run: RunInfo,
    ask: &Ask<'_>,
    note: &mut dyn FnMut(&str),
    kept: &mut dyn FnMut(&Ledger) -> Result<(), String>,
) -> Result<Ledger, String> {
    check(plan, &ask.rungs)?;
    let registry = Registry::embedded().map_err(|error| error.to_string())?;
    for folder in ["logs", "prompts"] {
        let folder = ask.folder.join(folder);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    }
    run.plan = record::plan_json(plan);
    let mut ledger = Ledger {
        format: FORMAT.to_owned(),
        schema: SCHEMA,
        run,
        launches: ask.launches,
        blocks: ask.blocks,
        engines: Vec::new(),
    };
    for cell in plan.cells() {
        if ask.interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let entry = registry.get(&cell.load.engine).map_err(|error| error.to_string())?;
        ledger.engines.push(engine::measure(plan, &cell, entry, ask, note)?);
        kept(&ledger)?;
    }
    Ok(ledger)
}
