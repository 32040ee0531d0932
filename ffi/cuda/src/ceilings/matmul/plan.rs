//! One product, as cuBLASLt wants it described.
use std::{ffi::c_void, ptr::null_mut};

use cudarc::{
    cublaslt::{
        result::{self as lt, CublasError},
        sys,
    },
    driver::{CudaSlice, DevicePtr, DevicePtrMut, DriverError, sys::CUresult},
};

use super::{Kind, SIDE, WORKSPACE};
use crate::{ceilings::Bench, driver::guarded};

/// Algorithms that are tried.
const CANDIDATES: usize = 8;
/// CUBLAS_OP_T of cublas_api.h, which the binding of cuBLASLt leaves out.
const TRANSPOSED: i32 = 1;
/// Runs of each; the last ones are timed.
const TRIES: u32 = 4;

/// The description: operation, layouts, preference. Destroyed on drop.
pub(super) struct Plan {
    handle: sys::cublasLtHandle_t,
    operation: sys::cublasLtMatmulDesc_t,
    factors: sys::cublasLtMatrixLayout_t,
    result: sys::cublasLtMatrixLayout_t,
    preference: sys::cublasLtMatmulPreference_t,
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: each was made by `new` or is null, and is destroyed once. There is nobody to tell of an error.
        unsafe {
            if !self.preference.is_null() {
                let _ = lt::destroy_matmul_pref(self.preference);
            }
            for layout in [self.factors, self.result] {
                if !layout.is_null() {
                    let _ = lt::destroy_matrix_layout(layout);
                }
            }
            if !self.operation.is_null() {
                let _ = lt::destroy_matmul_desc(self.operation);
            }
        }
    }
}

impl Plan {
    /// Describes D = Aᵀ·B. The handle must outlive the plan.
    pub(super) fn new(handle: sys::cublasLtHandle_t, kind: &Kind) -> Result<Self, String> {
        let mut plan =
            Self { handle, operation: null_mut(), factors: null_mut(), result: null_mut(), preference: null_mut() };
        plan.describe(kind).map_err(|error| format!("describing the product to cuBLASLt: {error}"))?;
        Ok(plan)
    }

    fn describe(&mut self, kind: &Kind) -> Result<(), CublasError> {
        use sys::{cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulPreferenceAttributes_t as Preference};
        self.operation = lt::create_matmul_desc(kind.compute, sys::cudaDataType::CUDA_R_32F)?;
        self.attribute(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        if kind.fast_accumulation {
            self.attribute(Attribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, &1_i8)?;
        }
        self.factors = lt::create_matrix_layout(kind.factors, SIDE, SIDE, SIDE as i64)?;
        self.result = lt::create_matrix_layout(kind.result, SIDE, SIDE, SIDE as i64)?;
        self.preference = lt::create_matmul_pref()?;
        let most = WORKSPACE as u64;
        // SAFETY: the preference is valid; the attribute is a u64, which is copied.
        unsafe {
            lt::set_matmul_pref_attribute(
                self.preference,
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const most).cast(),
                size_of::<u64>(),
            )
        }
    }

    fn attribute<T>(&self, name: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<(), CublasError> {
        // SAFETY: the operation is valid; the value is copied, and of the type that callers know the attribute to have.
        unsafe { lt::set_matmul_desc_attribute(self.operation, name, (&raw const *value).cast(), size_of::<T>()) }
    }

    /// Of the algorithms that cuBLASLt proposes, the fastest by a few runs.
    pub(super) fn fastest(
        &self,
        bench: &Bench,
        a: &CudaSlice<u8>,
        b: &CudaSlice<u8>,
        d: &mut CudaSlice<u8>,
        workspace: &mut CudaSlice<u8>,
    ) -> Result<sys::cublasLtMatmulAlgo_t, String> {
        let mut best: Option<(f32, sys::cublasLtMatmulAlgo_t)> = None;
        let mut wrong = String::from("none was proposed");
        for algorithm in self.candidates()? {
            let timed = guarded("trying an algorithm", || {
                for round in 0..TRIES {
                    if round == 1 {
                        bench.start.record(&bench.stream)?;
                    }
                    self.run(bench, &algorithm, a, b, d, workspace)?;
                }
                bench.stop.record(&bench.stream)?;
                bench.start.elapsed_ms(&bench.stop)
            });
            match timed {
                Ok(ms) if best.as_ref().is_none_or(|(least, _)| ms < *least) => best = Some((ms, algorithm)),
                Ok(_) => {}
                Err(reason) => wrong = reason,
            }
        }
        best.map(|(_, algorithm)| algorithm).ok_or_else(|| format!("cuBLASLt has no algorithm that runs: {wrong}"))
    }

    fn candidates(&self) -> Result<Vec<sys::cublasLtMatmulAlgo_t>, String> {
        // SAFETY: a plain C structure of numbers, which zeros make valid.
        let mut found: [sys::cublasLtMatmulHeuristicResult_t; CANDIDATES] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // SAFETY: handle, operation, layouts and preference are valid; the array has as many places as said.
        let status = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                self.operation,
                self.factors,
                self.factors,
                self.result,
                self.result,
                self.preference,
                CANDIDATES as i32,
                found.as_mut_ptr(),
                &mut count,
            )
        };
        status.result().map_err(|error| format!("asking cuBLASLt for algorithms: {error}"))?;
        let count = usize::try_from(count).unwrap_or(0).min(CANDIDATES);
        Ok(found[..count].iter().filter(|one| one.state.result().is_ok()).map(|one| one.algo).collect())
    }

    /// Puts one product on the bench's stream.
    pub(super) fn run(
        &self,
        bench: &Bench,
        algorithm: &sys::cublasLtMatmulAlgo_t,
        a: &CudaSlice<u8>,
        b: &CudaSlice<u8>,
        d: &mut CudaSlice<u8>,
        workspace: &mut CudaSlice<u8>,
    ) -> Result<(), DriverError> {
        let (alpha, beta) = (1_f32, 0_f32);
        let stream = &bench.stream;
        let (a, _a) = a.device_ptr(stream);
        let (b, _b) = b.device_ptr(stream);
        let (d, _d) = d.device_ptr_mut(stream);
        let (space, _space) = workspace.device_ptr_mut(stream);
        let place = |pointer: u64| pointer as *mut c_void;
        // SAFETY: all descriptions are valid; the matrices have the layouts' sizes (SIDE² elements of the kind's types, see
        // `product`), the workspace has WORKSPACE bytes, alpha and beta are read before the call returns, and the stream
        // belongs to the same context. D stands for C too, which a beta of 0 leaves unread.
        let done = unsafe {
            lt::matmul(
                self.handle,
                self.operation,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                place(a),
                self.factors,
                place(b),
                self.factors,
                place(d),
                self.result,
                place(d),
                self.result,
                algorithm,
                place(space),
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        };
        // The caller counts in the driver's errors.
        done.map_err(|_| DriverError(CUresult::CUDA_ERROR_NOT_SUPPORTED))
    }
}
