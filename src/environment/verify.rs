//! Checks an environment by what it is for: its engine, in a cell, generates tokens.
use std::{path::Path, time::Duration};

use super::{EnvironmentError, EnvironmentSpec, Install};
use crate::{
    cell::{
        PYTHON_VARIABLE,
        parent::{Cell, CellError},
        protocol::{Load, Method, TrialKind, TrialSpec},
    },
    engine::{EngineInfo, LoadConfig, Sampling},
    results::Discard,
    workload::{LengthDist, WorkloadSpec},
};

/// How many tokens the check generates.
pub const CHECK_TOKENS: u32 = 4;
const PROMPT_TOKENS: u32 = 8;
/// A first start compiles: minutes where cores are few.
const LOAD_WITHIN: Duration = Duration::from_secs(1800);
const TRIAL_WITHIN: Duration = Duration::from_secs(600);
/// A Llama small enough for any machine, without weights.
const TINY_MODEL: &str = include_str!("tiny_model.json");

/// Loads the engine in a cell with that `python` and lets it generate four tokens. Returns what the engine says of itself.
///
/// # Errors
/// [`EnvironmentError::Check`] with what the cell said or how it died; [`EnvironmentError::Io`] when the tiny model cannot
/// be written.
pub fn verify(
    spec: &EnvironmentSpec,
    python: &Path,
    how: Install<'_>,
    log: &Path,
) -> Result<EngineInfo, EnvironmentError> {
    let tiny = crate::cache::dir().join("tiny-model");
    let model = match how.model {
        Some(model) => Some(model.to_owned()),
        None if spec.needs_model => {
            std::fs::create_dir_all(&tiny).map_err(EnvironmentError::io(&tiny))?;
            let path = tiny.join("config.json");
            std::fs::write(&path, TINY_MODEL).map_err(EnvironmentError::io(&path))?;
            Some(tiny)
        }
        None => None,
    };
    let mut program = how.cell.clone();
    program.env.push((PYTHON_VARIABLE.into(), python.into()));
    let config = LoadConfig {
        engine: spec.engine.clone(),
        model,
        max_seqs: 1,
        max_model_len: PROMPT_TOKENS + CHECK_TOKENS,
        seed: 0,
        options: spec.check.clone(),
    };
    let run = || -> Result<EngineInfo, CellError> {
        let mut cell = Cell::start(&program, log)?;
        let (info, _) = cell.load(&config, LOAD_WITHIN)?;
        let trial = TrialSpec {
            trial: 0,
            kind: TrialKind::Warmup,
            method: Method::Generate,
            load: Load::Offline { batch: 1 },
            device_clock: Default::default(),
            workload: WorkloadSpec {
                requests: 1,
                input: LengthDist::Fixed(PROMPT_TOKENS),
                output: LengthDist::Fixed(CHECK_TOKENS),
                sampling: Sampling::default(),
                seed: 0,
                stream: 0,
                ids: info.model.ordinary_ids.clone(),
                saved: None,
            },
        };
        // The check wants the counts, which the cell compares; the tables it does not.
        cell.trial(&trial, TRIAL_WITHIN, &mut Discard::new(|_| {}))?;
        cell.shutdown()?;
        Ok(info)
    };
    run().map_err(|source| EnvironmentError::Check { source })
}
