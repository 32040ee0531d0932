//! The collector in this process: what CUPTI calls, the thread that listens to the harness, and the end.
use std::{
    env,
    ffi::c_void,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Sender, sync_channel},
    },
    time::Duration,
};

use crate::{
    api::{Cupti, FLUSH_FORCED},
    control::{self, State, Wanted},
    format, layout,
    pool::{BUFFER, Buffer, Pool},
    writer::{Task, Writer, Written},
};

/// How often the harness's wish is looked at.
const LISTEN: Duration = Duration::from_millis(5);
/// How many looks lie between two readings of the clocks.
const CLOCK_EVERY: u32 = 10;
/// Readings of which the tightest counts.
const CLOCK_READINGS: usize = 5;
/// How long after the end of a recording the device may go on with what was asked of it.
const SETTLE: Duration = Duration::from_millis(20);
/// The longest that the end of the process waits for the file.
const LAST_WAIT: Duration = Duration::from_secs(10);

struct Session {
    cupti: Cupti,
    pool: Pool,
    tasks: Sender<Task>,
    folder: PathBuf,
    pid: u32,
    /// Whether buffers that complete now are written.
    keep: AtomicBool,
    refused: AtomicU64,
}

static SESSION: OnceLock<Session> = OnceLock::new();

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Begins, where the environment asks for it; once in a process.
pub fn start() {
    let Some(folder) = env::var_os("TACHO_TRACE_DIR").map(PathBuf::from) else { return };
    if SESSION.get().is_some() {
        return;
    }
    let pid = std::process::id();
    if let Err(problem) = begin(&folder, pid) {
        eprintln!("tacho-cupti: this process is not traced: {problem}");
        let state = State { generation: 0, problem: &problem, records: 0, lost: format::Lost::default() };
        let _ = control::tell(&folder, pid, &state);
    }
}

fn begin(folder: &Path, pid: u32) -> Result<(), String> {
    let path = folder.join(format!("{pid}.tkt"));
    let cupti = Cupti::load()?;
    let mut file = File::create(&path).map_err(|error| format!("{} cannot be created: {error}", path.display()))?;
    let header = format::header(pid, cupti.version(), monotonic_ns());
    io_write(&mut file, &header).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    let (tasks, todo) = mpsc::channel();
    let session = Session {
        cupti,
        pool: Pool::new(),
        tasks,
        folder: folder.to_owned(),
        pid,
        keep: AtomicBool::new(false),
        refused: AtomicU64::new(0),
    };
    if SESSION.set(session).is_err() {
        return Ok(());
    }
    let session = SESSION.get().ok_or("the session is gone")?;
    session.cupti.register(requested, completed)?;
    // From the start, and until the end: CUPTI learns a graph's kernels when the graph is made.
    for kind in [layout::KERNEL, layout::MEMCPY, layout::MEMSET] {
        session.cupti.enable(kind)?;
    }
    let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(|error| error.to_string())
    };
    thread("tacho-trace", Box::new(move || Writer::new(file).run(&todo, &session.cupti, &session.pool)))?;
    thread("tacho-trace-ctl", Box::new(move || session.listen()))?;
    // SAFETY: the function is this library's, which is never unloaded.
    unsafe { libc::atexit(at_exit) };
    session.tell(0, &Written::default());
    Ok(())
}

fn io_write(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    file.write_all(bytes)
}

/// CUPTI wants a buffer. On one of the engine's threads: as little as possible.
unsafe extern "C" fn requested(buffer: *mut *mut u8, size: *mut usize, max_records: *mut usize) {
    let taken = SESSION.get().and_then(|session| {
        let taken = session.pool.take();
        if taken.is_none() && session.keep.load(Ordering::Relaxed) {
            session.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    });
    let (address, bytes) = taken.map_or((std::ptr::null_mut(), 0), |buffer| (buffer.0, BUFFER));
    // SAFETY: CUPTI gives three valid places for the answer. 0 records: as many as fit. A null buffer: it drops records
    // and counts them.
    unsafe {
        *buffer = address;
        *size = bytes;
        *max_records = 0;
    }
}

/// CUPTI has filled a buffer.
unsafe extern "C" fn completed(context: *mut c_void, stream: u32, buffer: *mut u8, _size: usize, valid: usize) {
    let Some(session) = SESSION.get().filter(|_| !buffer.is_null()) else { return };
    let dropped = session.cupti.dropped(context, stream);
    let keep = session.keep.load(Ordering::Acquire);
    // The queue holds no more than there are buffers.
    let _ = session.tasks.send(Task::Buffer { buffer: Buffer(buffer), valid, keep, dropped });
}

impl Session {
    /// Follows the harness's wishes until the process ends.
    fn listen(&self) {
        let mut done = Wanted::default();
        let mut looks = 0_u32;
        loop {
            std::thread::sleep(LISTEN);
            looks = looks.wrapping_add(1);
            let wanted = control::wanted(&self.folder).filter(|wanted| wanted.generation > done.generation);
            if let Some(wanted) = wanted {
                self.follow(wanted.on);
                done = wanted;
                if let Some(written) = self.sync(Duration::from_secs(60)) {
                    self.tell(wanted.generation, &written);
                }
            } else if done.on && looks.is_multiple_of(CLOCK_EVERY) {
                self.read_clocks();
            }
        }
    }

    fn follow(&self, on: bool) {
        let was_on = self.keep.load(Ordering::Acquire);
        if was_on {
            // An engine that works ahead has something on the device yet: the forced flush would leave it without times.
            std::thread::sleep(SETTLE);
        }
        // What is in CUPTI's buffers belongs to the state that ends. Only where a recording ends are buffers with unfinished
        // records taken too: nothing comes after it.
        let _ = self.cupti.flush(if was_on { FLUSH_FORCED } else { 0 });
        // Those for which there was no buffer, and so no completion to ask in.
        let dropped = self.cupti.dropped(std::ptr::null_mut(), 0);
        if was_on {
            let _ = self.tasks.send(Task::Dropped(dropped));
        }
        self.read_clocks();
        self.keep.store(on, Ordering::Release);
    }

    /// Notes what CUPTI's clock shows between two readings of CLOCK_MONOTONIC: the tightest of a few.
    fn read_clocks(&self) {
        let readings = (0..CLOCK_READINGS).filter_map(|_| {
            let before = monotonic_ns();
            let cupti = self.cupti.timestamp()?;
            Some((before, cupti, monotonic_ns()))
        });
        if let Some((before, cupti, after)) = readings.min_by_key(|(before, _, after)| after - before) {
            let _ = self.tasks.send(Task::Bytes(format::clock(before, cupti, after)));
        }
    }

    /// Waits until everything sent so far is in the file.
    fn sync(&self, within: Duration) -> Option<Written> {
        let (answer, written) = sync_channel(1);
        self.tasks.send(Task::Sync { refused: self.refused.load(Ordering::Relaxed), answer }).ok()?;
        written.recv_timeout(within).ok()
    }

    fn tell(&self, generation: u64, written: &Written) {
        let problem = written.problem.as_deref().unwrap_or_default();
        let state = State { generation, problem, records: written.records, lost: written.lost };
        if let Err(error) = control::tell(&self.folder, self.pid, &state) {
            eprintln!("tacho-cupti: the state file cannot be written: {error}");
        }
    }
}

/// The process ends by itself: what CUPTI still holds goes to the file.
extern "C" fn at_exit() {
    let Some(session) = SESSION.get() else { return };
    // A forked child has this handler too, but neither the threads nor the file.
    if session.pid != std::process::id() || !fs::exists(&session.folder).unwrap_or(false) {
        return;
    }
    if session.keep.load(Ordering::Acquire) {
        let _ = session.cupti.flush(FLUSH_FORCED);
        session.read_clocks();
    }
    let _ = session.tasks.send(Task::Bytes(format::end(monotonic_ns())));
    let _ = session.sync(LAST_WAIT);
}
