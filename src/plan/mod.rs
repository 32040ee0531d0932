//! A plan: engines × models × axes × load modes × trials, and its expansion into points.

mod point;

pub use point::{CellPlan, EngineSpec, Plan, Point, PointWorkload, TrialPolicy};
