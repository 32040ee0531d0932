//! A plan: engines × models × axes × load modes × trials, and its expansion into points.
//!
//! A plan file ([`read()`]), the environment and flags each give a [`Draft`]; the stronger lies over the weaker
//! ([`Draft::over`]), and [`resolve()`] makes the [`Plan`] of it, with the origin of every value.

pub mod bisect;
pub mod compare;
mod dataset;
mod defaults;
mod draft;
mod endurance;
mod expand;
mod fair;
mod open;
mod origin;
mod point;
mod read;
pub mod reference;
pub mod registry;
mod resolve;
pub mod scalar;
mod shipped;
mod told;
mod toml_tree;
mod trials;
mod validity;
pub mod values;
mod work;

pub use dataset::DatasetDraft;
pub use draft::{Draft, Parameter, SamplingDraft, Setting, TrialsDraft, Values};
pub use endurance::{Endurance, EnduranceDraft};
pub use origin::{Origin, Place, PlanError, Source, Sourced};
pub use point::{CellPlan, EngineSpec, OPEN_SEQS, Plan, Point, PointData, PointWorkload, TraceMode, TrialPolicy};
pub use read::{check_name, read};
pub use resolve::{Resolved, check_overlaps, resolve};
pub use shipped::{ShippedPlan, shipped};
pub use told::Provenance;
pub use validity::{ValidityDraft, share};
pub use work::Work;
