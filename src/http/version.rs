//! Which version a server's program is.
use std::{
    ffi::OsStr,
    io::{ErrorKind, Read},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::cell::environment;

/// How long it may take to say so.
const WITHIN: Duration = Duration::from_secs(10);
/// What stands before it.
const BEFORE: &str = "version:";

/// What a program says after `version:` when it is started with these arguments. It gets the variables that cells get.
///
/// # Errors
/// A sentence when it cannot be started, says no such line, or is still at work after 10 s, when it is killed.
pub(super) fn told(program: &OsStr, arguments: &[String]) -> Result<String, String> {
    within(program, arguments, WITHIN)
}

fn within(program: &OsStr, arguments: &[String], within: Duration) -> Result<String, String> {
    let name = Path::new(program).display();
    let failed = |error: std::io::Error| format!("{name} {} failed: {error}", arguments.join(" "));
    // One pipe for both, since programs differ in where they say it. What fills it would make the program wait until its time is up.
    let (mut said, pipe) = std::io::pipe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment::inherited()).stdin(Stdio::null());
    command.stdout(pipe.try_clone().map_err(failed)?).stderr(pipe);
    let mut child = command.spawn().map_err(failed)?;
    // Its ends of the pipe: reading stops when the program's are closed.
    drop(command);
    let deadline = Instant::now() + within;
    while child.try_wait().map_err(failed)?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} {} was still at work after {} s", arguments.join(" "), within.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // What it has started may hold the pipe still: what is in it counts, not its end.
    rustix::io::ioctl_fionbio(&said, true).map_err(|error| failed(error.into()))?;
    let mut text = Vec::new();
    match said.read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
        _ => {}
    }
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix(BEFORE)).map(str::trim).filter(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| format!("{name} {} says no line `{BEFORE} …`", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str, time: Duration) -> Result<String, String> {
        within(OsStr::new("sh"), &["-c".to_owned(), script.to_owned()], time)
    }

    #[test]
    fn the_line_is_found_on_either_stream_and_what_says_none_or_hangs_is_an_error() {
        let second = Duration::from_secs(5);
        assert_eq!(ask("echo loading; echo 'version: 1.2 (build 3)' >&2", second), Ok("1.2 (build 3)".to_owned()));
        assert!(ask("echo 'version:'", second).unwrap_err().contains("says no line"));
        // Something that stays behind with the stream open is not waited for.
        assert_eq!(ask("echo 'version: 7'; sleep 30 &", second), Ok("7".to_owned()));
        assert!(ask("exec sleep 60", Duration::ZERO).unwrap_err().contains("still at work"));
        assert!(told(OsStr::new("/no/such/program"), &[]).unwrap_err().contains("failed"));
    }
}
