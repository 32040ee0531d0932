//! `docs/plan.md`: every key of a plan, made from the lists that the reader accepts, the defaults that resolving fills in,
//! and the engines' own files.
use std::fmt::Write;

use super::{Draft, PlanError, Source, read, registry::Registry, resolve, shipped};

/// A key of a plan file.
struct Key {
    /// With its table, such as `trials.target`.
    name: &'static str,
    /// What it may be.
    value: &'static str,
    /// What it does.
    what: &'static str,
    /// A line of TOML that sets it; a test has the reader take it.
    example: &'static str,
}

const fn key(name: &'static str, value: &'static str, what: &'static str, example: &'static str) -> Key {
    Key { name, value, what, example }
}

const GENERAL: &[Key] = &[
    key(
        "name",
        "text",
        "the plan's name, part of the run directory's: letters, digits, `-`, `_`, `.`",
        "name = \"mine\"",
    ),
    key("engine", "an id, a list of ids, or `[[engine]]` tables", "what is measured", "engine = [\"sim\", \"echo\"]"),
    key(
        "model",
        "a path, a list of paths, or `[model]` with `path`",
        "a GGUF file or a model folder",
        "model = \"m.gguf\"",
    ),
    key(
        "seed",
        "a whole number",
        "seed of prompts and drawn lengths, and of sampling unless it has its own",
        "seed = 7",
    ),
    key("trace", "`off`, `once` or `abba`", "whether kernels are traced, in launches of their own", "trace = \"once\""),
    key(
        "compare",
        "`off`, `abba` or `aa`, with settings such as `abba,launches=5`",
        "engines or settings side by side, in alternation: [comparing](comparing.md)",
        "compare = \"abba,blocks=6\"",
    ),
    key(
        "slo",
        "limits such as `ttft=200ms,tpot=50ms`, or a preset",
        "the service level that requests are judged by: [load](load.md)",
        "slo = \"ttft=200ms\"",
    ),
    key(
        "dataset",
        "such as `sharegpt:FILE`, or a table `[dataset]`",
        "where prompts come from, in place of random ids; its keys are in [datasets](datasets.md)",
        "dataset = \"sharegpt:chats.json\"",
    ),
    key(
        "fairness",
        "`defaults`, `equal` or `best`",
        "what is set alike for all engines: [fairness](fairness.md)",
        "fairness = \"equal\"",
    ),
    key(
        "agree",
        "`true` or `false`",
        "whether the engines are first asked whether they are the same model: [agreement](agreement.md)",
        "agree = true",
    ),
    key(
        "bisect_oom",
        "`batch`, `concurrency`, `requests`, `input`, `output` or `length`",
        "the axis along which it is looked for where memory ends, once a point has run out of it: [reliability](reliability.md)",
        "bisect_oom = \"batch\"",
    ),
    key(
        "telemetry",
        "a period such as `100ms`, or `off`",
        "how often the hardware is sampled in timed trials",
        "telemetry = \"50ms\"",
    ),
];

const WORKLOAD: &[Key] = &[
    key("batch", "counts", "requests a generate call: the offline load mode", "batch = 8"),
    key("concurrency", "counts", "requests kept in flight: the closed load mode; excludes `batch`", "concurrency = 4"),
    key("rate", "numbers", "requests a second that arrive: the open load mode; excludes both", "rate = 4.5"),
    key("requests", "counts", "requests of a trial", "requests = 64"),
    key("input", "lengths", "prompt length in tokens", "input = 128"),
    key("output", "lengths", "output length in tokens", "output = \"16..64\""),
    key("length", "lengths", "prompt and output length together; excludes both", "length = 128"),
];

const SAMPLING_KEYS: &[Key] = &[
    key("temperature", "a number from 0 on", "softmax temperature; 0 is greedy", "sampling = { temperature = 0.7 }"),
    key("top_p", "above 0, at most 1", "nucleus mass", "sampling = { top_p = 0.9 }"),
    key("top_k", "a whole number", "the likeliest tokens kept; 0 keeps all", "sampling = { top_k = 40 }"),
    key("seed", "a whole number", "seed of the sampler", "sampling = { seed = 3 }"),
];

const TRIAL_KEYS: &[Key] = &[
    key(
        "target",
        "a fraction: `0.02` or `\"2%\"`",
        "trials stop when the 95 % interval of the median throughput is within this of it",
        "target = \"1%\"",
    ),
    key("min_trials", "a whole number", "timed trials at least", "min_trials = 6"),
    key("max_trials", "a whole number", "timed trials at most", "max_trials = 12"),
    key(
        "max_time",
        "a time such as `60s`",
        "time after which a point that has its least trials starts no further one",
        "max_time = \"60s\"",
    ),
    key("max_warmup", "a whole number", "warm-up trials at most", "max_warmup = 4"),
    key(
        "latency_trials",
        "a whole number",
        "step-loop trials of an offline point, for latencies",
        "latency_trials = 2",
    ),
    key(
        "device_clock",
        "`off`, `trial` or `steps`",
        "when the GPU's own clock is read too",
        "device_clock = \"trial\"",
    ),
    key(
        "max_repeats",
        "a whole number",
        "trials of a point that are run again because a GPU was throttled, the machine suspended, or others used what they ran on; side by side, blocks of a launch",
        "max_repeats = 1",
    ),
    key(
        "watch_cost",
        "a whole number",
        "blocks of four trials, off, on, on, off, that tell what the device's clock and telemetry cost",
        "watch_cost = 20",
    ),
    key(
        "clock_band",
        "a fraction",
        "by how much a trial's mean GPU clock may differ from the point's others",
        "clock_band = 0.1",
    ),
];

const DEADLINE_KEYS: &[Key] = &[
    key("load", "a time", "the longest that loading an engine may take", "load = \"10m\""),
    key("warmup", "a time", "the longest that one warm-up trial may take", "warmup = \"20m\""),
    key("trial", "a time", "the longest that one timed trial may take", "trial = \"30m\""),
    key("idle", "a time", "the longest that a step-loop trial may go without a new output token", "idle = \"2m\""),
];

const OPEN_KEYS: &[Key] = &[
    key(
        "arrivals",
        "`poisson`, `gamma:0.5`, `constant`, `burst:8`, `ramp:…`, `trace:FILE`…",
        "how requests arrive in an open load: [load](load.md)",
        "arrivals = \"gamma:0.5\"",
    ),
    key("max_in_flight", "a whole number", "a cap on requests in flight in an open load", "max_in_flight = 64"),
];

const VALIDITY_KEYS: &[Key] = &[
    key("max_harness_share", "a share", "the most of a trial that Tacho itself may take", "max_harness_share = \"2%\""),
    key("max_machine_load", "a share", "the most of the processors that others may take", "max_machine_load = \"5%\""),
    key("min_duration", "a time", "the shortest trial that counts", "min_duration = \"100ms\""),
    key("max_preemptions", "a whole number", "the most evicted sequences of a trial", "max_preemptions = 0"),
    key(
        "power_cap",
        "`refuse` or `accept`",
        "whether a trial in which a GPU ran at its power limit (`sw_power_cap`) is invalid",
        "power_cap = \"accept\"",
    ),
];

const RESTART_KEYS: &[Key] = &[
    key(
        "budget",
        "a whole number",
        "how often an engine configuration's dead cell is started again; then it is quarantined",
        "budget = 1",
    ),
    key(
        "backoff",
        "a time",
        "pause before the second restart with no point measured in between, doubled each time",
        "backoff = \"1s\"",
    ),
];

/// A table of a plan file: its heading, its name in TOML, its keys.
const TABLES: [(&str, &str, &[Key]); 8] = [
    ("At the top", "", GENERAL),
    ("`[workload]`: what every point has, and `[axes]`: what varies", "workload", WORKLOAD),
    ("`[workload]`: how requests arrive", "workload.arrivals", OPEN_KEYS),
    ("`[workload] sampling`: how tokens are chosen", "workload.sampling", SAMPLING_KEYS),
    ("`[trials]`: how many, and for how long", "trials", TRIAL_KEYS),
    ("`[validity]`: the limits of the certificates", "validity", VALIDITY_KEYS),
    ("`[deadlines]`: when a cell is given up", "deadlines", DEADLINE_KEYS),
    ("`[restarts]`: how often a cell that died is started again", "restarts", RESTART_KEYS),
];

/// `docs/plan.md`.
///
/// # Errors
/// [`PlanError`] when the smallest plan does not resolve; a test sees to it that it does.
pub fn document(registry: &Registry) -> Result<String, PlanError> {
    let smallest = resolve(draft("engine = \"sim\"", registry)?, registry)?;
    let default = |name: &str| {
        let found = smallest.provenance.iter().find(|told| told.name == name && name != "engine");
        // What follows "default: " says how the value comes from others.
        found.map_or_else(String::new, |told| match told.from.to_string().strip_prefix("default: ") {
            Some(how) => format!("`{}`: {how}", told.value),
            None => format!("`{}`", told.value),
        })
    };
    let mut text = String::from(HEAD);
    for (heading, table, keys) in TABLES {
        let _ = write!(
            text,
            "\n## {heading}\n\n| key | value | default | what it does | for example |\n|---|---|---|---|---|\n"
        );
        for key in keys {
            let full = match table {
                "" | "workload" | "workload.arrivals" => key.name.to_owned(),
                "workload.sampling" => format!("sampling.{}", key.name),
                other => format!("{other}.{}", key.name),
            };
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | `{}` |",
                key.name,
                key.value,
                default(&full),
                key.what,
                key.example
            );
        }
        if table == "workload" {
            text.push_str(AXES);
        }
    }
    text.push_str(OPTIONS);
    for engine in registry.engines().iter().filter(|engine| !engine.options.is_empty()) {
        let _ = write!(text, "\n### {}\n\n| option | default | what it does |\n|---|---|---|\n", engine.id);
        for (name, option) in &engine.options {
            let default = option.default.as_ref().map_or_else(String::new, |value| format!("`{value}`"));
            let _ = writeln!(text, "| `{name}` | {default} | {} |", option.doc);
        }
        if engine.open_options {
            text.push_str("\nFurther options go to the engine as they are; it refuses what it does not know.\n");
        }
    }
    text.push_str("\n## Plans that ship\n");
    for plan in shipped() {
        let _ = write!(text, "\n### {}\n\n```toml\n{}\n```\n", plan.name, plan.text.trim_end());
    }
    Ok(text)
}

fn draft(text: &str, registry: &Registry) -> Result<Draft, PlanError> {
    read(&Source::new("plan".to_owned(), text), registry)
}

const HEAD: &str = "\
# Plans

Made by `tacho` from `src/plan` and `engines/*/engine.toml`; a test compares this page with them. After a change there,
`TACHO_WRITE_DOCS=1 cargo test --release --lib reference` writes it anew.

A plan says which engines run which models over which workloads, and how often. It is a TOML file (`tacho run --plan my.toml`),
or flags alone, or both: a flag wins over a `TACHO_*` environment variable, that over the plan, that over the default; a list
replaces a list. `tacho run --plan my.toml --dry-run` prints the points and where every value came from, and runs nothing. A
mistake is an error with file, line and column before anything runs.

```toml
name = \"mine\"
engine = [\"llama.cpp\", \"sim\"]
model = \"model.gguf\"

[workload]
input = 128
output = 64

[axes]
batch = \"1..32*2\"                        # 1, 2, 4, 8, 16, 32
\"engine.llama.cpp.n_ubatch\" = [128, 512] # an engine's own option

[trials]
max_time = \"60s\"
```

**Counts** are whole numbers from 1 on; **lengths** are tokens. One value (`8`), a list (`[1, 2, 4]`), or text: a range that
multiplies (`\"32..512*2\"`) or adds (`\"10..100+30\"`), both ends included. Lengths may also be drawn for each request:
`\"64..256\"` (uniform, both ends included), `\"normal(128,32)\"`, `\"normal(128,32,16,512)\"` (drawn again outside the bounds).
";

const AXES: &str = "
The same keys under `[axes]` take several values. Points are all combinations, the last axis varying fastest; with
`mode = \"zip\"` the axes advance together. An axis over an engine's option is `\"engine.<id>.<option>\"`, and holds for that
engine alone.
";

const OPTIONS: &str = "
## Engines' own options

Under `[[engine]]` (`id = \"llama.cpp\"`, `options = { n_ubatch = 256 }`), as an axis, or as `--engine-option llama.cpp.n_ubatch=256`.
Names are the engine's own. Without a default here the engine decides; what it decided is in `run.json`.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        draft::Parameter,
        endurance::{DEADLINES, RESTARTS},
        read::{SAMPLING, TOP, TRIALS},
    };

    #[test]
    fn the_page_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plan.md");
        let text = document(&Registry::embedded().unwrap()).unwrap();
        if std::env::var_os("TACHO_WRITE_DOCS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == text, "docs/plan.md differs from the code: its first lines say how to write it anew");
    }

    /// A key that the reader knows and this page does not would go undocumented, and the other way round.
    #[test]
    fn every_key_of_the_reader_is_here() {
        let names = |keys: &'static [Key]| keys.iter().map(|key| key.name).collect::<Vec<_>>();
        let sorted = |mut names: Vec<&'static str>| {
            names.sort_unstable();
            names
        };
        let mut top = names(GENERAL);
        top.extend(["workload", "axes", "trials", "validity", "deadlines", "restarts"]);
        assert_eq!(sorted(top), sorted(TOP.to_vec()));
        assert_eq!(sorted(names(TRIAL_KEYS)), sorted(TRIALS.to_vec()));
        assert_eq!(sorted(names(SAMPLING_KEYS)), sorted(SAMPLING.to_vec()));
        assert_eq!(sorted(names(DEADLINE_KEYS)), sorted(DEADLINES.to_vec()));
        assert_eq!(sorted(names(RESTART_KEYS)), sorted(RESTARTS.to_vec()));
        let workload: Vec<String> = Parameter::WORKLOAD.iter().map(Parameter::name).collect();
        assert_eq!(names(WORKLOAD), workload);
    }

    #[test]
    fn the_reader_takes_every_example() {
        let registry = Registry::embedded().unwrap();
        for (_, table, keys) in TABLES {
            for key in keys {
                let table = table.trim_end_matches(".sampling").trim_end_matches(".arrivals");
                let heading = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
                let text = format!("{heading}{}", key.example);
                let said = draft(&text, &registry).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_ne!(said, Draft::default(), "{text}");
            }
        }
        let (_, rest) = HEAD.split_once("```toml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let plan = resolve(draft(example, &registry).unwrap(), &registry).unwrap().plan;
        assert_eq!(plan.points.len(), 6 * 2 + 6);
    }
}
