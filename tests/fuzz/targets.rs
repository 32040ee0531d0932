//! The readers of what comes from outside.
use std::{fs, path::Path};

use tacho::{
    cell::protocol::{ProtocolError, read_command, read_frame},
    gguf::Header,
    measure::{
        telemetry::{GpuProbe, RecordedGpu},
        trace::{Names, TraceFile},
    },
    plan::{Source, read, registry::Registry, resolve},
    results::RunDir,
};

/// A plan file, up to its points.
pub fn plan(input: &[u8]) {
    let registry = Registry::embedded().unwrap();
    let source = Source::new("fuzz.toml", String::from_utf8_lossy(input));
    let resolved = read(&source, &registry).and_then(|draft| resolve(draft, &registry));
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
pub fn protocol(input: &[u8]) {
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

/// A model file's header.
pub fn gguf(path: &Path, input: &[u8]) {
    fs::write(path, input).unwrap();
    if let Ok(header) = Header::read(path) {
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

/// A trace that a CUPTI collector wrote, up to its end.
pub fn trace(path: &Path, input: &[u8]) {
    fs::write(path, input).unwrap();
    let Ok(mut file) = TraceFile::open(path) else { return };
    let mut names = Names::default();
    while let Ok(Some(activity)) = file.next(&mut names) {
        assert!(activity.end_ns >= activity.start_ns);
    }
}

/// A recording of what a GPU driver told.
pub fn recorded(path: &Path, input: &[u8]) {
    fs::write(path, input).unwrap();
    let Ok(mut gpu) = RecordedGpu::open(path) else { return };
    for device in gpu.devices().unwrap() {
        drop(gpu.read(&device, &[1]));
        drop(gpu.read(&device, &[]));
    }
}
