//! The timed loop allocates nothing for a token: a trial with ten times the tokens makes no more allocations.
use tacho::{
    cell::{
        drive::{RecordSink, run_trial},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{Engine, LoadConfig, Sampling, sim},
    workload::{
        LengthDist, WorkloadSpec,
        arrivals::{ArrivalSpec, Process},
    },
};

const REQUESTS: u32 = 64;

#[derive(Default)]
struct Count {
    tokens: usize,
}

impl RecordSink for Count {
    fn tokens(&mut self, rows: &[TokenRow]) -> std::io::Result<()> {
        self.tokens += rows.len();
        Ok(())
    }

    fn requests(&mut self, _: &[RequestRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs one trial; returns its summary, the token rows seen and the allocations made, growth of buffers included.
fn trial(output: u32, method: Method, load: Load) -> (TrialSummary, usize, u64) {
    let zero = |name: &str| (name.to_owned(), 0.into());
    let mut engine = sim::Sim::load(&LoadConfig {
        engine: sim::ID.to_owned(),
        model: None,
        max_seqs: REQUESTS,
        max_model_len: 1024,
        seed: 1,
        options: ["step_base_us", "prefill_token_us", "decode_seq_us"].into_iter().map(zero).collect(),
    })
    .unwrap();
    let spec = TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method,
        load,
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests: REQUESTS,
            input: LengthDist::Fixed(32),
            output: LengthDist::Fixed(output),
            sampling: Sampling::default(),
            seed: 1,
            stream: 0,
            ids: engine.info().model.ordinary_ids.clone(),
            saved: None,
        },
    };
    let mut sink = Count::default();
    let mut summary = None;
    let counted = allocation_counter::measure(|| summary = Some(run_trial(&mut engine, &spec, &mut sink).unwrap()));
    (summary.unwrap(), sink.tokens, counted.count_total)
}

#[test]
fn the_step_loop_allocates_nothing_for_a_token() {
    let arrivals = ArrivalSpec { process: Process::Poisson, rate: Some(1e5) };
    let open = Load::Open { arrivals, max_in_flight: Some(16) };
    for load in [Load::Closed { concurrency: 16 }, Load::Offline { batch: REQUESTS }, open] {
        let (_, short_rows, short) = trial(16, Method::Steps, load.clone());
        let (summary, long_rows, long) = trial(160, Method::Steps, load.clone());
        assert_eq!((short_rows, long_rows), (64 * 16, 64 * 160));
        assert_eq!(summary.flushes_in_trial, 0);
        // The counter must count, or the comparison would prove nothing.
        assert!(short > 0);
        if matches!(load, Load::Open { .. }) {
            // How often a thread waits is chance, and waiting may allocate once or twice; tokens must not.
            assert!(long.abs_diff(short) <= 8, "{load:?}: {short} allocations for 16 tokens a request, {long} for 160");
            continue;
        }
        assert_eq!(long, short, "{load:?}: 9,216 more tokens made {} more allocations", long.saturating_sub(short));
    }
}

#[test]
fn handing_a_batch_to_generate_allocates_nothing_for_a_token() {
    let load = Load::Offline { batch: REQUESTS };
    let (_, _, short) = trial(16, Method::Generate, load.clone());
    let (summary, _, long) = trial(160, Method::Generate, load);
    assert_eq!(summary.output_tokens, 64 * 160);
    // The engine's flat list of all output ids doubles as it grows: ten times the ids are at most four doublings more.
    assert!((short..=short + 4).contains(&long), "{short} allocations for 16 tokens a request, {long} for 160");
}
