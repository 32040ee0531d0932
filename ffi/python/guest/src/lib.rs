//! What `tacho-cell-python` has the `python` of an engine's environment load when that holds its interpreter itself: see
//! [`tacho_python::guest`].

/// Serves the cell until the parent says to stop or goes away; 0 when all went well. To be called through `ctypes.PyDLL`, with
/// the interpreter lock held, on Python's main thread.
// SAFETY: no other library of this process has a symbol of that name, and ctypes looks it up in this one.
#[unsafe(no_mangle)]
pub extern "C" fn tacho_cell() -> std::ffi::c_int {
    tacho_crash::install();
    tacho_python::guest::serve()
}
