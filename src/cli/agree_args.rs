//! The arguments of `tacho agree`.
use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  tacho agree --engine llama.cpp --engine vllm --model smollm2.F32.gguf --model smollm2/
  tacho agree --engine llama.cpp --model model.gguf --engine-option llama.cpp.type_k=f16,q8_0
  tacho agree my.toml --again

Exit codes: 0 when every two engines are the same model or differ by numerics alone, 1 when two are different or could not be
compared, 2 when the command line or the plan is wrong.";

/// The arguments of `tacho agree`.
#[derive(Args, Debug)]
pub struct AgreeArgs {
    /// A plan file, or the name of a shipped plan, that names engines, their options and the model; also as --plan
    #[arg(value_name = "PLAN")]
    pub plan_named: Option<String>,
    /// A plan file, or the name of a shipped plan
    #[arg(long, value_name = "FILE|NAME", env = "TACHO_PLAN", hide_env = true)]
    pub plan: Option<String>,
    /// An engine; repeat it or separate by commas for several
    #[arg(long, value_name = "ID", env = "TACHO_ENGINE", hide_env = true, value_delimiter = ',')]
    pub engine: Vec<String>,
    /// An engine's own option; with several values, each is compared
    #[arg(long, value_name = "ID.NAME=VALUES", env = "TACHO_ENGINE_OPTION", hide_env = true, value_delimiter = ';')]
    pub engine_option: Vec<String>,
    /// The model: a GGUF file, a model folder, or both of the same weights, each for the engines that take it
    #[arg(long, value_name = "PATH", env = "TACHO_MODEL", hide_env = true, value_delimiter = ';')]
    pub model: Vec<PathBuf>,
    /// The `python` of an environment of yours, instead of the one that `tacho engines install` made
    #[arg(long, value_name = "PATH", env = "TACHO_PYTHON_ENV", hide_env = true)]
    pub python: Option<PathBuf>,
    /// Prompts from a JSON file: lists of token ids, or objects with `ids`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "input"])]
    pub prompts: Option<PathBuf>,
    /// Prompts that are drawn
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// Their length in tokens
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub input: u32,
    /// Their seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Tokens generated after each prompt
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=4096))]
    pub tokens: u32,
    /// Compare anew what was compared before
    #[arg(long)]
    pub again: bool,
    /// A folder for `agreement.json` and `agreement.md`
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// As JSON
    #[arg(long, env = "TACHO_JSON", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), hide_possible_values = true, hide_env = true, value_name = "BOOL")]
    pub json: Option<bool>,
}
