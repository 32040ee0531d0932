//! How many kernels a second a process can start.
use cudarc::driver::{
    CudaGraph,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};

use super::{Bench, Ceilings};
use crate::driver::guarded;

/// Kernels of a graph: about what a decoding step of a large model has.
const GRAPH_KERNELS: u32 = 1000;

pub(super) fn measure(bench: &Bench, found: &mut Ceilings) {
    let samples = bench.samples("launching kernels", || bench.kernels.launch_empty(&bench.stream));
    found.launches_per_s = found.rate("launches_per_s", 1.0, samples);
    let samples = graph(bench).and_then(|graph| bench.samples("launching a graph", || graph.launch()));
    found.graph_kernels_per_s = found.rate("graph_kernels_per_s", f64::from(GRAPH_KERNELS), samples);
}

fn graph(bench: &Bench) -> Result<CudaGraph, String> {
    let graph = guarded("capturing a graph", || {
        bench.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let launched = (0..GRAPH_KERNELS).try_for_each(|_| bench.kernels.launch_empty(&bench.stream));
        // A capture that is not ended would make every later call on the stream fail.
        let graph = bench.stream.end_capture(CUgraphInstantiate_flags(0))?;
        launched.map(|()| graph)
    })?;
    graph.ok_or_else(|| "capturing a graph: the driver gave none".to_owned())
}
