//! The arguments of `tacho model`.
use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum, builder::BoolishValueParser};

pub const EXAMPLES: &str = "\
Examples:
  tacho model fetch HuggingFaceTB/SmolLM2-135M
  tacho model convert model.Q4_1.gguf smollm2 --dtype f32       # a folder for vLLM, MAX, SGLang
  tacho model convert model.Q4_1.gguf model.F32.gguf --to gguf  # the same weights for llama.cpp
  tacho model list                                              # the shapes
  tacho model shape llama-3-8b llama-3-8b                       # figures alone, for dummy weights
  tacho model shape llama-3-8b llama-3-8b.gguf --format gguf    # random weights for llama.cpp
  tacho run --engine vllm --model smollm2 --batch 1,8

Exit codes:
  0    done
  1    the hub did not give the files, or gave other ones
  2    the command line is wrong, or the file or shape is not one that this can take
  3    a file cannot be read or written
  4    llama.cpp's cell program, which reads GGUF, could not be used";

const FETCH_EXAMPLES: &str = "\
The files go to the hub's usual cache (HF_HOME), and the folder that holds them is printed. Fetching
again goes on where it broke off. HF_TOKEN is a token for models that need one, HF_ENDPOINT another
hub.

Examples:
  tacho model fetch HuggingFaceTB/SmolLM2-135M
  tacho model fetch openai/gpt-oss-20b --revision main
  tacho model fetch unsloth/SmolLM2-135M-Instruct-GGUF --include '*Q8_0.gguf'";

const SHAPE_EXAMPLES: &str = "\
NAME is a shape of `tacho model list`, or the path of a config.json (or of the folder that has one).

Examples:
  tacho model shape opt-125m opt-125m     # then tacho run --engine-option vllm.load_format=dummy
  tacho model shape opt-125m opt-125m --weights random --seed 7   # for engines without these
  tacho model shape llama-3-8b llama-3-8b.gguf --format gguf --dtype f16";

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelAction {
    /// Fetch a model from the Hugging Face hub, and print its folder
    #[command(after_help = FETCH_EXAMPLES)]
    Fetch(FetchArgs),
    /// Convert a GGUF file of a Llama to a folder of safetensors, or to GGUF in another type
    Convert(ConvertArgs),
    /// Make a shape model: the figures of an architecture, without weights or with random ones
    #[command(after_help = SHAPE_EXAMPLES)]
    Shape(ShapeArgs),
    /// List the shapes
    List {
        /// As JSON
        #[arg(long, env = "TACHO_JSON", hide_env = true, num_args = 0..=1, require_equals = true,
              default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true,
              value_name = "BOOL")]
        json: Option<bool>,
    },
    /// Print a shape's config.json
    Show {
        /// The shape
        name: String,
    },
}

/// The arguments of `tacho model fetch`.
#[derive(Args, Debug)]
pub struct FetchArgs {
    /// The model's name, such as org/name
    pub model: String,
    /// A branch, a tag or a commit
    #[arg(long, value_name = "NAME", env = "TACHO_REVISION", hide_env = true, default_value = "main")]
    pub revision: String,
    /// Only files that match, such as '*.json'; repeat it for several (in the environment: separated by ';') [default: what engines need]
    #[arg(long, value_name = "PATTERN", env = "TACHO_INCLUDE", hide_env = true, value_delimiter = ';')]
    pub include: Vec<String>,
    /// How long to wait for the hub's next byte
    #[arg(long, value_name = "TIME", env = "TACHO_PATIENCE", hide_env = true, default_value = "60s")]
    pub patience: String,
    #[command(flatten)]
    pub quiet: QuietArg,
}

/// The arguments of `tacho model convert`.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// A GGUF file
    pub input: PathBuf,
    /// What to make: a folder for safetensors, a file for GGUF
    pub output: PathBuf,
    /// The format to make
    #[arg(long, value_enum, env = "TACHO_TO", hide_env = true, default_value_t = Format::Safetensors)]
    pub to: Format,
    /// The type of the weights: f32, f16 or bf16
    #[arg(long, value_name = "TYPE", env = "TACHO_DTYPE", hide_env = true, default_value = "f32")]
    pub dtype: String,
    #[command(flatten)]
    pub quiet: QuietArg,
}

/// The arguments of `tacho model shape`.
#[derive(Args, Debug)]
pub struct ShapeArgs {
    /// A shape, or the path of a config.json
    pub name: String,
    /// What to make: a folder for safetensors, a file for GGUF
    pub output: PathBuf,
    /// The format to make
    #[arg(long, value_enum, env = "TACHO_FORMAT", hide_env = true, default_value_t = Format::Safetensors)]
    pub format: Format,
    /// Weights beside the figures [default: none for safetensors, random for gguf]
    #[arg(long, value_enum, env = "TACHO_WEIGHTS", hide_env = true)]
    pub weights: Option<Weights>,
    /// Seed of random weights
    #[arg(long, value_name = "N", env = "TACHO_SEED", hide_env = true, default_value_t = 0)]
    pub seed: u64,
    /// The type of the weights: f32, f16 or bf16 [default: the shape's own for safetensors, f16 for gguf]
    #[arg(long, value_name = "TYPE", env = "TACHO_DTYPE", hide_env = true)]
    pub dtype: Option<String>,
    #[command(flatten)]
    pub quiet: QuietArg,
}

/// `--quiet`.
#[derive(Args, Debug)]
pub struct QuietArg {
    /// Show no progress
    #[arg(short, long, env = "TACHO_QUIET", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true,
          value_name = "BOOL", action = ArgAction::Set)]
    pub quiet: Option<bool>,
}

/// A format of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A folder as the Hugging Face hub has them
    Safetensors,
    /// A file for llama.cpp
    Gguf,
}

/// Which weights a shape gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// Only config.json
    None,
    /// From the seed
    Random,
}
