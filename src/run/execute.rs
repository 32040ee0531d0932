//! The run itself: cell by cell, point by point.
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    OpenGpus, Progress,
    bench::Bench,
    gpu_memory::GpuMemory,
    hardware::{CellHardware, Hardware},
    model, point,
    restarts::{Restarts, pause},
};
use crate::{
    cell::{
        contain,
        parent::{Cell, CellError, CellProgram},
    },
    engine::{EngineInfo, ErrorKind, IdRange, LoadConfig},
    fairness::{self, FairnessMode},
    measure::monotonic_ns,
    plan::{CellPlan, Plan, Point, TraceMode, registry::Registry},
    results::{EngineRecord, Failure, Outputs, PointRecord, PointStatus, ResultsError, RunDir},
    secrets,
};

/// Set to 1 by tests that measure a double of a real engine.
pub const DOUBLES_VARIABLE: &str = "TACHO_ALLOW_DOUBLES";

/// What a run needs beside its plan.
pub struct RunOptions<'a> {
    /// Where an engine's cell program is; an error is a sentence for a person.
    pub cell_program: &'a dyn Fn(&str) -> Result<CellProgram, String>,
    /// Set from outside to stop after the trial that is running.
    pub interrupted: &'a AtomicBool,
    /// Who answers for the machine's GPUs.
    pub gpus: OpenGpus<'a>,
    /// What was in use on them before this program started any cell.
    pub gpu_memory: GpuMemory<'a>,
    /// Where measured ceilings are kept.
    pub ceilings: &'a Path,
    /// For how many nanoseconds the machine has been suspended so far: [`crate::measure::suspended_ns`].
    pub suspended_ns: &'a dyn Fn() -> u64,
}

/// What a run came to.
pub struct RunReport {
    /// One a point, in the plan's order; points that were not reached are missing.
    pub records: Vec<PointRecord>,
    /// What was written.
    pub outputs: Outputs,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl RunReport {
    /// How many points failed.
    pub fn failed(&self) -> usize {
        self.records.iter().filter(|record| matches!(record.outcome, PointStatus::Failed(_))).count()
    }
}

/// Runs `plan` into `dir`. `finished` are the records that a resumed run's journal holds; a point among them is skipped
/// when its key is the same once its engine is loaded.
///
/// # Errors
/// Only when results cannot be stored: what an engine does is a point's outcome, not an error.
pub fn execute(
    plan: &Plan,
    dir: &mut RunDir,
    finished: Vec<PointRecord>,
    options: &RunOptions<'_>,
    progress: &mut dyn Progress,
) -> Result<RunReport, ResultsError> {
    let mut run = Run::new(plan, dir, finished, options, progress);
    run.progress.begin(plan.points.len() as u32);
    match &plan.compare {
        Some(compare) => run.paired(compare)?,
        None => run.one_after_another()?,
    }
    let interrupted = run.interrupted();
    // What an interrupted resume did not come to again is still in the journal, whatever its outcome.
    run.seen.extend(std::mem::take(&mut run.finished).into_keys());
    let seen = std::mem::take(&mut run.seen);
    let records = run.dir.journalled(|number| seen.contains(&number))?;
    let outputs = run.dir.finish(&records)?;
    Ok(RunReport { records, outputs, interrupted })
}

pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) dir: &'a mut RunDir,
    /// Of the run that is resumed, as far as this one has no outcome of them yet.
    pub(super) finished: BTreeMap<u32, PointRecord>,
    pub(super) options: &'a RunOptions<'a>,
    pub(super) progress: &'a mut dyn Progress,
    /// Of points that are to be traced. The others are in the journal, and only there: a long sweep takes no more memory
    /// than a short one.
    pub(super) records: BTreeMap<u32, PointRecord>,
    /// The points that this run has an outcome of.
    seen: BTreeSet<u32>,
    /// The ids that prompts are drawn from, by model: the first engine's to load it, so that all engines get the same.
    pub(super) ids: BTreeMap<Option<PathBuf>, Vec<IdRange>>,
    pub(super) digests: BTreeMap<PathBuf, String>,
    pub(super) hardware: Hardware<'a>,
    /// What is to be told of a cell that was started, until a record takes it.
    pub(super) notes: Vec<String>,
    /// Whether other cells keep their engines loaded beside the one that is to be started.
    pub(super) beside_others: bool,
    /// What is known not to be equal, in a plan whose fairness is `equal`; each is told once.
    pub(super) unequal: BTreeSet<String>,
    /// When the last cell died, until the next one has started.
    pub(super) died_ns: Option<u64>,
}

/// A cell with its engine loaded.
pub(super) struct Loaded {
    pub(super) cell: Cell,
    pub(super) engine: LoadedEngine,
    /// From the death of the cell before to this one's start; the first point takes it.
    pub(super) restart_ns: Option<u64>,
}

/// What is known of an engine since it was loaded.
pub(super) struct LoadedEngine {
    pub(super) info: EngineInfo,
    pub(super) load_ns: u64,
    pub(super) limits: CellHardware,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        dir: &'a mut RunDir,
        finished: Vec<PointRecord>,
        options: &'a RunOptions<'a>,
        progress: &'a mut dyn Progress,
    ) -> Self {
        let notes: Vec<String> = options.gpu_memory.doubt().into_iter().map(str::to_owned).collect();
        notes.iter().for_each(|note| progress.note(note));
        Self {
            plan,
            dir,
            finished: finished.into_iter().map(|record| (record.point.number, record)).collect(),
            options,
            progress,
            records: BTreeMap::new(),
            seen: BTreeSet::new(),
            ids: BTreeMap::new(),
            digests: BTreeMap::new(),
            hardware: Hardware::start(plan.telemetry, options.gpus, options.ceilings),
            notes,
            beside_others: false,
            unequal: BTreeSet::new(),
            died_ns: None,
        }
    }
}

impl Run<'_> {
    pub(super) fn interrupted(&self) -> bool {
        self.options.interrupted.load(Ordering::Relaxed)
    }

    fn one_after_another(&mut self) -> Result<(), ResultsError> {
        for cell in self.plan.cells() {
            self.cell(&cell)?;
            self.bisect(&cell)?;
            if self.interrupted() {
                break;
            }
        }
        Ok(())
    }

    /// All points of one engine configuration.
    fn cell(&mut self, plan: &CellPlan) -> Result<(), ResultsError> {
        let model_digest = match plan.load.model.as_deref().map(|path| self.digest(path)).transpose() {
            Ok(digest) => digest,
            Err(failure) => return self.fail_all(&plan.points, &failure, None),
        };
        let mut loaded: Option<Loaded> = None;
        let mut restarts = Restarts::new(&self.plan.endurance);
        let mut left = plan.points.as_slice();
        while let [number, after @ ..] = left {
            if self.interrupted() {
                break;
            }
            let started = match loaded.take() {
                Some(running) => Ok(running),
                None => self.start(plan, model_digest.as_deref()),
            };
            match started {
                Ok(mut running) => {
                    restarts.loaded();
                    left = after;
                    let point = self.plan.points[*number as usize].clone();
                    if let CellState::Alive = self.point(&mut running, point, model_digest.as_deref())? {
                        restarts.measured();
                        loaded = Some(running);
                        continue;
                    }
                    self.died_ns = Some(running.cell.ended_ns().unwrap_or_else(monotonic_ns));
                    running.cell.kill();
                }
                // A load after a death may die of what the dead cell left behind: worth another try. A first one is not.
                Err(failure) if restarts.any() && failure.kind.is_none() => {}
                Err(failure) if restarts.memory_may_come_back(&failure) => {
                    self.progress.note(&format!("{}; loaded once more, after the death before it", failure.reason));
                    continue;
                }
                Err(failure) => return self.fail_all(left, &failure, model_digest.as_deref()),
            }
            match restarts.died() {
                Some(time) => pause(time, self.options.interrupted),
                None => return self.fail_all(left, &restarts.quarantine(), model_digest.as_deref()),
            }
        }
        if let Some(running) = loaded
            && let Err(error) = running.cell.shutdown()
        {
            self.progress.note(&format!("{}: its cell did not end cleanly: {error}", plan.load.engine));
        }
        self.trace(plan, model_digest.as_deref())
    }

    pub(super) fn digest(&mut self, path: &Path) -> Result<String, Failure> {
        if let Some(known) = self.digests.get(path) {
            return Ok(known.clone());
        }
        let digest = model::digest(path).map_err(|error| Failure {
            kind: Some(ErrorKind::Load),
            ..plain_failure(format!(
                "the model {} cannot be read: {error}; expected a GGUF file or a model folder (--model)",
                path.display()
            ))
        })?;
        self.digests.insert(path.to_owned(), digest.clone());
        Ok(digest)
    }

    pub(super) fn start(&mut self, plan: &CellPlan, model_digest: Option<&str>) -> Result<Loaded, Failure> {
        let running = self.launch(plan, &[])?;
        let engine = EngineRecord {
            asked: plan.load.clone(),
            info: running.engine.info.clone(),
            load_ns: running.engine.load_ns,
            model_digest: model_digest.map(str::to_owned),
        };
        if let Err(error) = self.dir.engine_loaded(&engine_label(&plan.load, model_digest), engine) {
            self.progress.note(&error.to_string());
        }
        if self.plan.fairness == FairnessMode::Equal {
            for line in fairness::unequal(&fairness::of_run(self.dir.info())) {
                if self.unequal.insert(line.clone()) {
                    self.progress.note(&format!("not equal: {line}"));
                }
            }
        }
        Ok(running)
    }

    /// Starts a cell, with more in its environment, and loads its engine.
    pub(super) fn launch(&mut self, plan: &CellPlan, environment: &[(OsString, OsString)]) -> Result<Loaded, Failure> {
        let mut program = (self.options.cell_program)(&plan.load.engine).map_err(plain_failure)?;
        program.env.extend_from_slice(environment);
        if !self.beside_others
            && let Err(note) = self.options.gpu_memory.settle()
        {
            self.progress.note(&note);
            self.notes.push(note);
        }
        self.progress.trial(&format!("loading {}", plan.load.engine), 0);
        let log = self.dir.logs().join(format!("{}.log", file_name(&plan.load.engine)));
        let mut cell = Cell::start(&program, &log).map_err(failure_of)?;
        let restart_ns = self.died_ns.take().map(|died_ns| monotonic_ns().saturating_sub(died_ns));
        let loaded = cell.load(&plan.load, self.plan.load_within);
        let (info, load_ns) = loaded.map_err(|error| failure_with_log(error, &cell))?;
        refuse_double(&info)?;
        let limits = self.hardware.cell(cell.pid(), plan.load.model.as_deref(), &info, self.progress);
        if let Err(error) = self.dir.hardware(self.hardware.known()) {
            self.progress.note(&error.to_string());
        }
        Ok(Loaded { cell, engine: LoadedEngine { info, load_ns, limits }, restart_ns })
    }

    /// The ids that prompts for a model are drawn from: those of the first engine that has loaded it.
    pub(super) fn ids_of(&mut self, model: &Option<PathBuf>, info: &EngineInfo) -> Vec<IdRange> {
        self.ids.entry(model.clone()).or_insert_with(|| info.model.ordinary_ids.clone()).clone()
    }

    pub(super) fn point(
        &mut self,
        running: &mut Loaded,
        point: Point,
        model_digest: Option<&str>,
    ) -> Result<CellState, ResultsError> {
        let ids = self.ids_of(&point.model, &running.engine.info);
        let number = point.number;
        let bench = Bench::new(self.plan, self.options, &self.hardware, &running.engine, model_digest, ids);
        self.progress.point(number, (self.plan.points.len() as u32).max(number + 1), &point.label());
        let key = bench.key(&point);
        if let Some(old) = self.finished.get(&number)
            && old.key.is_some()
            && old.key == key
            && matches!(old.outcome, PointStatus::Ok)
        {
            let old = old.clone();
            self.progress.point_done("already measured by the run that is resumed");
            self.note(old);
            return Ok(CellState::Alive);
        }
        let (record, state) = bench.run(&mut running.cell, point, key, self.dir, self.progress)?;
        if let Some(mut record) = record {
            record.restart_ns = running.restart_ns.take();
            self.keep(record)?;
        }
        Ok(state)
    }

    pub(super) fn keep(&mut self, mut record: PointRecord) -> Result<(), ResultsError> {
        // A cell that this program has killed in order to end is no outcome of its point.
        while contain::ending() {
            std::thread::park();
        }
        record.notes.append(&mut self.notes);
        self.dir.point_done(record.clone())?;
        self.progress.point_done(&point::outcome_line(&record));
        self.note(record);
        Ok(())
    }

    /// Takes a record for this run's: a new one, or one of the run that is resumed.
    pub(super) fn note(&mut self, record: PointRecord) {
        self.finished.remove(&record.point.number);
        self.seen.insert(record.point.number);
        if self.plan.trace != TraceMode::Off {
            self.records.insert(record.point.number, record);
        }
    }

    pub(super) fn fail_all(
        &mut self,
        points: &[u32],
        failure: &Failure,
        model_digest: Option<&str>,
    ) -> Result<(), ResultsError> {
        for &number in points {
            let point = self.plan.points[number as usize].clone();
            self.progress.point(number, self.plan.points.len() as u32, &point.label());
            // A point that an earlier run measured keeps its figures: failing to load now takes nothing back.
            if let Some(old) = self.finished.remove(&number)
                && matches!(old.outcome, PointStatus::Ok)
            {
                self.progress.point_done("kept from the run that is resumed; its engine could not be loaded now");
                self.note(old);
                continue;
            }
            let mut record = PointRecord::empty(point, PointStatus::Failed(failure.clone()));
            record.model_digest = model_digest.map(str::to_owned);
            self.keep(record)?;
        }
        Ok(())
    }
}

/// A double of a real engine has no place in a run: its figures would stand under that engine's name. Tests of Tacho itself
/// set [`DOUBLES_VARIABLE`].
pub(crate) fn refuse_double(info: &EngineInfo) -> Result<(), Failure> {
    let Some(double) = &info.double else { return Ok(()) };
    let registry = Registry::embedded().map_err(|error| plain_failure(error.to_string()))?;
    let stand_in = registry.get(&info.engine).is_ok_and(|entry| entry.stand_in);
    if stand_in || std::env::var_os(DOUBLES_VARIABLE).is_some_and(|value| value == "1") {
        return Ok(());
    }
    Err(plain_failure(format!(
        "the cell of engine '{}' hosts a double, not the engine: \"{double}\". Its figures say nothing; build the engine's real cell",
        info.engine
    )))
}

/// An engine configuration's name in `run.json`: the engine, its model and the options that were asked for.
pub(crate) fn engine_label(load: &LoadConfig, model_digest: Option<&str>) -> String {
    let mut words = vec![load.engine.clone()];
    if let (Some(name), Some(digest)) = (load.model.as_deref().and_then(Path::file_stem), model_digest) {
        words.push(format!("{}@{}", name.to_string_lossy(), digest.get(..8).unwrap_or(digest)));
    }
    words.extend(load.options.iter().map(|(name, value)| format!("{name}={value}")));
    words.join(" ")
}

/// An engine's id as the name of a file.
fn file_name(engine: &str) -> String {
    engine.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' }).collect()
}

/// Whether a cell can be asked for more.
pub(super) enum CellState {
    /// It can.
    Alive,
    /// It is gone.
    Dead,
}

pub(super) fn plain_failure(reason: String) -> Failure {
    Failure {
        kind: None,
        reason,
        signal: None,
        exit_code: None,
        last_lines: Vec::new(),
        broken: None,
        stacks: Vec::new(),
    }
}

/// As [`failure_of`], with what a living cell wrote last: an engine's own words often say more than its error.
pub(super) fn failure_with_log(error: CellError, cell: &Cell) -> Failure {
    let failure = failure_of(error);
    if failure.last_lines.is_empty() { Failure { last_lines: cell.last_lines(), ..failure } } else { failure }
}

pub(super) fn failure_of(error: CellError) -> Failure {
    let reason = secrets::redact(&error.to_string());
    match error {
        CellError::Engine(engine) => {
            Failure { kind: Some(engine.kind), broken: engine.broken, ..plain_failure(reason) }
        }
        CellError::Died(death) => Failure {
            kind: death.out_of_memory.then_some(ErrorKind::OutOfMemory),
            signal: death.signal,
            exit_code: death.exit_code,
            last_lines: death.last_lines,
            stacks: death.stacks,
            ..plain_failure(reason)
        },
        CellError::Start { .. } | CellError::Log { .. } | CellError::Stale { .. } | CellError::Store(_) => {
            plain_failure(reason)
        }
    }
}
