//! What a run leaves: the run directory, its journal and its tables.

mod record;

pub use record::{Failure, PointRecord, PointStatus, Quantiles, TrialFigures, TrialRecord};
