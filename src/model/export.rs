//! Reads a GGUF file through llama.cpp's cell program, where ggml is linked: its metadata and, one tensor after another,
//! its weights as float32.
use std::{
    cell::RefCell,
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::JoinHandle,
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ModelError;
use crate::{BUILD_HASH, cell::parent::CellProgram};

/// The longest description of a file that is believed, in bytes: a vocabulary and its merges take ten million.
const MAX_DESCRIPTION: u64 = 1 << 30;
/// What is kept of the program's last words.
const LAST_WORDS: usize = 2000;

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GgufTensor {
    /// GGUF's name.
    pub name: String,
    /// Elements along each dimension, the one whose elements are neighbours first.
    pub dims: Vec<u64>,
    /// ggml's name of its type, such as `q4_1`.
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Deserialize)]
struct Description {
    metadata: Map<String, Value>,
    tensors: Vec<GgufTensor>,
}

struct Pipes {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// An open file.
pub struct Exporter {
    /// The file's metadata.
    pub metadata: Map<String, Value>,
    /// Its tensors.
    pub tensors: Vec<GgufTensor>,
    pipes: RefCell<Pipes>,
    process: RefCell<Process>,
}

/// The program, with its standard error read by a thread so that it never waits for us.
struct Process {
    child: Child,
    words: Option<JoinHandle<String>>,
    build_with: String,
}

impl Process {
    fn start(program: &CellProgram, args: &[&OsStr], stdin: Stdio) -> Result<Self, ModelError> {
        let mut child = Command::new(&program.program)
            .args(args)
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                ModelError::Cell(format!(
                    "the cell program {} cannot be started: {error}; build it with `{}`",
                    program.program.display(),
                    program.build_with
                ))
            })?;
        let words = child.stderr.take().map(|stderr| std::thread::spawn(move || tail(stderr)));
        Ok(Self { child, words, build_with: program.build_with.clone() })
    }

    /// Waits for the end; the error is the program's last words.
    fn end(&mut self) -> Result<(), ModelError> {
        let status = self.child.wait();
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let words = words.trim();
        match status {
            Ok(status) if status.success() => Ok(()),
            _ if words.contains("it is stale") => Err(ModelError::Cell(format!(
                "llama.cpp's cell program: {words}; build it again with `{}`",
                self.build_with
            ))),
            // A status of 1 is the program's own: the sentence says it all.
            Ok(status) if status.code() == Some(1) && !words.is_empty() => {
                Err(ModelError::Unsupported(words.to_owned()))
            }
            Ok(status) => Err(ModelError::Cell(format!("llama.cpp's cell program ended with {status}: {words}"))),
            Err(error) => Err(ModelError::Cell(format!("llama.cpp's cell program cannot be waited for: {error}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(LAST_WORDS);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

impl Exporter {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// [`ModelError::Cell`] when the program cannot be started or is stale, [`ModelError::Unsupported`] when the file is
    /// none that ggml reads.
    pub fn open(program: &CellProgram, file: &Path) -> Result<Self, ModelError> {
        let args = [OsStr::new("export"), OsStr::new(BUILD_HASH), file.as_os_str()];
        let mut process = Process::start(program, &args, Stdio::piped())?;
        let (Some(stdin), Some(stdout)) = (process.child.stdin.take(), process.child.stdout.take()) else {
            return Err(ModelError::Cell("llama.cpp's cell program has no pipes".into()));
        };
        let mut stdout = BufReader::with_capacity(1 << 20, stdout);
        let mut line = vec![0; 2];
        let began = stdout.read_exact(&mut line);
        if began.is_ok() && line != *b"{\"" {
            // An older program does not look at its arguments: it says a cell's hello and waits for commands.
            return Err(ModelError::Cell(format!(
                "the cell program {} is stale; build it again with `{}`",
                program.program.display(),
                program.build_with
            )));
        }
        let read = began.and_then(|()| (&mut stdout).take(MAX_DESCRIPTION).read_until(b'\n', &mut line));
        if read.is_err() || line.last() != Some(&b'\n') {
            drop(stdin);
            process.end()?;
            return Err(ModelError::Cell("llama.cpp's cell program said nothing of the file".into()));
        }
        let described: Description = serde_json::from_slice(&line)
            .map_err(|error| ModelError::Cell(format!("llama.cpp's cell program is not understood: {error}")))?;
        Ok(Self {
            metadata: described.metadata,
            tensors: described.tensors,
            pipes: RefCell::new(Pipes { stdin, stdout }),
            process: RefCell::new(process),
        })
    }

    /// All elements of a tensor, in the file's order.
    ///
    /// # Errors
    /// What the program says, or [`ModelError::Cell`].
    pub fn read(&self, index: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self
            .tensors
            .get(index)
            .ok_or_else(|| ModelError::Cell(format!("the file has no tensor {index}, only {}", self.tensors.len())))?;
        // The program checked that the file holds them all.
        let elements: u64 = tensor.dims.iter().product();
        let pipes = &mut *self.pipes.borrow_mut();
        let asked = writeln!(pipes.stdin, "{index}").and_then(|()| pipes.stdin.flush());
        let mut values = Vec::with_capacity(elements as usize);
        let mut left = elements * 4;
        let mut bytes = vec![0; 1 << 18];
        while asked.is_ok() && left > 0 {
            let chunk = &mut bytes[..left.min(1 << 18) as usize];
            if pipes.stdout.read_exact(chunk).is_err() {
                break;
            }
            left -= chunk.len() as u64;
            values.extend(chunk.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])));
        }
        if left == 0 {
            return Ok(values);
        }
        self.process.borrow_mut().end()?;
        Err(ModelError::Cell(format!("llama.cpp's cell program gave only a part of {}", tensor.name)))
    }
}

/// Has llama.cpp write the weights of a GGUF file to another one, in another type (`f32`, `f16`, `bf16`).
///
/// # Errors
/// As [`Exporter::open`].
pub fn requantize(program: &CellProgram, from: &Path, to: &Path, dtype: &str) -> Result<(), ModelError> {
    let args = ["requantize".as_ref(), BUILD_HASH.as_ref(), from.as_os_str(), to.as_os_str(), dtype.as_ref()];
    let mut process = Process::start(program, &args, Stdio::null())?;
    // llama.cpp's remarks, should it have any: read, so that it never waits for us.
    if let Some(stdout) = process.child.stdout.take() {
        tail(stdout);
    }
    process.end()
}
