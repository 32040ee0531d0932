//! llama.cpp's process-wide state: started once, its compute modules loaded, never ended before the process.
use std::{
    collections::BTreeSet,
    ffi::{CStr, CString, c_char},
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{log, sys};

/// A compute device that a loaded module offers.
#[derive(Clone, Debug)]
pub struct Device {
    /// ggml's name, such as `CPU` or `CUDA0`.
    pub name: String,
    /// What it is, such as the processor's or the card's name.
    pub description: String,
    /// Whether it is a graphics card, or another device with memory of its own.
    pub gpu: bool,
}

/// What is loaded in this process.
#[derive(Debug)]
pub struct Backend {
    devices: Vec<Device>,
}

impl Backend {
    /// Starts llama.cpp on the first call: takes its log over and loads the compute modules from the folder that it was
    /// built in, else the program's own; then from the folder `ggml` beside the program; then from each folder in
    /// `TACHO_GGML_BACKEND_DIR` (separated by colons).
    pub fn get() -> &'static Self {
        static BACKEND: OnceLock<Backend> = OnceLock::new();
        BACKEND.get_or_init(|| {
            log::take_over();
            for dir in module_dirs() {
                let Ok(dir) = CString::new(dir.as_os_str().as_bytes()) else { continue };
                // SAFETY: a NUL-terminated path that outlives the call; a folder without modules is no error to ggml.
                unsafe { sys::ggml_backend_load_all_from_path(dir.as_ptr()) };
            }
            // SAFETY: called once in the process, before any other function of llama.cpp but the log's.
            unsafe { sys::llama_backend_init() };
            Self { devices: devices() }
        })
    }

    /// The devices, in ggml's order.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The devices of these names, as ggml's handles: GPUs, and whatever else has memory of its own.
    ///
    /// # Errors
    /// A sentence with the names that there are.
    pub(crate) fn find(&self, names: &[&str]) -> Result<Vec<sys::ggml_backend_dev_t>, String> {
        let place = |name: &&str| self.devices.iter().position(|device| device.gpu && device.name == **name);
        let found = names.iter().map(|name| {
            // SAFETY: the registry is complete, and the index one of its own.
            place(name).map(|index| unsafe { sys::ggml_backend_dev_get(index) }).ok_or_else(|| {
                let known: Vec<&str> = self.devices.iter().filter(|d| d.gpu).map(|d| d.name.as_str()).collect();
                let known = if known.is_empty() { "none is loaded".to_owned() } else { known.join(", ") };
                format!("expected devices to name GPUs that a loaded module offers ({known}), found `{name}`")
            })
        });
        found.collect()
    }

    /// llama.cpp's version, such as `0.6.0-dev`.
    pub fn version(&self) -> String {
        // SAFETY: returns a static string.
        unsafe { text(sys::llama_version()) }
    }

    /// The features that the loaded modules were built with and use, in llama.cpp's words.
    pub fn system_info(&self) -> String {
        // SAFETY: returns a string that lives until the next call of the same function, which only this thread makes
        // here; it is copied at once.
        unsafe { text(sys::llama_print_system_info()) }
    }

    /// File names of the ggml modules in this process, such as `libggml-cpu-sapphirerapids.so`: which variant runs.
    pub fn modules(&self) -> Vec<String> {
        let names = self.module_paths();
        let names: BTreeSet<String> =
            names.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        names.into_iter().collect()
    }

    /// Where those modules lie.
    pub(crate) fn module_paths(&self) -> Vec<PathBuf> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let paths: BTreeSet<&Path> =
            maps.lines().filter_map(|line| Some(Path::new(line.split_whitespace().nth(5)?))).collect();
        let ours = |path: &&Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("libggml-") && !name.starts_with("libggml-base")
        };
        paths.into_iter().filter(ours).map(Path::to_owned).collect()
    }

    /// The most sequences that one context can hold.
    pub fn max_sequences(&self) -> u32 {
        // SAFETY: a constant of the library.
        unsafe { sys::llama_max_parallel_sequences() as u32 }
    }
}

fn module_dirs() -> Vec<PathBuf> {
    let built = PathBuf::from(env!("TACHO_LLAMA_LIB_DIR"));
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let beside = own.as_ref().map(|own| own.join("ggml"));
    let main = if built.is_dir() { Some(built) } else { own };
    let more = std::env::var_os("TACHO_GGML_BACKEND_DIR").unwrap_or_default();
    let more = beside.into_iter().chain(std::env::split_paths(&more));
    main.into_iter().chain(more.filter(|dir| dir.is_dir())).collect()
}

fn devices() -> Vec<Device> {
    // SAFETY: the registry is complete; indices run below the count, and the strings are the modules' own and static.
    unsafe {
        (0..sys::ggml_backend_dev_count())
            .map(|index| {
                let device = sys::ggml_backend_dev_get(index);
                let kind = sys::ggml_backend_dev_type(device);
                Device {
                    name: text(sys::ggml_backend_dev_name(device)),
                    description: text(sys::ggml_backend_dev_description(device)),
                    gpu: kind == sys::GGML_BACKEND_DEVICE_TYPE_GPU || kind == sys::GGML_BACKEND_DEVICE_TYPE_IGPU,
                }
            })
            .collect()
    }
}

/// Copies a C string.
///
/// # Safety
/// `pointer` is null or points at a NUL-terminated string that lives during the call.
pub(crate) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().trim().to_owned()
}
