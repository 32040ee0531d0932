//! Drives a llama.cpp cell without the harness: one warm-up and one timed offline trial a batch size.
//!
//! `offline CELL MODEL BATCHES INPUT OUTPUT [NAME=JSON…]` prints a line of JSON a batch size: how long `generate` took, by
//! the cell's own clock. `benches/peers/llama.sh` compares those with llama-batched-bench.
use std::{error::Error, path::PathBuf, time::Duration};

use tacho::{
    cell::{
        parent::{Cell, CellProgram, TableSink},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec},
    },
    engine::{LoadConfig, Options, Sampling},
    workload::{LengthDist, WorkloadSpec},
};

const WITHIN: Duration = Duration::from_secs(1800);

/// The tables are not needed.
struct Ignore;

impl TableSink for Ignore {
    fn tokens(&mut self, _: &[TokenRow]) -> Result<(), String> {
        Ok(())
    }
    fn requests(&mut self, _: &[RequestRow]) -> Result<(), String> {
        Ok(())
    }
    fn steps(&mut self, _: &[StepRow]) -> Result<(), String> {
        Ok(())
    }
    fn progress(&mut self, _: u64) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [cell, model, batches, input, output, options @ ..] = args.as_slice() else {
        return Err("expected CELL MODEL BATCHES INPUT OUTPUT [NAME=JSON…]".into());
    };
    let batches = batches.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let (input, output) = (input.parse::<u32>()?, output.parse::<u32>()?);
    let mut map = Options::new();
    for option in options {
        let (name, value) = option.split_once('=').ok_or_else(|| format!("expected NAME=JSON, found '{option}'"))?;
        map.insert(name.to_owned(), serde_json::from_str(value)?);
    }
    let config = LoadConfig {
        engine: tacho_llama_cpp::ID.to_owned(),
        model: Some(PathBuf::from(model)),
        max_seqs: batches.iter().copied().max().unwrap_or(1),
        max_model_len: input + output,
        seed: 1,
        options: map,
    };
    let program = CellProgram {
        program: PathBuf::from(cell),
        args: Vec::new(),
        env: Vec::new(),
        build_with: "cargo build --release -p tacho-llama-cpp".to_owned(),
    };
    let log = std::env::temp_dir().join(format!("tacho-offline-{}.log", std::process::id()));
    let mut cell = Cell::start(&program, &log)?;
    let (info, _) = cell.load(&config, WITHIN)?;
    eprintln!("{} on {}", info.version, info.device);
    for batch in batches {
        for (trial, kind) in [(0, TrialKind::Warmup), (1, TrialKind::Timed)] {
            let spec = TrialSpec {
                trial,
                kind,
                method: Method::Generate,
                load: Load::Offline { batch },
                workload: WorkloadSpec {
                    requests: batch,
                    input: LengthDist::Fixed(input),
                    output: LengthDist::Fixed(output),
                    sampling: Sampling::default(),
                    seed: 1,
                    stream: u64::from(trial),
                    ids: info.model.ordinary_ids.clone(),
                },
            };
            let summary = cell.trial(&spec, WITHIN, &mut Ignore)?;
            if kind == TrialKind::Timed {
                println!("{}", serde_json::json!({"batch": batch, "seconds": summary.seconds()}));
            }
        }
    }
    cell.shutdown()?;
    std::fs::remove_file(&log)?;
    Ok(())
}
