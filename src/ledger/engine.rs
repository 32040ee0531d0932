//! The ledger of one engine configuration: which rungs it has, and its launches.
use std::collections::BTreeMap;

use rand::{SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    Ask, Rung, fixed, layers,
    prompts::{Pool, Words},
    record::{EngineLedger, PointLedger, RungRecord, RungState},
    seat::Seat,
};
use crate::{
    cell::{PYTHON_VARIABLE, parent::Cell, protocol::Load},
    engine::{Boundary, IdRange, LoadConfig},
    http::PromptKind,
    plan::{CellPlan, Plan, Point, registry::EngineEntry},
    run::{engine_label, model_digest, refuse_double},
    workload::mix,
};

/// Prompts that the turns of a point are drawn from, at least.
const FEWEST_PROMPTS: u32 = 256;

/// A process that rungs are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Process {
    InCore,
    ChildCore,
    /// Where the child-core boundary with text cannot share a process with the one without.
    ChildText,
    Server,
}

impl Process {
    /// A server comes last: it is started as the cell says that the engine was set up.
    const ALL: [Self; 4] = [Self::InCore, Self::ChildCore, Self::ChildText, Self::Server];

    /// `apart` as [`TextEntry::child_decodes_all`](crate::plan::registry::TextEntry::child_decodes_all).
    pub fn of(rung: Rung, apart: bool) -> Self {
        match rung {
            Rung::Steps | Rung::Generate | Rung::TextIn | Rung::TextOut => Self::InCore,
            Rung::ChildOut if apart => Self::ChildText,
            Rung::Child | Rung::ChildOut => Self::ChildCore,
            Rung::Http => Self::Server,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::InCore => "in-core",
            Self::ChildCore => "child-core",
            Self::ChildText => "child-text",
            Self::Server => "server",
        }
    }
}

/// One engine configuration, being measured.
pub(super) struct Measured<'a> {
    pub plan: &'a Plan,
    pub ask: &'a Ask<'a>,
    pub load: LoadConfig,
    pub ledger: EngineLedger,
    /// By the points' places in the ledger.
    pub work: Vec<PointWork>,
    pub prompt: PromptKind,
    pub entry: &'a EngineEntry,
    words: Result<Words, String>,
    /// Of the first cell that was loaded.
    ordinary: Vec<IdRange>,
    on_gpu: bool,
}

/// What a point's turns are drawn from.
pub(super) struct PointWork {
    pub point: Point,
    pub pool: Option<Pool>,
}

pub(super) fn measure(
    plan: &Plan,
    cell: &CellPlan,
    entry: &EngineEntry,
    ask: &Ask<'_>,
    note: &mut dyn FnMut(&str),
) -> Result<EngineLedger, String> {
    let digest = cell.load.model.as_deref().map(|model| {
        model_digest(model).map_err(|error| format!("the model {} cannot be read: {error}", model.display()))
    });
    let digest = digest.transpose()?;
    let llama = || (ask.cell_program)("llama.cpp");
    let words = Words::find(cell.load.model.as_deref(), ask.tokenizer.as_deref(), &llama);
    if let (Err(why), Some(_)) = (&words, &ask.tokenizer) {
        return Err(format!("--tokenizer: {why}"));
    }
    let server_prompt =
        entry.server.as_ref().filter(|_| ask.endpoint.is_none()).map_or(PromptKind::Ids, |server| server.prompt);
    let points = cell.points.iter().filter_map(|number| plan.points.get(*number as usize)).cloned();
    let mut measured = Measured {
        plan,
        ask,
        load: cell.load.clone(),
        ledger: EngineLedger {
            engine: cell.load.engine.clone(),
            label: engine_label(&cell.load, digest.as_deref()),
            model_digest: digest,
            cells: BTreeMap::new(),
            server: None,
            notes: Vec::new(),
            points: Vec::new(),
        },
        work: points.map(|point| PointWork { point, pool: None }).collect(),
        prompt: ask.prompt.unwrap_or(server_prompt),
        entry,
        words,
        ordinary: Vec::new(),
        on_gpu: false,
    };
    measured.list();
    measured.make_prompts()?;
    measured.launches(note);
    let mut ledger = measured.ledger;
    for record in ledger.points.iter_mut().flat_map(|point| &mut point.rungs) {
        if matches!(record.state, RungState::Measured) && record.turns.is_empty() {
            record.state = RungState::Failed { reason: "the ledger ended before its first turn".to_owned() };
        }
    }
    for (point, work) in ledger.points.iter_mut().zip(&measured.work) {
        layers::settle(point, work.point.workload.seed, apart(entry));
    }
    Ok(ledger)
}

fn apart(entry: &EngineEntry) -> bool {
    entry.text.as_ref().is_some_and(|text| text.child_decodes_all)
}

impl Measured<'_> {
    /// The process that a rung is measured in.
    pub fn process(&self, rung: Rung) -> Process {
        Process::of(rung, apart(self.entry))
    }

    /// Every rung of every point, with why it is not there where it is not.
    fn list(&mut self) {
        for work in &self.work {
            let batch = match work.point.load {
                Load::Offline { batch } => batch.min(work.point.workload.requests),
                _ => work.point.workload.requests,
            };
            let rungs = Rung::ALL.into_iter().map(|rung| RungRecord {
                rung,
                state: self.missing(rung).map_or(RungState::Measured, |reason| RungState::NotOffered { reason }),
                warmup_seconds: Vec::new(),
                turns: Vec::new(),
            });
            self.ledger.points.push(PointLedger {
                batch,
                input_tokens: fixed(work.point.workload.input).unwrap_or_default(),
                output_tokens: fixed(work.point.workload.output).unwrap_or_default(),
                prompts_digest: None,
                same_outputs: None,
                rungs: rungs.collect(),
                layers: Vec::new(),
                totals: Vec::new(),
            });
        }
    }

    /// Why the engine does not have a rung, as far as can be told before it is loaded.
    fn missing(&self, rung: Rung) -> Option<String> {
        let name = &self.entry.name;
        if !self.ask.rungs.contains(&rung) {
            return Some("not asked for (--rungs)".to_owned());
        }
        let boundary = match self.process(rung) {
            Process::InCore => Some(Boundary::InCore),
            Process::ChildCore | Process::ChildText => Some(Boundary::ChildCore),
            Process::Server => None,
        };
        if let Some(boundary) = boundary.filter(|boundary| !self.entry.boundary.contains(boundary)) {
            return Some(format!("Tacho hosts {name} at no {} boundary", boundary.as_str()));
        }
        let texts = self.words.as_ref().err().map(|why| format!("prompts have no texts: {why}"));
        match rung {
            Rung::TextIn | Rung::TextOut | Rung::ChildOut if self.entry.text.is_none() => {
                Some(format!("Tacho's adapter for {name} takes and gives token ids alone"))
            }
            Rung::TextIn | Rung::TextOut => texts,
            Rung::ChildOut | Rung::Http if self.prompt == PromptKind::Text => texts,
            Rung::Http if self.ask.endpoint.is_some() => None,
            Rung::Http => match &self.entry.server {
                None => Some(format!("Tacho knows no server of {name}; one that runs can be named with --endpoint")),
                Some(server) => self.server_is_there(server).err(),
            },
            _ => None,
        }
    }

    /// The environment's `python`.
    pub fn python(&self) -> Option<std::path::PathBuf> {
        let program = (self.ask.cell_program)(&self.load.engine).ok()?;
        let told = program.env.iter().find(|(name, _)| name == PYTHON_VARIABLE).map(|(_, value)| value.clone());
        let python = std::path::PathBuf::from(told.or_else(|| std::env::var_os(PYTHON_VARIABLE))?);
        Some(if python.is_dir() { python.join("bin/python") } else { python })
    }

    fn make_prompts(&mut self) -> Result<(), String> {
        let Ok(words) = &self.words else { return Ok(()) };
        let folder = self.ask.folder.join("prompts");
        for (work, point) in self.work.iter_mut().zip(&mut self.ledger.points) {
            let count = FEWEST_PROMPTS.max(point.batch.saturating_mul(2));
            let pool = Pool::make(words, point.input_tokens, count, work.point.workload.seed, &folder)?;
            point.prompts_digest = Some(pool.saved.digest.clone());
            work.pool = Some(pool);
        }
        Ok(())
    }

    pub fn interrupted(&self) -> bool {
        self.ask.interrupted.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The rungs of a point that are to be measured in a process.
    pub fn rungs(&self, point: usize, process: Process) -> Vec<Rung> {
        let point = &self.ledger.points[point];
        let open = point.rungs.iter().filter(|record| matches!(record.state, RungState::Measured));
        open.map(|record| record.rung).filter(|rung| self.process(*rung) == process).collect()
    }

    pub fn record(&mut self, point: usize, rung: Rung) -> Option<&mut RungRecord> {
        self.ledger.points[point].rungs.iter_mut().find(|record| record.rung == rung)
    }

    /// The process cannot be had: none of its rungs is measured any more.
    pub fn fail(&mut self, process: Process, reason: &str) {
        for point in 0..self.ledger.points.len() {
            for rung in self.rungs(point, process) {
                if let Some(record) = self.record(point, rung) {
                    record.state = RungState::Failed { reason: reason.to_owned() };
                }
            }
        }
    }

    fn launches(&mut self, note: &mut dyn FnMut(&str)) {
        for launch in 0..self.ask.launches {
            let mut order: Vec<Process> = Process::ALL.to_vec();
            // At first the cells, because a server is set up as they say they are; later whatever is drawn.
            if launch > 0 {
                order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(mix(self.load.seed, u64::from(launch))));
            }
            let mut seats: BTreeMap<Process, Seat> = BTreeMap::new();
            for process in order {
                let wanted = (0..self.work.len()).any(|point| !self.rungs(point, process).is_empty());
                if !wanted || self.interrupted() {
                    continue;
                }
                note(&format!(
                    "{}: starting {} (launch {} of {})",
                    self.ledger.label,
                    process.name(),
                    launch + 1,
                    self.ask.launches
                ));
                match self.sit(process) {
                    Ok(mut seat) => {
                        seat.park();
                        seats.insert(process, seat);
                    }
                    Err(reason) => {
                        note(&format!("{}: {}: {reason}", self.ledger.label, process.name()));
                        self.fail(process, &reason);
                    }
                }
                if self.on_gpu {
                    // Two engines would share the GPU's memory.
                    self.turns(launch, &mut seats, false, note);
                    self.stand_up(&mut seats);
                }
            }
            if !self.on_gpu {
                self.turns(launch, &mut seats, true, note);
            }
            self.stand_up(&mut seats);
            if self.interrupted() {
                self.ledger.notes.push(format!("interrupted in launch {} of {}", launch + 1, self.ask.launches));
                return;
            }
        }
    }

    fn stand_up(&mut self, seats: &mut BTreeMap<Process, Seat>) {
        while let Some((_, seat)) = seats.pop_first() {
            self.ledger.notes.extend(seat.end());
        }
    }

    fn sit(&mut self, process: Process) -> Result<Seat, String> {
        match process {
            Process::Server => self.serve(),
            Process::InCore => self.cell(process, Boundary::InCore),
            Process::ChildCore | Process::ChildText => self.cell(process, Boundary::ChildCore),
        }
    }

    fn cell(&mut self, process: Process, boundary: Boundary) -> Result<Seat, String> {
        let program = (self.ask.cell_program)(&self.load.engine)?;
        let log = self.ask.folder.join("logs").join(format!("{}-{}.log", self.load.engine, process.name()));
        let mut load = self.load.clone();
        if self.entry.boundary.len() > 1 {
            load.options.insert("boundary".to_owned(), boundary.as_str().into());
        }
        let with_text = [Rung::TextIn, Rung::TextOut, Rung::ChildOut]
            .map(|rung| (0..self.work.len()).any(|point| self.rungs(point, process).contains(&rung)));
        if let Some(text) = self.entry.text.as_ref().filter(|_| with_text.contains(&true)) {
            let named = &self.load.options;
            load.options.extend(
                text.options.iter().filter(|(name, _)| !named.contains_key(*name)).map(|(n, v)| (n.clone(), v.clone())),
            );
        }
        let mut cell = Cell::start(&program, &log).map_err(|error| error.to_string())?;
        let loaded = cell.load(&load, self.plan.load_within);
        let (info, _) = loaded.map_err(|error| {
            let last = cell.last_lines();
            last.last().map_or_else(|| error.to_string(), |line| format!("{error} (its cell's last line: {line})"))
        })?;
        refuse_double(&info).map_err(|failure| failure.reason)?;
        if info.virtual_time {
            return Err("its clock is simulated: a ledger compares real times (sim.time=real)".to_owned());
        }
        if info.boundary != boundary {
            return Err(format!(
                "expected the {} boundary, the engine says {}",
                boundary.as_str(),
                info.boundary.as_str()
            ));
        }
        self.on_gpu |= info.gpu_in_process.is_some();
        if self.ordinary.is_empty() {
            self.ordinary.clone_from(&info.model.ordinary_ids);
        }
        if !info.capabilities.continuous_batching {
            let reason = "this engine's door takes whole batches: it has no step loop".to_owned();
            for point in 0..self.work.len() {
                if let Some(record) =
                    self.record(point, Rung::Steps).filter(|record| matches!(record.state, RungState::Measured))
                {
                    record.state = RungState::NotOffered { reason: reason.clone() };
                }
            }
        }
        self.ledger.cells.entry(process.name().to_owned()).or_insert(info);
        Ok(Seat::Cell(Box::new(cell)))
    }

    /// The ids that prompts are drawn from where there is no tokenizer.
    pub fn ordinary(&self) -> &[IdRange] {
        &self.ordinary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_at_the_child_boundary_has_a_process_of_its_own_where_all_outputs_are_decoded() {
        let registry = crate::plan::registry::Registry::embedded().unwrap();
        for (id, child, child_out) in
            [("vllm", Process::ChildCore, Process::ChildCore), ("sglang", Process::ChildCore, Process::ChildText)]
        {
            let apart = apart(registry.get(id).unwrap());
            assert_eq!(
                (Process::of(Rung::Child, apart), Process::of(Rung::ChildOut, apart)),
                (child, child_out),
                "{id}"
            );
        }
    }
}
