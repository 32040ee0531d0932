//! Python exceptions as engine errors.
use pyo3::{
    exceptions::{PyImportError, PyMemoryError, PySystemExit},
    prelude::*,
    types::PyTraceback,
};
use tacho::engine::{EngineError, ErrorKind};

/// How many of the innermost frames go with an error.
const FRAMES: usize = 6;
/// How many exceptions of a chain are told.
const CHAIN: usize = 4;
/// The longest message passed on, in bytes: the log has the whole of it.
const MESSAGE: usize = 8 << 10;

/// An exception raised while loading.
pub fn load(py: Python<'_>, engine: &str, raised: &PyErr) -> EngineError {
    of(py, engine, ErrorKind::Load, raised)
}

/// An exception raised while running.
pub fn run(py: Python<'_>, engine: &str, raised: &PyErr) -> EngineError {
    of(py, engine, ErrorKind::Engine, raised)
}

fn of(py: Python<'_>, engine: &str, stage: ErrorKind, raised: &PyErr) -> EngineError {
    // The log gets what a Python program would have printed.
    if let Ok(text) = full_text(py, raised) {
        eprintln!("cell: the engine raised\n{text}");
    }
    let mut message = format!("{engine}: {}", headline(py, raised));
    for frame in frames(py, raised.traceback(py)) {
        message.push_str("\n  at ");
        message.push_str(&frame);
    }
    let mut link = raised.cause(py);
    let mut memory = is_memory(py, raised);
    for _ in 1..CHAIN {
        let Some(cause) = link else { break };
        memory |= is_memory(py, &cause);
        message.push_str("\n  caused by ");
        message.push_str(&headline(py, &cause));
        if let Some(frame) = frames(py, cause.traceback(py)).pop() {
            message.push_str(" at ");
            message.push_str(&frame);
        }
        link = cause.cause(py);
    }
    shorten(&mut message);
    EngineError::new(kind(py, stage, raised, memory), message)
}

fn kind(py: Python<'_>, stage: ErrorKind, raised: &PyErr, memory: bool) -> ErrorKind {
    // What a shim says itself comes first: see `tacho_shims.ShimError`.
    let told = raised.value(py).getattr("tacho_kind").and_then(|kind| kind.extract::<String>());
    match told.as_deref() {
        Ok("unsupported") => ErrorKind::Unsupported,
        Ok("bad_request") => ErrorKind::BadRequest,
        Ok("mismatch") => ErrorKind::Mismatch,
        Ok("out_of_memory") => ErrorKind::OutOfMemory,
        _ if memory => ErrorKind::OutOfMemory,
        _ => stage,
    }
}

/// Whether memory ran out, on the host or on a device.
fn is_memory(py: Python<'_>, raised: &PyErr) -> bool {
    if raised.is_instance_of::<PyMemoryError>(py) {
        return true;
    }
    // `torch.OutOfMemoryError` by its name: torch may not be there. Allocators that raise a plain RuntimeError are known by
    // their words.
    let name = raised.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
    let text = raised.value(py).to_string();
    name == "OutOfMemoryError"
        || (name == "RuntimeError"
            && ["out of memory", "can't allocate memory", "not enough memory"].iter().any(|word| text.contains(word)))
}

fn headline(py: Python<'_>, raised: &PyErr) -> String {
    let kind = raised.get_type(py);
    let name = kind.name().map_or_else(|_| "exception".to_owned(), |name| name.to_string());
    let text = raised.value(py).str().map_or_else(|_| "it cannot be told as text".to_owned(), |text| text.to_string());
    let text = text.trim();
    if raised.is_instance_of::<PySystemExit>(py) {
        let status = if text.is_empty() { "no status" } else { text };
        return format!("SystemExit: the engine asked to end the process with {status}");
    }
    if raised.is_instance_of::<PyImportError>(py) {
        return format!("{name}: {text}; the environment lacks it or it does not fit: `tacho engines info` checks it");
    }
    if text.is_empty() { name } else { format!("{name}: {text}") }
}

/// The innermost frames, innermost last, as `file:line in function`.
fn frames(py: Python<'_>, traceback: Option<Bound<'_, PyTraceback>>) -> Vec<String> {
    let read = || -> PyResult<Vec<String>> {
        let Some(traceback) = traceback else { return Ok(Vec::new()) };
        let summary = py.import("traceback")?.call_method1("extract_tb", (traceback, -(FRAMES as isize)))?;
        let mut frames = Vec::new();
        for frame in summary.try_iter()? {
            let frame = frame?;
            let part = |name: &str| frame.getattr(name).map(|value| value.to_string());
            frames.push(format!("{}:{} in {}", part("filename")?, part("lineno")?, part("name")?));
        }
        Ok(frames)
    };
    read().unwrap_or_default()
}

fn full_text(py: Python<'_>, raised: &PyErr) -> PyResult<String> {
    let lines = py.import("traceback")?.call_method1("format_exception", (raised.value(py),))?;
    let lines: Vec<String> = lines.extract()?;
    Ok(lines.concat())
}

fn shorten(message: &mut String) {
    if message.len() > MESSAGE {
        let mut end = MESSAGE;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("… (the rest is in the cell's log)");
    }
}
