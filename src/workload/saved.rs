//! A saved workload: prompts as token ids with their output lengths, in a file that is replayed byte for byte.
//!
//! The file is one line of JSON (the [`Header`]), then for each request three things as little-endian `u32`: how many ids
//! its prompt has, how many tokens of output the data say (0 where they say nothing), and the ids. The header's digest is
//! BLAKE3 over all that follows the line: the same bytes that [`super::Workload::digest`] hashes, so that a trial which takes
//! the whole file in its order has the file's digest. Where requests are the turns of conversations, the header says how many
//! turns each has, and the digest goes on over these numbers.
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use super::{LengthDist, ThinkTime, synthetic::rng_for};
use crate::engine::TokenId;

/// The format's version, in every header.
pub const VERSION: u32 = 1;
/// The longest header line accepted, in bytes.
const MAX_HEADER: u64 = 1 << 24;
/// The most bytes of requests accepted: far more than a trial can take.
const MAX_BODY: u64 = 16 << 30;

/// Which of a file's requests a trial takes, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The same requests in every trial, each trial in another order: every trial is the same work.
    #[default]
    Shuffle,
    /// Other requests in every trial, drawn without replacement: trials differ in their work.
    Sample,
    /// The file's first ones, in its order, in every trial.
    File,
}

impl Order {
    /// As plans and flags name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shuffle => "shuffle",
            Self::Sample => "sample",
            Self::File => "file",
        }
    }
}

/// A file, as a plan and a trial name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRef {
    /// The file.
    pub path: PathBuf,
    /// The digest that its header must have: the file may have been replaced since the plan was made.
    pub digest: String,
    /// Which requests, in which order.
    pub order: Order,
    /// Between the turns of a conversation; means nothing for a file of single requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
}

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub tacho_workload: u32,
    /// How many requests follow.
    pub requests: u32,
    /// How many prompt ids they have in all.
    pub prompt_tokens: u64,
    /// How many turns each conversation has, in the requests' order; empty where requests are not turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<u32>,
    /// BLAKE3, in hex, of all that follows the line, and of the turns.
    pub digest: String,
    /// Where the requests came from: for readers, nothing depends on it.
    #[serde(default)]
    pub source: serde_json::Value,
}

/// Why a file is refused: a sentence for a person that names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved workload {path}: {problem}")]
pub struct SavedError {
    path: String,
    problem: String,
}

/// Requests in memory.
#[derive(Clone, Debug)]
pub struct Saved {
    header: Header,
    ids: Vec<TokenId>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    start: usize,
    input: u32,
    output: u32,
}

/// Least, mean and most of some lengths, in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Least.
    pub lo: u32,
    /// Most.
    pub hi: u32,
    /// Arithmetic mean.
    pub mean: f64,
}

impl Span {
    /// Of all `lengths`; None of none.
    pub fn of(lengths: impl Iterator<Item = u32>) -> Option<Self> {
        let (mut lo, mut hi, mut sum, mut count) = (u32::MAX, 0, 0_u64, 0_u64);
        for length in lengths {
            (lo, hi) = (lo.min(length), hi.max(length));
            sum += u64::from(length);
            count += 1;
        }
        (count > 0).then(|| Self { lo, hi, mean: sum as f64 / count as f64 })
    }
}

impl Saved {
    /// From prompts with their output lengths (None where the data say nothing).
    ///
    /// # Errors
    /// A sentence when there is no request, or a prompt without a token.
    pub fn new(requests: &[(Vec<u32>, Option<u32>)], source: serde_json::Value) -> Result<Self, String> {
        let (mut ids, mut rows) = (Vec::new(), Vec::with_capacity(requests.len()));
        for (number, (prompt, output)) in requests.iter().enumerate() {
            let input = u32::try_from(prompt.len()).ok().filter(|length| *length > 0);
            let input = input.ok_or_else(|| format!("request {number} has a prompt of {} tokens", prompt.len()))?;
            rows.push(Row { start: ids.len(), input, output: output.unwrap_or(0) });
            ids.extend(prompt.iter().copied().map(TokenId));
        }
        let count = u32::try_from(rows.len()).ok().filter(|count| *count > 0);
        let requests = count.ok_or_else(|| format!("expected 1 to {} requests, found {}", u32::MAX, rows.len()))?;
        let header = Header {
            tacho_workload: VERSION,
            requests,
            prompt_tokens: ids.len() as u64,
            turns: Vec::new(),
            digest: String::new(),
            source,
        };
        Self { header, ids, rows }.hashed()
    }

    /// The same requests as the turns of conversations, of which each has so many, in order.
    ///
    /// # Errors
    /// A sentence when they are not as many as the requests.
    pub fn with_turns(mut self, turns: Vec<u32>) -> Result<Self, String> {
        check_turns(&turns, self.header.requests)?;
        self.header.turns = turns;
        self.hashed()
    }

    fn hashed(mut self) -> Result<Self, String> {
        let mut hasher = blake3::Hasher::new();
        self.body(|bytes| {
            hasher.update(bytes);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        hasher.update(self.header.turns.as_slice().as_bytes());
        self.header.digest = hasher.finalize().to_hex().to_string();
        Ok(self)
    }

    /// The same prompts with output lengths as they are drawn in a trial that takes them in the file's order; with the data's own
    /// as they are.
    ///
    /// # Errors
    /// As [`Saved::new`].
    pub fn with_outputs(&self, output: LengthDist, seed: u64) -> Result<Self, String> {
        let outputs = |index: u32| match output {
            LengthDist::Data(_) => self.output(index),
            drawn => Some(drawn.draw(&mut rng_for(&[seed, u64::from(index)]))),
        };
        let prompt = |index| self.prompt(index).iter().map(|id| id.0).collect();
        let requests: Vec<_> = (0..self.len()).map(|index| (prompt(index), outputs(index))).collect();
        let saved = Self::new(&requests, self.header.source.clone())?;
        if self.header.turns.is_empty() { Ok(saved) } else { saved.with_turns(self.header.turns.clone()) }
    }

    fn body(&self, mut put: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        for index in 0..self.len() {
            let row = self.rows[index as usize];
            put(&row.input.to_le_bytes())?;
            put(&row.output.to_le_bytes())?;
            put(self.prompt(index).as_bytes())?;
        }
        Ok(())
    }

    /// Writes a file, under another name until it is whole.
    ///
    /// # Errors
    /// [`SavedError`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SavedError> {
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let written = || -> std::io::Result<()> {
            let mut out = std::io::BufWriter::new(File::create(&part)?);
            serde_json::to_writer(&mut out, &self.header)?;
            out.write_all(b"\n")?;
            self.body(|bytes| out.write_all(bytes))?;
            out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            std::fs::rename(&part, path)
        };
        written().map_err(|error| {
            let _ = std::fs::remove_file(&part);
            refuse(path, format!("cannot be written: {error}"))
        })
    }

    /// Reads a file and compares its checksum.
    ///
    /// # Errors
    /// [`SavedError`] saying what was expected, what was found and what to do.
    pub fn read(path: &Path) -> Result<Self, SavedError> {
        Self::parse(path).map_err(|problem| refuse(path, problem))
    }

    fn parse(path: &Path) -> Result<Self, String> {
        let read = |error: std::io::Error| format!("cannot be read: {error}");
        let file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let mut input = BufReader::new(file);
        let mut line = Vec::new();
        input.by_ref().take(MAX_HEADER).read_until(b'\n', &mut line).map_err(read)?;
        let header: Header = serde_json::from_slice(&line).map_err(|error| {
            format!("its first line is no header of a saved workload ({error}); make it by `tacho workload save`")
        })?;
        if header.tacho_workload != VERSION || line.last() != Some(&b'\n') {
            let found = header.tacho_workload;
            return Err(format!("expected version {VERSION}, found {found}; make it again by `tacho workload save`"));
        }
        // Before anything is allocated: what the header promises must be what the file has.
        let body = size - line.len() as u64;
        let promised = header.prompt_tokens.saturating_mul(4).saturating_add(u64::from(header.requests) * 8);
        if header.requests == 0 || promised != body || body > MAX_BODY {
            return Err(format!(
                "expected {promised} bytes for {} requests with {} prompt tokens, found {body}: it is damaged or cut off; \
                 copy it again, or make it again by `tacho workload save`",
                header.requests, header.prompt_tokens
            ));
        }
        let mut hasher = blake3::Hasher::new();
        let mut ids = Vec::with_capacity(header.prompt_tokens as usize);
        let mut rows = Vec::with_capacity(header.requests as usize);
        let mut left = header.prompt_tokens;
        for number in 0..header.requests {
            let mut lengths = [0_u32; 2];
            input.read_exact(lengths.as_mut_bytes()).map_err(read)?;
            hasher.update(lengths.as_bytes());
            let [count, output] = lengths;
            left = left.checked_sub(u64::from(count)).filter(|_| count > 0).ok_or_else(|| {
                format!("request {number} has a prompt of {count} tokens, which cannot be: it is damaged")
            })?;
            let start = ids.len();
            ids.resize(start + count as usize, TokenId(0));
            let prompt = ids[start..].as_mut_bytes();
            input.read_exact(prompt).map_err(read)?;
            hasher.update(prompt);
            rows.push(Row { start, input: count, output });
        }
        if !header.turns.is_empty() {
            check_turns(&header.turns, header.requests)?;
        }
        hasher.update(header.turns.as_slice().as_bytes());
        let found = hasher.finalize().to_hex().to_string();
        if found != header.digest || left != 0 {
            let expected = &header.digest;
            return Err(format!(
                "expected the checksum {expected}, found {found}: it is damaged; copy it again, or make it again"
            ));
        }
        Ok(Self { header, ids, rows })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many requests.
    pub fn len(&self) -> u32 {
        self.header.requests
    }

    /// Whether its requests are turns of conversations.
    pub fn has_turns(&self) -> bool {
        !self.header.turns.is_empty()
    }

    /// What is chosen among and what `--requests` counts: conversations, or single requests.
    pub fn units(&self) -> u32 {
        if self.has_turns() { self.header.turns.len() as u32 } else { self.header.requests }
    }

    /// Never true: a file has at least one request.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The prompt of request `index`.
    pub fn prompt(&self, index: u32) -> &[TokenId] {
        let row = self.rows[index as usize];
        &self.ids[row.start..row.start + row.input as usize]
    }

    /// How many tokens of output the data say for request `index`.
    pub fn output(&self, index: u32) -> Option<u32> {
        Some(self.rows[index as usize].output).filter(|output| *output > 0)
    }

    /// Prompt lengths.
    pub fn inputs(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| row.input)
    }

    /// Output lengths, where the data say them.
    pub fn outputs(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).filter_map(|index| self.output(index))
    }

    /// The largest id of all prompts.
    pub fn max_id(&self) -> u32 {
        self.ids.iter().map(|id| id.0).max().unwrap_or(0)
    }

    /// Pairs of neighbours in the sorted prompts share so many ids at their beginning, in all: what a prefix cache that
    /// forgets nothing could answer in one trial.
    pub fn shared_prefix_tokens(&self) -> u64 {
        shared((0..self.len()).map(|index| self.prompt(index)).collect())
    }
}

/// What each prompt shares with the one before it in sorted order is the most that it shares with any before it.
pub(super) fn shared(mut prompts: Vec<&[TokenId]>) -> u64 {
    prompts.sort_unstable();
    let both = |pair: &[&[TokenId]]| pair[0].iter().zip(pair[1]).take_while(|(one, other)| one == other).count();
    prompts.windows(2).map(|pair| both(pair) as u64).sum()
}

fn check_turns(turns: &[u32], requests: u32) -> Result<(), String> {
    let sum: u64 = turns.iter().copied().map(u64::from).sum();
    if sum != u64::from(requests) || turns.contains(&0) {
        return Err(format!("its conversations have {sum} turns, or one has none; expected {requests}: it is damaged"));
    }
    Ok(())
}

pub(super) fn refuse(path: &Path, problem: String) -> SavedError {
    SavedError { path: path.display().to_string(), problem }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        engine::Sampling,
        workload::{Workload, WorkloadSpec},
    };

    /// Twenty requests, told apart by their first ids, in a folder of their own.
    fn file() -> (tempfile::TempDir, SavedRef) {
        let requests: Vec<_> = (0..20_u32).map(|n| (vec![n; 1 + n as usize % 3], Some(n + 1))).collect();
        let saved = Saved::new(&requests, serde_json::Value::Null).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        saved.write(&path).unwrap();
        (dir, SavedRef { path, digest: saved.header().digest.clone(), order: Order::File, think: None })
    }

    fn spec(from: &SavedRef, order: Order, requests: u32, stream: u64) -> WorkloadSpec {
        WorkloadSpec {
            requests,
            input: LengthDist::Data(None),
            output: LengthDist::Data(None),
            sampling: Sampling::default(),
            seed: 5,
            stream,
            ids: Vec::new(),
            saved: Some(SavedRef { order, ..from.clone() }),
        }
    }

    fn taken(spec: WorkloadSpec) -> Vec<u32> {
        let workload = Workload::new(spec).unwrap();
        let mut prompt = Vec::new();
        (0..workload.len())
            .map(|index| {
                let lengths = workload.lengths(index);
                let request = workload.request(index, &mut prompt);
                let first = request.prompt[0].0;
                assert_eq!(lengths, (1 + first % 3, first + 1));
                assert_eq!((request.prompt.len() as u32, request.output_tokens), lengths);
                first
            })
            .collect()
    }

    #[test]
    fn orders_take_what_they_say() {
        let (_dir, from) = file();
        let of = |order, requests, stream| taken(spec(&from, order, requests, stream));
        let set = |taken: &[u32]| taken.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(of(Order::File, 4, 1), [0, 1, 2, 3]);
        let (one, other) = (of(Order::Shuffle, 8, 1), of(Order::Shuffle, 8, 2));
        assert!(one != other && set(&one) == set(&other) && set(&one).len() == 8);
        assert_eq!(one, of(Order::Shuffle, 8, 1));
        let (one, other) = (of(Order::Sample, 8, 1), of(Order::Sample, 8, 2));
        assert!(set(&one) != set(&other) && set(&one).len() == 8);
    }

    #[test]
    fn a_trial_of_the_whole_file_has_its_digest() {
        let (_dir, from) = file();
        assert_eq!(Workload::new(spec(&from, Order::File, 20, 9)).unwrap().digest(), from.digest);
        let fixed = WorkloadSpec { output: LengthDist::Fixed(7), ..spec(&from, Order::File, 20, 9) };
        let fixed = Workload::new(fixed).unwrap();
        assert_eq!(fixed.totals().1, 140, "a length of the plan's own replaces the data's");
        let baked = Saved::read(&from.path).unwrap().with_outputs(LengthDist::Fixed(7), 5).unwrap();
        assert_eq!(baked.header().digest, fixed.digest());
    }

    #[test]
    fn conversations_are_chosen_whole_and_in_order() {
        let (dir, from) = file();
        let saved = Saved::read(&from.path).unwrap();
        assert!(saved.clone().with_turns(vec![1; 19]).is_err());
        let plain = saved.header().digest.clone();
        let saved = saved.with_turns(vec![4; 5]).unwrap();
        assert_ne!(saved.header().digest, plain);
        let path = dir.path().join("turns");
        saved.write(&path).unwrap();
        assert_eq!(Saved::read(&path).unwrap().units(), 5);
        let from = SavedRef { path, digest: saved.header().digest.clone(), order: Order::Shuffle, think: None };
        let order = taken(spec(&from, Order::Shuffle, 3, 1));
        assert_eq!(order.len(), 12);
        assert!(order.chunks(4).all(|turns| turns[0] % 4 == 0 && turns.windows(2).all(|pair| pair[1] == pair[0] + 1)));
        let whole = Workload::new(spec(&from, Order::File, 5, 1)).unwrap();
        assert_eq!((whole.digest(), whole.turns().unwrap().sessions()), (from.digest.clone(), 5));
        let refused = Workload::new(spec(&from, Order::File, 6, 0)).unwrap_err().to_string();
        assert!(refused.contains("asks for 6 conversations, it has 5"), "{refused}");
    }

    #[test]
    fn what_a_trial_cannot_take_is_refused() {
        let (_dir, from) = file();
        let refused = |spec| Workload::new(spec).unwrap_err().to_string();
        assert!(refused(spec(&from, Order::File, 21, 0)).contains("asks for 21 requests, it has 20"));
        let other = SavedRef { digest: "0".repeat(64), ..from.clone() };
        assert!(refused(spec(&other, Order::File, 2, 0)).contains("it was replaced"));
        let drawn = WorkloadSpec { input: LengthDist::Fixed(3), ..spec(&from, Order::File, 2, 0) };
        assert!(refused(drawn).contains("lengths are to be 3"));
        let none = WorkloadSpec { saved: None, ..spec(&from, Order::File, 2, 0) };
        assert!(refused(none).contains("no saved workload is named"));
    }
}
