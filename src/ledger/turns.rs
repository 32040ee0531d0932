//! Warm-up, and the blocks in which rungs take turns.
use std::collections::BTreeMap;

use rand::{SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    Rung,
    engine::{Measured, Process},
    record::{RungState, TurnRecord},
    seat::{Seat, Work},
};
use crate::{
    cell::protocol::TrialKind,
    metrics::warmup::Steady,
    workload::{LengthDist, Workload, WorkloadSpec, mix},
};

type Seats = BTreeMap<Process, Seat>;

/// Which turn.
#[derive(Clone, Copy)]
struct Place {
    launch: u32,
    block: u32,
    second: bool,
    resident: bool,
}

impl Measured<'_> {
    /// All points, with the processes that are there.
    pub(super) fn turns(&mut self, launch: u32, seats: &mut Seats, resident: bool, note: &mut dyn FnMut(&str)) {
        for point in 0..self.work.len() {
            if seats.is_empty() || self.interrupted() {
                return;
            }
            let (batch, input, output) = {
                let point = &self.ledger.points[point];
                (point.batch, point.input_tokens, point.output_tokens)
            };
            note(&format!(
                "{}: batch {batch}, {input} in, {output} out (launch {} of {})",
                self.ledger.label,
                launch + 1,
                self.ask.launches
            ));
            for rung in self.there(point, seats) {
                self.warm_up(point, rung, launch, seats);
            }
            let seed = mix(mix(self.work[point].point.workload.seed, point as u64), u64::from(launch));
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            for block in 0..self.ask.blocks {
                let mut order = self.there(point, seats);
                order.shuffle(&mut rng);
                let forth = order.iter().map(|rung| (*rung, false));
                let back = order.iter().rev().map(|rung| (*rung, true));
                let mut last = None;
                for (rung, second) in forth.chain(back) {
                    if self.interrupted() {
                        return;
                    }
                    // One that failed in this block has no second turn.
                    if !self.there(point, seats).contains(&rung) {
                        continue;
                    }
                    let place = Place { launch, block, second, resident };
                    let process = self.process(rung);
                    if last.is_some_and(|last| last != process) {
                        park(seats, last);
                    }
                    self.turn(point, rung, place, last != Some(process), seats);
                    last = Some(process);
                }
                park(seats, last);
            }
        }
    }

    /// The rungs of a point that are to be measured and whose process is there.
    fn there(&self, point: usize, seats: &Seats) -> Vec<Rung> {
        seats.keys().flat_map(|process| self.rungs(point, *process)).collect()
    }

    fn warm_up(&mut self, point: usize, rung: Rung, launch: u32, seats: &mut Seats) {
        let mut steady = Steady::new();
        let most = self.plan.trials.max_warmup.max(1);
        for number in 0..most {
            if self.interrupted() {
                return;
            }
            let number = launch * most + number;
            let Some(turn) = self.take(point, rung, TrialKind::Warmup, number, seats) else { break };
            if let Some(record) = self.record(point, rung).filter(|_| launch == 0) {
                record.warmup_seconds.push(turn.seconds);
            }
            if steady.push(turn.seconds).is_steady() {
                break;
            }
        }
        park(seats, Some(self.process(rung)));
    }

    /// One timed turn; an untimed one before it brings the process's caches and connections back after others had theirs.
    fn turn(&mut self, point: usize, rung: Rung, place: Place, settle: bool, seats: &mut Seats) {
        let number = (place.launch * self.ask.blocks + place.block) * 2 + u32::from(place.second);
        if settle && self.take(point, rung, TrialKind::Warmup, number, seats).is_none() {
            return;
        }
        let Some(turn) = self.take(point, rung, TrialKind::Timed, number, seats) else { return };
        let Place { launch, block, second, resident } = place;
        if let Some(record) = self.record(point, rung) {
            record.turns.push(TurnRecord { launch, block, second, resident, ..turn });
        }
    }

    /// None when it failed, which is noted.
    fn take(
        &mut self,
        point: usize,
        rung: Rung,
        kind: TrialKind,
        number: u32,
        seats: &mut Seats,
    ) -> Option<TurnRecord> {
        let process = self.process(rung);
        let work = self.work(point, kind, number);
        let seat = seats.get_mut(&process)?;
        let (reason, gone) = match work.map(|work| seat.turn(rung, &work, kind)) {
            Ok(Ok(turn)) => return Some(turn),
            Ok(Err(stop)) => (stop.reason, stop.gone),
            Err(reason) => (reason, false),
        };
        if let Some(record) = self.record(point, rung) {
            record.state = RungState::Failed { reason: reason.clone() };
        }
        if gone {
            seats.remove(&process);
            self.fail(process, &format!("its process ended while {} was measured: {reason}", rung.as_str()));
        }
        None
    }

    /// The requests of a turn: the same for every rung, others for each turn.
    fn work(&self, point: usize, kind: TrialKind, number: u32) -> Result<Work, String> {
        let (ledger, drawn) = (&self.ledger.points[point], &self.work[point]);
        let saved = drawn.pool.as_ref().map(|pool| pool.saved.clone());
        let stream = mix(mix(u64::from(kind == TrialKind::Timed), u64::from(number)), u64::from(ledger.batch));
        let spec = WorkloadSpec {
            requests: ledger.batch,
            input: if saved.is_some() { LengthDist::Data(None) } else { LengthDist::Fixed(ledger.input_tokens) },
            output: LengthDist::Fixed(ledger.output_tokens),
            sampling: drawn.point.workload.sampling,
            seed: drawn.point.workload.seed,
            stream,
            ids: self.ordinary().to_vec(),
            saved,
        };
        let workload = Workload::new(spec.clone()).map_err(|error| error.to_string())?;
        let mut prompt = Vec::new();
        let ids: Vec<Vec<u32>> = (0..workload.len())
            .map(|index| workload.request(index, &mut prompt).prompt.iter().map(|id| id.0).collect())
            .collect();
        let texts =
            drawn.pool.as_ref().map(|pool| ids.iter().map(|ids| pool.text(ids).cloned()).collect::<Option<Vec<_>>>());
        let texts = texts.map(|texts| texts.ok_or("a prompt of the pool has no text")).transpose()?;
        let within = self.plan.trial_within;
        let output_tokens = ledger.output_tokens;
        Ok(Work { spec, ids, texts, output_tokens, number, within, server_prompt: self.prompt })
    }
}

fn park(seats: &mut Seats, process: Option<Process>) {
    if let Some(seat) = process.and_then(|process| seats.get_mut(&process)) {
        seat.park();
    }
}
