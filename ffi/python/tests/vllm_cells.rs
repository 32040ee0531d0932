//! Real vLLM in cells: what it refuses, and the boundary `child-core`, its child's death included.
//!
//! Needs what `vllm.rs` needs. Run with `cargo test -p tacho-python --test vllm_cells -- --ignored`.
#[path = "common/cell.rs"]
mod cell;
#[path = "common/named.rs"]
mod named;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cell::{Bench, Rows};
use named::named;
use serde_json::{Value, json};
use tacho::{
    cell::{parent::CellError, protocol::Method},
    engine::{Boundary, ErrorKind, LoadConfig, conformance},
};

/// An import of vLLM and a load, where others compete for the processor.
const WITHIN: Duration = Duration::from_secs(600);
/// A Llama of a few thousand weights, by its configuration alone.
const TINY: &str = include_str!("../../../src/environment/tiny_model.json");

fn start() -> Bench {
    cell::start(&[("TACHO_PYTHON_ENV", named("TACHO_TEST_VLLM").to_str().unwrap())])
}

fn config(model: PathBuf, max_model_len: u32, options: Value) -> LoadConfig {
    LoadConfig {
        engine: "vllm".to_owned(),
        model: Some(model),
        max_seqs: conformance::SEQS,
        max_model_len,
        seed: 1,
        options: serde_json::from_value(options).unwrap(),
    }
}

fn shape(folder: &Path, name: &str, text: &str) -> PathBuf {
    let model = folder.join(name);
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), text).unwrap();
    model
}

#[test]
#[ignore = "needs a vLLM environment"]
fn what_vllm_cannot_do_is_told_in_its_own_words_before_anything_is_timed() {
    let mut bench = start();
    let tiny = shape(bench.folder.path(), "tiny", TINY);
    let unheard_of = TINY.replace("LlamaForCausalLM", "TarotForCausalLM");
    assert_ne!(unheard_of, TINY);
    let unheard_of = shape(bench.folder.path(), "tarot", &unheard_of);
    let none = bench.folder.path().join("none");
    fs::create_dir(&none).unwrap();
    let options = |more: Value| {
        let mut all = json!({ "load_format": "dummy", "dtype": "float32", "enforce_eager": true });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (model, more, kind, words) in [
        (&tiny, json!({ "warp_speed": 9 }), ErrorKind::Unsupported, "unexpected keyword argument 'warp_speed'"),
        (&tiny, json!({ "boundary": "http" }), ErrorKind::Unsupported, "in-core, child-core"),
        (&tiny, json!({ "block_size": "wide" }), ErrorKind::Load, "block_size"),
        (&none, json!({}), ErrorKind::BadRequest, "expected config.json in it"),
        (&unheard_of, json!({}), ErrorKind::Load, "TarotForCausalLM"),
        (&tiny, json!({ "kv_cache_memory_bytes": 1_u64 << 50 }), ErrorKind::OutOfMemory, "--kv-cache-memory-bytes"),
    ] {
        let error = cell::load_error(&mut bench, &config(model.clone(), conformance::LONGEST, options(more)), WITHIN);
        println!("{error}\n");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(words), "'{words}' is not in {error}");
    }
    // The cell outlives all of that.
    bench.cell.load(&config(tiny, conformance::LONGEST, options(json!({}))), WITHIN).unwrap();
    let summary = bench.cell.trial(&cell::trial(Method::Generate, 2, 4), WITHIN, &mut Rows::default()).unwrap();
    assert_eq!((summary.input_tokens, summary.output_tokens), (20, 8));
    bench.cell.shutdown().unwrap();
}

/// Processes that the process started.
fn children_of(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let told = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(told.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

#[test]
#[ignore = "needs a vLLM environment and weights"]
fn child_core_conforms_and_its_childs_death_is_told() {
    let mut bench = start();
    let options = json!({ "boundary": "child-core", "dtype": "float32", "enforce_eager": true, "OMP_NUM_THREADS": 1 });
    let config = config(named("TACHO_TEST_MODEL_DIR"), 1024, options);
    let (info, _) = bench.cell.load(&config, WITHIN).unwrap();
    assert_eq!((info.boundary, info.gpu_in_process), (Boundary::ChildCore, None));
    let pid = bench.cell.pid();
    let core: Vec<u32> = children_of(pid).into_iter().filter(|child| name_of(*child).contains("EngineCore")).collect();
    assert_eq!(core.len(), 1, "one child of the cell is vLLM's EngineCore");

    let checks = bench.cell.conform(WITHIN).unwrap();
    assert_eq!(conformance::failures(&checks), Vec::<String>::new());
    let skipped: Vec<_> =
        checks.iter().filter(|check| matches!(check.outcome, conformance::Outcome::Skipped(_))).collect();
    assert!(skipped.is_empty(), "vLLM can do everything: {skipped:?}");

    let killed = std::cell::Cell::new(None);
    let mut rows = Rows {
        under_way: Some(Box::new(|| {
            let status = std::process::Command::new("kill").args(["-9", &core[0].to_string()]).status().unwrap();
            assert!(status.success());
            killed.set(Some(Instant::now()));
        })),
        ..Rows::default()
    };
    let told = bench.cell.trial(&cell::trial(Method::Steps, 4, 1000), WITHIN, &mut rows);
    let within = killed.get().expect("tokens came before the end").elapsed();
    match told {
        Err(CellError::Engine(error)) => {
            println!("{within:?} after the kill: {error}");
            assert_eq!(error.kind, ErrorKind::Engine, "{error}");
            assert!(error.message.contains("EngineDeadError"), "{error}");
        }
        other => panic!("expected the engine's death, found {other:?}; {:#?}", bench.cell.last_lines()),
    }
    assert!(within < Duration::from_secs(60), "{within:?} passed until the death was told");
}
