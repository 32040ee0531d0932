//! CPython in this process, started as the engine environment's own `python`.
use std::{
    ffi::{CStr, CString, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use pyo3::{ffi, prelude::*};
/// The environment variable that names the `python` of the engine's environment.
pub use tacho::cell::PYTHON_VARIABLE as ENV_PYTHON;
use tacho::{cache, engine::EngineError};

use crate::{error, shims};

/// The Python that this program was linked against, such as `3.12`.
pub const PYTHON_VERSION: &str = env!("TACHO_PYTHON_VERSION");

/// Variables that would mix another environment's packages or settings into the engine's.
const FOREIGN: &[&str] = &["PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE", "PYTHONUSERBASE"];
/// Defaults for engines and what they start; a plan or a person who sets one is obeyed.
const DEFAULTS: &[(&str, &str)] = &[
    // Nothing is downloaded while a cell runs.
    ("HF_HUB_OFFLINE", "1"),
    ("TRANSFORMERS_OFFLINE", "1"),
    ("DO_NOT_TRACK", "1"),
    ("PYTHONNOUSERSITE", "1"),
];

/// Runs once in the new interpreter, on the thread that started it.
const PRELUDE: &CStr = cr#"
import faulthandler, sys, threading, multiprocessing, multiprocessing.spawn, __main__
# The module `threading` takes the thread that first imports it for the main one: this one, not one of the engine's.
threading.main_thread()
# fd 1 is the cell's log by now; by the line, so that the last words before a crash are there.
for stream in (sys.stdout, sys.stderr):
    if stream is not None:
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
# Stacks before a crash ends the process, and when a deadline has passed (SIGSTKFLT, see `tacho-crash`): of all threads, also
# while native code holds the interpreter's lock. `tacho_crash::go_first` then puts the native stack of a crash before these.
faulthandler.enable()
faulthandler.register(16, all_threads=True, chain=True)
sys.argv = [sys.executable]
multiprocessing.set_executable(sys.executable)
# Children made by 'spawn' import their parent's __main__ again if it has a file; ours is not Python.
__main__.__dict__.pop("__file__", None)
__main__.__spec__ = None
"#;

static STARTED: OnceLock<PathBuf> = OnceLock::new();
static EMBEDDED: OnceLock<()> = OnceLock::new();

/// How the environment's `python` has its interpreter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Linkage {
    /// It holds it itself.
    Static,
    /// It loads libpython.
    Shared,
}

/// Removes variables that would mix another Python into the engine's, and sets defaults such as hub access off.
///
/// # Safety
/// No other thread may run: changing the environment of a process with threads is undefined behaviour.
pub unsafe fn settle_environment() {
    for name in FOREIGN {
        if std::env::var_os(name).is_some() {
            eprintln!("cell: {name} is ignored: the engine's environment stands for itself");
            // SAFETY: the caller promises that no other thread runs.
            unsafe { std::env::remove_var(name) };
        }
    }
    for (name, value) in DEFAULTS {
        if std::env::var_os(name).is_none() {
            // SAFETY: as above.
            unsafe { std::env::set_var(name, value) };
        }
    }
    // What engines compile is kept there too; a shim need not know how the place is found.
    // SAFETY: as above.
    unsafe { std::env::set_var(cache::ENV_CACHE, cache::dir()) };
}

/// Starts the interpreter of the environment that [`ENV_PYTHON`] names; later calls find it running.
///
/// The calling thread becomes Python's main thread. It does not hold the interpreter lock on return.
///
/// # Errors
/// [`tacho::engine::ErrorKind::Load`] when the environment is missing, has another Python than the one this program was
/// linked against, or does not start.
pub fn start() -> Result<(), EngineError> {
    let python = environment_python(std::env::var_os(ENV_PYTHON))?;
    if let Some(running) = STARTED.get() {
        return if *running == python {
            Ok(())
        } else {
            Err(EngineError::load(format!(
                "this cell already runs the environment of {}; {} needs a cell of its own",
                running.display(),
                python.display()
            )))
        };
    }
    let shims = match runs() {
        true => shims::unpack()?,
        false => {
            check_version(&python)?;
            let shims = shims::unpack()?;
            initialize(&python)?;
            shims
        }
    };
    let prepared = Python::attach(|py| {
        let prepared = py.run(PRELUDE, None, None).and_then(|()| shims::import(py, &shims));
        prepared.map_err(|raised| error::load(py, "the host", &raised))
    });
    // The interpreter's handlers are there now, and the native stack is to be written before they run.
    tacho_crash::go_first();
    let _ = STARTED.set(python);
    prepared
}

/// Where the running interpreter comes from: `program` inside of the environment's `python`, `library` when libpython was started
/// here.
pub fn kind() -> &'static str {
    if EMBEDDED.get().is_some() { "library" } else { "program" }
}

/// Whether an interpreter runs in this process.
fn runs() -> bool {
    // SAFETY: may be called at any time.
    unsafe { ffi::Py_IsInitialized() != 0 }
}

/// Ends the interpreter if it was started here: runs what the engine registered for the end of the process.
pub fn finalize() {
    if EMBEDDED.get().is_none() {
        return;
    }
    // SAFETY: the interpreter runs, and this thread does not hold its lock. No Python object is used afterwards: the
    // engine was dropped when `serve` returned.
    let failed = unsafe {
        ffi::PyGILState_Ensure();
        ffi::Py_FinalizeEx()
    };
    if failed != 0 {
        eprintln!("cell: Python could not flush its buffers at the end");
    }
}

/// The `python` that a variable's value names, made absolute.
///
/// # Errors
/// [`tacho::engine::ErrorKind::Load`] when none is named or it is no file.
pub fn environment_python(named: Option<OsString>) -> Result<PathBuf, EngineError> {
    let Some(named) = named.filter(|name| !name.is_empty()) else {
        return Err(EngineError::load(format!(
            "no Python environment was named: expected the path of its `python` in {ENV_PYTHON}; give `--python PATH` or \
             install the engine's environment with `tacho engines install`"
        )));
    };
    let path = PathBuf::from(named);
    let path = if path.is_dir() { path.join("bin/python") } else { path };
    if !path.is_file() {
        return Err(EngineError::load(format!(
            "the Python environment is missing: {} is not a file; install it with `tacho engines install` or name another \
             with `--python PATH`",
            path.display()
        )));
    }
    // Links are kept: a virtual environment's `python` is one, and it is its place that counts.
    std::path::absolute(&path)
        .map_err(|error| EngineError::load(format!("the path {} cannot be made absolute: {error}", path.display())))
}

/// Asks the environment's `python` for its version, so that a mismatch is a sentence and not a crash, and for its linkage.
///
/// # Errors
/// [`tacho::engine::ErrorKind::Load`] when it does not start or is not of the version that this program was linked against.
pub fn check_version(python: &Path) -> Result<Linkage, EngineError> {
    // What its own memory shows: the build's variables say the same of both programs of a distribution.
    let script = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name); \
                  print(any('/libpython' in line for line in open('/proc/self/maps')))";
    let run = Command::new(python).args(["-I", "-S", "-c", script]).output().map_err(|error| {
        EngineError::load(format!(
            "{} cannot be run: {error}; it should be a Python {PYTHON_VERSION}",
            python.display()
        ))
    })?;
    let told = String::from_utf8_lossy(&run.stdout);
    let mut told = told.lines();
    let found = told.next().unwrap_or_default();
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        return Err(EngineError::load(format!(
            "{} does not start ({}): {}",
            python.display(),
            run.status,
            said.lines().last().unwrap_or("it said nothing")
        )));
    }
    if found != format!("{PYTHON_VERSION} cpython") {
        return Err(EngineError::load(format!(
            "{} is Python {found}; this cell was built for {PYTHON_VERSION} cpython. Make the environment with Python \
             {PYTHON_VERSION}, or build `tacho-cell-python` with PYO3_PYTHON naming a Python of that version",
            python.display()
        )));
    }
    Ok(if told.next() == Some("False") { Linkage::Static } else { Linkage::Shared })
}

/// Starts CPython as if `python` had been run: the standard start-up code then finds `pyvenv.cfg` beside it, and prefix,
/// path and executable are the environment's, with none of the base interpreter's packages.
fn initialize(python: &Path) -> Result<(), EngineError> {
    let program = CString::new(python.as_os_str().as_bytes())
        .map_err(|_| EngineError::load(format!("{} holds a NUL byte", python.display())))?;
    // SAFETY: a PyConfig is plain data that PyConfig_InitPythonConfig fills in; the pointers passed point to its own
    // fields and to `program`, which outlives the calls. Nothing else touches the interpreter: it is not running yet.
    unsafe {
        let mut config = std::mem::zeroed::<ffi::PyConfig>();
        ffi::PyConfig_InitPythonConfig(&mut config);
        config.install_signal_handlers = 0;
        config.parse_argv = 0;
        config.user_site_directory = 0;
        let name = &raw mut config.program_name;
        let executable = &raw mut config.executable;
        let mut status = ffi::PyConfig_SetBytesString(&mut config, name, program.as_ptr());
        if ffi::PyStatus_Exception(status) == 0 {
            status = ffi::PyConfig_SetBytesString(&mut config, executable, program.as_ptr());
        }
        if ffi::PyStatus_Exception(status) == 0 {
            status = ffi::Py_InitializeFromConfig(&config);
        }
        ffi::PyConfig_Clear(&mut config);
        if ffi::PyStatus_Exception(status) != 0 {
            let said = if status.err_msg.is_null() {
                "it gave no reason".into()
            } else {
                // SAFETY: CPython's messages are constant strings.
                CStr::from_ptr(status.err_msg).to_string_lossy()
            };
            return Err(EngineError::load(format!("Python of {} does not start: {said}", python.display())));
        }
        let _ = EMBEDDED.set(());
        // Gives up the lock taken by the start; `Python::attach` takes it again, on this thread or another.
        ffi::PyEval_SaveThread();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_that_is_not_named_or_not_there_is_told() {
        assert!(environment_python(None).unwrap_err().message.contains(ENV_PYTHON));
        let error = environment_python(Some("/nonexistent/bin/python".into())).unwrap_err();
        assert!(error.message.contains("/nonexistent/bin/python"), "{error}");
    }

    #[test]
    fn a_program_that_is_no_python_of_this_version_is_told() {
        let error = check_version(Path::new("/bin/false")).unwrap_err();
        assert!(error.message.contains("does not start"), "{error}");
        let error = check_version(Path::new("/bin/echo")).unwrap_err();
        assert!(error.message.contains(PYTHON_VERSION), "{error}");
    }
}
