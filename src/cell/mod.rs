//! A cell: one process that hosts one engine with one configuration.
//!
//! The child's side is [`serve`], the loop that every cell program runs; it times trials with [`drive`]. The parent's
//! side is [`parent`]. Between them go the messages and tables of [`protocol`] in the frames of [`wire`].

mod checks;
pub mod contain;
mod death;
pub mod drive;
pub mod environment;
pub mod evidence;
mod host_time;
mod oom_kills;
pub mod open;
pub mod parent;
pub mod protocol;
mod recorder;
mod serve;
pub mod sessions;
pub mod text;
pub(crate) mod trust;
pub mod wire;

pub use serve::{serve, serve_clocked};

/// The environment variable by which a Python engine's cell learns the path of its environment's `python`.
pub const PYTHON_VARIABLE: &str = "TACHO_PYTHON_ENV";
