//! The double through its cell program, as `tacho run` would start it.
mod common;

use std::{path::Path, time::Duration};

use serde_json::json;
use tacho::{
    cell::{
        parent::{Cell, CellProgram, TableSink},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec},
    },
    engine::{IdRange, Sampling, conformance},
    workload::WorkloadSpec,
};

const WITHIN: Duration = Duration::from_secs(60);

fn start(dir: &Path) -> Cell {
    let program = CellProgram {
        program: env!("CARGO_BIN_EXE_tacho-cell-trtllm-double").into(),
        args: Vec::new(),
        env: Vec::new(),
        build_with: "cargo test".to_owned(),
    };
    Cell::start(&program, &dir.join("cell.log")).unwrap()
}

#[derive(Default)]
struct Rows {
    tokens: usize,
    requests: usize,
    steps: Vec<StepRow>,
}

impl TableSink for Rows {
    fn tokens(&mut self, rows: &[TokenRow]) -> Result<(), String> {
        self.tokens += rows.len();
        Ok(())
    }
    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String> {
        self.requests += rows.len();
        Ok(())
    }
    fn steps(&mut self, rows: &[StepRow]) -> Result<(), String> {
        self.steps.extend_from_slice(rows);
        Ok(())
    }
    fn progress(&mut self, _: u64) {}
}

fn trial(method: Method, load: Load) -> TrialSpec {
    let sampling = Sampling::default();
    let ids = vec![IdRange { start: 4, end: 1000 }];
    let (input, output) = ("10".parse().unwrap(), "8".parse().unwrap());
    let workload = WorkloadSpec { requests: 6, input, output, sampling, seed: 3, stream: 0, ids, saved: None };
    TrialSpec { trial: 0, kind: TrialKind::Timed, method, load, device_clock: Default::default(), workload }
}

#[test]
fn the_cell_conforms_and_gives_the_same_ids_by_every_door() {
    let dir = common::engine_dir("");
    let mut cell = start(dir.path());
    let (info, _) = cell.load(&common::config(dir.path(), json!({})), WITHIN).unwrap();
    assert_eq!(info.double.as_deref(), Some(common::DOUBLE));
    assert_eq!(conformance::failures(&cell.conform(WITHIN).unwrap()), Vec::<String>::new());
    let mut rows = Rows::default();
    let offline = cell.trial(&trial(Method::Generate, Load::Offline { batch: 6 }), WITHIN, &mut rows).unwrap();
    let steps = cell.trial(&trial(Method::Steps, Load::Offline { batch: 6 }), WITHIN, &mut rows).unwrap();
    rows = Rows::default();
    let closed = cell.trial(&trial(Method::Steps, Load::Closed { concurrency: 2 }), WITHIN, &mut rows).unwrap();
    assert_eq!((offline.output_digest, steps.output_digest), (closed.output_digest, closed.output_digest));
    assert_eq!((closed.input_tokens, closed.output_tokens, rows.requests, rows.tokens), (60, 48, 6, 48));
    assert_eq!(rows.steps.iter().map(|step| step.prefill_tokens).sum::<u32>(), 60);
    assert!(rows.steps.iter().all(|step| step.decode_seqs <= 2 && step.start_ns <= step.end_ns));
    cell.shutdown().unwrap();
}
