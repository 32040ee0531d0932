//! Dense products by cuBLASLt: the rate that a linear layer could reach at most.
//!
//! D = Aᵀ·B with all three sides [`SIDE`], the layout of a linear layer's weights and activations. Factors are random: an
//! all-zero product draws less power and clocks higher, which no model does. Of the algorithms that cuBLASLt proposes the
//! fastest is timed.

mod bits;
mod plan;

use cudarc::{
    cublaslt::{result as lt, sys},
    driver::CudaSlice,
};

use self::{bits::Format, plan::Plan};
use super::{Bench, Ceilings};
use crate::driver::guarded;

/// Rows and columns of every matrix.
const SIDE: u64 = 8192;
/// Bytes that an algorithm may use beside the matrices: what NVIDIA recommends for Hopper, twice.
const WORKSPACE: usize = 64 << 20;
/// Random bytes that fill a matrix, over and over.
const TILE: usize = 16 << 20;

/// The factors' types, as in the results.
pub(super) const NAMES: [&str; 5] = ["f16", "bf16", "tf32", "f32", "fp8_e4m3"];

/// A product's types.
struct Kind {
    name: &'static str,
    format: Format,
    factors: sys::cudaDataType,
    result: sys::cudaDataType,
    result_bytes: usize,
    compute: sys::cublasComputeType_t,
    fast_accumulation: bool,
}

fn kinds() -> [Kind; 5] {
    use sys::{cublasComputeType_t as Compute, cudaDataType as Type};
    let kind = |name, format: Format, factors, compute| Kind {
        name,
        format,
        factors,
        result: factors,
        result_bytes: format.bytes(),
        compute,
        fast_accumulation: false,
    };
    let full = Compute::CUBLAS_COMPUTE_32F;
    let [f16, bf16, tf32, f32, fp8] = NAMES;
    [
        kind(f16, Format::F16, Type::CUDA_R_16F, full),
        kind(bf16, Format::BF16, Type::CUDA_R_16BF, full),
        kind(tf32, Format::F32, Type::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F_FAST_TF32),
        kind(f32, Format::F32, Type::CUDA_R_32F, full),
        // The result is bf16 and sums are kept in fewer bits, as engines set it for inference.
        Kind {
            result: Type::CUDA_R_16BF,
            result_bytes: 2,
            fast_accumulation: true,
            ..kind(fp8, Format::E4M3, Type::CUDA_R_8F_E4M3, full)
        },
    ]
}

pub(super) fn measure(bench: &Bench, found: &mut Ceilings) {
    let handle = match Handle::new() {
        Ok(handle) => handle,
        Err(reason) => {
            for name in NAMES {
                found.note(&item(name), &reason);
            }
            return;
        }
    };
    for kind in kinds() {
        let samples = product(bench, &handle, &kind);
        let rate = found.rate(&item(kind.name), 2.0 * (SIDE as f64).powi(3), samples);
        found.matmul_flops_per_s.insert(kind.name, rate);
    }
    found.note(&item("fp8_e4m3"), "fast accumulation, result in bf16");
}

fn item(name: &str) -> String {
    format!("matmul_flops_per_s.{name}")
}

fn product(bench: &Bench, handle: &Handle, kind: &Kind) -> Result<super::Samples, String> {
    let elements = (SIDE * SIDE) as usize;
    let a = filled(bench, kind, elements, 1)?;
    let b = filled(bench, kind, elements, 2)?;
    let (mut d, mut workspace) = guarded("allocating the result", || {
        let stream = &bench.stream;
        Ok((stream.alloc_zeros::<u8>(elements * kind.result_bytes)?, stream.alloc_zeros::<u8>(WORKSPACE)?))
    })?;
    let plan = Plan::new(handle.0, kind)?;
    let algorithm = plan.fastest(bench, &a, &b, &mut d, &mut workspace)?;
    bench.samples("multiplying matrices", || plan.run(bench, &algorithm, &a, &b, &mut d, &mut workspace))
}

/// A matrix of random numbers.
fn filled(bench: &Bench, kind: &Kind, elements: usize, seed: u64) -> Result<CudaSlice<u8>, String> {
    let bytes = elements * kind.format.bytes();
    let tile = kind.format.random(TILE.min(bytes), seed);
    guarded("filling a matrix", || {
        let mut matrix = bench.stream.alloc_zeros::<u8>(bytes)?;
        for start in (0..bytes).step_by(tile.len()) {
            let end = bytes.min(start + tile.len());
            bench.stream.memcpy_htod(&tile[..end - start], &mut matrix.slice_mut(start..end))?;
        }
        bench.stream.synchronize()?;
        Ok(matrix)
    })
}

/// cuBLASLt, opened.
struct Handle(sys::cublasLtHandle_t);

impl Handle {
    fn new() -> Result<Self, String> {
        // SAFETY: opens the library, which stays open, and closes one count of it again.
        if !unsafe { sys::is_culib_present() } {
            return Err("libcublasLt.so.13 cannot be opened: install CUDA 13's cuBLAS, or name its folder in \
                        LD_LIBRARY_PATH"
                .to_owned());
        }
        lt::create_handle().map(Self).map_err(|error| format!("starting cuBLASLt: {error}"))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once, and no plan outlives this value. At the end there is nobody to tell.
        let _ = unsafe { lt::destroy_handle(self.0) };
    }
}
