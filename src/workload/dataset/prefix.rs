//! Random ids in groups that share a prefix.
use rand::RngExt;

use super::{DatasetError, spec::PrefixSizes};
use crate::workload::synthetic::rng_for;

/// `count` prompts, request `i` in group `i mod num_prefixes`. Within the first as many requests as there are ids, no two
/// suffixes begin alike: what requests share is the prefix, exactly.
pub(super) fn prompts(ids: &[u32], sizes: PrefixSizes, count: u32, seed: u64) -> Result<Vec<Vec<u32>>, DatasetError> {
    if ids.len() < 2 {
        return Err(DatasetError::input(format!(
            "the tokenizer has {} ordinary ids: expected at least 2 to draw prompts from",
            ids.len()
        )));
    }
    let draw = |words: &[u64], length: u32| -> Vec<u32> {
        let mut rng = rng_for(words);
        (0..length).map(|_| ids[rng.random_range(0..ids.len())]).collect()
    };
    let first = rng_for(&[seed, SUFFIX]).random_range(0..ids.len());
    let prompt = |number: u32| {
        let group = number % sizes.num_prefixes;
        let mut prompt = draw(&[seed, u64::from(group), PREFIX], sizes.prefix_len);
        prompt.push(ids[(first + number as usize) % ids.len()]);
        prompt.extend(draw(&[seed, u64::from(number), SUFFIX], sizes.suffix_len - 1));
        prompt
    };
    Ok((0..count).map(prompt).collect())
}

const PREFIX: u64 = 0x0050_5245_4649_5800;
const SUFFIX: u64 = 0x0053_5546_4649_5800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_exactly_their_groups_prefix() {
        let ids: Vec<u32> = (100..200).collect();
        let sizes = PrefixSizes { prefix_len: 12, suffix_len: 5, num_prefixes: 3 };
        let made = prompts(&ids, sizes, 30, 4).unwrap();
        assert_eq!(made, prompts(&ids, sizes, 30, 4).unwrap());
        for (i, one) in made.iter().enumerate() {
            assert!(one.len() == 17 && one.iter().all(|id| ids.contains(id)));
            for (j, other) in made.iter().enumerate().skip(i + 1) {
                let shared = one.iter().zip(other).take_while(|(a, b)| a == b).count();
                assert_eq!(shared >= 12, i % 3 == j % 3, "{i} {j}");
                assert!(shared <= 12, "{i} {j}: {shared}");
            }
        }
    }
}
