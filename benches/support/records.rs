//! Records as a step loop makes them, and the memory that taking them costs.
use std::{collections::BTreeMap, fs, path::Path};

use tacho::{
    cell::protocol::{Load, NONE, RequestRow, TokenRow, TrialSummary},
    engine::{Options, Sampling},
    plan::{EngineSpec, Point, PointWorkload},
    results::{PointRecord, PointStatus, RunDir, RunInfo},
    workload::LengthDist,
};

/// Requests that decode side by side.
pub const REQUESTS_A_WAVE: u32 = 256;
/// A step of about 10 ms.
const STEP_NS: u64 = 10_000_000;

/// SplitMix64 (Steele, Lea and Flood 2014).
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a cell sends in one go.
pub struct Frame {
    pub tokens: Vec<TokenRow>,
    pub requests: Vec<RequestRow>,
}

/// A trial's records, a wave at a time: requests of a wave get a token each in every step, and steps vary.
pub struct Stream {
    requests: u32,
    tokens: u32,
    wave: u32,
    next: u32,
    now_ns: u64,
    state: u64,
}

impl Stream {
    pub fn new(requests: u32, tokens: u32, wave: u32) -> Self {
        Self { requests, tokens, wave, next: 0, now_ns: 1_000_000_000_000, state: 1 }
    }

    fn jitter(&mut self) -> u64 {
        self.state = mix(self.state);
        self.state % (STEP_NS / 8)
    }
}

impl Iterator for Stream {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let wave = self.next..self.requests.min(self.next.saturating_add(self.wave));
        if wave.is_empty() {
            return None;
        }
        self.next = wave.end;
        let scheduled_ns = self.now_ns;
        let mut tokens = Vec::with_capacity(wave.len() * self.tokens as usize);
        let mut first_ns = 0;
        let mut last_ns = vec![NONE; wave.len()];
        for index in 0..self.tokens {
            self.now_ns += STEP_NS + self.jitter();
            for (place, request) in wave.clone().enumerate() {
                // Tokens of a step are read out one after another.
                let time_ns = self.now_ns + place as u64 * 90;
                let before = last_ns[place];
                let gap_ns = if before == NONE { NONE } else { time_ns - before };
                tokens.push(TokenRow { time_ns, gap_ns, request, index, tokens: 1, padding: 0 });
                last_ns[place] = time_ns;
            }
            if index == 0 {
                first_ns = self.now_ns;
            }
        }
        let requests = wave.enumerate().map(|(place, request)| RequestRow {
            scheduled_ns,
            released_ns: u64::MAX,
            submitted_ns: scheduled_ns,
            first_ns: first_ns + place as u64 * 90,
            last_ns: last_ns[place],
            output_hash: mix(u64::from(request)),
            request,
            input_tokens: 128,
            output_tokens: self.tokens,
            finish: 1,
            session: u32::MAX,
            turn: u32::MAX,
        });
        Some(Frame { tokens, requests: requests.collect() })
    }
}

pub fn run_dir(dir: &Path) -> RunDir {
    RunDir::create(dir, &RunInfo::gather(Vec::new(), serde_json::json!({"name": "records"}))).expect("a run directory")
}

pub fn summary(requests: u32, output_tokens: u64) -> TrialSummary {
    TrialSummary {
        start_ns: 0,
        end_ns: 60_000_000_000,
        virtual_time: false,
        requests,
        input_tokens: u64::from(requests) * 128,
        output_tokens,
        workload_digest: "records".to_owned(),
        output_digest: 0,
        harness_ns: 0,
        busy_ns: None,
        cpu_ns: 0,
        engine_calls: 0,
        flushes_in_trial: 0,
        device: Default::default(),
        evidence: Default::default(),
        stats: BTreeMap::new(),
        schedule: None,
        sessions: None,
    }
}

pub fn point() -> PointRecord {
    PointRecord {
        notes: Vec::new(),
        point: Point {
            number: 0,
            engine: EngineSpec { id: "sim".to_owned(), options: Options::new() },
            model: None,
            load: Load::Closed { concurrency: REQUESTS_A_WAVE },
            workload: PointWorkload {
                requests: 1,
                input: LengthDist::Fixed(128),
                output: LengthDist::Fixed(16),
                sampling: Sampling::default(),
                seed: 1,
                data: None,
            },
            axes: Vec::new(),
        },
        key: None,
        engine: None,
        model_digest: None,
        load_ns: None,
        restart_ns: None,
        outcome: PointStatus::Ok,
        warmup_seconds: Vec::new(),
        warmup_steady: true,
        trials: Vec::new(),
        lost_launches: Vec::new(),
        trace: None,
        watch_cost: None,
        stopped_by: "max_trials".to_owned(),
    }
}

/// How far this process's memory rises above where it stands while `work` runs.
pub fn peak_bytes_of(work: impl FnOnce()) -> u64 {
    let status = |name: &str| -> u64 {
        let text = fs::read_to_string("/proc/self/status").expect("Linux");
        let line = text.lines().find(|line| line.starts_with(name)).expect("a line of that name");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kib * 1024
    };
    // Sets the peak back to the present.
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be set back");
    let before = status("VmRSS");
    work();
    status("VmHWM").saturating_sub(before)
}
