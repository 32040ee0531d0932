//! What a plan says of a dataset, from the texts in which plans and flags say it.
use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::spec_texts::{columns, filter, format, think_time, turns};
use crate::workload::{ThinkTime, saved::Order};

/// What can be said, by its name in a plan's `[dataset]` table.
pub const KEYS: [&str; 19] = [
    "name",
    "path",
    "format",
    "columns",
    "filter",
    "bad",
    "order",
    "turns",
    "think_time",
    "chat_template",
    "tokenizer",
    "sonnet_input_len",
    "sonnet_prefix_len",
    "prefix_repetition_prefix_len",
    "prefix_repetition_suffix_len",
    "prefix_repetition_num_prefixes",
    "hf_subset",
    "hf_split",
    "hf_revision",
];

/// Which dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Conversations as ShareGPT has them: the first user's turn is the prompt, the answer to it gives the output length.
    Sharegpt,
    /// Lines of a text: a shared beginning and lines drawn at random, to an exact length.
    Sonnet,
    /// InfiniteBench's `code_debug`: a long program, a question, a short answer.
    CodeDebug,
    /// Conversations of messages: all up to the last answer is the prompt.
    Chat,
    /// Prompts in a column.
    Custom,
    /// A dataset of the Hugging Face hub, in any of these formats.
    Hf,
    /// Random ids: groups of requests that share a prefix.
    PrefixRepetition,
    /// A file that `tacho workload save` wrote.
    Saved,
}

impl Kind {
    const NAMES: [(&'static str, Option<Self>); 10] = [
        ("random", None),
        ("sharegpt", Some(Self::Sharegpt)),
        ("sonnet", Some(Self::Sonnet)),
        ("code_debug", Some(Self::CodeDebug)),
        ("chat", Some(Self::Chat)),
        ("custom", Some(Self::Custom)),
        ("hf", Some(Self::Hf)),
        ("prefix_repetition", Some(Self::PrefixRepetition)),
        ("prefix", Some(Self::PrefixRepetition)),
        ("saved", Some(Self::Saved)),
    ];

    /// As plans, flags and tables name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sharegpt => "sharegpt",
            Self::Sonnet => "sonnet",
            Self::CodeDebug => "code_debug",
            Self::Chat => "chat",
            Self::Custom => "custom",
            Self::Hf => "hf",
            Self::PrefixRepetition => "prefix_repetition",
            Self::Saved => "saved",
        }
    }

    /// Whether it may say how long outputs are; for the others the plan does.
    pub fn has_outputs(self) -> bool {
        !matches!(self, Self::Sonnet | Self::PrefixRepetition)
    }
}

/// How a record holds its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// See [`Kind::Sharegpt`].
    Sharegpt,
    /// See [`Kind::Chat`].
    Chat,
    /// A prompt in one column.
    Completion,
    /// See [`Kind::CodeDebug`].
    CodeDebug,
}

/// What happens to a record that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bad {
    /// It is an error.
    #[default]
    Error,
    /// It is left out and counted.
    Skip,
}

/// Whether prompts go through the model's chat template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatTemplate {
    /// Conversations of messages do, single prompts do not.
    #[default]
    Auto,
    /// All do.
    On,
    /// None does.
    Off,
    /// All do, through the one in this file.
    File(PathBuf),
}

/// Columns by name; dots lead into objects. None: the usual names are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The prompt, a text.
    pub prompt: Option<String>,
    /// The conversation, a list of messages.
    pub messages: Option<String>,
    /// The answer, a text: its length is the output length.
    pub reply: Option<String>,
    /// The output length in tokens; wins over the answer's.
    pub output_tokens: Option<String>,
    /// What tells the record from others.
    pub id: Option<String>,
}

/// Bounds of lengths in tokens, both ends included. What lies outside is left out and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Of the prompt.
    pub min_prompt_len: Option<u32>,
    /// Of the prompt.
    pub max_prompt_len: Option<u32>,
    /// Of the output that the data say.
    pub min_output_len: Option<u32>,
    /// Of the output that the data say.
    pub max_output_len: Option<u32>,
    /// Of both together.
    pub max_total_len: Option<u32>,
}

/// Sizes of `sonnet`, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SonnetSizes {
    /// The prompt, exactly.
    pub input_len: u32,
    /// Its beginning, which all prompts share.
    pub prefix_len: u32,
}

/// Sizes of `prefix_repetition`, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixSizes {
    /// What the requests of a group share.
    pub prefix_len: u32,
    /// What each has alone.
    pub suffix_len: u32,
    /// Groups.
    pub num_prefixes: u32,
}

/// Where on the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubPlace {
    /// A part of the file's path, such as a configuration's name.
    pub subset: Option<String>,
    /// A part of the file's name, such as `train`.
    pub split: Option<String>,
    /// A branch, a tag or a commit; `main` when None.
    pub revision: Option<String>,
}

/// A dataset as a plan names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// Which.
    pub kind: Kind,
    /// A file, or `org/name` for [`Kind::Hf`]; None for [`Kind::PrefixRepetition`].
    pub path: Option<String>,
    /// How records hold prompts; None to tell by the first record.
    pub format: Option<Format>,
    /// Columns by name.
    pub columns: Columns,
    /// Bounds of lengths.
    pub filter: Filter,
    /// What happens to a record that cannot be used.
    pub bad: Bad,
    /// Which requests a trial takes, in which order.
    pub order: Order,
    /// Whether prompts go through the chat template.
    pub chat_template: ChatTemplate,
    /// A `tokenizer.json`, or the folder of one; None for the model's own.
    pub tokenizer: Option<PathBuf>,
    /// Sizes of `sonnet`.
    pub sonnet: SonnetSizes,
    /// Sizes of `prefix_repetition`.
    pub prefix: PrefixSizes,
    /// Where on the hub.
    pub hub: HubPlace,
    /// Every answered turn of a conversation is a request, up to so many of each; None: a record is one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
    /// Between the turns of a conversation; None is no time at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
}

/// A key and what is wrong with its value.
pub(super) type Wrong = (&'static str, String);

impl DatasetSpec {
    /// The file on this machine that it reads, if it reads one.
    pub fn file(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.kind != Kind::Hf).map(Path::new)
    }

    /// From the texts that were said, by the names of [`KEYS`]. None for `random`, which is no dataset.
    ///
    /// # Errors
    /// The key that is wrong, and a sentence that says what was expected.
    pub fn from_texts(said: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Wrong> {
        let Some(name) = said("name") else {
            return Err(("name", "expected a dataset's name, such as sharegpt:FILE, found none".to_owned()));
        };
        let (name, beside) = match name.split_once(':') {
            Some((name, path)) => (name.to_owned(), Some(path.to_owned())),
            None => (name, None),
        };
        let known = Kind::NAMES.iter().find(|(known, _)| *known == name);
        let Some((_, kind)) = known else {
            let names: Vec<&str> = Kind::NAMES.iter().map(|(name, _)| *name).collect();
            return Err(("name", format!("expected one of the datasets {}, found '{name}'", names.join(", "))));
        };
        let path = match (beside, said("path")) {
            (Some(_), Some(_)) => {
                return Err(("path", "the path stands after the dataset's name already: give it once".to_owned()));
            }
            (one, other) => one.or(other).filter(|path| !path.is_empty()),
        };
        let Some(kind) = *kind else {
            return match path {
                Some(path) => Err(("name", format!("random prompts come from no file, found '{path}'"))),
                None => Ok(None),
            };
        };
        match (kind, &path) {
            (Kind::PrefixRepetition, Some(path)) => {
                return Err(("name", format!("prefix_repetition draws its ids and reads no file, found '{path}'")));
            }
            (Kind::PrefixRepetition, None) | (_, Some(_)) => {}
            (Kind::Hf, None) => return Err(("name", "expected a dataset of the hub, such as hf:org/name".to_owned())),
            (kind, None) => {
                let name = kind.as_str();
                return Err(("name", format!("'{name}' reads a file: name it, such as {name}:FILE")));
            }
        }
        let number = |key: &'static str, default: u32| match said(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| (key, format!("expected a number of tokens, found '{text}'"))),
        };
        let spec = Self {
            kind,
            path,
            format: said("format").map_or(Ok(None), |text| format(&text))?,
            columns: said("columns").map_or(Ok(Columns::default()), |text| columns(&text))?,
            filter: said("filter").map_or(Ok(Filter::default()), |text| filter(&text))?,
            bad: match said("bad").as_deref() {
                None | Some("error") => Bad::Error,
                Some("skip") => Bad::Skip,
                Some(other) => return Err(("bad", format!("expected error or skip, found '{other}'"))),
            },
            order: match said("order").as_deref() {
                // A saved workload is replayed.
                None if kind == Kind::Saved => Order::File,
                None | Some("shuffle") => Order::Shuffle,
                Some("sample") => Order::Sample,
                Some("file") => Order::File,
                Some(other) => return Err(("order", format!("expected shuffle, sample or file, found '{other}'"))),
            },
            chat_template: match said("chat_template").as_deref() {
                None | Some("auto") => ChatTemplate::Auto,
                Some("on") => ChatTemplate::On,
                Some("off") => ChatTemplate::Off,
                Some(file) => ChatTemplate::File(PathBuf::from(file)),
            },
            tokenizer: said("tokenizer").map(PathBuf::from),
            sonnet: SonnetSizes {
                input_len: number("sonnet_input_len", 550)?,
                prefix_len: number("sonnet_prefix_len", 200)?,
            },
            prefix: PrefixSizes {
                prefix_len: number("prefix_repetition_prefix_len", 256)?,
                suffix_len: number("prefix_repetition_suffix_len", 256)?,
                num_prefixes: number("prefix_repetition_num_prefixes", 10)?,
            },
            hub: HubPlace { subset: said("hf_subset"), split: said("hf_split"), revision: said("hf_revision") },
            turns: said("turns").map_or(Ok(None), |text| turns(&text))?,
            think: said("think_time").map(|text| think_time(&text)).transpose()?,
        };
        spec.sizes()?;
        spec.unused(said)?;
        Ok(Some(spec))
    }

    fn sizes(&self) -> Result<(), Wrong> {
        let (sonnet, prefix) = (self.sonnet, self.prefix);
        if sonnet.prefix_len >= sonnet.input_len {
            let SonnetSizes { input_len, prefix_len } = sonnet;
            return Err((
                "sonnet_prefix_len",
                format!("expected fewer tokens than sonnet_input_len ({input_len}), found {prefix_len}"),
            ));
        }
        if prefix.num_prefixes == 0 {
            return Err(("prefix_repetition_num_prefixes", "expected at least 1 group, found 0".to_owned()));
        }
        if prefix.suffix_len == 0 {
            let why = "expected at least 1 token that each request has alone, found 0";
            return Err(("prefix_repetition_suffix_len", why.to_owned()));
        }
        Ok(())
    }

    /// What was said and would change nothing is refused: it was meant to.
    fn unused(&self, said: &dyn Fn(&str) -> Option<String>) -> Result<(), Wrong> {
        let reads = !matches!(self.kind, Kind::Sonnet | Kind::PrefixRepetition | Kind::Saved);
        let means = |key: &str| match key {
            "name" | "path" | "order" => true,
            "tokenizer" => self.kind != Kind::Saved,
            "turns" => reads && self.kind != Kind::CodeDebug,
            "think_time" => self.turns.is_some() || self.kind == Kind::Saved,
            "sonnet_input_len" | "sonnet_prefix_len" => self.kind == Kind::Sonnet,
            key if key.starts_with("prefix_repetition") => self.kind == Kind::PrefixRepetition,
            key if key.starts_with("hf_") => self.kind == Kind::Hf,
            _ => reads,
        };
        if self.order == Order::Sample && !self.kind.has_outputs() {
            let why = "these prompts are made for the run, the same for all its trials: expected shuffle or file";
            return Err(("order", why.to_owned()));
        }
        if self.think.is_some() && !means("think_time") {
            return Err((
                "think_time",
                "is between the turns of conversations: give turns too (--dataset-turns all)".into(),
            ));
        }
        match KEYS.into_iter().find(|key| !means(key) && said(key).is_some()) {
            Some(key) => Err((key, format!("means nothing for the dataset '{}': leave it out", self.kind.as_str()))),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DatasetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}:{path}", self.kind.as_str()),
            None => f.write_str(self.kind.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(said: &[(&str, &str)]) -> Result<Option<DatasetSpec>, Wrong> {
        let find = |key: &str| said.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        DatasetSpec::from_texts(&find)
    }

    #[test]
    fn names_paths_and_numbers_are_read() {
        let found =
            spec(&[("name", "sharegpt:a.json"), ("filter", "max-total-len=9,min_prompt_len=2")]).unwrap().unwrap();
        assert_eq!((found.kind, found.path.as_deref()), (Kind::Sharegpt, Some("a.json")));
        assert_eq!((found.filter.max_total_len, found.filter.min_prompt_len), (Some(9), Some(2)));
        let found = spec(&[("name", "hf"), ("path", "org/name"), ("hf_split", "train")]).unwrap().unwrap();
        assert_eq!((found.path.as_deref(), found.hub.split.as_deref()), (Some("org/name"), Some("train")));
        let found =
            spec(&[("name", "custom:x.csv"), ("columns", "prompt=body.text,output-tokens=n")]).unwrap().unwrap();
        assert_eq!(found.columns.output_tokens.as_deref(), Some("n"));
        let said = [("name", "chat:x"), ("turns", "3"), ("think_time", "exponential:1.5s")];
        let found = spec(&said).unwrap().unwrap();
        let think = Some(ThinkTime::Exponential { mean_ns: 1_500_000_000 });
        assert_eq!((found.turns, found.think), (Some(3), think));
        assert_eq!(spec(&[("name", "random")]).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        for (key, said) in [
            ("turns", vec![("name", "sharegpt:x"), ("turns", "0")]),
            ("turns", vec![("name", "sonnet:x"), ("turns", "all")]),
            ("think_time", vec![("name", "sharegpt:x"), ("think_time", "2s")]),
            ("think_time", vec![("name", "sharegpt:x"), ("turns", "all"), ("think_time", "normal:2s")]),
            ("think_time", vec![("name", "sharegpt:x"), ("turns", "all"), ("think_time", "500")]),
            ("name", vec![("name", "sharegtp:x")]),
            ("name", vec![("name", "sharegpt")]),
            ("name", vec![("name", "random:x")]),
            ("name", vec![("name", "prefix:x")]),
            ("path", vec![("name", "sharegpt:x"), ("path", "y")]),
            ("filter", vec![("name", "sharegpt:x"), ("filter", "longest=4")]),
            ("filter", vec![("name", "sharegpt:x"), ("filter", "max-total-len=-4")]),
            ("columns", vec![("name", "custom:x"), ("columns", "prompt")]),
            ("order", vec![("name", "custom:x"), ("order", "random")]),
            ("order", vec![("name", "prefix"), ("order", "sample")]),
            ("hf_split", vec![("name", "custom:x"), ("hf_split", "train")]),
            ("chat_template", vec![("name", "saved:x"), ("chat_template", "on")]),
            ("sonnet_prefix_len", vec![("name", "sonnet:x"), ("sonnet_prefix_len", "600")]),
            ("prefix_repetition_suffix_len", vec![("name", "prefix"), ("prefix_repetition_suffix_len", "0")]),
        ] {
            assert_eq!(spec(&said).unwrap_err().0, key, "{said:?}");
        }
    }
}
