//! Environments of Python engines: one a variant of an engine, made with `uv` from the pinned requirements in
//! `engines/<id>/`, kept in Tacho's cache under the hash of those pins, checked by import and by four generated tokens.
//!
//! Two engines never share one: their libraries would meet. Nothing is downloaded later than this.

mod engine_build;
mod error;
mod install;
mod spec;
mod verify;

pub use engine_build::EngineBuild;
pub use error::EnvironmentError;
pub use install::{
    BASE_PYTHON_VARIABLE, Checked, Install, Installed, Source, UV_VARIABLE, chosen, install, remove, status,
};
pub use spec::{EnvironmentSpec, PYTHON, specs};
pub use verify::{CHECK_TOKENS, verify};
