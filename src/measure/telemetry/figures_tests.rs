use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{super::GpuDevice, *};

const MS: u64 = 1_000_000;

fn device(uuid: &str) -> GpuDevice {
    GpuDevice { uuid: uuid.to_owned(), ..GpuDevice::default() }
}

fn gpu(ms: u64, uuid: &str, reading: GpuReading) -> GpuSample {
    GpuSample { time_ns: ms * MS, uuid: Uuid::new(uuid), reading }
}

/// A device at 500 W, sampled every 100 ms from 0 to `until_ms`.
fn steady(uuid: &str, until_ms: u64) -> Vec<GpuSample> {
    (0..=until_ms / 100)
        .map(|n| {
            let reading = GpuReading {
                utilization_percent: Some(if n % 2 == 0 { 100 } else { 90 }),
                memory_used_bytes: Some(1000 + n),
                sm_clock_mhz: Some(1980 - 10 * (n as u32 % 2)),
                memory_clock_mhz: Some(2619),
                power_mw: Some(500_000),
                temperature_c: Some(50 + n as u32),
                throttle_reasons: Some(if n == 3 { 0x4 } else { 0x1 }),
                energy_mj: Some(7_000_000 + n * 50_000),
                ..GpuReading::default()
            };
            gpu(n * 100, uuid, reading)
        })
        .collect()
}

fn samples(gpu: Vec<GpuSample>, devices: &[&str]) -> Samples {
    Samples { devices: devices.iter().map(|uuid| device(uuid)).collect(), gpu, ..Samples::default() }
}

fn window(start_ms: u64, end_ms: u64) -> Window {
    Window { start_ns: start_ms * MS, end_ns: end_ms * MS }
}

#[test]
fn energy_is_power_times_time() {
    let found = figures(&samples(steady("a", 3000), &["a"]), window(250, 2750), Some(1)).gpu.unwrap();
    assert!((found.energy_j.unwrap() - 500.0 * 2.5).abs() < 1e-9);
    assert_eq!((found.power_mean_w, found.energy_updates), (Some(500.0), Some(24)));
    assert_eq!(found.energy_null_reason, None);
    assert_eq!((found.sm_clock_min_mhz, found.memory_clock_mean_mhz), (Some(1970), Some(2619.0)));
    assert_eq!((found.throttle_reasons, found.temperature_max_c), (Some(0x5), Some(77)));
    assert_eq!((found.memory_peak_bytes, found.process_memory_peak_bytes), (Some(1030), None));
    assert_eq!(found.sampling, Sampling { samples: 25, period_ms: 100.0, longest_gap_ms: 100.0 });
}

#[test]
fn a_short_trial_has_no_energy_and_a_shorter_one_nothing() {
    let all = samples(steady("a", 3000), &["a"]);
    let short = figures(&all, window(250, 1250), Some(1)).gpu.unwrap();
    assert_eq!((short.energy_j, short.energy_updates), (None, Some(9)));
    assert!(short.energy_null_reason.unwrap().starts_with("not resolvable: the energy counter was seen to change 9"));
    let none = figures(&all, window(210, 290), Some(1));
    assert!(none.gpu.is_none() && none.gpu_null_reason.unwrap().contains("make trials longer"));
}

#[test]
fn a_counter_that_changes_rarely_resolves_less() {
    let mut rare = steady("a", 3000);
    for sample in &mut rare {
        sample.reading.energy_mj = sample.reading.energy_mj.map(|mj| mj / 500_000 * 500_000);
    }
    let found = figures(&samples(rare, &["a"]), window(250, 2750), Some(1)).gpu.unwrap();
    assert_eq!((found.energy_j, found.energy_updates), (None, Some(2)));
}

#[test]
fn devices_are_those_with_the_cells_processes_or_the_first() {
    let mut both = steady("a", 3000);
    both.extend(steady("b", 3000));
    both.sort_by_key(|sample| sample.time_ns);
    let mut all = samples(both, &["a", "b"]);
    let devices = |all: &Samples, ways| figures(all, window(250, 2750), Some(ways)).gpu.unwrap().devices;
    assert_eq!(devices(&all, 1), ["a"]);
    assert_eq!(devices(&all, 2), ["a", "b"]);
    let two = figures(&all, window(250, 2750), Some(2)).gpu.unwrap();
    assert!((two.energy_j.unwrap() - 2500.0).abs() < 1e-9);
    assert_eq!(two.power_mean_w, Some(1000.0));
    for sample in all.gpu.iter_mut().filter(|sample| sample.uuid.as_str() == "b") {
        sample.reading.process_memory_bytes = Some(7);
    }
    assert_eq!(devices(&all, 1), ["b"]);
    assert_eq!(figures(&all, window(250, 2750), Some(1)).gpu.unwrap().process_memory_peak_bytes, Some(7));
}

#[test]
fn what_is_missing_says_why() {
    let none = figures(&Samples::default(), window(0, 1), None);
    assert_eq!(none.gpu_null_reason.as_deref(), Some("the engine uses no GPU"));
    assert!(none.host_null_reason.is_some());
    let reason = Some("no driver".to_owned());
    let without = Samples { gpu_null_reason: reason.clone(), ..Samples::default() };
    assert_eq!(figures(&without, window(0, 1), Some(1)).gpu_null_reason, reason);
    let lost = Samples { gpu_null_reason: Some("lost".to_owned()), ..samples(steady("a", 500), &["a"]) };
    assert!(figures(&lost, window(100, 400), Some(1)).gpu_null_reason.unwrap().contains("broke off: lost"));
    let mut mute = steady("a", 3000);
    for sample in &mut mute {
        sample.reading = GpuReading::default();
    }
    let found = figures(&samples(mute, &["a"]), window(250, 2750), Some(1)).gpu.unwrap();
    assert!(found.energy_null_reason.unwrap().contains("has no energy counter"));
    assert_eq!((found.power_mean_w, found.throttle_reasons, found.memory_peak_bytes), (None, None, None));
}

#[test]
fn the_host_is_interpolated_to_the_trials_stamps() {
    let host = |ms: u64, full: bool| HostSample {
        time_ns: ms * MS,
        processes: 1,
        cpu_ns: ms * MS * 2,
        rss_bytes: 1000 + ms,
        minor_faults: ms,
        major_faults: 0,
        voluntary_switches: full.then_some(ms / 10),
        involuntary_switches: full.then_some(3),
        machine_busy_ns: Some(ms * MS * 5 / 2),
        cpu_mhz: Some(3000),
    };
    let all = Samples {
        host: vec![host(0, true), host(100, false), host(200, false), host(250, true)],
        ..Samples::default()
    };
    let found = figures(&all, window(50, 225), None).host.unwrap();
    assert!((found.cpu_seconds - 0.35).abs() < 1e-12);
    assert!((found.other_load.unwrap() - 0.5).abs() < 1e-9);
    assert_eq!((found.minor_faults, found.rss_peak_bytes, found.voluntary_switches), (175, 1250, Some(25)));
    assert_eq!((found.involuntary_switches, found.cpu_mhz), (Some(0), Some(3000.0)));
    let outside = figures(&all, window(50, 300), None);
    assert!(outside.host_null_reason.unwrap().contains("both sides"));
}

/// Whatever a device says, the figures keep to what they mean.
#[test]
fn figures_of_random_samples_hold_together() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    for _ in 0..500 {
        let count = random.random_range(2..80);
        let (mut time, mut energy) = (0, 0);
        let mut gpu = Vec::new();
        for _ in 0..count {
            time += random.random_range(1..200) * MS;
            energy += random.random_range(0..3) * random.random_range(0..90_000);
            let may = |random: &mut Xoshiro256PlusPlus, most: u32| {
                random.random_bool(0.9).then(|| random.random_range(0..most))
            };
            let reading = GpuReading {
                utilization_percent: may(&mut random, 101),
                sm_clock_mhz: may(&mut random, 2000),
                power_mw: may(&mut random, 700_000),
                throttle_reasons: may(&mut random, 512).map(u64::from),
                energy_mj: Some(energy),
                ..GpuReading::default()
            };
            gpu.push(GpuSample { time_ns: time, uuid: Uuid::new("a"), reading });
        }
        let all = samples(gpu.clone(), &["a"]);
        let mut cuts = [0; 3].map(|_| random.random_range(gpu[0].time_ns..=time));
        cuts.sort_unstable();
        let [start_ns, middle_ns, end_ns] = cuts;
        let whole = energy_of(&all, Window { start_ns, end_ns });
        let parts = energy_of(&all, Window { start_ns, end_ns: middle_ns })
            + energy_of(&all, Window { start_ns: middle_ns, end_ns });
        assert!((whole - parts).abs() <= 1e-9 * whole.max(1.0), "energy of a trial is that of its parts");
        assert!((0.0..=energy as f64 / 1e3 + 1e-9).contains(&whole));
        let Some(found) = figures(&all, Window { start_ns, end_ns }, Some(1)).gpu else { continue };
        assert!(found.utilization_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        assert!(found.power_mean_w.is_none_or(|watt| (0.0..700.0).contains(&watt)));
        if let (Some(mean), Some(min)) = (found.sm_clock_mean_mhz, found.sm_clock_min_mhz) {
            assert!(f64::from(min) <= mean + 1e-9);
        }
        assert!(found.sampling.period_ms <= found.sampling.longest_gap_ms + 1e-9);
        assert_eq!(found.energy_j.is_none(), found.energy_null_reason.is_some());
        assert!(found.energy_j.is_none() || found.energy_updates >= Some(MIN_ENERGY_UPDATES));
    }
}

fn energy_of(samples: &Samples, window: Window) -> f64 {
    energy(samples, &[Uuid::new("a")], window).unwrap().0
}

#[test]
fn a_gauge_rises_above_its_lowest_sample_since_the_last_one_before_the_window() {
    let window = Window { start_ns: 10, end_ns: 50 };
    // 90 was still held when the last sample before the window was taken, and given back before it began.
    assert_eq!(rise(&[(0, 5), (9, 90), (20, 10), (30, 95), (40, 20), (60, 15)], window), Some(85));
    // Before the last sample before the window, and after the first one behind it, nothing counts.
    assert_eq!(rise(&[(0, 1), (9, 30), (20, 30), (50, 20), (60, 90)], window), Some(0));
    assert_eq!(rise(&[(9, 30), (20, 40)], window), None, "nothing behind the window");
    assert_eq!(rise(&[(20, 30), (60, 40)], window), None, "nothing before it");
}

#[test]
fn a_person_is_told_what_is_known_of_the_gpus() {
    let figures = GpuFigures {
        utilization_percent: Some(96.6),
        power_mean_w: Some(612.4),
        temperature_max_c: Some(64),
        throttle_reasons: Some(0x5),
        ..GpuFigures::default()
    };
    assert_eq!(figures.state(), "GPU 97 %, 612 W, 64 °C, held down by sw_power_cap");
}
