//! The certificate against records with one fault each: every fault gives its reason and no other.
use super::*;
use crate::{
    cell::{
        evidence::{Asked, Evidence},
        open::{FidelityLimits, Saturation, ScheduleFidelity},
        protocol::{Load, Method},
    },
    engine::stat,
    measure::{
        DeviceTime,
        telemetry::{GpuFigures, HostFigures},
    },
    results::testing,
    workload::arrivals::{ArrivalSpec, Process, Schedule},
};

fn basis() -> Basis {
    Basis { limits: Limits::default(), target: Some(0.02), clock_band: Some(0.05), processors: Some(2) }
}

/// A point of which everything is known and nothing is wrong, on the processor or, as made up, on a GPU. Its seven trials
/// leave an interval when one of them is taken out.
fn good(gpu: bool) -> PointRecord {
    let mut record = testing::point(0, "llama.cpp", &[]);
    if let Some(engine) = &mut record.engine {
        engine.gpu_in_process = gpu.then_some(true);
    }
    for (number, factor) in (0..).zip([1.0, 0.999, 1.001, 1.0, 0.999, 1.001, 1.0]) {
        let mut trial = testing::trial(number, Method::Generate, 1000.0 * factor);
        let summary = &mut trial.summary;
        summary.evidence = Evidence {
            asked: Some(Asked { requests: 64, input_tokens: 64 * 128, output_tokens: 4096 }),
            given_digest: Some(7),
            consumed_digest: Some(7),
            suspended_ns: Some(200),
        };
        for name in [stat::PREFIX_HIT_TOKENS, stat::COMPILES, stat::PREEMPTIONS] {
            summary.stats.insert(name.to_owned(), 0.0);
        }
        summary.device = DeviceTime::Seconds(summary.seconds());
        let telemetry = &mut trial.hardware.telemetry;
        telemetry.host =
            Some(HostFigures { rss_growth_bytes: Some(1 << 20), other_load: Some(0.02), ..HostFigures::default() });
        telemetry.gpu = gpu.then(|| GpuFigures {
            throttle_reasons: Some(0x1),
            sm_clock_mean_mhz: Some(1980.0),
            memory_growth_bytes: Some(2 << 20),
            other_processes: Some(0),
            ..GpuFigures::default()
        });
        record.trials.push(trial);
    }
    record
}

fn judged(record: &PointRecord) -> (Vec<Code>, Vec<Code>) {
    let certificate = certify(record, &basis());
    assert_eq!(certificate.is_valid(), certificate.reasons.is_empty());
    (certificate.codes(), certificate.unchecked())
}

/// A fault in the third trial's record.
type Fault = fn(&mut TrialRecord);

fn gpu_of(trial: &mut TrialRecord) -> &mut GpuFigures {
    trial.hardware.telemetry.gpu.get_or_insert_default()
}

fn host_of(trial: &mut TrialRecord) -> &mut HostFigures {
    trial.hardware.telemetry.host.get_or_insert_default()
}

fn count(trial: &mut TrialRecord, name: &str, found: f64) {
    trial.summary.stats.insert(name.to_owned(), found);
}

fn forget(trial: &mut TrialRecord, name: &str) {
    trial.summary.stats.remove(name);
}

/// Faults that are the same on a processor and on a GPU.
const ANYWHERE: [(Code, Fault); 11] = [
    (Code::Suspended, |trial| trial.summary.evidence.suspended_ns = Some(MAX_SUSPENDED_NS + 1)),
    (Code::InputIds, |trial| trial.summary.input_tokens += 1),
    (Code::InputIds, |trial| trial.summary.evidence.consumed_digest = Some(8)),
    (Code::OutputCounts, |trial| trial.summary.output_tokens -= 1),
    (Code::FinishReasons, |trial| trial.summary.requests -= 1),
    (Code::PrefixHits, |trial| count(trial, stat::PREFIX_HIT_TOKENS, 16.0)),
    (Code::CompileInTrial, |trial| count(trial, stat::COMPILES, 1.0)),
    (Code::AllocatorGrowth, |trial| host_of(trial).rss_growth_bytes = Some(MAX_HOST_GROWTH_BYTES + 1)),
    (Code::Preemption, |trial| count(trial, stat::PREEMPTIONS, 1.0)),
    // 4 seconds of which 0.1 are ours.
    (Code::HarnessShare, |trial| trial.summary.harness_ns = 100_000_000),
    (Code::MinDuration, |trial| {
        let summary = &mut trial.summary;
        (summary.end_ns, summary.harness_ns) = (summary.start_ns + 99_000_000, 0);
        summary.device = DeviceTime::Seconds(0.099);
        host_of(trial).other_load = Some(0.0);
    }),
];

const ON_GPU: [(Code, Fault); 6] = [
    (Code::AllocatorGrowth, |trial| gpu_of(trial).memory_growth_bytes = Some(MAX_DEVICE_GROWTH_BYTES + 1)),
    (Code::Throttle, |trial| gpu_of(trial).throttle_reasons = Some(0x21)),
    (Code::Clocks, |trial| gpu_of(trial).sm_clock_mean_mhz = Some(1800.0)),
    (Code::Clocks, |trial| gpu_of(trial).sm_clock_mean_mhz = Some(2100.0)),
    (Code::GpuShared, |trial| gpu_of(trial).other_processes = Some(1)),
    (Code::ClockAgreement, |trial| trial.summary.device = DeviceTime::Seconds(5.0)),
];

const ON_PROCESSOR: [(Code, Fault); 1] = [(Code::MachineLoad, |trial| host_of(trial).other_load = Some(0.2))];

#[test]
fn a_prefix_cache_that_is_asked_for_may_answer_what_turns_share_and_no_more() {
    let with = |hits: f64| {
        let mut record = good(false);
        record.point.engine.options.insert("enable_prefix_caching".to_owned(), true.into());
        for trial in &mut record.trials {
            count(trial, stat::PREFIX_HIT_TOKENS, hits);
            trial.summary.sessions = Some(crate::cell::sessions::SessionFigures {
                sessions: 32,
                most_turns: 2,
                think_digest: String::new(),
                reusable_tokens: 900,
            });
        }
        judged(&record).0
    };
    assert_eq!((with(0.0), with(900.0)), (Vec::new(), Vec::new()));
    assert_eq!(with(901.0), [Code::PrefixHits]);
    // Without the cache being asked for, a conversation's hits are as unwelcome as any.
    let mut record = good(false);
    count(&mut record.trials[2], stat::PREFIX_HIT_TOKENS, 1.0);
    assert_eq!(judged(&record).0, [Code::PrefixHits]);
}

#[test]
fn a_good_point_is_valid_and_what_is_not_known_of_it_is_said() {
    assert_eq!(judged(&good(true)), (vec![], vec![]));
    assert_eq!(judged(&good(false)), (vec![], vec![Code::Throttle, Code::Clocks]));
}

#[test]
fn each_fault_gives_its_reason_and_no_other() {
    let processor = ANYWHERE.iter().chain(&ON_PROCESSOR).map(|fault| (false, fault));
    let gpu = ANYWHERE.iter().chain(&ON_GPU).map(|fault| (true, fault));
    for (on_gpu, (code, fault)) in processor.chain(gpu) {
        let mut record = good(on_gpu);
        fault(&mut record.trials[2]);
        let certificate = certify(&record, &basis());
        // A trial too short to see a load in is beside it.
        let beside: Vec<Code> = certificate.unchecked().into_iter().filter(|code| *code != Code::MachineLoad).collect();
        assert_eq!((certificate.codes(), beside), (vec![*code], judged(&good(on_gpu)).1), "{:?}", certificate.reasons);
        let reason = &certificate.reasons[0];
        assert_eq!((reason.trial, reason.evidence.get("trials")), (Some(2), Some(&1.0)), "{reason:?}");
        assert!(reason.sentence.ends_with("(1 of 7 trials: trial 2)"), "{}", reason.sentence);

        // The same in a trial that was run again is in no figure and says nothing.
        record.trials[2].hardware.superseded = true;
        assert_eq!(judged(&record).0, vec![], "{code}");
    }
}

#[test]
fn the_interval_is_the_points_own() {
    let mut record = good(true);
    for (trial, throughput) in record.trials.iter_mut().zip([900.0, 1000.0, 1100.0, 950.0, 1000.0, 1050.0]) {
        trial.figures.output_token_throughput = throughput;
    }
    let certificate = certify(&record, &basis());
    assert_eq!(certificate.codes(), vec![Code::Interval]);
    assert!((certificate.reasons[0].evidence["half_width"] - 0.1).abs() < 1e-9, "{certificate:?}");
    let wide = Basis { target: Some(0.2), ..basis() };
    assert!(certify(&record, &wide).is_valid());
    record.trials.truncate(5);
    assert!(certify(&record, &wide).reasons[0].sentence.starts_with("there is no interval"));
}

/// Seven trials of an open load at these rates, which gave these throughputs in output tokens a second.
fn open_load(rates: [f64; 7], throughputs: [f64; 7]) -> PointRecord {
    let mut record = good(false);
    let arrivals = |rate| ArrivalSpec { process: Process::Constant, rate: Some(rate) };
    record.point.load = Load::Open { arrivals: arrivals(100.0), max_in_flight: None };
    for (trial, (rate, throughput)) in record.trials.iter_mut().zip(rates.into_iter().zip(throughputs)) {
        let schedule = Schedule::new(&arrivals(rate), 64, 1, 0).unwrap();
        let times: Vec<(u64, u64)> = schedule.offsets_ns().iter().map(|offset| (7 + offset, 7 + offset)).collect();
        trial.method = Method::Steps;
        trial.summary.schedule = Some(ScheduleFidelity::judge(&schedule, 7, &times, FidelityLimits::default()));
        trial.figures.output_token_throughput = throughput;
    }
    record
}

#[test]
fn an_open_load_is_known_by_its_throughput_or_by_what_it_was_offered() {
    let rates = [90.0, 95.0, 100.0, 105.0, 110.0, 98.0, 102.0];
    // Kept up with: 64 tokens for each request that was offered, however many that were.
    let kept_up = open_load(rates, rates.map(|rate| 64.0 * rate));
    assert_eq!(judged(&kept_up).0, vec![]);
    let by_offer = kept_up.throughputs_by_offer().unwrap();
    // The last of 64 is due after 63 gaps or 64, as the process has it.
    assert!(by_offer.iter().all(|tokens| (62.9..64.1).contains(tokens)), "{by_offer:?}");
    assert!(by_offer.iter().all(|tokens| (tokens / by_offer[0] - 1.0).abs() < 1e-6), "{by_offer:?}");
    // Overloaded: as many tokens as the engine can, whatever was offered.
    assert_eq!(judged(&open_load(rates, [3000.0; 7])).0, vec![]);
    // Neither: the engine's own pace is scattered.
    let neither = open_load(rates, [3000.0, 3500.0, 2500.0, 3300.0, 2700.0, 3100.0, 2900.0]);
    assert_eq!(judged(&neither).0, vec![Code::Interval]);
    // A trial of which nobody knows what was offered leaves the throughput alone to be judged.
    let mut old = kept_up;
    if let Some(schedule) = &mut old.trials[3].summary.schedule {
        schedule.span_ns = 0;
    }
    assert_eq!((old.throughputs_by_offer(), judged(&old).0), (None, vec![Code::Interval]));
    // A single trial of a search is not judged by an interval that it cannot have.
    old.trials.truncate(1);
    old.stopped_by = "probe".to_owned();
    let (codes, unchecked) = judged(&old);
    assert!(!codes.contains(&Code::Interval) && unchecked.contains(&Code::Interval), "{codes:?} {unchecked:?}");
}

#[test]
fn missing_evidence_is_never_taken_for_granted() {
    let gaps: [(Code, Fault); 10] = [
        (Code::Suspended, |trial| trial.summary.evidence.suspended_ns = None),
        (Code::InputIds, |trial| trial.summary.evidence.consumed_digest = None),
        (Code::PrefixHits, |trial| forget(trial, stat::PREFIX_HIT_TOKENS)),
        (Code::CompileInTrial, |trial| forget(trial, stat::COMPILES)),
        (Code::Preemption, |trial| forget(trial, stat::PREEMPTIONS)),
        (Code::AllocatorGrowth, |trial| host_of(trial).rss_growth_bytes = None),
        (Code::Throttle, |trial| gpu_of(trial).throttle_reasons = None),
        (Code::Clocks, |trial| gpu_of(trial).sm_clock_mean_mhz = None),
        (Code::GpuShared, |trial| gpu_of(trial).other_processes = None),
        (Code::ClockAgreement, |trial| trial.summary.device = DeviceTime::default()),
    ];
    for (code, gap) in gaps {
        let mut record = good(true);
        record.trials.iter_mut().for_each(gap);
        assert_eq!(judged(&record), (vec![], vec![code]));
        // One trial is enough.
        let mut record = good(true);
        gap(&mut record.trials[4]);
        assert_eq!(judged(&record), (vec![], vec![code]));
        assert!(certify(&record, &basis()).not_checked[0].why.ends_with("(1 of 7 trials)"));
    }
}

#[test]
fn a_journal_from_before_is_judged_by_what_it_holds() {
    let mut json = serde_json::to_value(good(true)).unwrap();
    for trial in json["trials"].as_array_mut().unwrap() {
        trial["summary"].as_object_mut().unwrap().remove("evidence");
        let gpu = trial["hardware"]["telemetry"]["gpu"].as_object_mut().unwrap();
        for name in ["memory_growth_bytes", "other_processes"] {
            gpu.remove(name);
        }
    }
    let record: PointRecord = serde_json::from_value(json).unwrap();
    let unchecked = [
        Code::InputIds,
        Code::OutputCounts,
        Code::FinishReasons,
        Code::AllocatorGrowth,
        Code::GpuShared,
        Code::Suspended,
    ];
    assert_eq!(judged(&record), (vec![], unchecked.to_vec()));
    // A plan that knew no limits: the defaults, and what only it could say is not checked.
    let mut info = testing::info();
    info.host.processors = None;
    let basis = Basis::of(&info);
    assert_eq!((&basis.limits, basis.target, basis.processors), (&Limits::default(), None, Some(2)));
    let gaps = certify(&record, &basis).unchecked();
    assert!(gaps.contains(&Code::Interval) && gaps.contains(&Code::Clocks), "{gaps:?}");
}

#[test]
fn a_point_that_failed_says_by_what() {
    let mut record = testing::records().remove(2);
    assert_eq!(judged(&record), (vec![Code::Failed], vec![]));
    for (broken, code) in [
        (Broken::InputIds, Code::InputIds),
        (Broken::OutputCounts, Code::OutputCounts),
        (Broken::FinishReasons, Code::FinishReasons),
    ] {
        if let PointStatus::Failed(failure) = &mut record.outcome {
            failure.broken = Some(broken);
        }
        assert_eq!(judged(&record), (vec![code], vec![]));
    }
    let mut empty = good(true);
    empty.trials.clear();
    assert_eq!(judged(&empty), (vec![Code::Failed], vec![]));
}

#[test]
fn a_count_of_a_part_speaks_against_a_trial_and_not_for_one() {
    let mut record = good(true);
    let why = "Triton's hook is missing";
    let engine = record.engine.as_mut().unwrap();
    engine.uncounted.insert(stat::COMPILES.to_owned(), why.to_owned());
    let certificate = certify(&record, &basis());
    assert_eq!((certificate.codes(), certificate.unchecked()), (vec![], vec![Code::CompileInTrial]));
    assert_eq!(certificate.not_checked[0].why, why);
    count(&mut record.trials[3], stat::COMPILES, 2.0);
    count(&mut record.trials[3], "compiles.cuda_graph_captures", 2.0);
    count(&mut record.trials[3], "compiles.dynamo_compiles", 0.0);
    let reason = &certify(&record, &basis()).reasons[0];
    assert_eq!((reason.code, reason.trial, reason.evidence["compiles"]), (Code::CompileInTrial, Some(3), 2.0));
    assert!(
        reason.sentence.contains("2 times while it was timed: cuda graph captures 2 (1 of 7"),
        "{}",
        reason.sentence
    );
    // A total that was lost says nothing; a part that was counted still does.
    let mut lost = good(true);
    forget(&mut lost.trials[0], stat::COMPILES);
    count(&mut lost.trials[0], "compiles.dynamo_compiles", 0.0);
    assert_eq!(judged(&lost), (vec![], vec![Code::CompileInTrial]));
    count(&mut lost.trials[0], "compiles.dynamo_compiles", 1.0);
    assert_eq!(judged(&lost), (vec![Code::CompileInTrial], vec![]));
}

#[test]
fn two_places_are_noted_where_they_are_apart_and_make_nothing_invalid() {
    let paces = |apart: f64| {
        let mut record = good(true);
        let more = record.trials.clone();
        record.trials.extend(more);
        for (number, trial) in record.trials.iter_mut().enumerate() {
            let pace = if number % 2 == 0 { 1.0 } else { 1.0 + apart };
            trial.figures.output_token_throughput = 1000.0 * pace * (1.0 + 1e-4 * (number % 5) as f64);
        }
        record
    };
    let wide = Basis { target: Some(0.5), ..basis() };
    let certificate = certify(&paces(0.05), &wide);
    assert!(certificate.is_valid(), "{certificate:?}");
    let note = "bimodal: 7 trials lie around 1000 and 7 around 1050 output tokens/s (dip test, p = 0.001): one figure describes neither";
    assert_eq!(certificate.notes, [note]);
    assert_eq!(certify(&paces(0.005), &wide).notes, Vec::<String>::new(), "less than the threshold apart");
    let mut side_by_side = paces(0.05);
    side_by_side.stopped_by = "compare".to_owned();
    assert_eq!(certify(&side_by_side, &wide).notes, Vec::<String>::new());
    assert_eq!(certify(&good(true), &wide).notes, Vec::<String>::new());
}

#[test]
fn a_plan_may_ask_for_hits_and_allow_preemptions() {
    let mut record = good(true);
    let stats = &mut record.trials[0].summary.stats;
    stats.insert(stat::PREFIX_HIT_TOKENS.to_owned(), 64.0);
    stats.insert(stat::PREEMPTIONS.to_owned(), 3.0);
    let options = [
        ("enable_prefix_caching", serde_json::json!(true)),
        ("disable_radix_cache", serde_json::json!(false)),
        ("kv_cache_config", serde_json::json!({"enable_block_reuse": true})),
    ];
    for (name, value) in options {
        record.point.engine.options = std::collections::BTreeMap::from([(name.to_owned(), value)]);
        // What single prompts may share nobody has said, so that nothing is judged, and that is told.
        assert_eq!(judged(&record), (vec![Code::Preemption], vec![Code::PrefixHits]));
    }
    record.point.engine.options.insert("kv_cache_config".to_owned(), serde_json::json!({"enable_block_reuse": false}));
    assert_eq!(judged(&record).0, vec![Code::PrefixHits, Code::Preemption]);
    let allowed = Basis { limits: Limits { max_preemptions: 3, ..Limits::default() }, ..basis() };
    assert_eq!(certify(&record, &allowed).codes(), vec![Code::PrefixHits]);
}

#[test]
fn a_step_that_is_launched_ahead_may_go_on_behind_the_last_token_but_no_second_one() {
    // 64 requests of 64 tokens; all at once, a step is 1/64 of the trial, 1.56 %.
    let point_of = |batch: u32, engine: &str, effective: &[(&str, bool)], factor: f64| {
        let mut record = good(true);
        record.point.load = Load::Offline { batch };
        let info = record.engine.as_mut().unwrap();
        info.engine = engine.to_owned();
        info.effective = effective.iter().map(|(name, on)| ((*name).to_owned(), (*on).into())).collect();
        for trial in &mut record.trials {
            (trial.summary.requests, trial.summary.output_tokens) = (64, 4096);
            trial.summary.device = DeviceTime::Seconds(trial.summary.seconds() * factor);
        }
        record
    };
    let judged_of = |batch: u32, engine: &str, effective: &[(&str, bool)], factor: f64| {
        judged(&point_of(batch, engine, effective, factor)).0
    };
    let judged_with = |engine: &str, effective: &[(&str, bool)], factor: f64| judged_of(64, engine, effective, factor);
    let overlapped = [("disable_overlap_schedule", false)];
    assert_eq!(judged_with("sglang", &overlapped, 1.015), vec![]);
    assert_eq!(judged_with("vllm", &[("async_scheduling", true)], 1.015), vec![]);
    // 26 at once: a step is 0.63 % and two are 1.27; 16: 0.39, within what holds for everybody, and 0.78.
    for (batch, factor, fine) in [(26, 1.006, true), (26, 1.012, false), (16, 1.0045, true), (16, 1.0075, false)] {
        let expected = if fine { vec![] } else { vec![Code::ClockAgreement] };
        assert_eq!(judged_of(batch, "sglang", &overlapped, factor), expected, "{batch} {factor}");
    }
    // The limit that is told is the one that was broken.
    for (factor, limit) in [(1.032, 1.0 / 64.0), (0.98, 0.005)] {
        let found = certify(&point_of(64, "sglang", &overlapped, factor), &basis()).reasons.remove(0);
        assert!((found.evidence["limit"] - limit).abs() < 1e-12, "{found:?}");
    }
    for (engine, effective, factor) in [
        ("sglang", &overlapped[..], 1.032), // two steps
        ("sglang", &overlapped[..], 0.98),  // less than the host's clock
        ("sglang", &[("disable_overlap_schedule", true)], 1.015),
        ("sglang", &[], 1.015), // it does not say
        ("llama.cpp", &[], 1.015),
    ] {
        assert_eq!(
            judged_with(engine, effective, factor),
            vec![Code::ClockAgreement],
            "{engine} {effective:?} {factor}"
        );
    }
}

#[test]
fn a_load_is_judged_only_where_ticks_can_tell_it() {
    let mut record = good(false);
    for trial in &mut record.trials {
        host_of(trial).other_load = Some(0.105);
    }
    // 5.25 % of two processors, of which 0.5 % may be ticks.
    assert_eq!(judged(&record).0, vec![]);
    let no_limit = Basis { limits: Limits { max_machine_load: 1.0, ..Limits::default() }, ..basis() };
    record.trials[0].hardware.telemetry.host = Some(HostFigures { other_load: Some(2.0), ..HostFigures::default() });
    assert!(certify(&record, &no_limit).unchecked().contains(&Code::MachineLoad));
    for trial in &mut record.trials {
        trial.summary.end_ns = trial.summary.start_ns + 300_000_000;
    }
    let short = certify(&record, &basis());
    assert!(short.unchecked().contains(&Code::MachineLoad) && !short.codes().contains(&Code::MachineLoad), "{short:?}");
}

#[test]
fn a_load_that_leaves_the_engine_idle_hides_no_harness() {
    let mut record = good(false);
    for trial in &mut record.trials {
        // 1 % of the trial, but a tenth of the time in which there was anything to do.
        let all_ns = trial.summary.end_ns - trial.summary.start_ns;
        (trial.summary.harness_ns, trial.summary.busy_ns) = (all_ns / 100, Some(all_ns / 10));
    }
    assert_eq!(judged(&record).0, vec![Code::HarnessShare]);
}

#[test]
fn a_power_limit_is_accepted_only_where_the_plan_says_so_and_heat_never() {
    let mut record = good(true);
    for trial in &mut record.trials {
        gpu_of(trial).throttle_reasons = Some(0x5);
    }
    assert_eq!(judged(&record).0, vec![Code::Throttle]);
    let accepting = Basis { limits: Limits { power_cap: PowerCap::Accept, ..Limits::default() }, ..basis() };
    assert_eq!(certify(&record, &accepting).codes(), vec![]);
    gpu_of(&mut record.trials[0]).throttle_reasons = Some(0x24);
    let certificate = certify(&record, &accepting);
    assert_eq!(certificate.codes(), vec![Code::Throttle]);
    assert!(certificate.reasons[0].sentence.contains("by sw_thermal_slowdown"), "{certificate:?}");
}

/// Faults that are the point's, or that only some points can have.
fn other_faults() -> [(Code, PointRecord); 4] {
    let mut scattered = good(false);
    for (trial, throughput) in scattered.trials.iter_mut().zip([900.0, 1000.0, 1100.0, 950.0]) {
        trial.figures.output_token_throughput = throughput;
    }
    let rates = [100.0; 7];
    let mut late = open_load(rates, rates.map(|rate| 64.0 * rate));
    let schedule = Schedule::new(&ArrivalSpec { process: Process::Constant, rate: Some(100.0) }, 64, 1, 0).unwrap();
    let behind = FidelityLimits::default().p99_ns as u64 + 1_000_000;
    let times: Vec<(u64, u64)> =
        schedule.offsets_ns().iter().map(|offset| (7 + offset + behind, 7 + offset + behind)).collect();
    late.trials[2].summary.schedule = Some(ScheduleFidelity::judge(&schedule, 7, &times, FidelityLimits::default()));
    let mut overloaded = open_load(rates, rates.map(|rate| 64.0 * rate));
    let summary = &mut overloaded.trials[2].summary;
    (summary.requests, summary.output_tokens) = (summary.requests - 32, summary.output_tokens - 32);
    if let Some(schedule) = &mut summary.schedule {
        schedule.saturation = Some(Saturation {
            stopped_ns: 1,
            arrived: 64,
            unfinished: 32,
            not_released: 0,
            reason: "its queue grows without end".to_owned(),
        });
    }
    let failed = testing::records().remove(2);
    [(Code::Failed, failed), (Code::Interval, scattered), (Code::Schedule, late), (Code::Schedule, overloaded)]
}

#[test]
fn every_code_has_a_fault_that_gives_it_and_no_other() {
    // Those of the tables are tried one by one above.
    let mut tried: std::collections::BTreeSet<Code> =
        ANYWHERE.iter().chain(&ON_GPU).chain(&ON_PROCESSOR).map(|(code, _)| *code).collect();
    for (code, record) in other_faults() {
        let certificate = certify(&record, &basis());
        assert_eq!(certificate.codes(), [code], "{certificate:?}");
        if code == Code::Schedule {
            assert_eq!(certificate.reasons[0].trial, Some(2), "{certificate:?}");
        }
        tried.insert(code);
    }
    assert_eq!(tried, Code::ALL.into_iter().collect());
}

#[test]
fn only_loads_with_arrival_times_have_a_schedule() {
    let mut record = good(true);
    for load in [Load::Offline { batch: 64 }, Load::Closed { concurrency: 4 }] {
        record.point.load = load;
        let (codes, unchecked) = judged(&record);
        assert!(!codes.contains(&Code::Schedule) && !unchecked.contains(&Code::Schedule));
    }
}

#[test]
fn the_page_names_every_code_and_every_limit() {
    let page = include_str!("../../docs/validity.md");
    for code in Code::ALL {
        assert!(page.contains(&format!("| `{code}` |")), "docs/validity.md has no row of `{code}`");
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
    for limit in ["max_harness_share", "max_machine_load", "min_duration", "max_preemptions", "power_cap"] {
        assert!(page.contains(limit), "docs/validity.md does not name {limit}");
    }
}
