//! The `[dataset]` table of a plan and its flags.
use std::collections::BTreeMap;

use super::{
    PlanError,
    draft::{Parameter, Setting},
    origin::{Origin, Sourced},
    toml_tree::Node,
};
use crate::workload::dataset::{DatasetSpec, KEYS};

/// What was said of a dataset: texts by the names of [`KEYS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatasetDraft(pub BTreeMap<&'static str, Sourced<String>>);

impl DatasetDraft {
    /// This over a weaker one, key by key; another dataset takes nothing from a weaker one.
    #[must_use]
    pub fn over(self, weaker: Self) -> Self {
        if self.0.contains_key("name") && weaker.0.contains_key("name") {
            return self;
        }
        let mut all = weaker.0;
        all.extend(self.0);
        Self(all)
    }

    /// The dataset; None where prompts are random.
    ///
    /// # Errors
    /// [`PlanError`] at the flag or line that is wrong.
    pub fn resolve(&self) -> Result<Option<DatasetSpec>, PlanError> {
        let Some(first) = self.0.values().next() else { return Ok(None) };
        let said = |key: &str| self.0.get(key).map(|said| said.value.clone());
        DatasetSpec::from_texts(&said).map_err(|(key, problem)| {
            let at = self.0.get(key).map_or(&first.at, |said| &said.at);
            PlanError::at(at, problem).help("`tacho run --help` and docs/datasets.md describe the datasets")
        })
    }

    /// Refuses prompt lengths beside a dataset, which has its own.
    pub(super) fn refuse_lengths(settings: &[Setting]) -> Result<(), PlanError> {
        let Some(setting) = settings.iter().find(|set| matches!(set.parameter, Parameter::Input | Parameter::Length))
        else {
            return Ok(());
        };
        let problem = format!("'{}' sets prompt lengths, but the dataset has its own", setting.parameter.name());
        Err(PlanError::at(&setting.at, problem)
            .help("leave it out; --dataset-filter bounds lengths, and --output sets the output length of all requests"))
    }

    /// Every value with its name in a plan and where it came from.
    pub(super) fn said(&self) -> impl Iterator<Item = (String, String, &Origin)> {
        self.0.iter().map(|(key, said)| (format!("dataset.{key}"), said.value.clone(), &said.at))
    }
}

/// Reads `[dataset]`, or `dataset = "sharegpt:FILE"`.
pub(super) fn read(node: &Node<'_>) -> Result<DatasetDraft, PlanError> {
    let mut draft = DatasetDraft::default();
    if let Some(name) = node.str() {
        draft.0.insert("name", Sourced::new(name.to_owned(), node.at()));
        return Ok(draft);
    }
    for entry in node.entries("a table: [dataset], or a text such as \"sharegpt:FILE\"")? {
        let Some(key) = KEYS.into_iter().find(|key| *key == entry.key) else {
            return Err(entry.unknown("[dataset]", &KEYS));
        };
        let value = &entry.value;
        let text = match value.table() {
            // { prompt = "question" } is columns and filters as a table.
            Some(pairs) => {
                let pairs = pairs.iter().map(|pair| match pair.value.scalar() {
                    Some(text) => Ok(format!("{}={text}", pair.key)),
                    None => Err(pair.value.wrong("a text or a number")),
                });
                pairs.collect::<Result<Vec<_>, _>>()?.join(",")
            }
            None => value.scalar().ok_or_else(|| value.wrong("a text or a number"))?,
        };
        draft.0.insert(key, Sourced::new(text, entry.at()));
    }
    Ok(draft)
}
