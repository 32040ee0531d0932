//! Launches and copies on the GPU's own clock. Without a CUDA device it says why, and ends well.
use std::process::ExitCode;

use criterion::{Criterion, Throughput};
use tacho_cuda::{criterion::EventTime, driver, kernels::Kernels};

const COPY: usize = 256 << 20;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => {}
        Err(reason) if driver::device_count().is_err() => println!("device_time: skipped: {reason}"),
        Err(reason) => {
            eprintln!("device_time: {reason}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn bench() -> Result<(), String> {
    let context = driver::context(0)?;
    let device = driver::describe(&context)?;
    let kernels = Kernels::load(&context, device.multiprocessors)?;
    let stream = driver::guarded("making a stream", || context.new_stream())?;
    let buffers = || Ok((stream.alloc_zeros::<u8>(COPY)?, stream.alloc_zeros::<u8>(COPY)?, stream.alloc_zeros(1)?));
    let (source, mut target, mut out) = driver::guarded("allocating device memory", buffers)?;

    let mut criterion = Criterion::default().with_measurement(EventTime::new(stream.clone())).configure_from_args();
    let mut group = criterion.benchmark_group(device.name.as_str());
    group.throughput(Throughput::Elements(1));
    group.bench_function("empty kernel", |bench| bench.iter(|| kernels.launch_empty(&stream)));
    group.throughput(Throughput::Bytes(2 * COPY as u64));
    group.bench_function("copy 256 MiB", |bench| bench.iter(|| stream.memcpy_dtod(&source, &mut target)));
    group.throughput(Throughput::Bytes(COPY as u64));
    group.bench_function("read 256 MiB", |bench| bench.iter(|| kernels.launch_read(&stream, &source, &mut out)));
    group.finish();
    criterion.final_summary();
    driver::guarded("the benchmarked work", || stream.synchronize())
}
