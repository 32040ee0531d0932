//! How often the verdicts of paired comparisons are right, by seeded simulation through the code that judges real runs:
//! `cargo bench --bench verdicts`. docs/comparing.md has what it prints.
use std::process::ExitCode;

use tacho::stats::{
    paired::Judge,
    simulate::{Design, Noise, Rates, rates},
};

const COMPARISONS: u32 = 500;
/// Fewer resamples than of a real comparison, which takes 10,000: their ends waver a little more.
const JUDGE: Judge = Judge { threshold: 0.01, resident: true, resamples: 2000, seed: 20_261_122 };

/// A machine, an amount of measuring, and whether the targets are promised for them.
struct Case {
    name: &'static str,
    noise: Noise,
    design: Design,
    promised: bool,
}

fn cases() -> Vec<Case> {
    let noise = |launch: f64, block: f64, trial: f64, disturbed: f64, drift: f64| Noise {
        launch: launch / 100.0,
        block: block / 100.0,
        trial: trial / 100.0,
        disturbed,
        drift,
    };
    let design = |launches, blocks, trials| Design { launches, blocks, trials };
    let case = |name, noise, design, promised| Case { name, noise, design, promised };
    vec![
        case("quiet machine", noise(0.1, 0.1, 0.5, 0.01, 0.02), design(5, 6, 1), true),
        case("drifting by 10 % a launch", noise(0.1, 0.1, 0.5, 0.01, 0.10), design(5, 6, 1), true),
        case("shared machine, more launches and blocks", noise(0.2, 0.3, 1.0, 0.02, 0.05), design(12, 10, 1), true),
        case("shared machine, default design", noise(0.2, 0.3, 1.0, 0.02, 0.05), design(5, 6, 1), false),
        case("launches that differ by 0.5 %", noise(0.5, 0.1, 0.5, 0.01, 0.02), design(5, 6, 1), false),
        case("one launch of those", noise(0.5, 0.1, 0.5, 0.01, 0.02), design(1, 30, 1), false),
    ]
}

fn percent(count: u32, of: Rates) -> f64 {
    f64::from(count) * 100.0 / f64::from(of.comparisons)
}

fn main() -> ExitCode {
    println!(
        "{COMPARISONS} comparisons a row and effect; threshold 1 %; noise: launch / block / trial in % of the speed"
    );
    println!(
        "| machine | noise | disturbed trials | drift a launch | launches × blocks | A/A: SAME | A/A: FASTER or SLOWER | −2 %: SLOWER | −2 %: SAME or FASTER |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut met = true;
    for Case { name, noise, design, promised } in cases() {
        let equal = rates(&noise, design, 0.0, COMPARISONS, &JUDGE);
        let slower = rates(&noise, design, -0.02, COMPARISONS, &JUDGE);
        println!(
            "| {name} | {:.1} / {:.1} / {:.1} | {:.0} % | {:.0} % | {} × {} | {:.1} % | {:.1} % | {:.1} % | {:.1} % |",
            noise.launch * 100.0,
            noise.block * 100.0,
            noise.trial * 100.0,
            noise.disturbed * 100.0,
            noise.drift * 100.0,
            design.launches,
            design.blocks,
            percent(equal.same, equal),
            percent(equal.faster + equal.slower, equal),
            percent(slower.slower, slower),
            percent(slower.same + slower.faster, slower),
        );
        met &= !promised || (percent(equal.same, equal) >= 95.0 && percent(slower.slower, slower) >= 80.0);
    }
    println!(
        "\nSAME in at least 95 % of A/A pairs and SLOWER in at least 80 % at −2 %, in the first three rows: {}",
        if met { "met" } else { "NOT met" }
    );
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
