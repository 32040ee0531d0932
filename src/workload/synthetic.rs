//! Synthetic requests of exact length.
//!
//! Each request is made by itself from (seed, stream, number), so that a trial of a million requests needs memory for
//! one. Lengths depend on (seed, number) alone: every trial of a point is the same amount of work with other ids.
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::{LengthDist, Turns, chosen::Chosen, saved::SavedRef};
use crate::engine::{IdRange, Request, RequestBatch, RequestId, Sampling, TokenId};

/// All that determines a trial's requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// How many requests, or conversations where the saved workload has some.
    pub requests: u32,
    /// Prompt lengths in tokens.
    pub input: LengthDist,
    /// Output lengths in tokens.
    pub output: LengthDist,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The plan's seed.
    pub seed: u64,
    /// Tells trials apart: two trials with different streams share no prompt.
    pub stream: u64,
    /// The ids that prompts are drawn from: the model's ordinary ones.
    pub ids: Vec<IdRange>,
    /// The saved workload that the prompts come from instead of being drawn; `input` is then [`LengthDist::Data`], and
    /// `output` too unless it replaces what the data say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<SavedRef>,
}

/// Why a workload cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// The set of ids is too small.
    #[error("the workload needs at least 2 ordinary token ids to draw prompts from, the model offers {0}")]
    TooFewIds(usize),
    /// No requests.
    #[error("the workload has 0 requests: expected at least 1")]
    NoRequests,
    /// The saved workload cannot be used.
    #[error("{0}")]
    Saved(String),
}

/// A trial's requests, made when asked for.
#[derive(Clone, Debug)]
pub struct Workload {
    spec: WorkloadSpec,
    table: Vec<TokenId>,
    /// The first ids of request `i` are the digits of `(step * i + offset) mod n²` in base `n`, with `step` and `n`
    /// coprime: no two of the first `n` requests share their first id, no two of the first `n²` their first two.
    step: u64,
    offset: u64,
    /// The requests, where they are not drawn.
    chosen: Option<Chosen>,
}

impl Workload {
    /// Prepares to make the requests of `spec`.
    ///
    /// # Errors
    /// [`WorkloadError`] when there is nothing to make or nothing to make it from.
    pub fn new(spec: WorkloadSpec) -> Result<Self, WorkloadError> {
        if spec.requests == 0 {
            return Err(WorkloadError::NoRequests);
        }
        if let Some(saved) = &spec.saved {
            let chosen = Chosen::new(saved, spec.requests, spec.seed, spec.stream)
                .map_err(|error| WorkloadError::Saved(error.to_string()))?;
            return Self::from_saved(spec, chosen);
        }
        if let Some(length) = [&spec.input, &spec.output].into_iter().find(|length| length.is_data()) {
            return Err(WorkloadError::Saved(format!("lengths are '{length}', but no saved workload is named")));
        }
        let table: Vec<TokenId> = spec.ids.iter().flat_map(|range| range.start..range.end).map(TokenId).collect();
        if table.len() < 2 {
            return Err(WorkloadError::TooFewIds(table.len()));
        }
        let n = table.len() as u64;
        let mut rng = rng_for(&[spec.seed, spec.stream, u64::MAX]);
        let step = loop {
            let candidate = rng.random_range(1..n * n);
            if gcd(candidate, n) == 1 {
                break candidate;
            }
        };
        let offset = rng.random_range(0..n * n);
        Ok(Self { spec, table, step, offset, chosen: None })
    }

    fn from_saved(spec: WorkloadSpec, chosen: Chosen) -> Result<Self, WorkloadError> {
        if !spec.input.is_data() {
            let why = format!("prompts come from a saved workload, but their lengths are to be {}", spec.input);
            return Err(WorkloadError::Saved(why));
        }
        match chosen.without_output().filter(|_| spec.output.is_data()) {
            Some(request) => Err(WorkloadError::Saved(format!(
                "request {request} of the saved workload has no output length: give one for all (--output)"
            ))),
            None => Ok(Self { spec, table: Vec::new(), step: 0, offset: 0, chosen: Some(chosen) }),
        }
    }

    /// What it was made from.
    pub fn spec(&self) -> &WorkloadSpec {
        &self.spec
    }

    /// How many requests.
    pub fn len(&self) -> u32 {
        self.chosen.as_ref().map_or(self.spec.requests, Chosen::len)
    }

    /// Which requests follow which; None where all are single ones.
    pub fn turns(&self) -> Option<Turns> {
        let turns = self.chosen.as_ref().map(Chosen::turns).filter(|turns| !turns.is_empty())?;
        let think = self.spec.saved.as_ref().and_then(|saved| saved.think).unwrap_or_default();
        Some(Turns::new(turns, think, self.spec.seed, self.spec.stream))
    }

    /// As [`super::saved::Saved::shared_prefix_tokens`], of the trial's requests; 0 where prompts are drawn.
    pub fn shared_prefix_tokens(&self) -> u64 {
        self.chosen.as_ref().map_or(0, Chosen::shared_prefix_tokens)
    }

    /// How many arrivals a schedule has: conversations, or single requests.
    pub fn arrivals(&self) -> u32 {
        self.spec.requests
    }

    /// Never true: a workload has at least one request.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Lengths of request `index`: (prompt tokens, output tokens).
    pub fn lengths(&self, index: u32) -> (u32, u32) {
        if let Some(chosen) = &self.chosen {
            let said = chosen.output(index).filter(|_| self.spec.output.is_data());
            let drawn = || self.spec.output.draw(&mut rng_for(&[self.spec.seed, u64::from(index)]));
            return (chosen.prompt(index).len() as u32, said.unwrap_or_else(drawn));
        }
        if let (LengthDist::Fixed(input), LengthDist::Fixed(output)) = (self.spec.input, self.spec.output) {
            return (input, output);
        }
        let mut rng = rng_for(&[self.spec.seed, u64::from(index)]);
        (self.spec.input.draw(&mut rng), self.spec.output.draw(&mut rng))
    }

    /// Makes request `index`, with its prompt in `prompt` (cleared first).
    pub fn request<'a>(&self, index: u32, prompt: &'a mut Vec<TokenId>) -> Request<'a> {
        let (input, output_tokens) = self.lengths(index);
        prompt.clear();
        prompt.reserve(input as usize);
        let sampling = Sampling { seed: mix(self.spec.sampling.seed, u64::from(index)), ..self.spec.sampling };
        if let Some(chosen) = &self.chosen {
            prompt.extend_from_slice(chosen.prompt(index));
            return Request { id: RequestId(index), prompt, output_tokens, sampling };
        }
        let n = self.table.len() as u64;
        let unique = (u128::from(self.step) * u128::from(index) + u128::from(self.offset)) % u128::from(n * n);
        for digit in [unique as u64 % n, unique as u64 / n].into_iter().take(input as usize) {
            prompt.push(self.table[digit as usize]);
        }
        let mut rng = rng_for(&[self.spec.seed, self.spec.stream, u64::from(index)]);
        while prompt.len() < input as usize {
            let drawn = rng.next_u64();
            // Two ids a draw, by multiply and shift; the bias is under n / 2^32.
            for half in [drawn as u32, (drawn >> 32) as u32].into_iter().take(input as usize - prompt.len()) {
                prompt.push(self.table[((u64::from(half) * n) >> 32) as usize]);
            }
        }
        Request { id: RequestId(index), prompt, output_tokens, sampling }
    }

    /// Makes the requests of `range` as one batch.
    pub fn batch(&self, range: std::ops::Range<u32>) -> RequestBatch {
        let mut batch = RequestBatch::new();
        let mut prompt = Vec::new();
        for index in range {
            batch.push(self.request(index, &mut prompt));
        }
        batch
    }

    /// Sums over all requests: (prompt tokens, output tokens).
    pub fn totals(&self) -> (u64, u64) {
        (0..self.len())
            .map(|index| self.lengths(index))
            .fold((0, 0), |(input, output), (i, o)| (input + u64::from(i), output + u64::from(o)))
    }

    /// The content hash: BLAKE3, in hex, over each request's prompt length, output length and prompt ids as
    /// little-endian `u32`, in order; then over how many turns each conversation has, where there are conversations.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut prompt = Vec::new();
        for index in 0..self.len() {
            let request = self.request(index, &mut prompt);
            hasher.update(&(request.prompt.len() as u32).to_le_bytes());
            hasher.update(&request.output_tokens.to_le_bytes());
            hasher.update(zerocopy::IntoBytes::as_bytes(request.prompt));
        }
        let turns = self.chosen.as_ref().map(Chosen::turns).unwrap_or_default();
        hasher.update(zerocopy::IntoBytes::as_bytes(turns));
        hasher.finalize().to_hex().to_string()
    }
}

pub(crate) fn rng_for(words: &[u64]) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(words.iter().fold(0, |state, word| mix(state, *word)))
}

/// Mixes a word into a state by the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) fn mix(state: u64, word: u64) -> u64 {
    let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn spec() -> WorkloadSpec {
        WorkloadSpec {
            requests: 300,
            input: "1..40".parse().unwrap(),
            output: "2..9".parse().unwrap(),
            sampling: Sampling::default(),
            seed: 7,
            stream: 0,
            ids: vec![IdRange { start: 10, end: 400 }, IdRange { start: 500, end: 600 }],
            saved: None,
        }
    }

    fn prompts(workload: &Workload) -> Vec<Vec<TokenId>> {
        let mut prompt = Vec::new();
        (0..workload.len()).map(|index| workload.request(index, &mut prompt).prompt.to_vec()).collect()
    }

    #[test]
    fn lengths_are_exact_and_ids_ordinary() {
        let workload = Workload::new(spec()).unwrap();
        let mut prompt = Vec::new();
        let (mut input, mut output) = (0, 0);
        for index in 0..workload.len() {
            let lengths = workload.lengths(index);
            let request = workload.request(index, &mut prompt);
            assert_eq!((request.prompt.len() as u32, request.output_tokens), lengths);
            assert!(request.prompt.iter().all(|id| (10..400).contains(&id.0) || (500..600).contains(&id.0)));
            input += u64::from(lengths.0);
            output += u64::from(lengths.1);
        }
        assert_eq!(workload.totals(), (input, output));
    }

    #[test]
    fn first_ids_are_unique_within_a_trial() {
        let workload = Workload::new(spec()).unwrap();
        let first: HashSet<TokenId> = prompts(&workload).iter().map(|prompt| prompt[0]).collect();
        assert_eq!(first.len(), 300); // 490 ids to choose from
    }

    #[test]
    fn trials_share_lengths_but_no_prompt() {
        let fixed = |stream| {
            let input = LengthDist::Fixed(8);
            Workload::new(WorkloadSpec { stream, input, ..spec() }).unwrap()
        };
        let (a, b) = (fixed(0), fixed(1));
        assert_eq!(
            (0..300).map(|i| a.lengths(i)).collect::<Vec<_>>(),
            (0..300).map(|i| b.lengths(i)).collect::<Vec<_>>()
        );
        let seen: HashSet<Vec<TokenId>> = prompts(&a).into_iter().chain(prompts(&b)).collect();
        assert_eq!(seen.len(), 600);
    }

    #[test]
    fn the_digest_tells_content_and_nothing_else() {
        let digest = |spec: WorkloadSpec| Workload::new(spec).unwrap().digest();
        assert_eq!(digest(spec()), digest(spec()));
        assert_ne!(digest(spec()), digest(WorkloadSpec { seed: 8, ..spec() }));
        assert_ne!(digest(spec()), digest(WorkloadSpec { stream: 1, ..spec() }));
        assert_ne!(digest(spec()), digest(WorkloadSpec { output: "2..10".parse().unwrap(), ..spec() }));
    }

    #[test]
    fn requests_do_not_depend_on_the_order_of_asking() {
        let workload = Workload::new(spec()).unwrap();
        let batch = workload.batch(40..50);
        let mut prompt = Vec::new();
        assert_eq!(batch.get(3), workload.request(43, &mut prompt));
    }

    #[test]
    fn ids_are_drawn_evenly() {
        let input = LengthDist::Fixed(1000);
        let workload = Workload::new(WorkloadSpec { input, requests: 200, ..spec() }).unwrap();
        let mut counts = [0_u32; 600];
        for id in prompts(&workload).iter().flatten() {
            counts[id.0 as usize] += 1;
        }
        // 200,000 draws over 490 ids: 408 each, sd 20; five sd either way.
        assert!(counts[10..400].iter().chain(&counts[500..600]).all(|count| (308..508).contains(count)));
    }

    #[test]
    fn an_empty_vocabulary_is_refused() {
        let none = WorkloadSpec { ids: vec![], ..spec() };
        assert_eq!(Workload::new(none).unwrap_err(), WorkloadError::TooFewIds(0));
        assert_eq!(Workload::new(WorkloadSpec { requests: 0, ..spec() }).unwrap_err(), WorkloadError::NoRequests);
    }
}
