//! Keeps a trial's records in memory and hands them on when it is over.
use super::{
    drive::RecordSink,
    protocol::{NONE, RequestRow, StepRow, TokenRow},
};
use crate::{engine::StepRecord, workload::Workload};

/// Token rows kept in memory before some are passed on in the middle of a trial (16 MiB).
pub const KEEP_TOKENS: usize = 1 << 19;
const KEEP_REQUESTS: usize = 1 << 16;
const KEEP_STEPS: usize = 1 << 16;

/// A trial's records until it is over, and their sums.
pub(super) struct Recorder<'a> {
    pub(super) sink: &'a mut dyn RecordSink,
    tokens: Vec<TokenRow>,
    requests: Vec<RequestRow>,
    pub(super) steps: Vec<StepRow>,
    pub(super) flushes: u32,
    pub(super) requests_done: u32,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) output_tokens_seen: u64,
    pub(super) output_digest: u64,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(sink: &'a mut dyn RecordSink, workload: &Workload) -> Self {
        let requests = workload.len() as usize;
        let tokens = requests.saturating_mul(workload.spec().output.max() as usize);
        Self {
            sink,
            tokens: Vec::with_capacity(tokens.min(KEEP_TOKENS)),
            requests: Vec::with_capacity(requests.min(KEEP_REQUESTS)),
            steps: Vec::with_capacity(tokens.min(KEEP_STEPS)),
            flushes: 0,
            requests_done: 0,
            input_tokens: 0,
            output_tokens: 0,
            output_tokens_seen: 0,
            output_digest: 0,
        }
    }

    pub(super) fn token(&mut self, row: TokenRow) -> std::io::Result<()> {
        self.output_tokens_seen += u64::from(row.tokens);
        self.tokens.push(row);
        if self.tokens.len() >= KEEP_TOKENS { self.flush_early() } else { Ok(()) }
    }

    pub(super) fn request(&mut self, row: RequestRow) -> std::io::Result<()> {
        self.requests_done += 1;
        self.input_tokens += u64::from(row.input_tokens);
        self.output_tokens += u64::from(row.output_tokens);
        self.output_digest = self.output_digest.wrapping_add(row.output_hash);
        self.requests.push(row);
        if self.requests.len() >= KEEP_REQUESTS { self.flush_early() } else { Ok(()) }
    }

    /// A request that did not end: it is in the table, and counts for nothing.
    pub(super) fn cut(&mut self, row: RequestRow) {
        self.requests.push(row);
    }

    /// The row keeps the mark's number until [`Self::settle_marks`].
    pub(super) fn step(&mut self, step: &StepRecord, mark: Option<u64>) -> std::io::Result<()> {
        self.steps.push(StepRow {
            start_ns: step.start_ns,
            end_ns: step.end_ns,
            kv_tokens: step.kv_tokens,
            device_ns: mark.unwrap_or(NONE),
            prefill_tokens: step.prefill_tokens,
            decode_seqs: step.decode_seqs,
            running: step.running,
            waiting: step.waiting,
        });
        if self.steps.len() >= KEEP_STEPS { self.flush_early() } else { Ok(()) }
    }

    /// Replaces the marks' numbers by what the device's clock says of them.
    pub(super) fn settle_marks(&mut self, marks_ns: &[u64]) {
        for row in &mut self.steps {
            row.device_ns =
                usize::try_from(row.device_ns).ok().and_then(|at| marks_ns.get(at)).copied().unwrap_or(NONE);
        }
    }

    fn flush_early(&mut self) -> std::io::Result<()> {
        self.flushes += 1;
        // The device's clock is read when the trial is over; these rows cannot wait for it.
        self.settle_marks(&[]);
        self.flush()
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.sink.tokens(&self.tokens)?;
        self.sink.requests(&self.requests)?;
        self.sink.steps(&self.steps)?;
        self.tokens.clear();
        self.requests.clear();
        self.steps.clear();
        Ok(())
    }
}
