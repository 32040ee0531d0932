//! Room for the results.
use std::path::Path;

use super::{Check, Surroundings, bytes_text};
use crate::{cell::protocol::TokenRow, plan::Plan};

const NAME: &str = "disk";
/// Logs, tables, charts and a journal of any run; the streamed tables come on top.
const LEAST_BYTES: f64 = 100e6;

pub(super) fn checks(around: &Surroundings<'_>, plan: Option<&Plan>) -> Vec<Check> {
    let place = &around.results;
    // The folder itself is made when the run begins.
    let there = place.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let Some(existing) = there.into_iter().find(|path| path.exists()) else {
        return vec![Check::problem(
            NAME,
            format!("{} has no parent folder", place.display()),
            "choose another with --out",
        )];
    };
    let check = match rustix::fs::statvfs(existing) {
        Err(error) => {
            let found = format!("free room below {} cannot be told: {error}", existing.display());
            Check::warning(NAME, found, "choose another folder with --out")
        }
        Ok(stat) if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() => {
            let _ = stat;
            Check::problem(
                NAME,
                format!("{} cannot be written to", existing.display()),
                "choose another folder with --out",
            )
        }
        Ok(stat) => judge(stat.f_bavail as f64 * stat.f_frsize as f64, needed(plan)).of(existing.display().to_string()),
    };
    vec![check]
}

/// What a run writes at most, before compression: twice its rows of tokens (once in parts, once in the whole table).
fn needed(plan: Option<&Plan>) -> f64 {
    let tokens: f64 = plan.map_or(0.0, |plan| {
        let most = f64::from(plan.trials.max_trials.saturating_add(plan.trials.latency_trials));
        plan.points.iter().map(|point| point.work().output_tokens * most).sum()
    });
    LEAST_BYTES + 2.0 * tokens * size_of::<TokenRow>() as f64
}

fn judge(free: f64, needed: f64) -> Check {
    let found = format!("{} free; the results take at most about {}", bytes_text(free), bytes_text(needed));
    match free {
        free if free < LEAST_BYTES => {
            Check::problem(NAME, found, "free some room, or choose another folder with --out")
        }
        free if free < needed => {
            Check::warning(NAME, found, "free some room, choose another folder with --out, or lower --max-trials")
        }
        _ => Check::ok(NAME, found),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, testing},
        *,
    };

    #[test]
    fn room_is_judged_by_what_the_plan_writes() {
        let plan = testing::plan(2, 100_000);
        // 2 points, 100,000 requests of 64 tokens, 31 trials, 32 bytes, twice.
        assert_eq!(needed(Some(&plan)), 1e8 + 2.0 * 2.0 * 1e5 * 64.0 * 31.0 * 32.0);
        let states = [5e7, 2e8, 1e12].map(|free| judge(free, needed(Some(&plan))).state);
        assert_eq!(states, [State::Problem, State::Warning, State::Ok]);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_its_parent() {
        let machine = testing::Machine::new();
        let mut around = machine.around();
        around.results = machine.path("/").join("runs/new/deep");
        let found = checks(&around, None);
        assert!(found[0].state != State::Problem || found[0].found.contains("free"), "{found:?}");
        assert!(found[0].of.as_ref().is_some(), "{found:?}");
    }
}
