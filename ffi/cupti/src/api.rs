//! The functions of CUPTI that are used, found at run time.
//!
//! Declared here and not taken from cudarc: its loader panics where the library is absent (here that would end the
//! engine's process), cannot be given a path, and its records are tied to one CUDA version at build time.
//! Signatures: CUPTI's `cupti_activity.h`, `cupti_callbacks.h` and `cupti_version.h`, the same from 11.6 to 13.
use std::{
    env,
    ffi::{OsString, c_void},
};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

/// `CUptiResult`; 0 is success.
pub type Status = i32;
/// `CUPTI_SUCCESS`.
pub const SUCCESS: Status = 0;
/// `CUPTI_ACTIVITY_FLAG_FLUSH_FORCED`: unfinished records too.
pub const FLUSH_FORCED: u32 = 1;

/// `CUpti_BuffersCallbackRequestFunc`.
pub type BufferRequested = unsafe extern "C" fn(buffer: *mut *mut u8, size: *mut usize, max_records: *mut usize);
/// `CUpti_BuffersCallbackCompleteFunc`.
pub type BufferCompleted =
    unsafe extern "C" fn(context: *mut c_void, stream: u32, buffer: *mut u8, size: usize, valid: usize);

type RegisterCallbacks = unsafe extern "C" fn(Option<BufferRequested>, Option<BufferCompleted>) -> Status;
type Enable = unsafe extern "C" fn(u32) -> Status;
type FlushAll = unsafe extern "C" fn(u32) -> Status;
type NextRecord = unsafe extern "C" fn(*mut u8, usize, *mut *mut u8) -> Status;
type Dropped = unsafe extern "C" fn(*mut c_void, u32, *mut usize) -> Status;
type Timestamp = unsafe extern "C" fn(*mut u64) -> Status;
type Version = unsafe extern "C" fn(*mut u32) -> Status;

/// CUPTI, loaded for as long as the process lives.
pub struct Cupti {
    register_callbacks: RegisterCallbacks,
    enable: Enable,
    flush_all: FlushAll,
    next_record: NextRecord,
    dropped: Dropped,
    timestamp: Timestamp,
    version: Version,
}

/// By their sonames, newest first.
const NAMES: [&str; 3] = ["libcupti.so.13", "libcupti.so.12", "libcupti.so"];
/// Where CUDA's toolkit keeps it, below its root.
const FOLDERS: [&str; 2] = ["targets/x86_64-linux/lib", "extras/CUPTI/lib64"];

/// Opens the first that there is: what `TACHO_CUPTI` names, what the process has loaded already (torch brings its own),
/// what the loader finds, what lies in the toolkit.
fn open() -> Result<Library, String> {
    if let Some(path) = env::var_os("TACHO_CUPTI") {
        // SAFETY: the library that the user named; CUPTI's initialisers have no preconditions.
        return unsafe { Library::open(Some(&path), RTLD_LAZY | RTLD_LOCAL) }
            .map_err(|error| format!("TACHO_CUPTI names no library that can be loaded: {error}"));
    }
    for name in NAMES {
        // SAFETY: with RTLD_NOLOAD nothing is loaded and no initialiser runs.
        if let Ok(found) = unsafe { Library::open(Some(name), RTLD_LAZY | RTLD_LOCAL | libc::RTLD_NOLOAD) } {
            return Ok(found);
        }
    }
    let roots = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
    let roots = roots.chain([OsString::from("/usr/local/cuda")]);
    let in_toolkit = roots.flat_map(|root| {
        FOLDERS.iter().flat_map(move |folder| {
            let folder = std::path::Path::new(&root).join(folder);
            NAMES.map(|name| folder.join(name).into_os_string())
        })
    });
    let mut first = None;
    for candidate in NAMES.map(OsString::from).into_iter().chain(in_toolkit) {
        // SAFETY: CUPTI's initialisers have no preconditions.
        match unsafe { Library::open(Some(&candidate), RTLD_LAZY | RTLD_LOCAL) } {
            Ok(library) => return Ok(library),
            Err(error) => first = first.or(Some(error.to_string())),
        }
    }
    Err(format!(
        "libcupti.so.13 and .12 were not found ({}); name the file in TACHO_CUPTI, or its folder in LD_LIBRARY_PATH",
        first.unwrap_or_default()
    ))
}

fn symbol<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: every `F` here is the declared signature of the C function of that name.
    unsafe { library.get::<F>(name.as_bytes()) }.map(|found| *found).map_err(|error| format!("no {name}: {error}"))
}

fn check(what: &str, status: Status) -> Result<(), String> {
    if status == SUCCESS { Ok(()) } else { Err(format!("{what} failed with CUPTI's code {status}")) }
}

impl Cupti {
    /// Loads it.
    pub fn load() -> Result<Self, String> {
        let library = open()?;
        let cupti = Self {
            register_callbacks: symbol(&library, "cuptiActivityRegisterCallbacks")?,
            enable: symbol(&library, "cuptiActivityEnable")?,
            flush_all: symbol(&library, "cuptiActivityFlushAll")?,
            next_record: symbol(&library, "cuptiActivityGetNextRecord")?,
            dropped: symbol(&library, "cuptiActivityGetNumDroppedRecords")?,
            timestamp: symbol(&library, "cuptiGetTimestamp")?,
            version: symbol(&library, "cuptiGetVersion")?,
        };
        // Never unloaded: CUPTI keeps threads and callbacks until the process ends.
        let _ = library.into_raw();
        Ok(cupti)
    }

    pub fn version(&self) -> u32 {
        let mut version = 0;
        // SAFETY: a valid place for the answer.
        unsafe { (self.version)(&mut version) };
        version
    }

    pub fn register(&self, requested: BufferRequested, completed: BufferCompleted) -> Result<(), String> {
        // SAFETY: both are functions of this library, which is never unloaded.
        check("cuptiActivityRegisterCallbacks", unsafe { (self.register_callbacks)(Some(requested), Some(completed)) })
    }

    pub fn enable(&self, kind: u32) -> Result<(), String> {
        // SAFETY: takes a number and checks it.
        check(&format!("cuptiActivityEnable({kind})"), unsafe { (self.enable)(kind) })
    }

    /// Blocks until the buffers have been handed to the completion callback.
    pub fn flush(&self, flag: u32) -> Result<(), String> {
        // SAFETY: callbacks are registered before anything calls this.
        check("cuptiActivityFlushAll", unsafe { (self.flush_all)(flag) })
    }

    /// Nanoseconds of the clock of CUPTI's records; None when it does not tell.
    pub fn timestamp(&self) -> Option<u64> {
        let mut time = 0;
        // SAFETY: a valid place for the answer.
        let status = unsafe { (self.timestamp)(&mut time) };
        (status == SUCCESS && time != 0).then_some(time)
    }

    /// Records that CUPTI had to drop since it was last asked.
    pub fn dropped(&self, context: *mut c_void, stream: u32) -> u64 {
        let mut count = 0_usize;
        // SAFETY: the context is the one that CUPTI itself gave with the buffer, within the same callback, or null, which
        // means the queue of no context.
        let status = unsafe { (self.dropped)(context, stream, &mut count) };
        if status == SUCCESS { count as u64 } else { 0 }
    }

    /// The record after `record` (the first for null) in a completed buffer, as its offset; None at the end.
    ///
    /// # Safety
    /// `buffer` must hold `valid` bytes that CUPTI wrote, and `record` be null or what this returned for them.
    pub unsafe fn next(&self, buffer: *mut u8, valid: usize, record: &mut *mut u8) -> Option<usize> {
        // SAFETY: as the caller promises.
        let status = unsafe { (self.next_record)(buffer, valid, record) };
        // Anything but success ends the buffer: MAX_LIMIT_REACHED is its regular end.
        (status == SUCCESS && !record.is_null()).then(|| (*record as usize).wrapping_sub(buffer as usize))
    }
}
