//! Input from outside, mutated: whatever the bytes are, a reader answers, soon, and does not panic. Deterministic over the
//! corpus in tests/corpus; `TACHO_FUZZ_SECONDS=3600` goes on for so long a target (`make soak`). Mutations that follow
//! coverage are those of `scripts/fuzz.sh`.
mod mutate;
// The very files that the coverage-guided targets are made of: fuzz/ itself needs libFuzzer and is compiled by nobody else.
#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, unused_macros, reason = "the guided targets' own entry")]
mod readers;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use mutate::Mutator;
// Where those files look for one another.
use readers::{cupti, format, llama_gguf, targets, types};

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

fn fuzz(target: &str) {
    let folder = tempfile::tempdir().unwrap();
    let run = readers::named(target);
    let seeds = corpus(target);
    assert!(seeds.len() >= 2, "{target}: the corpus is missing");
    let one = |input: &[u8]| {
        let began = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| run(folder.path(), input))).is_ok() && began.elapsed() < WITHIN;
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
    fuzz("plan");
}

#[test]
fn datasets() {
    fuzz("dataset");
}

#[test]
fn traces_of_arrivals() {
    fuzz("arrivals");
}

#[test]
fn journals() {
    fuzz("journal");
}

#[test]
fn frames_of_cells() {
    fuzz("protocol");
}

#[test]
fn headers_of_gguf_files() {
    fuzz("gguf");
}

#[test]
fn headers_of_gguf_files_in_the_cell() {
    fuzz("gguf_cell");
}

#[test]
fn headers_of_safetensors_files() {
    fuzz("safetensors");
}

#[test]
fn traces_of_kernels() {
    fuzz("trace");
}

#[test]
fn records_of_cupti() {
    fuzz("cupti");
}

#[test]
fn recordings_of_nvml() {
    fuzz("recorded");
}

/// A reader that stands in the table and is fuzzed by nobody would look covered.
#[test]
fn every_target_is_fuzzed_both_ways() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpora: Vec<String> = names(&root.join("tests/corpus"));
    let mut guided: Vec<String> =
        names(&root.join("fuzz/fuzz_targets")).iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
    let mut here: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    here.sort_unstable();
    corpora.sort();
    guided.sort();
    assert_eq!(corpora, here);
    assert_eq!(guided, here);
    let tests = include_str!("main.rs");
    let manifest: toml::Table = include_str!("../../fuzz/Cargo.toml").parse().unwrap();
    let mut programs: Vec<String> = Vec::new();
    for program in manifest["bin"].as_array().unwrap() {
        let (name, path) = (program["name"].as_str().unwrap(), program["path"].as_str().unwrap());
        // All that is in a guided target beside the library that this test compiles, too.
        let text = fs::read_to_string(root.join("fuzz").join(path)).unwrap();
        assert_eq!(text, format!("#![no_main]\ntacho_fuzz::target!(\"{name}\");\n"), "{path}");
        programs.push(name.to_owned());
    }
    programs.sort();
    assert_eq!(programs, here);
    assert!(here.iter().all(|name| tests.contains(&format!("fuzz(\"{name}\")"))));
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
