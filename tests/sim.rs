//! The simulated engine against its own cost model and against the suite every adapter must pass.
use std::io;

use tacho::{
    cell::{
        drive::{DriveError, RecordSink, run_trial},
        protocol::{Load, Method, NONE, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{Engine, ErrorKind, IdRange, LoadConfig, Options, conformance, sim::Sim},
    workload::WorkloadSpec,
};

fn sim(options: &[(&str, serde_json::Value)]) -> Sim {
    let options: Options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Sim::load(&LoadConfig { engine: "sim".into(), model: None, max_seqs: 4, max_model_len: 4096, seed: 1, options })
        .unwrap()
}

#[derive(Default)]
struct Kept {
    tokens: Vec<TokenRow>,
    requests: Vec<RequestRow>,
    steps: Vec<StepRow>,
}

impl RecordSink for Kept {
    fn tokens(&mut self, rows: &[TokenRow]) -> io::Result<()> {
        self.tokens.extend_from_slice(rows);
        Ok(())
    }
    fn requests(&mut self, rows: &[RequestRow]) -> io::Result<()> {
        self.requests.extend_from_slice(rows);
        Ok(())
    }
    fn steps(&mut self, rows: &[StepRow]) -> io::Result<()> {
        self.steps.extend_from_slice(rows);
        Ok(())
    }
    fn progress(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn spec(method: Method, load: Load, requests: u32, input: &str, output: &str) -> TrialSpec {
    TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method,
        load,
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests,
            input: input.parse().unwrap(),
            output: output.parse().unwrap(),
            sampling: Default::default(),
            seed: 3,
            stream: 0,
            ids: vec![IdRange { start: 4, end: 32_000 }],
            saved: None,
        },
    }
}

fn run(engine: &mut dyn Engine, spec: &TrialSpec) -> (TrialSummary, Kept) {
    let mut kept = Kept::default();
    let summary = run_trial(engine, spec, &mut kept).unwrap();
    (summary, kept)
}

const COSTS: [(&str, f64); 3] = [("step_base_us", 100.0), ("prefill_token_us", 2.0), ("decode_seq_us", 7.0)];

fn virtual_sim(more: &[(&str, serde_json::Value)]) -> Sim {
    let mut options: Vec<(&str, serde_json::Value)> =
        COSTS.iter().map(|(name, cost)| (*name, (*cost).into())).collect();
    options.push(("time", "virtual".into()));
    options.extend_from_slice(more);
    sim(&options)
}

#[test]
fn conformance_in_both_times() {
    for time in ["real", "virtual"] {
        let mut engine = sim(&[("time", time.into()), ("max_model_len", 4096.into())]);
        let checks = conformance::run(&mut engine);
        assert_eq!(conformance::failures(&checks), Vec::<String>::new(), "{time}");
        assert!(checks.iter().all(|check| check.outcome == conformance::Outcome::Passed), "{checks:#?}");
    }
}

#[test]
fn a_batch_takes_what_the_cost_model_says() {
    // 4 requests, 10 in, 5 out: one step of 40 prompt tokens, then 4 of 4 decodes.
    let expect_ns = (100 + 40 * 2 + 4 * (100 + 4 * 7)) * 1000;
    for method in [Method::Generate, Method::Steps] {
        let (summary, _) = run(&mut virtual_sim(&[]), &spec(method, Load::Offline { batch: 4 }, 4, "10", "5"));
        assert_eq!(summary.end_ns - summary.start_ns, expect_ns, "{method:?}");
        assert!(summary.virtual_time);
        assert_eq!((summary.requests, summary.input_tokens, summary.output_tokens), (4, 40, 20));
    }
}

#[test]
fn token_rows_carry_the_true_times() {
    let (summary, kept) = run(&mut virtual_sim(&[]), &spec(Method::Steps, Load::Offline { batch: 1 }, 1, "10", "4"));
    let first_ns = summary.start_ns + 120_000;
    let rows: Vec<(u64, u64, u32)> = kept.tokens.iter().map(|row| (row.time_ns, row.gap_ns, row.index)).collect();
    let step_ns = 107_000;
    assert_eq!(
        rows,
        [
            (first_ns, NONE, 0),
            (first_ns + step_ns, step_ns, 1),
            (first_ns + 2 * step_ns, step_ns, 2),
            (first_ns + 3 * step_ns, step_ns, 3)
        ]
    );
    let request = kept.requests[0];
    assert_eq!(
        (request.scheduled_ns, request.first_ns, request.last_ns),
        (summary.start_ns, first_ns, first_ns + 3 * step_ns)
    );
    assert_eq!(
        kept.steps.iter().map(|step| (step.prefill_tokens, step.decode_seqs)).collect::<Vec<_>>(),
        [(10, 0), (0, 1), (0, 1), (0, 1)]
    );
}

#[test]
fn both_doors_give_the_same_ids() {
    let digest = |method| {
        run(&mut virtual_sim(&[]), &spec(method, Load::Offline { batch: 3 }, 7, "5..20", "2..9")).0.output_digest
    };
    assert_eq!(digest(Method::Generate), digest(Method::Steps));
}

#[test]
fn a_closed_loop_keeps_its_number_in_flight() {
    let (_, kept) = run(&mut virtual_sim(&[]), &spec(Method::Steps, Load::Closed { concurrency: 3 }, 30, "4", "6"));
    assert_eq!(kept.requests.len(), 30);
    for request in &kept.requests {
        let t = request.submitted_ns;
        let in_flight = kept.requests.iter().filter(|other| other.submitted_ns <= t && t < other.last_ns).count();
        assert!(in_flight <= 3, "{in_flight} in flight at {t}");
    }
    let busy = kept.steps.iter().filter(|step| step.running + step.waiting >= 2).count();
    assert!(busy * 10 >= kept.steps.len() * 8, "{busy} of {} steps", kept.steps.len());
}

#[test]
fn a_small_kv_cache_makes_requests_wait() {
    let engine = &mut virtual_sim(&[("kv_tokens", 20.into())]);
    let (_, kept) = run(engine, &spec(Method::Steps, Load::Offline { batch: 4 }, 4, "10", "5"));
    assert!(kept.steps.iter().all(|step| step.running <= 1 && step.kv_tokens <= 20));
}

#[test]
fn jitter_is_seeded() {
    let seconds = || {
        run(&mut virtual_sim(&[("jitter", 0.1.into())]), &spec(Method::Steps, Load::Offline { batch: 4 }, 8, "9", "9"))
            .0
            .seconds()
    };
    let exact = run(&mut virtual_sim(&[]), &spec(Method::Steps, Load::Offline { batch: 4 }, 8, "9", "9")).0.seconds();
    assert_eq!(seconds(), seconds());
    assert!((seconds() / exact - 1.0).abs() < 0.2);
    assert_ne!(seconds(), exact);
}

#[test]
fn real_time_is_real() {
    let options: Vec<_> = COSTS.iter().map(|(name, cost)| (*name, serde_json::Value::from(*cost))).collect();
    let started = std::time::Instant::now();
    let (summary, _) = run(&mut sim(&options), &spec(Method::Generate, Load::Offline { batch: 4 }, 40, "10", "5"));
    let expect = 10.0 * (100.0 + 80.0 + 4.0 * 128.0) * 1e-6;
    assert!(summary.seconds() >= expect, "{} < {expect}", summary.seconds());
    assert!(summary.seconds() <= started.elapsed().as_secs_f64());
    assert!(!summary.virtual_time);
}

#[test]
fn wrong_counts_are_errors_that_name_both_numbers() {
    for (fault, words) in [
        ("short_output", ["output tokens were asked for", "produced"]),
        ("wrong_input", ["prompt tokens were given", "consumed"]),
    ] {
        for method in [Method::Generate, Method::Steps] {
            // Step 4 gives the only request its last token but one (short) or its last (wrong input).
            let at = if fault == "short_output" { 3 } else { 4 };
            let engine = &mut virtual_sim(&[("fault", fault.into()), ("fault_at_step", at.into())]);
            let error =
                run_trial(engine, &spec(method, Load::Offline { batch: 1 }, 1, "10", "5"), &mut Kept::default())
                    .unwrap_err();
            let DriveError::Engine(error) = error else { panic!("{error}") };
            assert_eq!(error.kind, ErrorKind::Mismatch);
            assert!(words.iter().all(|word| error.message.contains(word)), "{error}");
            assert!(
                ["5", "10"].iter().any(|n| error.message.contains(n)) && error.message.contains("request 0"),
                "{error}"
            );
        }
    }
}

#[test]
fn bad_options_and_requests_are_refused() {
    let refused = |options: &[(&str, serde_json::Value)]| {
        let options: Options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Sim::load(&LoadConfig { engine: "sim".into(), model: None, max_seqs: 1, max_model_len: 1, seed: 0, options })
            .err()
            .unwrap()
    };
    assert!(refused(&[("step_bse_us", 1.into())]).message.contains("step_bse_us"));
    assert!(refused(&[("step_base_us", (-1.0).into())]).message.contains("not negative"));
    assert!(refused(&[("prefill_chunk", 0.into())]).message.contains("at least 1"));
    let engine = &mut virtual_sim(&[("max_model_len", 100.into())]);
    let error =
        run_trial(engine, &spec(Method::Generate, Load::Offline { batch: 1 }, 1, "90", "11"), &mut Kept::default())
            .unwrap_err();
    assert!(error.to_string().contains("at most 100"), "{error}");
    let closed = spec(Method::Generate, Load::Closed { concurrency: 2 }, 2, "5", "5");
    assert!(run_trial(engine, &closed, &mut Kept::default()).unwrap_err().to_string().contains("closed loop"));
}
