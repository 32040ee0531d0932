//! How often verdicts are right on this machine: pairs of the simulated engine with itself, and with one that is 2 % slower,
//! in real time, each in a process of its own, judged as `tacho run --compare abba` judges.
use std::path::Path;

use super::{
    Check,
    stack::{SimCell, Work},
};
use crate::{
    cell::{parent::CellProgram, protocol::Method},
    stats::{
        RESAMPLES,
        paired::{Block, Judge, compare},
        verdict::Verdict,
    },
};

const LAUNCHES: u32 = 2;
const BLOCKS: u32 = 6;
const SLOWDOWN: f64 = 0.02;
const JUDGE: Judge = Judge { threshold: 0.01, resident: true, resamples: RESAMPLES, seed: 1 };
/// A trial of about 26 ms.
const WORK: Work =
    Work { batch: 2, input: 16, output: 8, step_base_us: 3200.0, prefill_token_us: 20.0, decode_seq_us: 40.0 };

/// Counts SAME among equals and SLOWER among slower ones.
pub(super) fn rates(program: &CellProgram, log: &Path, comparisons: u32) -> Result<Vec<Check>, String> {
    let (mut same, mut slower) = (0, 0);
    for round in 0..comparisons {
        let (mut equal, mut slowed) = (Vec::new(), Vec::new());
        for launch in 0..LAUNCHES {
            measure(program, log, (round, launch), &mut equal, &mut slowed)?;
        }
        same += u32::from(compare(&equal, &JUDGE)?.verdict == Verdict::Same);
        slower += u32::from(compare(&slowed, &JUDGE)?.verdict == Verdict::Slower);
    }
    let share = |count: u32| f64::from(count) / f64::from(comparisons.max(1));
    let note = |what: &str, count: u32| {
        format!(
            "{what} in {count} of {comparisons} comparisons of {LAUNCHES} launches with {BLOCKS} blocks, in real time"
        )
    };
    Ok(vec![
        Check::at_least("A/A pairs called SAME", share(same), 0.95, "", &note("SAME", same)),
        Check::at_least("a 2 % slowdown called SLOWER", share(slower), 0.8, "", &note("SLOWER", slower)),
    ])
}

/// One launch of the three engines.
fn measure(
    program: &CellProgram,
    log: &Path,
    (round, launch): (u32, u32),
    equal: &mut Vec<Block>,
    slowed: &mut Vec<Block>,
) -> Result<(), String> {
    let by = 1.0 + SLOWDOWN;
    let slow = Work {
        step_base_us: WORK.step_base_us * by,
        prefill_token_us: WORK.prefill_token_us * by,
        decode_seq_us: WORK.decode_seq_us * by,
        ..WORK
    };
    let mut cells = Vec::new();
    for work in [WORK, WORK, slow] {
        let mut cell = SimCell::start(program, log, work)?;
        cell.trial(Method::Generate, u64::MAX)?;
        cells.push(cell);
    }
    for block in 0..BLOCKS {
        let stream = u64::from((round * LAUNCHES + launch) * BLOCKS + block);
        let mut speeds = [Vec::new(), Vec::new(), Vec::new()];
        // There and back: A B C C B A, or from C.
        let there: [usize; 3] = if stream % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for (half, engine) in there.into_iter().map(|e| (0, e)).chain(there.into_iter().rev().map(|e| (1, e))) {
            let figures = cells[engine].trial(Method::Generate, 2 * stream + half)?;
            speeds[engine].push(figures.output_token_throughput);
        }
        let [a, b, c] = speeds;
        equal.push(Block { launch, a: a.clone(), b });
        slowed.push(Block { launch, a, b: c });
    }
    cells.into_iter().try_for_each(SimCell::end)
}
