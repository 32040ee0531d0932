//! Cells of Python engines, and trials in them.
#![allow(dead_code, reason = "not every test needs everything")]
use std::{path::Path, time::Duration};

use tacho::{
    cell::{
        parent::{Cell, CellError, CellProgram, TableSink},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec},
    },
    engine::{EngineError, IdRange, LoadConfig, Sampling},
    workload::WorkloadSpec,
};
use tempfile::TempDir;

/// The cell program of this build, with more variables.
fn program(env: &[(&str, &str)], cache: &Path) -> CellProgram {
    let mut env: Vec<_> = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    env.push(("TACHO_CACHE_DIR".into(), cache.into()));
    CellProgram {
        program: env!("CARGO_BIN_EXE_tacho-cell-python").into(),
        args: Vec::new(),
        env,
        build_with: "cargo build".to_owned(),
    }
}

/// A cell, and the folder that holds its log (`cell.log`) and its cache.
pub struct Bench {
    pub cell: Cell,
    pub folder: TempDir,
}

/// A cell with those environment variables and an empty cache.
pub fn start(env: &[(&str, &str)]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let cell = Cell::start(&program(env, folder.path()), &folder.path().join("cell.log")).unwrap();
    Bench { cell, folder }
}

/// How a load failed that must fail without ending the cell.
pub fn load_error(bench: &mut Bench, config: &LoadConfig, within: Duration) -> EngineError {
    match bench.cell.load(config, within) {
        Err(CellError::Engine(error)) => error,
        other => panic!("expected an engine error, found {other:?}; {:#?}", bench.cell.last_lines()),
    }
}

/// One timed trial: `batch` requests of 10 prompt tokens each, at once.
pub fn trial(method: Method, batch: u32, output: u32) -> TrialSpec {
    TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method,
        load: Load::Offline { batch },
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests: batch,
            input: "10".parse().unwrap(),
            output: output.to_string().parse().unwrap(),
            sampling: Sampling::default(),
            seed: 3,
            stream: 0,
            ids: vec![IdRange { start: 4, end: 1000 }],
            saved: None,
        },
    }
}

/// Counts a trial's rows, and does something once it is under way.
#[derive(Default)]
pub struct Rows<'a> {
    pub tokens: usize,
    pub requests: usize,
    pub steps: usize,
    pub under_way: Option<Box<dyn FnOnce() + 'a>>,
}

impl TableSink for Rows<'_> {
    fn tokens(&mut self, rows: &[TokenRow]) -> Result<(), String> {
        self.tokens += rows.len();
        Ok(())
    }
    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String> {
        self.requests += rows.len();
        Ok(())
    }
    fn steps(&mut self, rows: &[StepRow]) -> Result<(), String> {
        self.steps += rows.len();
        Ok(())
    }
    fn progress(&mut self, output_tokens: u64) {
        if output_tokens > 0
            && let Some(act) = self.under_way.take()
        {
            act();
        }
    }
}
