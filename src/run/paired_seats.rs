//! The engines that sit side by side: loads them, parks them while they wait, and replaces cells that die.
use super::{
    bench::Ended,
    execute::{CellState, Loaded, Run},
    paired_group::Group,
    restarts::{Restarts, pause},
};
use crate::{
    measure::monotonic_ns,
    plan::{CellPlan, compare::Compare},
    results::{Failure, ResultsError},
};

/// An engine configuration that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// Its place among the plan's cells.
    pub cell: usize,
    /// Which cell of that configuration.
    pub copy: u32,
}

/// One start of all engines.
#[derive(Clone, Copy)]
pub(super) struct Launch<'a> {
    pub compare: &'a Compare,
    pub number: u32,
}

/// Who sits side by side.
pub(super) struct Table<'t, 'a> {
    pub seats: &'t [Seat],
    /// By seat.
    pub loaded: Vec<Option<Loaded>>,
    /// The seat whose engine cannot be had any more, and why.
    pub barred: Option<(usize, Failure)>,
    /// When the cell that sat there died, until the next one has started. By seat.
    died_ns: Vec<Option<u64>>,
    /// Whether an engine has been loaded there. By seat.
    sat: Vec<bool>,
    cells: &'t [CellPlan],
    /// By cell.
    restarts: &'t mut [Restarts<'a>],
}

impl<'t, 'a> Table<'t, 'a> {
    pub fn new(seats: &'t [Seat], cells: &'t [CellPlan], restarts: &'t mut [Restarts<'a>]) -> Self {
        let loaded = seats.iter().map(|_| None).collect();
        let (died_ns, sat) = (vec![None; seats.len()], vec![false; seats.len()]);
        Self { seats, loaded, barred: None, died_ns, sat, cells, restarts }
    }

    /// A group has been measured in this launch.
    pub fn measured(&mut self) {
        for seat in self.seats {
            self.restarts[seat.cell].measured();
        }
    }
}

impl Run<'_> {
    /// Loads the engine of a seat, unless it is there; whether it can be had. Parked until it is asked for something.
    pub(super) fn sit(&mut self, table: &mut Table<'_, '_>, seat: usize) -> bool {
        if table.loaded[seat].is_some() {
            return true;
        }
        let cell = table.seats[seat].cell;
        if table.restarts[cell].spent() {
            table.barred = Some((seat, table.restarts[cell].quarantine()));
            return false;
        }
        loop {
            self.died_ns = table.died_ns[seat].take();
            // The memory of those that stay loaded does not come back.
            self.beside_others = table.loaded.iter().any(Option::is_some);
            let loaded = self.load(&table.cells[cell]);
            self.beside_others = false;
            match loaded {
                Ok(mut running) => {
                    table.restarts[cell].loaded();
                    running.cell.park();
                    table.loaded[seat] = Some(running);
                    table.sat[seat] = true;
                    return true;
                }
                Err(failure) if table.restarts[cell].memory_may_come_back(&failure) && !self.interrupted() => {
                    self.progress.note(&format!("{}; loaded once more, after the death before it", failure.reason));
                }
                Err(failure) => {
                    // As elsewhere, a first load that dies is not worth another try; one after a death is, or a later one.
                    let again = failure.kind.is_none() && (table.sat[seat] || table.restarts[cell].any());
                    if !again || self.interrupted() {
                        table.barred = Some((seat, failure));
                        return false;
                    }
                    if !self.may_restart(table, seat) {
                        return false;
                    }
                }
            }
        }
    }

    fn load(&mut self, cell: &CellPlan) -> Result<Loaded, Failure> {
        let digest = cell.load.model.as_deref().map(|path| self.digest(path)).transpose()?;
        self.start(cell, digest.as_deref())
    }

    /// A cell has died: waits until another one may take its place. False where none may.
    fn may_restart(&mut self, table: &mut Table<'_, '_>, seat: usize) -> bool {
        let restarts = &mut table.restarts[table.seats[seat].cell];
        match restarts.died() {
            Some(time) => pause(time, self.options.interrupted),
            None => table.barred = Some((seat, restarts.quarantine())),
        }
        table.barred.is_none()
    }

    /// Ends the cell of a seat, if there is one.
    pub(super) fn stand_up(&mut self, table: &mut Table<'_, '_>, seat: usize) {
        if let Some(running) = table.loaded[seat].take()
            && let Err(error) = running.cell.shutdown()
        {
            self.progress.note(&format!("{}: its cell did not end cleanly: {error}", running.engine.info.engine));
        }
    }

    /// Has the engine of a seat do its part for a group; whether the group goes on in this launch.
    pub(super) fn part(
        &mut self,
        launch: Launch<'_>,
        table: &mut Table<'_, '_>,
        seat: usize,
        group: &mut Group,
        part: impl FnOnce(&mut Self, &mut Group, &mut Loaded) -> Result<(), Ended>,
    ) -> Result<bool, ResultsError> {
        if !self.sit(table, seat) {
            return Ok(false);
        }
        let Some(mut running) = table.loaded[seat].take() else { return Ok(false) };
        let ended = match part(self, group, &mut running) {
            Ok(()) => None,
            Err(ended) => ended.failure(&running.cell)?,
        };
        if let Some((failure, state)) = &ended {
            match failure.kind {
                // What an engine answers it would answer again.
                Some(_) => group.fail(seat, failure),
                None => {
                    let Launch { compare, number } = launch;
                    group.lose(number, seat, failure, compare.launches);
                    let point = group.arms[seat].point;
                    let reason = &failure.reason;
                    self.progress.note(&format!("launch {} is lost: point {point}: {reason}", number + 1));
                }
            }
            if let CellState::Dead = state {
                table.died_ns[seat] = Some(running.cell.ended_ns().unwrap_or_else(monotonic_ns));
                running.cell.kill();
                self.may_restart(table, seat);
                return Ok(false);
            }
        }
        running.cell.park();
        table.loaded[seat] = Some(running);
        Ok(ended.is_none() && !self.interrupted())
    }
}
