//! The process between Tacho and a server: it starts the server and ends it with all that it started, also when Tacho itself is
//! killed, which it notices by the end of its standard input.
use std::{
    ffi::OsString,
    io::{Read, Write},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Command, ExitCode, Stdio},
};

use rustix::process::{Pid, Signal, getpid, kill_process_group, set_child_subreaper};

use crate::cell::contain;

/// The first argument by which `tacho` knows that it is to guard a server; the server's program and arguments follow.
pub const GUARD_ARG: &str = "__server-guard";
/// The status of a guard that could not start its server.
const NOT_STARTED: u8 = 127;

/// Starts the program, says its process number on standard output, and waits for its end or for the end of standard input.
pub fn guard(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = arguments.next() else {
        eprintln!("tacho {GUARD_ARG} PROGRAM [ARGUMENT...]: what `tacho ledger` starts an engine's server with");
        return ExitCode::from(2);
    };
    // What the server leaves behind becomes this process's child, and not that of a tacho that may still measure.
    let _ = set_child_subreaper(Some(getpid()));
    // Standard error is the log; the server's words go there, too.
    let log = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(log) => Stdio::from(log),
        Err(error) => {
            eprintln!("the server's log cannot be opened: {error}");
            return ExitCode::from(NOT_STARTED);
        }
    };
    let started = Command::new(&program).args(arguments).stdin(Stdio::null()).stdout(log).process_group(0).spawn();
    let mut server = match started {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{} cannot be started: {error}", program.display());
            return ExitCode::from(NOT_STARTED);
        }
    };
    let pid = server.id();
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{pid}").and_then(|()| out.flush());
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end(pid);
        std::process::exit(3);
    });
    let status = server.wait();
    end(pid);
    let code = status.map_or(1, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Kills the server's group and whatever else carries this process's mark.
fn end(server: u32) {
    if let Some(group) = i32::try_from(server).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    contain::end_own_children();
}
