//! The processor's ceilings: how fast all its cores together read memory and multiply f32.
use std::{
    fs,
    hint::black_box,
    sync::Barrier,
    time::{Duration, Instant},
};

use pulp::{Arch, Simd, WithSimd};

use super::{Ceilings, CeilingsDevice};
use crate::results::Host;

/// How long a sample takes, at least.
const SAMPLE: Duration = Duration::from_millis(250);
/// Samples of each ceiling; the highest is the ceiling, since what disturbs only ever slows down.
const SAMPLES: usize = 5;
/// Read buffers together: so many times the last-level cache, so that nothing of a pass is left for the next.
const CACHES: u64 = 4;
const LEAST_BUFFER: u64 = 256 << 20;

/// The processor as a key of ceilings.
pub fn cpu_device() -> CeilingsDevice {
    let host = Host::read();
    let max_khz = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").ok();
    CeilingsDevice {
        name: host.cpu_model.unwrap_or_else(|| "unknown processor".to_owned()),
        cores: host.cores,
        governor: host.governor,
        max_mhz: max_khz.and_then(|khz| khz.trim().parse::<u32>().ok()).map(|khz| khz / 1000),
        cache_bytes: last_level_cache_bytes(),
        ..CeilingsDevice::default()
    }
}

/// The size of the first core's largest cache; None where the kernel does not tell.
pub fn last_level_cache_bytes() -> Option<u64> {
    let caches = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let size = |entry: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(entry.path().join("size")).ok()?;
        let text = text.trim();
        let (digits, factor) = match text.strip_suffix('K') {
            Some(digits) => (digits, 1 << 10),
            None => (text.strip_suffix('M').unwrap_or(text), if text.ends_with('M') { 1 << 20 } else { 1 }),
        };
        digits.parse::<u64>().ok().map(|number| number * factor)
    };
    caches.flatten().filter_map(size).max()
}

/// Measures them, which takes some seconds and needs a machine that does nothing else.
///
/// # Errors
/// A sentence for a person when there is not enough memory.
pub fn measure_cpu() -> Result<Ceilings, String> {
    let device = cpu_device();
    let threads = device.cores.unwrap_or(1).max(1) as usize;
    let available = available_bytes().unwrap_or(u64::MAX);
    let buffer = (device.cache_bytes.unwrap_or(0) * CACHES).max(LEAST_BUFFER).min(available / 4);
    if buffer < LEAST_BUFFER / 4 {
        return Err(format!(
            "reading needs a buffer of at least {} MiB, and a quarter of the memory that is free is {} MiB: free some",
            (LEAST_BUFFER / 4) >> 20,
            buffer >> 20
        ));
    }
    let reads = on_all(threads, |go| read_rates(buffer / threads as u64, go));
    let fmas = on_all(threads, fma_rates);
    let mut ceilings = Ceilings::of(device);
    ceilings.read_bytes_per_s = highest(&reads);
    ceilings.matmul_flops_per_s.insert("f32".to_owned(), highest(&fmas));
    ceilings.samples = serde_json::json!({ "read_bytes_per_s": reads, "f32_flops_per_s": fmas });
    ceilings.notes = serde_json::json!({
        "threads": threads,
        "buffer_bytes": buffer,
        "f32": format!("fused multiply-add on registers, {:?}", Arch::new()),
        "others": "a processor's instructions for bf16, f16 and small integers are not measured",
    });
    Ok(ceilings)
}

fn highest(rates: &[f64]) -> Option<f64> {
    rates.iter().copied().reduce(f64::max).filter(|rate| *rate > 0.0)
}

fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Runs `rates` on as many threads; the sum over threads of each sample. `rates` gives one rate a sample and waits at
/// the barrier before each, so that all threads work at once.
fn on_all(threads: usize, rates: impl Fn(&Barrier) -> Vec<f64> + Sync) -> Vec<f64> {
    let barrier = Barrier::new(threads);
    let each: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| rates(&barrier))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    (0..SAMPLES).map(|sample| each.iter().filter_map(|rates| rates.get(sample)).sum()).collect()
}

/// Units of work a second of each sample, by a pass that returns its units.
fn sampled(go: &Barrier, mut pass: impl FnMut() -> f64) -> Vec<f64> {
    (0..SAMPLES)
        .map(|_| {
            go.wait();
            let start = Instant::now();
            let mut done = 0.0;
            while start.elapsed() < SAMPLE {
                done += pass();
            }
            done / start.elapsed().as_secs_f64()
        })
        .collect()
}

/// Bytes a second that one thread reads from its own part, which it has written itself, so that it lies nearby.
fn read_rates(bytes: u64, go: &Barrier) -> Vec<f64> {
    let words = vec![1_u64; (bytes / 8) as usize];
    let arch = Arch::new();
    sampled(go, || {
        // The sum is needed, so every word is read; the optimiser cannot see what the words are.
        let sum = arch.dispatch(|| black_box(words.as_slice()).iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)));
        black_box(sum);
        words.len() as f64 * 8.0
    })
}

/// FLOPs a second of one thread.
fn fma_rates(go: &Barrier) -> Vec<f64> {
    let arch = Arch::new();
    sampled(go, || arch.dispatch(MultiplyAdd { rounds: 20_000 }))
}

/// Multiplies and adds in registers; gives the FLOPs done.
struct MultiplyAdd {
    rounds: u32,
}

/// Chains side by side: more than latency × units of any processor, fewer than its registers.
const CHAINS: usize = 12;

impl WithSimd for MultiplyAdd {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        // Each chain tends to b / (1 − a) = 1: never to a denormal, which would be slow.
        let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut chains = [simd.splat_f32s(black_box(0.5)); CHAINS];
        for _ in 0..self.rounds {
            for chain in &mut chains {
                *chain = simd.mul_add_e_f32s(*chain, a, b);
            }
        }
        let sum = chains.into_iter().fold(simd.splat_f32s(0.0), |sum, chain| simd.add_f32s(sum, chain));
        black_box(simd.reduce_sum_f32s(sum));
        2.0 * f64::from(self.rounds) * (CHAINS * S::F32_LANES) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_threads_add_up_sample_by_sample() {
        let rates = on_all(3, |go| {
            go.wait();
            (0..SAMPLES).map(|n| n as f64).collect()
        });
        assert_eq!(rates, [0.0, 3.0, 6.0, 9.0, 12.0]);
        assert_eq!((highest(&rates), highest(&[]), highest(&[0.0])), (Some(12.0), None, None));
    }

    #[test]
    fn work_is_done_and_not_optimised_away() {
        let arch = Arch::new();
        let start = Instant::now();
        let flops = arch.dispatch(MultiplyAdd { rounds: 200_000 });
        let rate = flops / start.elapsed().as_secs_f64();
        // More than any core can do would mean that nothing was done: 2 units × 32 lanes × 2 × 6 GHz is 0.77 TFLOP/s.
        assert!(flops > 0.0 && rate < 1e12, "{rate:e}");
        let rates = on_all(1, |go| read_rates(64 << 20, go));
        assert!(rates.len() == SAMPLES && rates.iter().all(|rate| (1e8..1e12).contains(rate)), "{rates:?}");
    }
}
