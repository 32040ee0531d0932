//! What the GPU says itself: its own clock around trials ([`clock`]), what that is worth ([`clock_check`]), and what it can do at
//! most ([`ceilings`]).
//!
//! The CUDA driver is opened at run time. A machine without one is an ordinary machine: every entry answers with a sentence
//! that says what is missing. Cells call [`clock::open`] once their engine is loaded, so that the engine was first to touch the
//! device; the program `tacho` never touches CUDA and starts `tacho-cuda` where it wants ceilings.

pub mod ceilings;
pub mod clock;
pub mod clock_check;
#[cfg(feature = "criterion")]
pub mod criterion;
pub mod driver;
pub mod kernels;
