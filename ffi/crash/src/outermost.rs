//! Where a stack ends for whoever unwinds it.
use std::ffi::c_void;

/// Runs `run` with a frame below it that unwinders take for the first of the stack.
///
/// A C++ exception that an engine does not catch then finds no handler, and `std::terminate` ends the process where it was thrown,
/// with that stack and the exception's own words. Without it, the exception finds the handler that Rust has around `main`, which may
/// not have it either, but only after all frames in between are gone: the interpreter's thread then points into a stack that is no
/// more. A panic of Rust's inside of `run` aborts, too, once it has said why. Stacks that are written inside of `run` end here.
pub fn outermost<F: FnOnce() -> T, T>(run: F) -> T {
    let mut call: Call<F, T> = Call { run: Some(run), answer: None };
    // SAFETY: `enter` gives the pointer to `perform` of the very same types, before it returns, and to nobody else.
    unsafe { enter(perform::<F, T>, (&raw mut call).cast()) };
    match call.answer {
        Some(answer) => answer,
        None => std::process::abort(),
    }
}

struct Call<F, T> {
    run: Option<F>,
    answer: Option<T>,
}

type Perform = unsafe extern "C-unwind" fn(*mut c_void);

/// # Safety
/// `call` is a `Call<F, T>` that nobody else looks at meanwhile.
unsafe extern "C-unwind" fn perform<F: FnOnce() -> T, T>(call: *mut c_void) {
    // SAFETY: the caller's promise.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    call.answer = call.run.take().map(|run| run());
}

/// Calls `perform` with `call`, from a frame whose return address is undefined as far as unwinders are told (DWARF's mark of an
/// outermost frame, which glibc's own thread start has too).
///
/// # Safety
/// That of calling `perform`.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C-unwind" fn enter(perform: Perform, call: *mut c_void) {
    std::arch::naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        "push rbp",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "pop rbp",
        "ret",
        ".cfi_endproc",
    )
}

/// As above.
///
/// # Safety
/// That of calling `perform`.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C-unwind" fn enter(perform: Perform, call: *mut c_void) {
    std::arch::naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30",
        "stp x29, x30, [sp, #-16]!",
        "mov x8, x0",
        "mov x0, x1",
        "blr x8",
        "ldp x29, x30, [sp], #16",
        "ret",
        ".cfi_endproc",
    )
}

/// On other processors the stack is as long as it is.
///
/// # Safety
/// That of calling `perform`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe extern "C-unwind" fn enter(perform: Perform, call: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { perform(call) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn depth() -> i32 {
        let mut frames = [std::ptr::null_mut(); 128];
        // SAFETY: the array has room for as many frames.
        unsafe { libc::backtrace(frames.as_mut_ptr(), 128) }
    }

    #[inline(never)]
    fn deeper(by: u32) -> i32 {
        std::hint::black_box(if by == 0 { outermost(depth) } else { deeper(by - 1) })
    }

    #[test]
    #[cfg_attr(miri, ignore = "what it looks at is assembly, which Miri does not run")]
    fn an_answer_comes_back_and_stacks_end_there() {
        let words = String::from("of its own");
        assert_eq!(outermost(|| words.len()), 10);
        assert_eq!(outermost(move || outermost(move || words)), "of its own");
        // However deep the caller is, as long as this is a processor that we have the frame for.
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            assert_eq!(deeper(0), deeper(20));
            assert!((1..=4).contains(&deeper(0)), "{} frames", deeper(0));
        }
    }
}
