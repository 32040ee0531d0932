//! How a run's points ended so far, without their figures: what the search for where memory ends asks for again and again.
use std::collections::BTreeMap;

use super::{PointRecord, PointStatus, frontier::out_of_memory};
use crate::plan::Point;

/// How a point ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The point.
    pub point: Point,
    /// Whether it was measured to its end.
    pub ran: bool,
    /// Whether it ran out of memory.
    pub out_of_memory: bool,
    /// Whether its engine could be loaded.
    pub loaded: bool,
}

impl Outcome {
    /// Of a point's record.
    pub fn of(record: &PointRecord) -> Self {
        Self {
            point: record.point.clone(),
            ran: matches!(record.outcome, PointStatus::Ok),
            out_of_memory: out_of_memory(record),
            loaded: record.engine.is_some(),
        }
    }
}

/// The outcomes by the points' numbers, once somebody has asked.
#[derive(Default)]
pub(super) struct Outcomes(Option<BTreeMap<u32, Outcome>>);

impl Outcomes {
    /// Takes in a record that was just journalled.
    pub(super) fn add(&mut self, record: &PointRecord) {
        if let Some(known) = &mut self.0 {
            known.insert(record.point.number, Outcome::of(record));
        }
    }

    /// All of them; `read` puts in what the journal says, and is asked the first time only.
    pub(super) fn all<E>(
        &mut self,
        read: impl FnOnce(&mut BTreeMap<u32, Outcome>) -> Result<(), E>,
    ) -> Result<&BTreeMap<u32, Outcome>, E> {
        match &mut self.0 {
            Some(known) => Ok(known),
            unknown => {
                let mut outcomes = BTreeMap::new();
                read(&mut outcomes)?;
                Ok(unknown.insert(outcomes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::point;

    #[test]
    fn the_journal_is_read_once_and_later_points_are_taken_in() {
        let mut outcomes = Outcomes::default();
        let (first, second) = (point(0, "sim", &[("batch", "1")]), point(1, "sim", &[("batch", "2")]));
        // Before anybody asks, the journal has it.
        outcomes.add(&first);
        let read = |known: &mut BTreeMap<u32, Outcome>| {
            known.insert(0, Outcome::of(&first));
            Ok::<(), ()>(())
        };
        assert_eq!(outcomes.all(read).unwrap().keys().copied().collect::<Vec<_>>(), [0]);
        outcomes.add(&second);
        let again = |_: &mut BTreeMap<u32, Outcome>| -> Result<(), ()> { panic!("the journal was read twice") };
        assert_eq!(outcomes.all(again).unwrap().get(&1), Some(&Outcome::of(&second)));
        let mut failed = second.clone();
        failed.engine = None;
        outcomes.add(&failed);
        assert!(!outcomes.all(again).unwrap()[&1].loaded);
    }
}
