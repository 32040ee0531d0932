//! llama.cpp's log lines: to standard error from warnings up (`TACHO_LOG=info` or `debug` shows more), and the last few
//! kept, because a failed load says why nowhere else.
use std::{
    collections::VecDeque,
    ffi::{CStr, c_char, c_void},
    io::Write,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use crate::sys;

/// How many warnings and errors are kept.
const KEPT: usize = 6;

struct Log {
    /// The level of the line that is being put together from pieces.
    level: sys::ggml_log_level,
    line: String,
    kept: VecDeque<String>,
    /// All lines, while somebody wants them.
    noted: Option<Vec<String>>,
    /// Graphs that ggml's CUDA backend said it goes on to capture.
    captures: u64,
}

/// What ggml's CUDA backend says, at the level of debugging, right before it captures a graph (`ggml_backend_cuda_graph_compute`).
pub(crate) const CAPTURES: &str = "CUDA graph warmup complete";

static LOG: Mutex<Log> = Mutex::new(Log {
    level: sys::GGML_LOG_LEVEL_INFO,
    line: String::new(),
    kept: VecDeque::new(),
    noted: None,
    captures: 0,
});

fn log() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lowest level that is shown.
fn shown() -> sys::ggml_log_level {
    static SHOWN: OnceLock<sys::ggml_log_level> = OnceLock::new();
    *SHOWN.get_or_init(|| {
        let wish = std::env::var("TACHO_LOG").unwrap_or_default().to_lowercase();
        match wish {
            wish if wish.contains("debug") || wish.contains("trace") => sys::GGML_LOG_LEVEL_DEBUG,
            wish if wish.contains("info") => sys::GGML_LOG_LEVEL_INFO,
            _ => sys::GGML_LOG_LEVEL_WARN,
        }
    })
}

/// Takes llama.cpp's and ggml's log over, for the whole process.
pub(crate) fn take_over() {
    // SAFETY: the callback is a static function that may be called from any thread and never unwinds; it uses no user data.
    unsafe { sys::llama_log_set(Some(on_log), std::ptr::null_mut()) };
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: ggml passes a NUL-terminated string that lives as long as this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let mut log = log();
    if level != sys::GGML_LOG_LEVEL_CONT {
        log.level = level;
    }
    for piece in text.split_inclusive('\n') {
        log.line.push_str(piece.trim_end_matches('\n'));
        if piece.ends_with('\n') {
            let line = std::mem::take(&mut log.line);
            finish_line(&mut log, line);
        }
    }
}

fn finish_line(log: &mut Log, line: String) {
    // Progress dots are lines too.
    if line.trim().is_empty() || line.bytes().all(|byte| byte == b'.') {
        return;
    }
    log.captures += u64::from(line.contains(CAPTURES));
    if let Some(noted) = &mut log.noted {
        noted.push(line.clone());
    }
    // DEBUG is 1, INFO 2, WARN 3, ERROR 4; NONE is 0 and always shown.
    if log.level >= shown() || log.level == sys::GGML_LOG_LEVEL_NONE {
        // A log that cannot be written is no reason to stop, and a panic must not cross into C.
        let _ = writeln!(std::io::stderr(), "llama.cpp: {line}");
    }
    if log.level == sys::GGML_LOG_LEVEL_WARN || log.level == sys::GGML_LOG_LEVEL_ERROR {
        if log.kept.len() == KEPT {
            log.kept.pop_front();
        }
        log.kept.push_back(line);
    }
}

/// Forgets the kept lines: called before something that may fail.
pub(crate) fn forget() {
    log().kept.clear();
}

/// Calls `work` and gives, beside what it came to, all lines that were logged meanwhile.
pub(crate) fn noting<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    log().noted = Some(Vec::new());
    let done = work();
    (done, log().noted.take().unwrap_or_default())
}

/// How many CUDA graphs ggml said it goes on to capture, in this process. 0 also where this build of it says no such thing.
pub(crate) fn captures() -> u64 {
    log().captures
}

/// The kept warnings and errors as the end of a sentence: empty, or ` llama.cpp said: …`.
pub(crate) fn said() -> String {
    let kept: Vec<String> = log().kept.drain(..).collect();
    if kept.is_empty() { String::new() } else { format!(" llama.cpp said: {}", kept.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ggml_says_before_a_capture_is_counted_and_lines_are_kept_while_they_are_wanted() {
        let say = |text: &str| {
            let text = std::ffi::CString::new(text).unwrap();
            // SAFETY: a text that ends with NUL and lives as long as the call; the callback uses no user data.
            unsafe { on_log(sys::GGML_LOG_LEVEL_DEBUG, text.as_ptr(), std::ptr::null_mut()) };
        };
        let before = captures();
        let ((), lines) = noting(|| {
            say("ggml_backend_cuda_graph_compute: CUDA graph warmup complete\n");
            say("CUDA Graph id 7 reused\n");
        });
        say("ggml_backend_cuda_graph_compute: CUDA graph warmup reset\n");
        assert_eq!(captures() - before, 1);
        assert!(lines.iter().any(|line| line.ends_with("warmup complete")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.ends_with("warmup reset")), "{lines:?}");
    }
}
