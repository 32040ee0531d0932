//! Prompts of exact length from a text: the same first lines for all, then lines drawn at random.
use std::path::Path;

use rand::RngExt;

use super::{DatasetError, Tokens, spec::SonnetSizes};
use crate::workload::synthetic::rng_for;

/// `count` prompts of exactly `input_len` ids. Each line is tokenised with the line break after it; the prefix and the prompt are
/// cut where they are full.
pub(super) fn prompts(
    path: &Path,
    text: &str,
    tokens: &Tokens,
    sizes: SonnetSizes,
    count: u32,
    seed: u64,
) -> Result<Vec<Vec<u32>>, DatasetError> {
    let owned: Vec<String> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    let lines = tokens.encode(owned.iter().map(String::as_str).collect(), false)?;
    let total: usize = lines.iter().map(Vec::len).sum();
    if total < sizes.prefix_len as usize || lines.iter().all(Vec::is_empty) {
        return Err(DatasetError::input(format!(
            "{}: expected a text of at least {} tokens (sonnet_prefix_len), found {total} in {} lines",
            path.display(),
            sizes.prefix_len.max(1),
            lines.len()
        )));
    }
    let lead = tokens.encode(vec![""], true)?.pop().unwrap_or_default();
    let prefix: Vec<u32> =
        lead.into_iter().chain(lines.iter().flatten().copied()).take(sizes.prefix_len as usize).collect();
    let draw = |number: u32| {
        let mut rng = rng_for(&[seed, u64::from(number), SONNET]);
        let mut prompt = prefix.clone();
        while prompt.len() < sizes.input_len as usize {
            prompt.extend(&lines[rng.random_range(0..lines.len())]);
        }
        prompt.truncate(sizes.input_len as usize);
        prompt
    };
    Ok((0..count).map(draw).collect())
}

const SONNET: u64 = 0x0053_4f4e_4e45_5400;
