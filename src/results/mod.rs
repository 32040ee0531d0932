//! What a run leaves: the run directory, its journal and its tables.

mod baseline;
mod cell_files;
mod cells;
mod certificates;
mod columns;
mod encode;
mod engines;
mod error;
pub(crate) mod files;
pub mod frontier;
mod gather;
mod hardware;
mod journal;
mod merge;
mod outcomes;
mod parts;
mod points;
mod read;
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
mod turns;
mod watching;

pub use baseline::{BaselineError, Baselines};
pub use error::ResultsError;
pub use outcomes::Outcome;
pub use parts::PartRows;
pub use read::{ReadRun, read_run};
pub use record::{
    Failure, LostLaunch, PointRecord, PointStatus, Quantiles, TraceCost, TraceRecord, TracedTrial, TrialFigures,
    TrialHardware, TrialRecord, Turn,
};
pub use run_dir::{Outputs, Resumed, RunDir};
pub(crate) use run_info::now_rfc3339;
pub use run_info::{EngineRecord, FORMAT, Host, Provenance, RunHardware, RunInfo, SCHEMA};
pub use summary::{Summary, ThroughputSummary};
pub use traces::TraceStepRow;
pub use trial_tables::{Discard, TrialTables};
pub use watching::WatchCost;
