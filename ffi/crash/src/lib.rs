//! Last words of a cell that hosts native code: the stack of the thread that crashes, and, when `tacho` asks with SIGSTKFLT
//! because a deadline has passed, the stacks of all threads. Both go to standard error, which is the cell's log.
//!
//! Everything that runs inside a signal handler is on POSIX's or glibc's list of what may: no allocation, no lock, no Rust
//! formatting. glibc's `backtrace` may once it has been called, which [`install`] does. Frames are written as glibc writes
//! them, `module(symbol+offset)[address]`; `addr2line -e module +offset` gives the line of those without a symbol.
#![cfg(target_os = "linux")]

mod outermost;
mod text;
mod threads;

use std::{
    ptr,
    sync::atomic::{AtomicI32, AtomicPtr, Ordering},
};

pub use outermost::outermost;

/// The signals that end a process because of a fault of its own. Not SIGKILL: nobody hears that one.
const FATAL: [(libc::c_int, &str); 6] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGSYS, "SIGSYS"),
];
/// By which `tacho` asks a cell that hangs.
const ASK: libc::c_int = libc::SIGSTKFLT;
/// Frames of a stack at most.
const FRAMES: usize = 128;
/// What glibc's unwinder and a frame with all vector registers need, several times over.
const STACK: usize = 256 << 10;

/// The signal that came first; 0 before any has.
static CRASHED: AtomicI32 = AtomicI32::new(0);
/// What was installed when [`go_first`] was called, for each of [`FATAL`]; null where there is nothing to pass the signal on to.
static NEXT: [AtomicPtr<libc::sigaction>; FATAL.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; FATAL.len()];

/// Installs the handlers. To be called first in `main`: what the engine installs later then runs before these and passes the
/// signal on to them.
pub fn install() {
    let mut frame = ptr::null_mut();
    // SAFETY: one frame fits in `frame`. The call loads the unwinder, which later calls inside of handlers must not.
    unsafe { libc::backtrace(&mut frame, 1) };
    alternate_stack();
    for (signal, _) in FATAL {
        handle(signal, on_crash);
    }
    handle(ASK, on_ask);
    handle(threads::turn(), threads::on_turn);
}

/// Puts the handlers of fatal signals before those that were installed since [`install`], which still get the signal, but after the
/// native stack is written: Python's `faulthandler` walks the interpreter's own structures, and where those are broken it ends
/// in a fault of its own, by which the first one must not be replaced.
pub fn go_first() {
    for ((signal, _), next) in FATAL.into_iter().zip(&NEXT) {
        // SAFETY: all zero is a valid `sigaction`, and the call only writes it.
        let mut there: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let found = unsafe { libc::sigaction(signal, ptr::null(), &mut there) } == 0;
        let ours = on_crash as extern "C" fn(libc::c_int) as libc::sighandler_t;
        if found && ![ours, libc::SIG_DFL, libc::SIG_IGN].contains(&there.sa_sigaction) {
            // Never freed: a handler may read it as long as the process lives.
            next.store(Box::leak(Box::new(there)), Ordering::SeqCst);
            handle(signal, on_crash);
        }
    }
}

/// Gives the calling thread a stack for its handlers that is whole when its own has overflowed.
fn alternate_stack() {
    // Never freed: the kernel may use it as long as the process lives.
    let memory = Box::leak(vec![0_u8; STACK].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: `stack` describes memory that lives as long as the process and that nothing else uses.
    unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: all zero is a valid `sigaction`: no flags, an empty mask; the handler is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `action` is initialised, and the handler is of the kind that goes without SA_SIGINFO.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

extern "C" fn on_crash(signal: libc::c_int) {
    let first = match CRASHED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {
            let at = FATAL.iter().position(|(known, _)| *known == signal);
            let name = at.map_or("unnamed", |at| FATAL[at].1);
            text::line(&[b"cell: fatal signal ", text::Number::new(signal).bytes(), b" (", name.as_bytes(), b")"]);
            threads::write_own_stack();
            let next = at.map_or(ptr::null_mut(), |at| NEXT[at].load(Ordering::SeqCst));
            if !next.is_null() {
                // It runs once this handler has returned: until then the signal is held back. What it passes on comes here again.
                // SAFETY: `next` was leaked by `go_first`; both calls may be made in a handler.
                unsafe {
                    libc::sigaction(signal, next, ptr::null_mut());
                    libc::raise(signal);
                }
                return;
            }
            signal
        }
        // Another thread's, or one that came of handling the first.
        Err(first) => first,
    };
    // What would have happened without us happens now: the parent sees the signal itself.
    // SAFETY: all of these may be called in a handler; SIG_DFL needs no handler's address; all zero is a set that `sigemptyset`
    // then makes empty.
    unsafe {
        let mut held: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut held);
        libc::sigaddset(&mut held, first);
        libc::signal(first, libc::SIG_DFL);
        libc::raise(first);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &held, ptr::null_mut());
    }
}

extern "C" fn on_ask(_: libc::c_int) {
    text::line(&[b"cell: stacks of all threads, as asked"]);
    threads::write_all_stacks();
}
