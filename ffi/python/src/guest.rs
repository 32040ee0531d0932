//! The cell as a guest of the environment's own `python` program.
//!
//! The `python` of Debian and Ubuntu holds its interpreter itself, and runs Python code faster than the libpython of the
//! same packages does (`benches/peers/python_host.sh`): that one's code may lie anywhere and any of its functions may be
//! replaced. An engine's own programs run in the former, so a cell that embedded the latter would charge the engine for it.
//! [`enter`] therefore replaces the cell program by that `python`, which loads the cell as a library (`ffi/python/guest`).
use std::{
    ffi::c_int,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use pyo3::ffi;

use crate::host::{self, Linkage};

/// The environment variable that says where the interpreter comes from: `auto` (the default: `program` where the environment's
/// `python` holds its interpreter itself, `library` where it loads libpython), `library` or `program`.
pub const ENV_HOST: &str = "TACHO_PYTHON_HOST";
/// The environment variable that names the library of this cell, where it does not lie beside the cell program.
pub const ENV_GUEST: &str = "TACHO_PYTHON_GUEST";

const LIBRARY: &str = "libtacho_python_guest.so";
/// Run by that `python`. Signals are Tacho's, as in a cell that embeds libpython.
const BOOT: &str = "import ctypes, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(ctypes.PyDLL(sys.argv[1]).tacho_cell())";

/// Becomes the environment's `python` if that is where the interpreter is to come from; otherwise comes back, also when the
/// environment cannot be used, which loading then says.
///
/// # Errors
/// A sentence for the cell's log: the variable's value is none of the three, or the library is not built.
pub fn enter() -> Result<(), String> {
    let asked = std::env::var(ENV_HOST).unwrap_or_else(|_| "auto".to_owned());
    let wanted: fn(Linkage) -> bool = match asked.as_str() {
        "auto" => |linkage| linkage == Linkage::Static,
        "program" => |_| true,
        "library" => return Ok(()),
        _ => return Err(format!("{ENV_HOST} is {asked:?}: expected auto, library or program")),
    };
    let Ok(python) = host::environment_python(std::env::var_os(host::ENV_PYTHON)) else { return Ok(()) };
    match host::check_version(&python) {
        Ok(linkage) if wanted(linkage) => {}
        Ok(_) | Err(_) => return Ok(()),
    }
    let library = library()?;
    // No user's site-packages and no working directory among the places of modules, as in an embedded interpreter.
    let failed = Command::new(&python).args(["-s", "-P", "-c", BOOT]).arg(&library).exec();
    Err(format!("{} cannot be run: {failed}", python.display()))
}

fn library() -> Result<PathBuf, String> {
    let path = match std::env::var_os(ENV_GUEST) {
        Some(named) => PathBuf::from(named),
        None => std::env::current_exe()
            .map_err(|error| format!("where this program lies is not known: {error}"))?
            .parent()
            .unwrap_or(Path::new("."))
            .join(LIBRARY),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing: the environment's python holds its interpreter itself, and is to load the cell from there. Build it with \
         `cargo build --release -p tacho-python-guest`, or set {ENV_HOST}=library to embed libpython, which runs Python code slower",
        path.display()
    ))
}

/// The cell inside of that `python`: gives up the interpreter lock, serves, takes it again. 0 when all went well.
pub fn serve() -> c_int {
    // SAFETY: the calling thread is Python's main one and holds the lock, by the contract of `tacho_cell`.
    let thread = unsafe { ffi::PyEval_SaveThread() };
    let status = tacho_crash::outermost(crate::cell);
    // SAFETY: the state is the one that this thread gave up, and the interpreter still runs.
    unsafe { ffi::PyEval_RestoreThread(thread) };
    c_int::from(status != ExitCode::SUCCESS)
}
