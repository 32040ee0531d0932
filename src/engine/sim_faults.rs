//! Faults that the simulated engine commits when told to: those that end or disturb its process.
use super::{EngineError, ErrorKind, sim::Fault};

/// Commits those of loading.
pub(super) fn commit_at_load(fault: Fault) {
    match fault {
        Fault::LoadHang => {
            eprintln!("sim: injected hang at load");
            sleep()
        }
        Fault::LoadSegv => {
            eprintln!("sim: injected memory fault at load");
            raise(rustix::process::Signal::SEGV)
        }
        _ => {}
    }
}

fn sleep() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}

/// Commits it; nothing for those that the engine's step itself commits.
pub(super) fn commit(fault: Fault) -> Result<(), EngineError> {
    match fault {
        Fault::Abort => std::process::abort(),
        Fault::Segv => raise(rustix::process::Signal::SEGV),
        Fault::Kill => raise(rustix::process::Signal::KILL),
        Fault::Orphans => {
            leave_orphans();
            std::process::abort()
        }
        Fault::Exit => std::process::exit(7),
        Fault::Panic => panic!("sim: injected panic"),
        Fault::Hang => sleep(),
        Fault::Error => Err(EngineError::engine("sim: injected error")),
        Fault::OutOfMemory => Err(EngineError::new(ErrorKind::OutOfMemory, "sim: injected out of memory")),
        Fault::Noise => {
            let line = [0xff, 0x00, b'{', b'"', 0x1b, b'\n'].repeat(10_000);
            for _ in 0..50 {
                let _ = std::io::Write::write_all(&mut std::io::stdout(), &line);
                let _ = std::io::Write::write_all(&mut std::io::stderr(), &line);
            }
            Ok(())
        }
        Fault::EndlessNoise => loop {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), &[b'x'; 1 << 16]);
            std::thread::sleep(std::time::Duration::from_millis(1));
        },
        Fault::Environment => {
            std::env::vars_os().for_each(|(name, value)| eprintln!("sim: {}={}", name.display(), value.display()));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn raise(signal: rustix::process::Signal) -> ! {
    // Rust's own handler of SIGSEGV takes the first one, restores the default and waits for the fault to happen again.
    loop {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn leave_orphans() {
    use std::{os::unix::process::CommandExt, process::Command};
    let started = [
        Command::new("sleep").arg("1003").spawn(),
        Command::new("sleep").arg("1003").process_group(0).spawn(),
        Command::new("setsid").args(["--fork", "/usr/bin/env", "-i", "sleep", "1003"]).spawn(),
    ];
    for child in started {
        if let Err(error) = child {
            eprintln!("sim: a child for the fault 'orphans' cannot be started: {error}");
        }
    }
    // Until the last one has made its session.
    std::thread::sleep(std::time::Duration::from_millis(100));
}
