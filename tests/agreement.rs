//! The same weights give the same words: greedy outputs of llama.cpp, vLLM, MAX and SGLang for ten prompts, each engine in its
//! own cell, all from one GGUF file by `tacho model convert`.
//!
//! All but llama.cpp need their environments: `TACHO_TEST_VLLM`, `TACHO_TEST_MAX` and `TACHO_TEST_SGLANG` name the `python` of one,
//! else the installed one is taken. An engine that is not here is left out with the reason, unless `TACHO_CI_ENGINES` promises it.
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::Deserialize;
use tacho::{
    cell::{
        PYTHON_VARIABLE,
        parent::{Cell, CellProgram},
    },
    engine::{LoadConfig, conformance},
    environment,
    plan::registry::Registry,
};

const TOKENS: u32 = 16;
/// Of ten prompts. Sums in another order may tip a choice between two words that are about equally likely.
const AGREEING: usize = 9;

#[derive(Deserialize)]
struct Prompt {
    text: String,
    ids: Vec<u32>,
}

/// An engine as it takes part.
struct Taker {
    id: &'static str,
    /// The environment variable that names its Python.
    python: Option<&'static str>,
    options: serde_json::Value,
}

/// All in float32, down to the cached keys and values.
fn takers() -> [Taker; 4] {
    [
        Taker { id: "llama.cpp", python: None, options: serde_json::json!({ "type_k": "f32", "type_v": "f32" }) },
        Taker {
            id: "vllm",
            python: Some("TACHO_TEST_VLLM"),
            options: serde_json::json!({ "boundary": "in-core", "dtype": "float32", "enforce_eager": true }),
        },
        Taker {
            id: "max",
            python: Some("TACHO_TEST_MAX"),
            options: serde_json::json!({ "device": "cpu", "quantization_encoding": "float32" }),
        },
        Taker {
            id: "sglang",
            python: Some("TACHO_TEST_SGLANG"),
            // One thread: OpenMP's others spin while they wait, and SGLang's wait often.
            options: serde_json::json!({ "boundary": "in-core", "dtype": "float32", "device": "cpu", "OMP_NUM_THREADS": 1 }),
        },
    ]
}

fn promised(id: &str) -> bool {
    env::var("TACHO_CI_ENGINES").is_ok_and(|ids| ids.split_whitespace().any(|promised| promised == id))
}

/// The GGUF file: `TACHO_TEST_MODEL`, or where `scripts/model.sh` puts it.
fn gguf() -> Option<PathBuf> {
    let named = env::var_os("TACHO_TEST_MODEL").map(PathBuf::from);
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    named.or(Some(cached)).filter(|path| path.is_file())
}

/// The program that hosts an engine, told its environment; or why it cannot be had.
fn program(taker: &Taker) -> Result<CellProgram, String> {
    let mut program = Registry::embedded().unwrap().cell_program(taker.id).map_err(|error| error.to_string())?;
    if let Some(variable) = taker.python {
        let spec = environment::specs().unwrap().into_iter().find(|spec| spec.engine == taker.id).unwrap();
        let installed = || environment::status(&spec).map(|installed| installed.python);
        let python = env::var_os(variable).map(PathBuf::from).or_else(installed).ok_or_else(|| {
            format!("it has no environment: run `tacho engines install {}`, or set {variable}", taker.id)
        })?;
        program.env.push((PYTHON_VARIABLE.into(), python.into()));
    }
    Ok(program)
}

/// The model in the format of each engine, float32 both. `TACHO_TEST_MODEL_DIR` is such a folder already, and what MAX compiled
/// for it is kept: MAX goes by the model's path.
fn convert(input: &Path, into: &Path) -> (PathBuf, PathBuf) {
    let _ = fs::remove_dir_all(into);
    let file = into.join("smollm2.F32.gguf");
    let convert = |output: &Path, format: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_tacho"))
            .args(["model", "convert", "--dtype", "f32", "--to", format])
            .args([input, output])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    convert(&file, "gguf");
    let folder = env::var_os("TACHO_TEST_MODEL_DIR").map_or_else(
        || {
            let folder = into.join("smollm2");
            convert(&folder, "safetensors");
            folder
        },
        PathBuf::from,
    );
    (file, folder)
}

fn outputs(taker: &Taker, program: &CellProgram, model: PathBuf, prompts: &[Prompt]) -> Vec<Vec<u32>> {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut cell = Cell::start(program, &log).unwrap();
    let config = LoadConfig {
        engine: taker.id.to_owned(),
        model: Some(model),
        // As in the conformance checks, because MAX compiles these in and keeps what it compiled.
        max_seqs: conformance::SEQS,
        max_model_len: conformance::LONGEST,
        seed: 1,
        options: serde_json::from_value(taker.options.clone()).unwrap(),
    };
    let words = |error: &dyn std::fmt::Display| {
        format!("{}: {error}\n{}", taker.id, fs::read_to_string(&log).unwrap_or_default())
    };
    let loaded = cell.load(&config, Duration::from_secs(900));
    let (info, _) = loaded.unwrap_or_else(|error| panic!("{}", words(&error)));
    println!("{} {} on {}, {:?}", info.engine, info.version, info.device, info.model.weights_dtype);
    let ids = prompts.iter().map(|prompt| prompt.ids.clone()).collect();
    let out = cell.generate(ids, TOKENS, Duration::from_secs(600));
    let out = out.unwrap_or_else(|error| panic!("{}", words(&error)));
    cell.shutdown().unwrap();
    assert!(out.iter().all(|ids| ids.len() == TOKENS as usize), "{}: {out:?}", taker.id);
    out
}

/// Where two outputs part: `16 of 16`, or the first position with both ids.
fn compared(ours: &[u32], theirs: &[u32]) -> String {
    match ours.iter().zip(theirs).position(|(a, b)| a != b) {
        None => format!("{TOKENS} of {TOKENS}"),
        Some(at) => format!("parts at {at}: {} and {}", ours[at], theirs[at]),
    }
}

#[test]
fn engines_agree_on_greedy_outputs() {
    let prompts: Vec<Prompt> = serde_json::from_str(include_str!("data/prompts.json")).unwrap();
    assert_eq!(prompts.len(), 10);
    assert!(prompts.iter().all(|prompt| (16..=48).contains(&prompt.ids.len())));
    let mut programs = Vec::new();
    for taker in takers() {
        match program(&taker) {
            Ok(program) => programs.push((taker, program)),
            Err(why) => {
                assert!(!promised(taker.id), "engine {} is promised, but {why}", taker.id);
                eprintln!("skipped: engine {}: {why}", taker.id);
            }
        }
    }
    // The file is read by llama.cpp's cell program, so that the other engines need that too.
    let (Some(input), 2..) = (gguf(), programs.len()) else {
        assert!(!programs.iter().any(|(taker, _)| promised(taker.id) && taker.python.is_some()), "a promised engine");
        eprintln!("skipped: it takes the model of scripts/model.sh and two engines; here are {}", programs.len());
        return;
    };
    // The same place each time: MAX keeps what it compiled for a model's path.
    let (file, folder) = convert(&input, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("agreement"));
    let mut all = BTreeMap::new();
    for (taker, program) in &programs {
        let model = if taker.python.is_none() { file.clone() } else { folder.clone() };
        all.insert(taker.id, outputs(taker, program, model, &prompts));
    }
    let first = programs[0].0.id;
    let mut agreeing = 0;
    for (index, prompt) in prompts.iter().enumerate() {
        println!("{index}: {:.50}… ({} tokens)", prompt.text.replace('\n', "\\n"), prompt.ids.len());
        let ours = &all[first][index];
        println!("     {first:10} {ours:?}");
        let others = all.iter().filter(|(id, _)| **id != first);
        let mut agree = true;
        for (id, outputs) in others {
            println!("     {id:10} {}", compared(ours, &outputs[index]));
            agree &= *ours == outputs[index];
        }
        agreeing += usize::from(agree);
    }
    let ids: Vec<&str> = programs.iter().map(|(taker, _)| taker.id).collect();
    for (place, one) in ids.iter().enumerate() {
        for other in &ids[place + 1..] {
            let same = all[one].iter().zip(&all[other]).filter(|(ours, theirs)| ours == theirs).count();
            println!("{one} and {other} agree on all {TOKENS} tokens for {same} of {} prompts", prompts.len());
        }
    }
    println!("{} agree on all {TOKENS} tokens for {agreeing} of {} prompts", ids.join(", "), prompts.len());
    assert!(agreeing >= AGREEING, "expected at least {AGREEING} prompts on which all agree, found {agreeing}");
    fs::remove_dir_all(Path::new(env!("CARGO_TARGET_TMPDIR")).join("agreement")).unwrap();
}
