//! The prompts that engines are compared on.
use std::path::Path;

use serde::Deserialize;

use crate::{
    engine::{IdRange, Sampling},
    workload::{LengthDist, Workload, WorkloadSpec},
};

/// Where prompts come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompts {
    /// Drawn from the ordinary ids of the first engine's vocabulary, as a run's prompts are.
    Drawn {
        /// How many.
        count: u32,
        /// How long each is, in tokens.
        length: u32,
        /// The seed.
        seed: u64,
    },
    /// As they are.
    Given(Vec<Vec<u32>>),
}

/// A prompt of a file: bare ids, or ids among other things.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Bare(Vec<u32>),
    Named { ids: Vec<u32> },
}

impl Prompts {
    /// From a JSON file: a list of lists of ids, or of objects with `ids`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn read(path: &Path) -> Result<Self, String> {
        let expected = "expected a JSON list of prompts, each a list of token ids or an object with \"ids\"";
        let text = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let told: Vec<Told> =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {expected}; {error}", path.display()))?;
        let prompts: Vec<Vec<u32>> = told
            .into_iter()
            .map(|prompt| match prompt {
                Told::Bare(ids) | Told::Named { ids } => ids,
            })
            .collect();
        if prompts.is_empty() || prompts.iter().any(Vec::is_empty) {
            return Err(format!("{}: {expected}; found a prompt without ids, or no prompt", path.display()));
        }
        Ok(Self::Given(prompts))
    }

    /// The longest, in tokens.
    pub fn longest(&self) -> u32 {
        match self {
            Self::Drawn { length, .. } => *length,
            Self::Given(prompts) => prompts.iter().map(|ids| ids.len() as u32).max().unwrap_or(0),
        }
    }

    /// What tells them from others.
    pub(super) fn identity(&self) -> serde_json::Value {
        match self {
            Self::Drawn { count, length, seed } => {
                serde_json::json!({ "count": count, "length": length, "seed": seed })
            }
            Self::Given(prompts) => serde_json::json!(prompts),
        }
    }

    /// The ids, drawn where they are to be.
    ///
    /// # Errors
    /// A sentence for a person when there is nothing to draw from.
    pub(super) fn ids(&self, ordinary: &[IdRange]) -> Result<Vec<Vec<u32>>, String> {
        let (count, length, seed) = match self {
            Self::Given(prompts) => return Ok(prompts.clone()),
            Self::Drawn { count, length, seed } => (*count, *length, *seed),
        };
        let spec = WorkloadSpec {
            requests: count,
            input: LengthDist::Fixed(length),
            output: LengthDist::Fixed(1),
            sampling: Sampling::default(),
            seed,
            stream: 0,
            ids: ordinary.to_vec(),
            saved: None,
        };
        let workload = Workload::new(spec).map_err(|error| format!("prompts cannot be drawn: {error}"))?;
        let batch = workload.batch(0..workload.len());
        Ok(batch.iter().map(|request| request.prompt.iter().map(|id| id.0).collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_ids_bare_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prompts.json");
        std::fs::write(&path, r#"[[1, 2], {"text": "x", "ids": [3]}]"#).unwrap();
        let prompts = Prompts::read(&path).unwrap();
        assert_eq!((prompts.longest(), prompts.ids(&[]).unwrap()), (2, vec![vec![1, 2], vec![3]]));
        std::fs::write(&path, "[[]]").unwrap();
        assert!(Prompts::read(&path).unwrap_err().contains("without ids"));
        assert!(Prompts::read(&dir.path().join("none")).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn drawn_prompts_repeat_and_need_a_vocabulary() {
        let drawn = Prompts::Drawn { count: 3, length: 5, seed: 1 };
        let ids = drawn.ids(&[IdRange { start: 10, end: 20 }]).unwrap();
        assert_eq!((ids.len(), ids[0].len()), (3, 5));
        assert_eq!(ids, drawn.ids(&[IdRange { start: 10, end: 20 }]).unwrap());
        assert!(drawn.ids(&[]).is_err());
    }
}
