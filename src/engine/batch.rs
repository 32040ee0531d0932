//! Requests in, completions out: flat storage, so that a million requests are two allocations.
use std::ops::Range;

use super::{FinishReason, RequestId, Sampling, TokenId};

/// One request, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request<'a> {
    /// Its number in the trial.
    pub id: RequestId,
    /// The prompt's token ids, given to the engine as they are: nothing is added.
    pub prompt: &'a [TokenId],
    /// Exactly how many tokens to produce, at least 1.
    pub output_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

#[derive(Clone, Debug)]
struct Row {
    id: RequestId,
    end: usize,
    output_tokens: u32,
    sampling: Sampling,
}

/// The requests of one `generate` call.
#[derive(Clone, Debug, Default)]
pub struct RequestBatch {
    ids: Vec<TokenId>,
    rows: Vec<Row>,
}

impl RequestBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request, copying its prompt.
    pub fn push(&mut self, request: Request<'_>) {
        self.ids.extend_from_slice(request.prompt);
        self.rows.push(Row {
            id: request.id,
            end: self.ids.len(),
            output_tokens: request.output_tokens,
            sampling: request.sampling,
        });
    }

    /// How many requests.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Drops all requests, keeping the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.rows.clear();
    }

    /// The request at `index`, in the order of pushing.
    ///
    /// # Panics
    /// When `index` is out of range.
    pub fn get(&self, index: usize) -> Request<'_> {
        let row = &self.rows[index];
        let start = index.checked_sub(1).map_or(0, |before| self.rows[before].end);
        Request {
            id: row.id,
            prompt: &self.ids[start..row.end],
            output_tokens: row.output_tokens,
            sampling: row.sampling,
        }
    }

    /// All requests, in the order of pushing.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Request<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// One request's outcome in [`Completions`].
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The request.
    pub request: RequestId,
    /// How many prompt tokens the engine says it consumed (from cache or computed).
    pub input_tokens: u32,
    /// Where its output ids lie in [`Completions::ids`].
    pub tokens: Range<usize>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// What a `generate` call gave back, one row a request in the batch's order.
#[derive(Clone, Debug, Default)]
pub struct Completions {
    /// All output ids, request after request.
    pub ids: Vec<TokenId>,
    /// One a request.
    pub rows: Vec<Completion>,
}

impl Completions {
    /// Adds one request's outcome.
    pub fn push(&mut self, request: RequestId, input_tokens: u32, output: &[TokenId], finish: FinishReason) {
        let start = self.ids.len();
        self.ids.extend_from_slice(output);
        self.rows.push(Completion { request, input_tokens, tokens: start..self.ids.len(), finish });
    }
}
