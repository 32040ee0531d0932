//! The readers of what comes from outside, a function each. One definition for both: blind mutations (`main.rs` here, in
//! CI) and coverage-guided ones (`fuzz/`, by `scripts/fuzz.sh`).
//!
//! Each gets a folder to itself, the same one every time, and an input of any bytes. It panics where the reader is wrong.
use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use tacho::{
    cell::wire::{ProtocolError, read_command, read_frame},
    engine::Options,
    gguf::{Header, Keep},
    measure::{
        telemetry::{GpuProbe, RecordedGpu},
        trace::{Names, TraceFile},
    },
    model::check_trusted,
    plan::{Source, read, registry::Registry, resolve},
    results::RunDir,
    workload::{
        arrivals::read_trace,
        dataset::{Ask, DatasetSpec, make},
    },
};

use crate::{cupti, llama_gguf};

/// A reader under test: a folder to itself, and the input.
pub type Target = fn(&Path, &[u8]);

/// Every reader by its name, which is that of its corpus in tests/corpus and of its target in `fuzz/` too.
pub const TARGETS: [(&str, Target); 11] = [
    ("plan", plan),
    ("dataset", dataset),
    ("arrivals", arrivals),
    ("journal", journal),
    ("protocol", protocol),
    ("gguf", gguf),
    ("gguf_cell", gguf_cell),
    ("safetensors", safetensors),
    ("trace", trace),
    ("cupti", cupti_records),
    ("recorded", recorded),
];

/// A plan file, up to its points.
pub fn plan(_: &Path, input: &[u8]) {
    // Read once: it is larger than any plan.
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().unwrap());
    let source = Source::new("fuzz.toml", String::from_utf8_lossy(input));
    let resolved = read(&source, &REGISTRY).and_then(|draft| resolve(draft, &REGISTRY));
    if let Err(error) = resolved {
        assert!(!error.to_string().is_empty());
    }
}

/// The journal of a run that is taken up again. The input follows nothing; the directory has a good `run.json`.
pub fn journal(dir: &Path, input: &[u8]) {
    fs::write(dir.join("run.json"), include_str!("run.json")).unwrap();
    fs::write(dir.join("journal.jsonl"), input).unwrap();
    if let Ok((run, found)) = RunDir::reopen(dir) {
        // What was read is what a second look finds.
        let again = run.journalled(|_| true).unwrap();
        assert!(found.records.len() <= again.len());
    }
}

/// What comes through the pipe, on either side.
pub fn protocol(_: &Path, input: &[u8]) {
    let mut pipe = input;
    while let Ok(_frame) = read_frame(&mut pipe) {}
    let mut pipe = input;
    loop {
        match read_command(&mut pipe) {
            Ok(_) | Err(ProtocolError::Malformed(_)) if !pipe.is_empty() => {}
            _ => break,
        }
    }
}

/// A model file's header, as the harness reads it.
pub fn gguf(folder: &Path, input: &[u8]) {
    let path = written(folder, "model.gguf", input);
    if let Ok(header) = Header::read(&path, Keep::All) {
        let spans = header.spans();
        assert_eq!(spans.len(), header.tensors.len());
        assert!(
            header
                .tensors
                .iter()
                .all(|tensor| tensor.elements().is_none_or(|count| count > 0 || tensor.dims.contains(&0)))
        );
    }
}

/// The same header, as the cell of llama.cpp reads it before llama.cpp does.
pub fn gguf_cell(folder: &Path, input: &[u8]) {
    let path = written(folder, "model.gguf", input);
    let checked = llama_gguf::check(&path);
    match llama_gguf::read(&path) {
        Ok(header) => {
            checked.unwrap();
            let inside = |tensor: &llama_gguf::TensorInfo| tensor.offset + tensor.bytes <= input.len() as u64;
            assert!(header.tensors.iter().all(inside));
        }
        // What is passed over is not looked into: a check may find less, never more.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The header of weights, before an engine gets them.
pub fn safetensors(folder: &Path, input: &[u8]) {
    let path = written(folder, "model.safetensors", input);
    if let Err(why) = check_trusted(&path, &Options::new()) {
        assert!(why.contains("fetch the file again"), "{why}");
    }
}

/// A dataset, to token ids. The input's first line has the kind and the extension of the file that the rest is: `sharegpt json`.
/// Kinds that read the hub, or nothing, are left out.
pub fn dataset(folder: &Path, input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Some((kind, extension)) = std::str::from_utf8(&input[..end]).ok().and_then(|line| line.split_once(' ')) else {
        return;
    };
    let reads = ["sharegpt", "sonnet", "code_debug", "chat", "custom", "saved"].contains(&kind);
    if !reads || !["json", "jsonl", "csv", "txt"].contains(&extension) {
        return;
    }
    let path = written(folder, &format!("data.{extension}"), &input[end + 1..]);
    written(folder, "tokenizer.json", include_bytes!("../data/datasets/tokenizer/tokenizer.json"));
    written(folder, "tokenizer_config.json", include_bytes!("../data/datasets/tokenizer/tokenizer_config.json"));
    let said = |key: &str| match key {
        "name" => Some(kind.to_owned()),
        "path" => Some(path.display().to_string()),
        "bad" if !["sonnet", "saved"].contains(&kind) => Some("skip".to_owned()),
        "tokenizer" if kind != "saved" => Some(folder.join("tokenizer.json").display().to_string()),
        _ => None,
    };
    let spec = DatasetSpec::from_texts(&said).unwrap().unwrap();
    let requests = (kind == "sonnet").then_some(2);
    let ask = Ask { spec: &spec, model: None, seed: 1, requests, output: None, patience: Duration::from_secs(1) };
    if let Ok(made) = make(ask, &mut |_| {}) {
        assert!((0..made.saved.len()).all(|index| !made.saved.prompt(index).is_empty()));
    }
}

/// A trace of arrivals.
pub fn arrivals(folder: &Path, input: &[u8]) {
    let path = written(folder, "trace.jsonl", input);
    if let Ok(times) = read_trace(&path, 4) {
        assert_eq!(times.len(), 4);
        assert!(times.iter().all(|time| time.is_finite() && *time >= 0.0) && times.is_sorted(), "{times:?}");
    }
}

/// CUPTI's records as they lie in its buffers, from any byte on, through the trace file that is made of them.
pub fn cupti_records(_: &Path, input: &[u8]) {
    for start in (0..input.len()).step_by(8) {
        match cupti::parse(&input[start..]) {
            cupti::Parsed::Kernel(activity) | cupti::Parsed::Transfer(activity) => {
                assert!(activity.start > 0 && activity.start <= activity.end);
                assert_eq!(activity.encode()[8..16], activity.start.to_le_bytes());
            }
            cupti::Parsed::Incomplete | cupti::Parsed::Unreadable => {}
        }
    }
}

/// A trace that a CUPTI collector wrote, up to its end.
pub fn trace(folder: &Path, input: &[u8]) {
    let path = written(folder, "1.tkt", input);
    let Ok(mut file) = TraceFile::open(&path) else { return };
    let mut names = Names::default();
    while let Ok(Some(activity)) = file.next(&mut names) {
        assert!(activity.end_ns >= activity.start_ns);
    }
}

/// A recording of what a GPU driver told.
pub fn recorded(folder: &Path, input: &[u8]) {
    let path = written(folder, "gpu.json", input);
    let Ok(mut gpu) = RecordedGpu::open(&path) else { return };
    for device in gpu.devices().unwrap() {
        drop(gpu.read(&device, &[1]));
        drop(gpu.read(&device, &[]));
    }
}

/// The input as a file.
fn written(folder: &Path, name: &str, input: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, input).unwrap();
    path
}
