//! What a run leaves: the run directory, its journal and its tables.

mod cells;
mod columns;
mod encode;
mod error;
pub(crate) mod files;
mod hardware;
mod journal;
mod merge;
mod parts;
mod points;
mod record;
mod run_dir;
mod run_info;
pub mod schema;
mod service;
mod summary;
#[cfg(test)]
pub(crate) mod testing;
mod traces;
mod trial_tables;

pub use error::ResultsError;
pub use parts::PartRows;
pub use record::{
    Failure, PointRecord, PointStatus, Quantiles, TraceCost, TraceRecord, TracedTrial, TrialFigures, TrialHardware,
    TrialRecord,
};
pub use run_dir::{Outputs, Resumed, RunDir};
pub use run_info::{EngineRecord, FORMAT, Host, Provenance, RunHardware, RunInfo, SCHEMA};
pub use summary::{Summary, ThroughputSummary};
pub use traces::TraceStepRow;
pub use trial_tables::{Discard, TrialTables};
