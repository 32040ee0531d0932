//! What the GPU did, from the files that the injected collector writes (`ffi/cupti`): read, put in order, and summed up
//! for a trial and for each of its steps. Files, formulas and limits: `docs/measure-trace.md`.

mod analysis;
mod control;
mod demangle;
mod format;
mod gaps;
mod order;
mod perfetto;
mod reader;
#[cfg(test)]
mod testing;

pub use analysis::{KernelFigures, StepFigures, TraceFigures, Window, analyse};
pub use control::{CollectorState, Tracing};
pub use demangle::readable;
pub use format::{Lost, Record, TraceError};
pub use gaps::Gaps;
pub use perfetto::{Counter, TraceJson};
pub use reader::{Activity, ActivityKind, Names, TraceFile};
