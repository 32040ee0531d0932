//! One engine against another, one run against another: ratios with intervals and a verdict, and what must not be compared.

mod differences;
mod figure;
mod matching;
pub mod paired;
mod refusal;
mod render;
pub mod runs;

pub use differences::Difference;
pub use figure::{Better, Figure, PRIMARY};
pub use render::{paired_markdown, paired_text, runs_markdown, runs_text};
