//! An engine's own server, started by Tacho: a process tree that ends with its handle.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{Client, Endpoint, GUARD_ARG, HttpError};
use crate::cell::{
    contain::{self, MARK_VARIABLE},
    environment,
    parent::last_lines,
};

/// Between two questions whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long it may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Variables that would mix another Python's packages into the server's.
const FOREIGN: &[&str] = &["PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE"];

/// A running server. Dropping it ends its whole process tree.
#[derive(Debug)]
pub struct Server {
    guard: Child,
    /// Closed by our end, however that comes: then the guard ends the server.
    _stdin: Option<ChildStdin>,
    /// The server's own process, which leads a group.
    pid: u32,
    mark: String,
    port: u16,
    endpoint: Endpoint,
    log: PathBuf,
    log_start: u64,
    ended: bool,
}

impl Server {
    /// Starts a server and waits until it can be asked.
    ///
    /// `command` gives program and arguments for a port; `tacho` is this program, which starts again as the guard; standard
    /// output and error are appended to `log`. Of this program's variables it gets those that cells get.
    ///
    /// # Errors
    /// [`HttpError::Server`] with the log's last lines when it cannot be started, ends, or is not ready `within` the time, and when the run is `interrupted` meanwhile.
    pub fn start(
        tacho: &Path,
        command: &dyn Fn(u16) -> Result<Vec<OsString>, String>,
        env: &BTreeMap<String, String>,
        health: &str,
        log: &Path,
        within: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Self, HttpError> {
        let failed = |what: String| HttpError::Server { what, last_lines: Vec::new() };
        let port = free_port().map_err(|error| failed(format!("there is no free port: {error}")))?;
        let command = command(port).map_err(failed)?;
        let unopened = |error| failed(format!("the log {} cannot be opened: {error}", log.display()));
        let log_file = File::options().create(true).append(true).open(log).map_err(unopened)?;
        let log_start = log_file.metadata().map_err(unopened)?.len();
        let mark = contain::new_mark();
        let mut guarded = Command::new(tacho);
        guarded.env_clear().envs(environment::inherited());
        for name in FOREIGN {
            guarded.env_remove(name);
        }
        for (name, value) in
            [("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"), ("DO_NOT_TRACK", "1"), ("PYTHONNOUSERSITE", "1")]
        {
            if std::env::var_os(name).is_none() {
                guarded.env(name, value);
            }
        }
        let mut guard = guarded
            .arg(GUARD_ARG)
            .args(&command)
            .envs(env)
            .env(MARK_VARIABLE, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .process_group(0)
            .spawn()
            .map_err(|error| failed(format!("{} cannot be started: {error}", tacho.display())))?;
        contain::began(guard.id(), &mark);
        let mut line = String::new();
        if let Some(out) = guard.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let pid = line.trim().parse().unwrap_or_default();
        let mut server = Self {
            _stdin: guard.stdin.take(),
            guard,
            pid,
            mark,
            port,
            endpoint: Endpoint::local(port),
            log: log.to_owned(),
            log_start,
            ended: false,
        };
        if pid != 0 {
            // Of a group that the guard does not lead: a program that ends at once must find it.
            contain::began(pid, &server.mark);
        }
        match pid {
            0 => Err(server.gone("it could not be started")),
            _ => server.wait_until_ready(health, within, interrupted).map(|()| server),
        }
    }

    fn wait_until_ready(&mut self, health: &str, within: Duration, interrupted: &AtomicBool) -> Result<(), HttpError> {
        let deadline = Instant::now() + within;
        let client = Client::new(&self.endpoint, 1, Duration::from_secs(5));
        loop {
            if !self.lives() {
                return Err(self.gone("it ended before it was ready"));
            }
            // Its group is not the terminal's: nobody else tells it.
            if interrupted.load(Ordering::Relaxed) {
                return Err(self.gone("interrupted before it was ready"));
            }
            let said = match client.get(health) {
                // Whoever took the port before it did may answer too.
                Ok(_) if self.lives() => return Ok(()),
                Ok(_) => return Err(self.gone("it ended before it was ready")),
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                let what = format!("it was not ready within {:.0} s; {said}", within.as_secs_f64());
                return Err(self.gone(&what));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The port of the loopback that it was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether its process lives.
    pub fn lives(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(None))
    }

    /// Ends it and says why, with its last words.
    pub fn gone(&mut self, what: &str) -> HttpError {
        self.end();
        HttpError::Server { what: format!("the server: {what}"), last_lines: last_lines(&self.log, self.log_start) }
    }

    /// Stops its processes where they are until [`Self::wake`]; not the guard, which must see our end.
    pub fn park(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn wake(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
        let guard = self.guard.id() as i32;
        for pid in contain::marked(&self.mark).into_iter().filter(|pid| *pid != guard).filter_map(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end, and ends what is left.
    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.pid != 0 && self.lives() {
            self.wake();
            let _ = i32::try_from(self.pid).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, Signal::TERM));
            let deadline = Instant::now() + END_WITHIN;
            while self.lives() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if self.lives() {
            let _ = self.guard.kill();
        }
        let _ = self.guard.wait();
        for pid in [self.pid, self.guard.id()] {
            contain::end(pid, &self.mark);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port of the loopback that nobody listens on now.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
