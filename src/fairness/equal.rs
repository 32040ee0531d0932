//! Equal limits: what a plan's points need, and each engine's own options that give it just that.
use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{fields::EQUAL, mapping::LockMapping};
use crate::engine::Options;

/// Tokens of a step at least: the smallest default among the engines (llama.cpp's `n_batch`, vLLM's in its server). A limit
/// below it would make every engine compute prompts in smaller pieces than any of them was made for.
const LEAST_BATCHED_TOKENS: u64 = 2048;

/// Limits that are the same for every engine of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equal {
    /// The most sequences at once that any point needs.
    pub max_seqs: u64,
    /// The longest request of any point, prompt plus output, in tokens.
    pub longest: u64,
    /// `max_seqs` times the longest request, rounded up to what every engine can hold exactly.
    pub kv_tokens: u64,
    /// The most tokens of a step: enough for a token of every sequence and for the longest prompt at once, and no more than the KV
    /// cache holds, beyond which some engines keep no such limit (llama.cpp lowers its `n_batch` to its context).
    pub max_batched_tokens: u64,
}

/// Why an engine's limits cannot be set as the others'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEqual {
    /// The engine's option that the plan sets to something else.
    pub option: String,
    /// What the plan says.
    pub found: String,
    /// What equal limits need.
    pub expected: String,
}

impl Equal {
    /// The limits for points that need `max_seqs` sequences of `longest` tokens, on engines with these `[lock]` tables.
    pub fn new(max_seqs: u64, longest: u64, mappings: &[&LockMapping]) -> Self {
        let steps = mappings.iter().filter_map(|mapping| mapping.set.get("kv_tokens"));
        let step = steps.fold(1, |all, setting| lcm(lcm(all, setting.multiple), setting.per));
        let (max_seqs, longest) = (max_seqs.max(1), longest.max(1));
        let kv_tokens = max_seqs.saturating_mul(longest.div_ceil(step).saturating_mul(step));
        let max_batched_tokens = LEAST_BATCHED_TOKENS.max(max_seqs).max(longest).min(kv_tokens);
        Self { max_seqs, longest, kv_tokens, max_batched_tokens }
    }

    /// The fields that are set, with their values.
    pub fn fields(&self) -> [(&'static str, u64); 3] {
        [("kv_tokens", self.kv_tokens), ("max_seqs", self.max_seqs), ("max_batched_tokens", self.max_batched_tokens)]
    }
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

/// Sets the limits among an engine's options, by its own names; returns the fields that it has no option for.
///
/// # Errors
/// [`NotEqual`] when the options hold something else already.
pub fn equal(limits: &Equal, mapping: &LockMapping, options: &mut Options) -> Result<Vec<&'static str>, NotEqual> {
    let mut missing = Vec::new();
    for (field, value) in limits.fields() {
        let Some(setting) = mapping.set.get(field) else {
            missing.push(field);
            continue;
        };
        let units = value.div_ceil(setting.per) + setting.plus;
        let with = setting.with.iter().map(|(name, value)| (name.clone(), value.clone()));
        for (name, value) in with.chain([(setting.option.clone(), Json::from(units))]) {
            match options.insert(name.clone(), value.clone()) {
                Some(found) if found != value => {
                    return Err(NotEqual { option: name, found: found.to_string(), expected: value.to_string() });
                }
                _ => {}
            }
        }
    }
    Ok(missing)
}

/// The limits that an engine's options set, by the fields' names: [`equal`] backwards.
pub(super) fn limits_set(mapping: &LockMapping, options: &Options) -> BTreeMap<String, u64> {
    let limit = |name: &str| {
        let setting = mapping.set.get(name)?;
        let units = options.get(&setting.option)?.as_u64()?;
        Some((name.to_owned(), units.saturating_sub(setting.plus).saturating_mul(setting.per)))
    };
    EQUAL.iter().filter_map(|name| limit(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> LockMapping {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn limits_fit_every_engine_exactly() {
        let blocks = mapping(
            "[set]\nkv_tokens = { option = 'blocks', per = 96, plus = 1, with = { block_size = 96 } }\nmax_seqs = 'seqs'",
        );
        let rounded = mapping("[set]\nkv_tokens = { option = 'kv', multiple = 256 }\nmax_batched_tokens = 'step'");
        let limits = Equal::new(8, 200, &[&blocks, &rounded]);
        assert_eq!((limits.kv_tokens, limits.max_batched_tokens), (8 * 768, 2048));
        let small = Equal::new(4, 44, &[&rounded]);
        assert_eq!((small.kv_tokens, small.max_batched_tokens), (1024, 1024), "a step of more than the cache holds");
        let (mut one, mut two) = (Options::new(), Options::new());
        assert_eq!(equal(&limits, &blocks, &mut one), Ok(vec!["max_batched_tokens"]));
        assert_eq!(equal(&limits, &rounded, &mut two), Ok(vec!["max_seqs"]));
        assert_eq!(
            (&one["blocks"], &one["block_size"], &one["seqs"]),
            (&Json::from(65), &Json::from(96), &Json::from(8))
        );
        assert_eq!((&two["kv"], &two["step"]), (&Json::from(6144), &Json::from(2048)));
        let set = |pairs: [(&str, u64); 2]| BTreeMap::from(pairs.map(|(name, limit)| (name.to_owned(), limit)));
        assert_eq!(limits_set(&blocks, &one), set([("kv_tokens", 6144), ("max_seqs", 8)]));
        assert_eq!(limits_set(&rounded, &two), set([("kv_tokens", 6144), ("max_batched_tokens", 2048)]));
    }

    #[test]
    fn an_option_that_the_plan_sets_otherwise_is_an_error() {
        let one = mapping("[set]\nmax_seqs = 'seqs'");
        let limits = Equal::new(8, 200, &[&one]);
        let mut options = Options::from([("seqs".to_owned(), Json::from(4))]);
        let error = equal(&limits, &one, &mut options).unwrap_err();
        assert_eq!((error.option.as_str(), error.found.as_str(), error.expected.as_str()), ("seqs", "4", "8"));
        assert!(equal(&limits, &one, &mut Options::from([("seqs".to_owned(), Json::from(8))])).is_ok());
    }
}
