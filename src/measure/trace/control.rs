//! Turns recording on and off in every process that the collector lives in, and finds their files.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    analysis::{StepFigures, TraceFigures, Window, analyse},
    format::{Lost, TraceError},
    reader::{Activity, Names, TraceFile},
};

/// How often the processes' answers are looked at.
const LOOK: Duration = Duration::from_millis(5);
/// The longest that a process may take to answer: its trace has to be flushed to the disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What the collector in one process says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectorState {
    /// Up to which change of mind it has done what was wanted.
    pub generation: u64,
    /// Records that it has written.
    pub records: u64,
    /// What did not come into its file.
    pub lost: Lost,
    /// Why it records nothing; empty when nothing is wrong.
    pub problem: String,
}

impl CollectorState {
    /// Reads a `.state` file's text; None when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut state = Self::default();
        let mut seen = 0;
        for line in text.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let place = match name {
                "generation" => &mut state.generation,
                "records" => &mut state.records,
                "dropped" => &mut state.lost.dropped,
                "refused" => &mut state.lost.refused,
                "incomplete" => &mut state.lost.incomplete,
                "unreadable" => &mut state.lost.unreadable,
                "problem" => {
                    state.problem = value.to_owned();
                    seen += 1;
                    continue;
                }
                _ => continue,
            };
            *place = value.parse().ok()?;
            seen += 1;
        }
        (seen == 7).then_some(state)
    }
}

/// The trace of one launch of a cell: a folder that the cell's processes write into.
#[derive(Debug)]
pub struct Tracing {
    folder: PathBuf,
    generation: u64,
    files: BTreeMap<u32, TraceFile>,
    /// Of all files, for as long as they are read: each file knows its names by these numbers.
    names: Names,
}

impl Tracing {
    /// A trace in a new folder.
    ///
    /// # Errors
    /// When the folder cannot be made, or holds a trace already.
    pub fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        if fs::read_dir(folder)?.next().is_some() {
            let message = format!("{} holds files already", folder.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        // The injected processes may stand in other directories.
        Ok(Self { folder: folder.canonicalize()?, generation: 0, files: BTreeMap::new(), names: Names::default() })
    }

    /// What a cell's environment must hold so that `collector` is injected into it and its children.
    pub fn environment(&self, collector: &Path) -> Vec<(OsString, OsString)> {
        vec![("CUDA_INJECTION64_PATH".into(), collector.into()), ("TACHO_TRACE_DIR".into(), self.folder.clone().into())]
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the collectors in processes that still live say, by process.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn states(&self) -> io::Result<BTreeMap<u32, CollectorState>> {
        let mut states = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let pid = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
            if let Some(pid) = pid.filter(|_| path.extension().is_some_and(|kind| kind == "state"))
                && lives(pid)
                && let Some(state) = CollectorState::parse(&fs::read_to_string(&path)?)
            {
                states.insert(pid, state);
            }
        }
        Ok(states)
    }

    /// Begins or ends recording, and waits until every process has done so: at the end, all that it recorded is in its
    /// file then.
    ///
    /// # Errors
    /// A sentence for a person: no process is traced, one says that it cannot be, or one does not answer.
    pub fn record(&mut self, on: bool) -> Result<(), String> {
        self.generation += 1;
        let failed = |error: io::Error| format!("the trace folder cannot be used: {error}");
        let aside = self.folder.join(".control.new");
        let word = if on { "on" } else { "off" };
        fs::write(&aside, format!("{} {word}\n", self.generation)).map_err(failed)?;
        fs::rename(&aside, self.folder.join("control")).map_err(failed)?;
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let states = self.states().map_err(failed)?;
            if let Some((pid, state)) = states.iter().find(|(_, state)| !state.problem.is_empty()) {
                return Err(format!("process {pid} is not traced: {}", state.problem));
            }
            if states.is_empty() {
                return Err(
                    "no process of the cell has loaded the collector: it has not started CUDA, or its driver does \
                            not follow CUDA_INJECTION64_PATH"
                        .to_owned(),
                );
            }
            match states.iter().find(|(_, state)| state.generation < self.generation) {
                None => return Ok(()),
                Some((pid, _)) if Instant::now() >= deadline => {
                    return Err(format!(
                        "the collector in process {pid} did not turn {word} within {} s",
                        ANSWER_WITHIN.as_secs()
                    ));
                }
                Some(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// The processes' files, each where it was last read to; taken out.
    ///
    /// # Errors
    /// When one cannot be opened or is none.
    pub fn files(&mut self) -> Result<Vec<TraceFile>, TraceError> {
        let entries = fs::read_dir(&self.folder).map_err(TraceError::io(&self.folder))?;
        for entry in entries {
            let path = entry.map_err(TraceError::io(&self.folder))?.path();
            let pid = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
            if let Some(pid) = pid.filter(|_| path.extension().is_some_and(|kind| kind == "tkt"))
                && !self.files.contains_key(&pid)
            {
                self.files.insert(pid, TraceFile::open(&path)?);
            }
        }
        Ok(std::mem::take(&mut self.files).into_values().collect())
    }

    /// Sums up what has been recorded since the last call; see [`analyse`].
    ///
    /// # Errors
    /// As [`analyse`].
    pub fn analyse(
        &mut self,
        window: Window,
        steps: &[Window],
        also: &mut dyn FnMut(&Activity, &Names) -> Result<(), TraceError>,
    ) -> Result<(TraceFigures, Vec<StepFigures>), TraceError> {
        let mut files = self.files()?;
        let done = analyse(&mut files, &mut self.names, window, steps, also);
        self.files = files.into_iter().map(|file| (file.pid(), file)).collect();
        done
    }
}

/// Whether the process can still answer: a zombie, which its parent has not waited for, cannot.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it, in parentheses, can hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_whole_or_not_at_all() {
        let text = "generation 3\nrecords 9\ndropped 1\nrefused 2\nincomplete 4\nunreadable 5\nproblem no space\n";
        let expected = CollectorState {
            generation: 3,
            records: 9,
            lost: Lost { dropped: 1, refused: 2, incomplete: 4, unreadable: 5 },
            problem: "no space".to_owned(),
        };
        assert_eq!(CollectorState::parse(text), Some(expected));
        assert_eq!(CollectorState::parse("generation 3\n"), None);
        assert_eq!(CollectorState::parse(&text.replace('9', "x")), None);
    }

    #[test]
    fn a_folder_without_processes_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut tracing = Tracing::create(&dir.path().join("launch")).unwrap();
        assert!(tracing.record(true).unwrap_err().contains("CUDA_INJECTION64_PATH"));
        assert!(Tracing::create(dir.path()).is_err(), "it holds the other one's folder");
    }

    #[test]
    fn the_dead_cannot_answer() {
        assert!(lives(std::process::id()));
        assert!(!lives(u32::MAX));
        let mut zombie = std::process::Command::new("true").spawn().unwrap();
        while lives(zombie.id()) {
            std::thread::sleep(LOOK);
        }
        assert!(Path::new("/proc").join(zombie.id().to_string()).exists(), "nobody has waited for it");
        zombie.wait().unwrap();
    }

    #[test]
    fn a_process_that_cannot_be_traced_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut tracing = Tracing::create(dir.path()).unwrap();
        let text = "generation 0\nrecords 0\ndropped 0\nrefused 0\nincomplete 0\nunreadable 0\nproblem no libcupti\n";
        fs::write(dir.path().join(format!("{}.state", std::process::id())), text).unwrap();
        assert!(tracing.record(true).unwrap_err().ends_with("is not traced: no libcupti"));
    }
}
