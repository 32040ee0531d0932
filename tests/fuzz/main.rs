//! Input from outside, mutated: whatever the bytes are, a reader answers, soon, and does not panic. Deterministic over the
//! corpus in tests/corpus; `TACHO_FUZZ_SECONDS=3600` goes on for so long a target (`make soak`).
mod mutate;
mod targets;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use mutate::Mutator;

/// Mutations of a target that every run makes.
const MUTATIONS: u32 = 1500;
/// The longest that one input may take.
const WITHIN: Duration = Duration::from_secs(2);

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn fuzz(target: &str, mut run: impl FnMut(&[u8])) {
    let seeds = corpus(target);
    assert!(seeds.len() >= 2, "{target}: the corpus is missing");
    let mut one = |input: &[u8]| {
        let began = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| run(input))).is_ok() && began.elapsed() < WITHIN;
        if !survived {
            let finding = std::env::temp_dir().join(format!("tacho-fuzz-{target}-{}", blake3::hash(input).to_hex()));
            fs::write(&finding, input).unwrap();
            panic!("{target}: a finding after {:?}, in {}", began.elapsed(), finding.display());
        }
    };
    seeds.iter().for_each(|seed| one(seed));
    let mut mutator = Mutator::new(seeds, 11);
    let mut count = 0_u64;
    let seconds = std::env::var("TACHO_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    while count < u64::from(MUTATIONS) || Instant::now() < end {
        one(&mutator.next());
        count += 1;
    }
    println!("{target}: {count} mutated inputs, no finding");
}

#[test]
fn plans() {
    fuzz("plan", targets::plan);
}

#[test]
fn journals() {
    let folder = tempfile::tempdir().unwrap();
    fuzz("journal", |input| targets::journal(folder.path(), input));
}

#[test]
fn frames_of_cells() {
    fuzz("protocol", targets::protocol);
}

#[test]
fn headers_of_gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    fuzz("gguf", |input| targets::gguf(&folder.path().join("model.gguf"), input));
}

#[test]
fn traces_of_kernels() {
    let folder = tempfile::tempdir().unwrap();
    fuzz("trace", |input| targets::trace(&folder.path().join("1.trace"), input));
}

#[test]
fn recordings_of_nvml() {
    let folder = tempfile::tempdir().unwrap();
    fuzz("recorded", |input| targets::recorded(&folder.path().join("gpu.json"), input));
}
