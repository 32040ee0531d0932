//! The cell program's other use: `tacho model` has it read weights, because only here ggml is linked.
//!
//! `export BUILD FILE` prints one line of JSON (`metadata`, and `tensors` of `name`, `dims` and `type`); then, for every
//! line with a tensor's number on standard input, that tensor's elements as float32, little endian, in the file's order.
//! `requantize BUILD FILE OUT TYPE` writes a GGUF file of the same weights in another type. BUILD is the caller's
//! [`tacho::BUILD_HASH`]. What goes wrong is said on standard error, with status 1.
use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufWriter, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::ExitCode,
};

use serde_json::{Map, Value, json};
use tacho::engine::EngineError;

use crate::{
    gguf::{self, Header, TensorInfo},
    requantize::requantize,
    types,
};

/// Floats are written this many at a time.
const CHUNK: usize = 1 << 16;

/// Runs the program with these arguments; see the module.
pub fn convert(args: &[OsString]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let done = match words[..] {
        ["export", build, _] => stale(build).and_then(|()| export(Path::new(&args[2]))),
        ["requantize", build, _, _, kind] => stale(build)
            .and_then(|()| requantize(Path::new(&args[2]), Path::new(&args[3]), kind).map_err(|error| error.message)),
        _ => Err("this is a cell program: `tacho run` and `tacho model` start it".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn stale(build: &str) -> Result<(), String> {
    if build == tacho::BUILD_HASH {
        return Ok(());
    }
    Err(format!("it is stale: it was built from sources {}, this tacho from {build}", tacho::BUILD_HASH))
}

fn export(path: &Path) -> Result<(), String> {
    let Header { metadata, tensors } = gguf::read(path).map_err(|error: EngineError| error.message)?;
    let file = File::open(path).map_err(|error| format!("{}: cannot be opened: {error}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let gone = |error: io::Error| format!("the caller cannot be reached: {error}");
    describe(&mut out, &metadata, &tensors).map_err(gone)?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(gone)?;
        let tensor = line.parse::<usize>().ok().and_then(|index| tensors.get(index));
        let tensor =
            tensor.ok_or_else(|| format!("expected a tensor's number below {}, found {line:?}", tensors.len()))?;
        let values =
            read(&file, tensor).map_err(|error| format!("{}: tensor {}: {error}", path.display(), tensor.name))?;
        write(&mut out, &values).map_err(gone)?;
    }
    Ok(())
}

fn describe(out: &mut impl Write, metadata: &Map<String, Value>, tensors: &[TensorInfo]) -> io::Result<()> {
    let tensors: Vec<Value> = tensors
        .iter()
        .map(|tensor| json!({ "name": tensor.name, "dims": tensor.dims, "type": types::name(tensor.kind) }))
        .collect();
    serde_json::to_writer(&mut *out, &json!({ "metadata": metadata, "tensors": tensors }))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// A tensor's elements. Its length was checked against the file's when the header was read.
fn read(file: &File, tensor: &TensorInfo) -> Result<Vec<f32>, String> {
    let too_large = |_| "is larger than this machine's memory".to_owned();
    let elements = usize::try_from(tensor.dims.iter().product::<u64>()).map_err(too_large)?;
    let mut bytes = vec![0; usize::try_from(tensor.bytes).map_err(too_large)?];
    file.read_exact_at(&mut bytes, tensor.offset).map_err(|error| format!("cannot be read: {error}"))?;
    types::to_f32(tensor.kind, &bytes, elements)
        .ok_or_else(|| format!("ggml cannot read its type, {}, as float32", types::name(tensor.kind)))
}

fn write(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * CHUNK);
    for chunk in values.chunks(CHUNK) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        out.write_all(&bytes)?;
    }
    out.flush()
}
