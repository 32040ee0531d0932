//! A double of CUPTI's activity API: it hands out buffers of records laid out as `cupti_activity.h` says, of kernels that
//! no device ran. A thread makes up a few each millisecond while kernels are enabled; [`tacho_cupti_double_emit`] makes
//! up as many as a test asks for.
//!
//! Its clock runs `CLOCK_OFFSET_NS` ahead of CLOCK_MONOTONIC, so that a mapping that is forgotten shows.
#![allow(non_snake_case)]
use std::{
    ffi::{CStr, c_void},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

type Requested = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
type Completed = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

const SUCCESS: i32 = 0;
const INVALID_PARAMETER: i32 = 1;
const MAX_LIMIT_REACHED: i32 = 12;
const INVALID_KIND: i32 = 21;
const MEMCPY: u32 = 1;
const MEMSET: u32 = 2;
const KERNEL: u32 = 10;
/// Ahead of CLOCK_MONOTONIC.
const CLOCK_OFFSET_NS: u64 = 1_700_000_000_000_000_000;
const KERNEL_BYTES: usize = 208;
const TRANSFER_BYTES: usize = 96;

const MATRIX: &CStr = c"_ZN6double6matrixEi";
const NORM: &CStr = c"_ZN6double4normEPKf";
const REDUCE: &CStr = c"ncclDevKernel_AllReduce_double";

struct Current {
    address: usize,
    size: usize,
    used: usize,
}

struct State {
    callbacks: Option<(Requested, Completed)>,
    kernels: bool,
    thread: bool,
    current: Option<Current>,
    correlation: u32,
}

/// Asked for within the completion callback, while the state is locked.
static DROPPED: AtomicUsize = AtomicUsize::new(0);

static STATE: Mutex<State> =
    Mutex::new(State { callbacks: None, kernels: false, thread: false, current: None, correlation: 0 });

fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 + CLOCK_OFFSET_NS
}

fn with<T>(run: impl FnOnce(&mut State) -> T) -> T {
    run(&mut STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

impl State {
    fn complete(&mut self) {
        if let (Some(current), Some((_, completed))) = (self.current.take(), self.callbacks) {
            // SAFETY: the buffer is the client's own, given back as it came.
            unsafe { completed(std::ptr::null_mut(), 0, current.address as *mut u8, current.size, current.used) };
        }
    }

    fn put(&mut self, record: &[u8]) {
        if self.current.as_ref().is_some_and(|current| current.used + record.len() > current.size) {
            self.complete();
        }
        if self.current.is_none() {
            let Some((requested, _)) = self.callbacks else { return };
            let (mut address, mut size, mut most) = (std::ptr::null_mut(), 0, 0);
            // SAFETY: three valid places for the answer.
            unsafe { requested(&mut address, &mut size, &mut most) };
            if address.is_null() || size < record.len() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.current = Some(Current { address: address as usize, size, used: 0 });
        }
        if let Some(current) = &mut self.current {
            // SAFETY: the client's buffer has `size` bytes, of which `used` plus the record's were checked to fit.
            unsafe {
                let to = (current.address as *mut u8).add(current.used);
                std::ptr::copy_nonoverlapping(record.as_ptr(), to, record.len());
            }
            current.used += record.len();
        }
    }

    fn kernel(&mut self, name: &'static CStr, start: u64, end: u64, stream: u32, graph: u32, correlation: u32) {
        let mut bytes = [0_u8; KERNEL_BYTES];
        let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        set(0, &KERNEL.to_ne_bytes());
        set(16, &start.to_ne_bytes());
        set(24, &end.to_ne_bytes());
        set(44, &1_u32.to_ne_bytes());
        set(48, &stream.to_ne_bytes());
        set(92, &correlation.to_ne_bytes());
        set(104, &(name.as_ptr() as usize).to_ne_bytes());
        set(156, &graph.to_ne_bytes());
        self.put(&bytes);
    }

    fn transfer(&mut self, kind: u32, start: u64, end: u64, bytes_moved: u64) {
        let mut bytes = [0_u8; TRANSFER_BYTES];
        let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        set(0, &kind.to_ne_bytes());
        set(4, &[1]);
        set(8, &bytes_moved.to_ne_bytes());
        set(16, &start.to_ne_bytes());
        set(24, &end.to_ne_bytes());
        set(36, &1_u32.to_ne_bytes());
        set(40, &7_u32.to_ne_bytes());
        set(44, &self.correlation.to_ne_bytes());
        self.put(&bytes);
    }

    /// A millisecond's work, all of it over: a kernel, a graph of two, a copy and an all-reduce. 450 µs of it are busy.
    fn millisecond(&mut self, start: u64) {
        self.correlation += 1;
        self.kernel(MATRIX, start, start + 200_000, 7, 0, self.correlation);
        self.correlation += 1;
        // The two overlap by 50 µs.
        self.kernel(MATRIX, start + 250_000, start + 350_000, 7, 3, self.correlation);
        self.kernel(NORM, start + 300_000, start + 400_000, 8, 3, self.correlation);
        self.correlation += 1;
        self.transfer(MEMCPY, start + 500_000, start + 550_000, 4096);
        self.correlation += 1;
        self.kernel(REDUCE, start + 600_000, start + 650_000, 7, 0, self.correlation);
    }
}

/// As CUPTI's.
///
/// # Safety
/// The callbacks must stay valid until the process ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiActivityRegisterCallbacks(
    requested: Option<Requested>,
    completed: Option<Completed>,
) -> i32 {
    let (Some(requested), Some(completed)) = (requested, completed) else { return INVALID_PARAMETER };
    with(|state| state.callbacks = Some((requested, completed)));
    SUCCESS
}

/// As CUPTI's; knows kernels, copies and memsets.
#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityEnable(kind: u32) -> i32 {
    match kind {
        MEMCPY | MEMSET => SUCCESS,
        KERNEL => {
            let start = with(|state| {
                state.kernels = true;
                !std::mem::replace(&mut state.thread, true)
            });
            if start && std::env::var_os("TACHO_CUPTI_DOUBLE_QUIET").is_none() {
                std::thread::spawn(|| {
                    loop {
                        let start = now_ns();
                        std::thread::sleep(Duration::from_millis(1));
                        with(|state| state.millisecond(start));
                    }
                });
            }
            SUCCESS
        }
        _ => INVALID_KIND,
    }
}

/// As CUPTI's: all records are complete here, so the flag changes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityFlushAll(_flag: u32) -> i32 {
    with(State::complete);
    SUCCESS
}

/// As CUPTI's.
///
/// # Safety
/// `buffer` must hold `valid` bytes, and `record` be a valid place that holds null or a record of that buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiActivityGetNextRecord(buffer: *mut u8, valid: usize, record: *mut *mut u8) -> i32 {
    if buffer.is_null() || record.is_null() {
        return INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let before = unsafe { *record };
    let at = if before.is_null() {
        0
    } else {
        // SAFETY: the record lies in the buffer, whose records all begin with their kind.
        let kind = unsafe { before.cast::<u32>().read_unaligned() };
        (before as usize - buffer as usize) + if kind == KERNEL { KERNEL_BYTES } else { TRANSFER_BYTES }
    };
    if at >= valid {
        return MAX_LIMIT_REACHED;
    }
    // SAFETY: `at` lies inside the buffer's `valid` bytes.
    unsafe { *record = buffer.add(at) };
    SUCCESS
}

/// As CUPTI's.
///
/// # Safety
/// `dropped` must be a valid place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiActivityGetNumDroppedRecords(
    _context: *mut c_void,
    _stream: u32,
    dropped: *mut usize,
) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { *dropped = DROPPED.swap(0, Ordering::Relaxed) };
    SUCCESS
}

/// As CUPTI's.
///
/// # Safety
/// `timestamp` must be a valid place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiGetTimestamp(timestamp: *mut u64) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { *timestamp = now_ns() };
    SUCCESS
}

/// As CUPTI's.
///
/// # Safety
/// `version` must be a valid place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiGetVersion(version: *mut u32) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { *version = 0 };
    SUCCESS
}

/// Not CUPTI's: makes up `count` kernels, one after another, each 1 µs long and 1 µs apart, the last one ending now.
#[unsafe(no_mangle)]
pub extern "C" fn tacho_cupti_double_emit(count: u64) {
    let first = now_ns().saturating_sub(2000 * count);
    for number in 0..count {
        let start = first + 2000 * number;
        let name = if number % 2 == 0 { MATRIX } else { NORM };
        with(|state| {
            state.correlation += 1;
            state.kernel(name, start, start + 1000, 7, 0, state.correlation);
        });
    }
}
