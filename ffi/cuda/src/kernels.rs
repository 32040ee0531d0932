//! The two kernels that ceilings need, as PTX that the driver compiles for whatever device it finds.
use std::sync::Arc;

use cudarc::{
    driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, LaunchConfig, PushKernelArg},
    nvrtc::Ptx,
};

use crate::driver::guarded;

const PTX: &str = include_str!("kernels.ptx");
/// Threads of a block that reads.
const READ_THREADS: u32 = 512;
/// Blocks for each multiprocessor: 2,048 threads, as many as data-centre architectures hold at once.
const READ_BLOCKS: u32 = 4;
/// Bytes that a thread reads at a time.
const VECTOR: usize = 16;

/// The kernels, loaded into a context.
pub struct Kernels {
    empty: CudaFunction,
    read: CudaFunction,
    read_blocks: u32,
}

impl Kernels {
    /// Compiles and loads them.
    ///
    /// # Errors
    /// What the driver said.
    pub fn load(context: &Arc<CudaContext>, multiprocessors: u32) -> Result<Self, String> {
        guarded("loading the kernels", || {
            let module = context.load_module(Ptx::from_src(PTX))?;
            Ok(Self {
                empty: module.load_function("tacho_empty")?,
                read: module.load_function("tacho_read")?,
                read_blocks: multiprocessors.max(1) * READ_BLOCKS,
            })
        })
    }

    /// Launches a kernel that does nothing: one block of one warp.
    ///
    /// # Errors
    /// What the driver said.
    pub fn launch_empty(&self, stream: &CudaStream) -> Result<(), cudarc::driver::DriverError> {
        let shape = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the kernel takes no arguments and touches no memory.
        unsafe { stream.launch_builder(&self.empty).launch(shape) }.map(|_| ())
    }

    /// Launches a kernel that reads all of `data` once (up to the last 15 bytes) and folds it into one word, which it stores in
    /// `out` in all but 1 of 2^32 cases not at all: only reads are timed.
    ///
    /// # Errors
    /// What the driver said.
    pub fn launch_read(
        &self,
        stream: &CudaStream,
        data: &CudaSlice<u8>,
        out: &mut CudaSlice<u32>,
    ) -> Result<(), cudarc::driver::DriverError> {
        let shape =
            LaunchConfig { grid_dim: (self.read_blocks, 1, 1), block_dim: (READ_THREADS, 1, 1), shared_mem_bytes: 0 };
        let vectors = (data.len() / VECTOR) as u64;
        let mut launch = stream.launch_builder(&self.read);
        launch.arg(data).arg(&vectors).arg(out);
        // SAFETY: the arguments are the kernel's three, in order; it reads `vectors` × 16 bytes of `data`, which has as many, at
        // addresses aligned to 16 as allocations are, and may write one word of `out`, which has one.
        unsafe { launch.launch(shape) }.map(|_| ())
    }
}
