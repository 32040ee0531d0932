//! The arguments. Values with a grammar of their own stay text here; [`super::layers`] reads them, so that an error
//! names the flag or the variable alike.
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, builder::BoolishValueParser};

use super::{
    agree_args::{self, AgreeArgs},
    calibrate,
    capacity::CapacityArgs,
    certify, compare,
    dataset_args::{self, DatasetArgs},
    doctor, exit,
    model_args::{self, ModelAction},
    strict::Strict,
    validity_args::ValidityArgs,
    workload::WorkloadAction,
};

const EXAMPLES: &str = "\
Examples:
  tacho run --plan quick --model model.gguf
  tacho run --engine llama.cpp --model model.gguf --batch '1..32*2' --input 128 --output 64
  tacho run --engine sim --length '32..512*2' --requests 64 --dry-run
  tacho engines";

const RUN_EXAMPLES: &str = "\
Values: one (8), a list (1,2,4), a range that multiplies (32..512*2) or adds (10..100+30); both ends
  are bounds. Quote a '*' where the shell would take it.
Lengths may also be drawn: 64..256 (uniform, both ends included), normal(128,32), normal(128,32,16,512).
Every flag is an environment variable too: --max-time 60s is TACHO_MAX_TIME=60s. A flag wins over the
  environment, that over the plan, that over the default; a list replaces a list, and a switch is
  turned off with --zip=false. --dry-run shows who said what.

Examples:
  tacho run --plan quick --model model.gguf          # a shipped plan, see `tacho plans`
  tacho run --plan my.toml --batch 1,2,4 --dry-run   # a plan file with another axis; runs nothing
  tacho run --engine llama.cpp --model model.gguf --batch '1..32*2' --input 128 --output 64
  tacho run --engine llama.cpp --model model.gguf --engine-option llama.cpp.n_ubatch=128,512
  tacho run --engine sim --concurrency 1,8 --requests 100 --engine-option sim.time=virtual
  tacho run --engine sim --rate 2..16*2 --arrivals gamma:0.5 --slo ttft=200ms,tpot=50ms
  tacho run --resume runs/20260101-120000-quick      # finishes an interrupted run";

const CAPACITY_EXAMPLES: &str = "\
Examples:
  tacho capacity --engine llama.cpp --model model.gguf --slo ttft=500ms,tpot=50ms
  tacho capacity --engine sim --slo e2e:p90=2s --by concurrency --requests 1000
  tacho capacity --plan my.toml --arrivals gamma:0.5 --slo mlperf:llama2-70b-server --tolerance 5%";

/// A tachometer for LLM inference engines: hosts them in-process, drives them, times them.
#[derive(Debug, Parser)]
#[command(name = "tacho", version, after_help = format!("{EXAMPLES}\n\n{}", exit::HELP), max_term_width = 104)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure: run every point of a plan
    #[command(after_help = format!("{}\n\n{RUN_EXAMPLES}\n\n{}", dataset_args::HELP, exit::HELP))]
    Run(Box<RunArgs>),
    /// Compare what engines say: the same model, differences of arithmetic, or another model
    #[command(after_help = agree_args::EXAMPLES)]
    Agree(Box<AgreeArgs>),
    /// Find the highest request rate or concurrency that meets a service level (--slo)
    #[command(after_help = format!("{CAPACITY_EXAMPLES}\n\n{}", exit::CAPACITY_HELP))]
    Capacity(Box<CapacityArgs>),
    /// Measure what each boundary costs: step loop, generate call, text, child processes, the engine's own HTTP server
    #[command(after_help = format!("{}\n\n{}", super::ledger::EXAMPLES, exit::LEDGER_HELP))]
    Ledger(Box<super::ledger::LedgerArgs>),
    /// List the plans that ship with Tacho, or print one
    Plans {
        /// The plan to print
        name: Option<String>,
    },
    /// List the engines and whether they are ready; install the environments that Python engines need
    #[command(args_conflicts_with_subcommands = true)]
    Engines {
        /// What to do with one engine's environment.
        #[command(subcommand)]
        action: Option<EngineAction>,
        /// As JSON
        #[arg(long, env = "TACHO_JSON", num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_parser = BoolishValueParser::new(), hide_possible_values = true, hide_env = true, value_name = "BOOL")]
        json: Option<bool>,
    },
    /// Fetch models, convert them, or make ones of random weights
    #[command(after_help = model_args::EXAMPLES)]
    Model {
        /// What to do with models.
        #[command(subcommand)]
        action: ModelAction,
    },
    /// Save the requests of a dataset to a file that is replayed byte for byte, or look at one
    Workload {
        /// What to do with workloads.
        #[command(subcommand)]
        action: WorkloadAction,
    },
    /// Print a run: its table, small charts, which engine for what, what to doubt; writes nothing
    Show {
        /// The run directory
        dir: PathBuf,
    },
    /// Make a run's tables, charts and reports (report.html, report.md) anew from its journal, and print its table
    Report {
        /// The run directory
        dir: PathBuf,
        /// As JSON
        #[arg(long, env = "TACHO_JSON", num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_parser = BoolishValueParser::new(), hide_possible_values = true, hide_env = true,
              value_name = "BOOL")]
        json: Option<bool>,
    },
    /// Say of each point of a run whether its figures may be believed, and why not
    #[command(after_help = certify::HELP)]
    Certify {
        /// The run directory
        dir: PathBuf,
        /// End with exit code 5 when some point's figures are invalid; =checked: also when something could not be checked, or
        /// name the checks, =compile_in_trial,input_ids
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "WHAT")]
        strict: Option<Strict>,
        /// As JSON
        #[arg(long, env = "TACHO_JSON", num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_parser = BoolishValueParser::new(), hide_possible_values = true, hide_env = true,
              value_name = "BOOL")]
        json: Option<bool>,
    },
    /// Compare runs point by point: difference, interval, verdict, and what else differed
    #[command(after_help = format!("{}\n\n{}", compare::EXAMPLES, exit::COMPARE_HELP))]
    Compare(compare::CompareArgs),
    /// Keep runs under names to compare later ones with
    Baseline {
        /// What to do with baselines.
        #[command(subcommand)]
        action: compare::BaselineAction,
    },
    /// Check on this machine, now, that Tacho's figures and verdicts can be believed; keep the outcome for later runs
    ///
    /// Takes about three minutes and wants the machine for itself.
    #[command(after_help = exit::CALIBRATE_HELP)]
    Calibrate(calibrate::CalibrateArgs),
    /// Print a run in another tool's format, for the scripts and plots that people have for that tool
    #[command(after_help = super::export::HELP)]
    Export(super::export::ExportArgs),
    /// Measure what this machine can do, which MFU and MBU are fractions of: memory reads, arithmetic; keep it for later runs
    ///
    /// Takes some seconds and wants the machine for itself. The processor is measured by tacho, the first GPU that CUDA
    /// shows by the program tacho-cuda beside it.
    Ceilings {
        /// Measure nothing: show what is kept
        #[arg(long)]
        kept: bool,
        /// As JSON
        #[arg(long, env = "TACHO_JSON", num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_parser = BoolishValueParser::new(), hide_possible_values = true, hide_env = true,
              value_name = "BOOL")]
        json: Option<bool>,
    },
    /// Look at this machine, and at a plan, before a run: what is missing, what will disturb the figures, what to do
    #[command(after_help = doctor::HELP)]
    Doctor(Box<DoctorArgs>),
    /// Print what the files of a run directory hold: every metric's formula, every column with its unit
    Schema,
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What to do with an engine's environment.
#[derive(Debug, Subcommand)]
pub enum EngineAction {
    /// Make an engine's Python environment from its pinned requirements, and check that it generates
    Install {
        /// The engine
        id: String,
        /// Such as cpu [default: the engine's first]
        #[arg(long)]
        variant: Option<String>,
        /// Weights for the check, where a tiny model of random weights will not do
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Build what an engine needs of a model beforehand: TensorRT-LLM's engines, for the sizes of a plan or those given
    Build(BuildArgs),
    /// Print an engine's environments: where they are, what is in them, how they were checked
    Info {
        /// The engine
        id: String,
    },
    /// Remove an engine's environment
    Remove {
        /// The engine
        id: String,
        /// Such as cpu [default: the engine's first]
        #[arg(long)]
        variant: Option<String>,
    },
}

/// The arguments of `tacho engines build`.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// The engine: tensorrt-llm
    pub id: String,
    /// A model folder
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The `python` of the environment that has TensorRT-LLM
    #[arg(long, value_name = "PATH", env = "TACHO_PYTHON_ENV", hide_env = true)]
    pub python: PathBuf,
    /// A plan file, or the name of a shipped plan: the engine is built for the largest of its points
    #[arg(long, value_name = "FILE|NAME")]
    pub plan: Option<String>,
    /// How weights are stored; fp8 for weights that are quantized already
    #[arg(long, value_name = "TYPE", default_value = "float16", value_parser = ["float16", "bfloat16", "fp8"])]
    pub dtype: String,
    /// Ranks that share the model
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub tensor_parallel_size: u32,
    /// Sequences at once at most [default: what the plan needs]
    #[arg(long, value_name = "N", required_unless_present = "plan", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_batch_size: Option<u32>,
    /// Prompt plus output at most, in tokens [default: what the plan needs]
    #[arg(long, value_name = "N", required_unless_present = "plan", value_parser = clap::value_parser!(u32).range(2..))]
    pub max_seq_len: Option<u32>,
    /// Tokens a step at most
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_num_tokens: u32,
}

/// The arguments of `tacho doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The run that is meant: whatever `tacho run` takes; without any plan or engine, all engines are looked at
    #[command(flatten)]
    pub run: RunArgs,
}

/// The arguments of `tacho run`.
#[derive(Args, Debug)]
#[command(next_help_heading = "What to run")]
pub struct RunArgs {
    /// A plan file, or the name of a shipped plan; also as --plan
    #[arg(value_name = "PLAN")]
    pub plan_named: Option<String>,
    /// A plan file, or the name of a shipped plan
    #[arg(long, value_name = "FILE|NAME", env = "TACHO_PLAN", hide_env = true)]
    pub plan: Option<String>,
    /// An engine; repeat it or separate by commas for several
    #[arg(long, value_name = "ID", env = "TACHO_ENGINE", hide_env = true, value_delimiter = ',')]
    pub engine: Vec<String>,
    /// An engine's own option with one value, a list or a range; repeat it for several (in the environment: separated by ';')
    #[arg(long, value_name = "ID.NAME=VALUES", env = "TACHO_ENGINE_OPTION", hide_env = true, value_delimiter = ';')]
    pub engine_option: Vec<String>,
    /// A GGUF file or a model folder; repeat it for several (in the environment: separated by ';')
    #[arg(long, value_name = "PATH", env = "TACHO_MODEL", hide_env = true, value_delimiter = ';')]
    pub model: Vec<PathBuf>,
    /// The `python` of an environment of yours, instead of the one that `tacho engines install` made
    #[arg(long, value_name = "PATH", env = "TACHO_PYTHON_ENV", hide_env = true)]
    pub python: Option<PathBuf>,
    /// How engines are set up against each other: defaults, equal (KV tokens and limits), or best (the plan's best options)
    /// [default: defaults]
    #[arg(long, value_name = "MODE", env = "TACHO_FAIRNESS", hide_env = true)]
    pub fairness: Option<String>,
    /// First compare what the engines say to the same prompts; kept for the next run (see `tacho agree`)
    #[arg(long, env = "TACHO_AGREE", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true, value_name = "BOOL")]
    pub agree: Option<bool>,
    /// Finish an interrupted run: its plan, its directory, only the points that are missing
    #[arg(long, value_name = "DIR", env = "TACHO_RESUME", hide_env = true)]
    pub resume: Option<PathBuf>,

    /// Requests a generate call
    #[arg(
        long,
        value_name = "VALUES",
        env = "TACHO_BATCH",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub batch: Option<String>,
    /// Prompt length in tokens [default: 128]
    #[arg(
        long,
        value_name = "LENGTHS",
        env = "TACHO_INPUT",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub input: Option<String>,
    /// Output length in tokens [default: 64]
    #[arg(
        long,
        value_name = "LENGTHS",
        env = "TACHO_OUTPUT",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub output: Option<String>,
    /// Prompt and output length together
    #[arg(
        long,
        value_name = "LENGTHS",
        env = "TACHO_LENGTH",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub length: Option<String>,
    /// Requests a trial; without --batch, handed over at once [default: 16, 4 for each in flight of a
    /// closed loop, 256 in an open load]
    #[arg(
        long,
        visible_alias = "num-prompts",
        value_name = "VALUES",
        env = "TACHO_REQUESTS",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub requests: Option<String>,
    /// Requests in flight (closed loop) instead of batches
    #[arg(
        long,
        value_name = "VALUES",
        env = "TACHO_CONCURRENCY",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub concurrency: Option<String>,
    /// Requests a second (open load): requests come whether or not earlier ones are done
    #[arg(
        long,
        visible_alias = "request-rate",
        value_name = "VALUES",
        env = "TACHO_RATE",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub rate: Option<String>,
    /// How they arrive: poisson, poisson:total, gamma:SHAPE (`--burstiness` of `vllm bench serve`), constant, burst:N, ramp:linear:RATE, ramp:exponential:RATE or
    /// trace:FILE [default: poisson]
    #[arg(long, value_name = "PROCESS", env = "TACHO_ARRIVALS", hide_env = true, help_heading = "Workload")]
    pub arrivals: Option<String>,
    /// The most requests in the engine at once in an open load (`--max-concurrency` of `vllm bench serve`); others wait, and their
    /// latency counts
    #[arg(long, value_name = "N", env = "TACHO_MAX_IN_FLIGHT", hide_env = true, help_heading = "Workload")]
    pub max_in_flight: Option<u32>,
    /// Limits to judge requests by: ttft=200ms,tpot=50ms,e2e=5s, at the 99th percentile or another (ttft:p90=200ms), or a preset
    /// of MLPerf's (mlperf:llama2-70b-server)
    #[arg(long, value_name = "LIMITS", env = "TACHO_SLO", hide_env = true, help_heading = "Workload")]
    pub slo: Option<String>,
    /// Take axes pairwise instead of every combination
    #[arg(long, env = "TACHO_ZIP", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true, value_name = "BOOL",
          help_heading = "Workload")]
    pub zip: Option<bool>,
    /// Seed of prompts and lengths [default: 1]
    #[arg(long, value_name = "N", env = "TACHO_SEED", hide_env = true, help_heading = "Workload")]
    pub seed: Option<u64>,
    /// Softmax temperature; 0 is greedy [default: 0]
    #[arg(
        long,
        value_name = "T",
        env = "TACHO_TEMPERATURE",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub temperature: Option<f32>,
    /// Nucleus mass above 0 and at most 1 [default: 1]
    #[arg(
        long,
        value_name = "P",
        env = "TACHO_TOP_P",
        hide_env = true,
        allow_hyphen_values = true,
        help_heading = "Workload"
    )]
    pub top_p: Option<f32>,
    /// The likeliest tokens kept; 0 keeps all [default: 0]
    #[arg(long, value_name = "K", env = "TACHO_TOP_K", hide_env = true, help_heading = "Workload")]
    pub top_k: Option<u32>,
    /// Seed of the sampler
    #[arg(long, value_name = "N", env = "TACHO_SAMPLING_SEED", hide_env = true, help_heading = "Workload")]
    pub sampling_seed: Option<u64>,

    /// Where prompts come from.
    #[command(flatten, next_help_heading = "Dataset")]
    pub dataset: DatasetArgs,

    /// Stop when the 95 % interval of the median throughput is within this of it [default: 2%]
    #[arg(long, value_name = "FRACTION", env = "TACHO_TARGET", hide_env = true, help_heading = "Trials")]
    pub target: Option<String>,
    /// Timed trials at least [default: 6]
    #[arg(long, value_name = "N", env = "TACHO_MIN_TRIALS", hide_env = true, help_heading = "Trials")]
    pub min_trials: Option<u32>,
    /// Timed trials at most [default: 30]
    #[arg(long, value_name = "N", env = "TACHO_MAX_TRIALS", hide_env = true, help_heading = "Trials")]
    pub max_trials: Option<u32>,
    /// Time after which a point that has its least trials (--min-trials) starts no further one [default: 2m]
    #[arg(long, value_name = "TIME", env = "TACHO_MAX_TIME", hide_env = true, help_heading = "Trials")]
    pub max_time: Option<String>,
    /// Warm-up trials at most [default: 10]
    #[arg(long, value_name = "N", env = "TACHO_MAX_WARMUP", hide_env = true, help_heading = "Trials")]
    pub max_warmup: Option<u32>,
    /// Step-loop trials for latencies, after warm-up trials of their own [default: 3]
    #[arg(long, value_name = "N", env = "TACHO_LATENCY_TRIALS", hide_env = true, help_heading = "Trials")]
    pub latency_trials: Option<u32>,
    /// When the GPU's own clock is read too: off, trial, or steps [default: steps]
    #[arg(long, value_name = "WHEN", env = "TACHO_DEVICE_CLOCK", hide_env = true, help_heading = "Trials")]
    pub device_clock: Option<String>,
    /// Trace the GPU's kernels after timing, in launches of their own: off, once, or abba, which also measures what tracing
    /// costs [default: off; abba when no mode is given]
    #[arg(long, value_name = "MODE", env = "TACHO_TRACE", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "abba", help_heading = "Trials")]
    pub trace: Option<String>,
    /// Measure engines or engine options side by side, in blocks of alternating order, and judge their ratio: abba, or aa for
    /// an engine beside itself; with what differs from abba,launches=5,blocks=6,trials=1,threshold=1%
    #[arg(long, value_name = "HOW", env = "TACHO_COMPARE", hide_env = true, help_heading = "Trials")]
    pub compare: Option<String>,
    /// Find out what reading the GPU's clock and sampling telemetry cost, by so many blocks of four more trials: off, on, on,
    /// off [default: 0; 20 when no number is given]
    #[arg(long, value_name = "BLOCKS", env = "TACHO_WATCH_COST", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "20", help_heading = "Trials")]
    pub watch_cost: Option<u32>,
    /// Trials of a point that are run again when a GPU was throttled, its clock unusual or the machine suspended [default: 3]
    #[arg(long, value_name = "N", env = "TACHO_MAX_REPEATS", hide_env = true, help_heading = "Trials")]
    pub max_repeats: Option<u32>,
    /// How far a trial's mean GPU clock may be from that of the point's others [default: 5%]
    #[arg(long, value_name = "FRACTION", env = "TACHO_CLOCK_BAND", hide_env = true, help_heading = "Trials")]
    pub clock_band: Option<String>,
    /// How often to sample GPUs and the cell's processes in timed trials, or off [default: 100ms]
    #[arg(long, value_name = "TIME|off", env = "TACHO_TELEMETRY", hide_env = true, help_heading = "Trials")]
    pub telemetry: Option<String>,
    /// The longest that loading an engine may take [default: 10m, and 1s for each 20 MB of weights]
    #[arg(long, value_name = "TIME", env = "TACHO_LOAD_DEADLINE", hide_env = true, help_heading = "Trials")]
    pub load_deadline: Option<String>,
    /// The longest that a trial may take [default: 10m, and 1s for each 10 output or 100 prompt tokens]
    #[arg(long, value_name = "TIME", env = "TACHO_TRIAL_DEADLINE", hide_env = true, help_heading = "Trials")]
    pub trial_deadline: Option<String>,

    /// Once a point has run out of memory, find where memory ends along this axis (batch, concurrency, requests, input, output
    /// or length): points between the largest that ran and the smallest that did not, until they are neighbours
    #[arg(long, value_name = "AXIS", env = "TACHO_BISECT_OOM", hide_env = true, help_heading = "Trials")]
    pub bisect_oom: Option<String>,

    #[command(flatten)]
    pub validity: ValidityArgs,

    /// The directory to create for the results [default: runs/<time>-<plan>]
    #[arg(long, value_name = "DIR", env = "TACHO_OUT", hide_env = true, help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Print the points, the work they mean and where every value came from; run nothing
    #[arg(long, env = "TACHO_DRY_RUN", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true, value_name = "BOOL",
          help_heading = "Output")]
    pub dry_run: Option<bool>,
    /// Print JSON instead of a table
    #[arg(long, env = "TACHO_JSON", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true, value_name = "BOOL",
          help_heading = "Output")]
    pub json: Option<bool>,
    /// Show no progress
    #[arg(short, long, env = "TACHO_QUIET", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true, value_name = "BOOL",
          help_heading = "Output", action = ArgAction::Set)]
    pub quiet: Option<bool>,
}
