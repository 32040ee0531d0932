//! Bandwidths: within the device's memory, and between it and the host's.
use cudarc::driver::CudaSlice;

use super::{Bench, Ceilings};
use crate::driver::guarded;

/// Bytes of a buffer on the device: many times the largest cache.
const BUFFER: usize = 2 << 30;
/// Bytes of a transfer.
const TRANSFER: usize = 256 << 20;

pub(super) fn measure(bench: &Bench, found: &mut Ceilings) {
    match buffers(bench) {
        Ok((source, mut target, mut out)) => {
            let bytes = source.len() as f64;
            let samples = bench.samples("copying", || bench.stream.memcpy_dtod(&source, &mut target));
            found.copy_bytes_per_s = found.rate("copy_bytes_per_s", 2.0 * bytes, samples);
            found.note("copy_bytes_per_s", "bytes read plus bytes written");
            let samples = bench.samples("reading", || bench.kernels.launch_read(&bench.stream, &source, &mut out));
            found.read_bytes_per_s = found.rate("read_bytes_per_s", bytes, samples);
        }
        Err(reason) => {
            found.note("copy_bytes_per_s", &reason);
            found.note("read_bytes_per_s", &reason);
        }
    }
    if let Err(reason) = transfers(bench, found) {
        found.note("h2d_bytes_per_s", &reason);
        found.note("d2h_bytes_per_s", &reason);
    }
}

/// Two large buffers, and a word.
type Buffers = (CudaSlice<u8>, CudaSlice<u8>, CudaSlice<u32>);

fn buffers(bench: &Bench) -> Result<Buffers, String> {
    let bytes = bench.room(BUFFER)?;
    guarded("allocating device memory", || {
        let stream = &bench.stream;
        Ok((stream.alloc_zeros(bytes)?, stream.alloc_zeros(bytes)?, stream.alloc_zeros(1)?))
    })
}

fn transfers(bench: &Bench, found: &mut Ceilings) -> Result<(), String> {
    let bytes = bench.room(TRANSFER)?;
    let (mut host, mut device) = guarded("allocating pinned memory", || {
        // SAFETY: written in full below, before anything reads it.
        let mut host = unsafe { bench.context.alloc_pinned_with_flags::<u8>(bytes, 0) }?;
        host.as_mut_slice()?.fill(0x5a);
        Ok((host, bench.stream.alloc_zeros::<u8>(bytes)?))
    })?;
    let samples = bench.samples("copying to the device", || bench.stream.memcpy_htod(&host, &mut device));
    found.h2d_bytes_per_s = found.rate("h2d_bytes_per_s", bytes as f64, samples);
    let samples = bench.samples("copying from the device", || bench.stream.memcpy_dtoh(&device, &mut host));
    found.d2h_bytes_per_s = found.rate("d2h_bytes_per_s", bytes as f64, samples);
    Ok(())
}
