//! The flags of datasets, shared by `tacho run` and `tacho workload save`.
use std::time::Duration;

use clap::{ArgMatches, Args, parser::ValueSource};
use tacho::{
    plan::{DatasetDraft, Origin, Sourced, scalar},
    workload::dataset::KEYS,
};

use super::exit::Failure;

/// What `--help` says below the flags.
pub const HELP: &str = "\
Datasets: --dataset NAME:FILE takes prompts from data instead of drawing them.
  random             ids drawn at random, exactly --input long (what happens without --dataset)
  sharegpt:FILE      ShareGPT JSON or JSONL: the first user's turn, output as long as its answer
  chat:FILE          messages, asked up to the last answer, through the model's chat template
  custom:FILE        JSONL, JSON, CSV or Parquet with a prompt in a column
  code_debug:FILE    InfiniteBench's code_debug
  sonnet:FILE        lines of a text: a shared prefix, then lines drawn, of exact length
  prefix_repetition  random ids in groups that share a prefix (or just: prefix)
  hf:ORG/NAME        a dataset of the Hugging Face hub with data files in one of these formats
  saved:FILE         what `tacho workload save` wrote, byte for byte
Names mean what they mean in `vllm bench`, with these differences, since other tools differ too:
  --dataset-filter   nothing is left out unless it says so; vllm and sglang are those tools' bounds
  --requests         never repeats a prompt: too small a dataset is an error (there: oversampled)
  --sonnet-input-len is exact, as are all lengths (there: about)
  custom             is taken as it is written (there: through the chat template); chat uses it
  hf                 --hf-subset and --hf-split are parts of the files' paths (there: names of the
                     `datasets` library)
  --random-range-ratio is not taken: r is len*(1-r)..len*(1+r) to vllm, len*r..len to sglang;
                     write the range that is meant: --input 512..1536
  --random-input-len, --random-output-len are --input and --output
docs/datasets.md says more.";

/// Where prompts come from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Dataset")]
pub struct DatasetArgs {
    /// A dataset; see below
    #[arg(
        long = "dataset",
        visible_alias = "dataset-name",
        value_name = "NAME[:FILE]",
        env = "TACHO_DATASET",
        hide_env = true
    )]
    pub dataset: Option<String>,
    /// Its file, or ORG/NAME on the hub, where it does not stand after the name
    #[arg(long, value_name = "PATH", env = "TACHO_DATASET_PATH", hide_env = true)]
    pub dataset_path: Option<String>,
    /// How records hold prompts: auto, sharegpt, chat, completion or code_debug [default: auto]
    #[arg(long, value_name = "FORMAT", env = "TACHO_DATASET_FORMAT", hide_env = true)]
    pub dataset_format: Option<String>,
    /// Columns by name: prompt=, messages=, reply=, output_tokens=, id=, separated by commas; dots lead into objects
    #[arg(long, value_name = "WHAT=NAME,...", env = "TACHO_DATASET_COLUMNS", hide_env = true)]
    pub dataset_columns: Option<String>,
    /// Bounds in tokens, both ends included: min-prompt-len=, max-prompt-len=, min-output-len=, max-output-len=,
    /// max-total-len=, separated by commas; or vllm, or sglang [default: none]
    #[arg(long, value_name = "BOUNDS", env = "TACHO_DATASET_FILTER", hide_env = true)]
    pub dataset_filter: Option<String>,
    /// A record that cannot be used is an error, or is left out and counted: error or skip [default: error]
    #[arg(long, value_name = "WHAT", env = "TACHO_DATASET_BAD", hide_env = true)]
    pub dataset_bad: Option<String>,
    /// Which requests a trial takes: shuffle (the same in every trial, each in another order), sample (others in every trial), file
    /// (the first ones in the file's order) [default: shuffle; file for saved]
    #[arg(long, value_name = "ORDER", env = "TACHO_DATASET_ORDER", hide_env = true)]
    pub dataset_order: Option<String>,
    /// Requests of a conversation: its first turn, or all its answered turns, or at most N of them, each asked after the one before
    /// has ended; requests are then counted in conversations [default: first]
    #[arg(long, value_name = "first|all|N", env = "TACHO_DATASET_TURNS", hide_env = true)]
    pub dataset_turns: Option<String>,
    /// Between the end of a turn and the next one: a time, or exponential:MEAN, drawn from the seed [default: 0]
    #[arg(
        long,
        visible_alias = "delay-between-chat-turns",
        value_name = "[exponential:]TIME",
        env = "TACHO_THINK_TIME",
        hide_env = true
    )]
    pub think_time: Option<String>,
    /// Whether prompts go through the chat template: auto (conversations of messages do), on, off, or a template's file [default:
    /// auto]
    #[arg(long, value_name = "auto|on|off|FILE", env = "TACHO_CHAT_TEMPLATE", hide_env = true)]
    pub chat_template: Option<String>,
    /// The tokenizer of prompts: a tokenizer.json or its folder [default: the model's own]
    #[arg(long, value_name = "PATH", env = "TACHO_TOKENIZER", hide_env = true)]
    pub tokenizer: Option<String>,
    /// Length of a sonnet prompt [default: 550]
    #[arg(long, value_name = "TOKENS", env = "TACHO_SONNET_INPUT_LEN", hide_env = true)]
    pub sonnet_input_len: Option<String>,
    /// Its beginning, which all share [default: 200]
    #[arg(long, value_name = "TOKENS", env = "TACHO_SONNET_PREFIX_LEN", hide_env = true)]
    pub sonnet_prefix_len: Option<String>,
    /// What requests of a group share [default: 256]
    #[arg(long, value_name = "TOKENS", env = "TACHO_PREFIX_REPETITION_PREFIX_LEN", hide_env = true)]
    pub prefix_repetition_prefix_len: Option<String>,
    /// What each has alone [default: 256]
    #[arg(long, value_name = "TOKENS", env = "TACHO_PREFIX_REPETITION_SUFFIX_LEN", hide_env = true)]
    pub prefix_repetition_suffix_len: Option<String>,
    /// Groups [default: 10]
    #[arg(long, value_name = "N", env = "TACHO_PREFIX_REPETITION_NUM_PREFIXES", hide_env = true)]
    pub prefix_repetition_num_prefixes: Option<String>,
    /// A word of the path of the hub's files, such as a configuration's name
    #[arg(long, value_name = "WORD", env = "TACHO_HF_SUBSET", hide_env = true)]
    pub hf_subset: Option<String>,
    /// A word of their names, such as train
    #[arg(long, value_name = "WORD", env = "TACHO_HF_SPLIT", hide_env = true)]
    pub hf_split: Option<String>,
    /// A branch, a tag or a commit [default: main]
    #[arg(long, value_name = "NAME", env = "TACHO_HF_REVISION", hide_env = true)]
    pub hf_revision: Option<String>,
    /// How long to wait for the hub's next byte
    #[arg(long, value_name = "TIME", env = "TACHO_HF_PATIENCE", hide_env = true, default_value = "60s")]
    pub hf_patience: String,
}

impl DatasetArgs {
    /// How long to wait for the hub's next byte.
    pub fn patience(&self) -> Result<Duration, Failure> {
        let time = scalar::duration(&self.hf_patience);
        time.map_err(|problem| Failure::usage(format!("--hf-patience: {problem}")))
    }
}

/// The argument's id for a key of a plan's `[dataset]` table.
fn id(key: &str) -> String {
    match key {
        "name" => "dataset".to_owned(),
        "path" | "format" | "columns" | "filter" | "bad" | "order" | "turns" => format!("dataset_{key}"),
        other => other.to_owned(),
    }
}

/// What flags, or the environment, said of a dataset.
pub fn draft(matches: &ArgMatches, source: ValueSource) -> DatasetDraft {
    let mut draft = DatasetDraft::default();
    for key in KEYS {
        let id = id(key);
        if matches.value_source(&id) != Some(source) {
            continue;
        }
        let Some(value) = matches.get_one::<String>(&id) else { continue };
        let at = if source == ValueSource::CommandLine {
            Origin::Flag(format!("--{}", id.replace('_', "-")))
        } else {
            Origin::Environment(format!("TACHO_{}", id.to_uppercase()))
        };
        draft.0.insert(key, Sourced::new(value.clone(), at));
    }
    draft
}
