//! What a trial keeps of a device's clock, driven by a recorded one (a double): no GPU is needed.
use std::io;

use tacho::{
    cell::{
        drive::{KEEP_TOKENS, RecordSink, run_clocked_trial, run_trial},
        protocol::{Load, Method, NONE, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{IdRange, LoadConfig, Options, sim::Sim},
    measure::{DeviceClockMode, DeviceClockSource, DeviceSpan, MAX_DISAGREEMENT, RecordedDeviceClock},
    workload::{LengthDist, WorkloadSpec},
};

const OUTPUT: u32 = 8;

#[derive(Default)]
struct Steps(Vec<StepRow>);

impl RecordSink for Steps {
    fn tokens(&mut self, _: &[TokenRow]) -> io::Result<()> {
        Ok(())
    }
    fn requests(&mut self, _: &[RequestRow]) -> io::Result<()> {
        Ok(())
    }
    fn steps(&mut self, rows: &[StepRow]) -> io::Result<()> {
        self.0.extend_from_slice(rows);
        Ok(())
    }
    fn progress(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn sim(time: &str) -> Sim {
    let options = Options::from([("time".to_owned(), time.into()), ("step_base_us".to_owned(), 500.0.into())]);
    Sim::load(&LoadConfig { engine: "sim".into(), model: None, max_seqs: 4, max_model_len: 4096, seed: 1, options })
        .unwrap()
}

fn spec(method: Method, device_clock: DeviceClockMode) -> TrialSpec {
    TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method,
        load: Load::Offline { batch: 2 },
        device_clock,
        workload: WorkloadSpec {
            requests: 2,
            input: LengthDist::Fixed(16),
            output: LengthDist::Fixed(OUTPUT),
            sampling: Default::default(),
            seed: 3,
            stream: 0,
            ids: vec![IdRange { start: 4, end: 32_000 }],
            saved: None,
        },
    }
}

fn recorded(seconds: f64, marks: usize) -> DeviceClockSource {
    let marks_ns = (1..=marks as u64).map(|n| n * 1000).collect();
    Ok(Box::new(RecordedDeviceClock { span: DeviceSpan { seconds, marks_ns }, ..Default::default() }))
}

fn run(time: &str, clock: &mut DeviceClockSource, spec: &TrialSpec) -> (TrialSummary, Vec<u64>) {
    let mut sink = Steps::default();
    let summary = run_clocked_trial(&mut sim(time), clock, spec, &mut sink).unwrap();
    (summary, sink.0.iter().map(|row| row.device_ns).collect())
}

#[test]
fn each_step_has_its_own_mark() {
    let (summary, steps) = run("virtual", &mut recorded(0.5, 1000), &spec(Method::Steps, DeviceClockMode::Steps));
    assert_eq!(summary.device.seconds(), Some(0.5));
    assert!(steps.len() >= OUTPUT as usize, "{steps:?}");
    assert_eq!(steps, (1..=steps.len() as u64).map(|n| n * 1000).collect::<Vec<_>>());
}

#[test]
fn steps_beyond_the_clocks_room_have_no_device_time() {
    let (_, steps) = run("virtual", &mut recorded(0.5, 3), &spec(Method::Steps, DeviceClockMode::Steps));
    assert_eq!(steps[..3], [1000, 2000, 3000]);
    assert!(steps.len() > 3 && steps[3..].iter().all(|ns| *ns == NONE), "{steps:?}");
}

#[test]
fn trial_mode_brackets_and_marks_nothing() {
    for method in [Method::Generate, Method::Steps] {
        let (summary, steps) = run("virtual", &mut recorded(0.5, 1000), &spec(method, DeviceClockMode::Trial));
        assert_eq!(summary.device.seconds(), Some(0.5), "{method:?}");
        assert!(steps.iter().all(|ns| *ns == NONE), "{steps:?}");
    }
}

#[test]
fn without_a_clock_the_reason_is_kept_and_the_trial_is_whole() {
    let whole = |summary: &TrialSummary| summary.output_tokens == 2 * u64::from(OUTPUT);
    let (off, _) = run("virtual", &mut recorded(0.5, 9), &spec(Method::Steps, DeviceClockMode::Off));
    assert!(whole(&off) && off.device.null_reason().unwrap().contains("off"), "{:?}", off.device);
    let mut none: DeviceClockSource = Err("no CUDA driver on this machine".to_owned());
    let (none, steps) = run("virtual", &mut none, &spec(Method::Steps, DeviceClockMode::Steps));
    assert!(whole(&none) && steps.iter().all(|ns| *ns == NONE));
    assert_eq!(none.device.null_reason(), Some("no CUDA driver on this machine"));
    let broken = RecordedDeviceClock { stop: Some("the device is lost".to_owned()), ..Default::default() };
    let (broken, _) = run("virtual", &mut Ok(Box::new(broken)), &spec(Method::Generate, DeviceClockMode::Steps));
    assert!(whole(&broken));
    assert_eq!((broken.device.seconds(), broken.device.null_reason()), (None, Some("the device is lost")));
    let plain = run_trial(&mut sim("virtual"), &spec(Method::Steps, DeviceClockMode::Steps), &mut Steps::default());
    assert!(plain.unwrap().device.null_reason().is_some());
}

#[test]
fn disagreement_is_told_in_real_time_and_not_in_simulated_time() {
    let steps = spec(Method::Generate, DeviceClockMode::Trial);
    let (real, _) = run("real", &mut recorded(1000.0, 0), &steps);
    let expected = 1000.0 / real.seconds() - 1.0;
    assert_eq!(real.clock_disagreement(), Some(expected));
    assert!(expected > MAX_DISAGREEMENT);
    let (simulated, _) = run("virtual", &mut recorded(1000.0, 0), &steps);
    assert_eq!(simulated.clock_disagreement(), None);
}

#[test]
fn rows_that_leave_in_the_middle_of_a_trial_have_no_device_time() {
    let mut large = spec(Method::Steps, DeviceClockMode::Steps);
    large.workload.requests = 64;
    large.load = Load::Offline { batch: 64 };
    large.workload.output = LengthDist::Fixed(KEEP_TOKENS as u32 / 64 + 400);
    let mut engine = Sim::load(&LoadConfig {
        engine: "sim".into(),
        model: None,
        max_seqs: 64,
        max_model_len: 16_384,
        seed: 1,
        options: Options::from([("time".to_owned(), "virtual".into())]),
    })
    .unwrap();
    let mut sink = Steps::default();
    let summary = run_clocked_trial(&mut engine, &mut recorded(0.5, 1 << 20), &large, &mut sink).unwrap();
    assert!(summary.flushes_in_trial > 0);
    let read = sink.0.iter().filter(|row| row.device_ns != NONE).count();
    let first = sink.0.iter().position(|row| row.device_ns != NONE).unwrap();
    // Marks are numbered through: what remains at the end still has its own.
    assert_eq!(sink.0[first].device_ns, (first as u64 + 1) * 1000);
    assert!(read > 0 && read < sink.0.len(), "{read} of {}", sink.0.len());
}
