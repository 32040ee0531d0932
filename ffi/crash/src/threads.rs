//! Stacks of threads: one's own, and those of all others, each written by the thread itself, one after another.
use std::sync::atomic::{AtomicI32, Ordering};

use crate::{
    FRAMES,
    text::{self, Number},
};

/// How long a thread may take to answer: one in an uninterruptible call never does.
const TURN_MS: i64 = 100;
/// Threads that are asked at most.
const THREADS: usize = 512;

/// The thread that has written its stack last.
static DONE: AtomicI32 = AtomicI32::new(0);

/// The signal by which a thread is asked in its turn.
pub fn turn() -> libc::c_int {
    libc::SIGRTMIN() + 9
}

pub extern "C" fn on_turn(_: libc::c_int) {
    write_own_stack();
    DONE.store(id(), Ordering::SeqCst);
}

/// The calling thread's stack.
pub fn write_own_stack() {
    let mut name = [0_u8; 17];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, the last of them zero.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    text::line(&[
        b"cell: native stack of thread ",
        Number::new(id()).bytes(),
        b" '",
        &name[..length],
        b"', innermost first:",
    ]);
    let mut frames = [std::ptr::null_mut(); FRAMES];
    // SAFETY: the array has room for FRAMES frames, of which `count` are filled; both calls may be made in a handler once
    // `install` has called `backtrace`.
    unsafe {
        let count = libc::backtrace(frames.as_mut_ptr(), FRAMES as libc::c_int);
        libc::backtrace_symbols_fd(frames.as_ptr(), count, libc::STDERR_FILENO);
    }
}

/// All threads' stacks, the calling one's first.
pub fn write_all_stacks() {
    write_own_stack();
    let me = id();
    each_thread(|thread| {
        if thread == me {
            return;
        }
        DONE.store(0, Ordering::SeqCst);
        // SAFETY: a signal that this process handles, to a thread of this process, or an error if it has ended.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, turn()) };
        let mut waited = 0;
        while sent == 0 && waited < TURN_MS && DONE.load(Ordering::SeqCst) != thread {
            let pause = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            // SAFETY: `pause` is a valid time, and the rest is not asked for.
            unsafe { libc::nanosleep(&pause, std::ptr::null_mut()) };
            waited += 1;
        }
        if DONE.load(Ordering::SeqCst) != thread {
            text::line(&[b"cell: thread ", Number::new(thread).bytes(), b" does not answer"]);
        }
    });
}

fn id() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Calls `run` with each thread of this process. Reads the directory by the system's own call: `opendir` allocates.
fn each_thread(mut run: impl FnMut(i32)) {
    // SAFETY: the path ends with a zero.
    let folder = unsafe { libc::open(c"/proc/self/task".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY) };
    if folder < 0 {
        return;
    }
    let (mut threads, mut count) = ([0_i32; THREADS], 0);
    let mut buffer = [0_u8; 4096];
    loop {
        // SAFETY: the kernel writes at most the buffer's length.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, folder, buffer.as_mut_ptr(), buffer.len()) };
        let Some(mut rest) = usize::try_from(read).ok().and_then(|read| buffer.get(..read)) else { break };
        if rest.is_empty() {
            break;
        }
        // An entry: inode and offset of 8 bytes each, its length in 2, its type in 1, the name up to a zero.
        while let (Some(&[low, high]), Some(name)) = (rest.get(16..18), rest.get(19..)) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
            if let (Some(thread), Some(place)) = (text::number(&name[..end]), threads.get_mut(count)) {
                *place = thread;
                count += 1;
            }
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
    }
    // SAFETY: opened above, and nothing else knows it.
    unsafe { libc::close(folder) };
    threads[..count].iter().for_each(|thread| run(*thread));
}
